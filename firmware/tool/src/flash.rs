//! Flashing a real board.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::boards::Chip;
use crate::elf::Segment;
use crate::process;
use crate::region::Region;
use crate::uf2;

/// What flashes.
const PROBE_RS: &str = "probe-rs";

/// An error that says what to do where [`run`] cannot flash.
pub fn ensure_probe() -> Result<()> {
    if process::find(PROBE_RS).is_none() {
        bail!(
            "{PROBE_RS} is not in the PATH: install it as https://probe.rs says (`cargo install probe-rs-tools --locked`), \
             connect the board, then run this again"
        );
    }
    Ok(())
}

/// Flashes an image, an ELF file, through the board's debug probe and starts it; ends when the user ends it.
pub fn run(chip: &Chip, image: &Path) -> Result<()> {
    let mut flash = Command::new(PROBE_RS);
    flash.args(["run", "--chip", chip.name]).arg(image);
    succeed(flash)
}

/// Writes `contents`, a file, to a board's model region, and resets the board.
pub fn write_region(chip: &Chip, region: Region, contents: &Path) -> Result<()> {
    let mut download = Command::new(PROBE_RS);
    let at = format!("{:#x}", region.start);
    download
        .args(["download", "--chip", chip.name, "--binary-format", "bin", "--base-address", &at])
        .arg(contents);
    succeed(download)?;
    let mut reset = Command::new(PROBE_RS);
    reset.args(["reset", "--chip", chip.name]);
    succeed(reset)
}

fn succeed(mut command: Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start `{}`", process::spell(&command)))?;
    ensure!(status.success(), "`{}` failed ({status})", process::spell(&command));
    Ok(())
}

/// The UF2 file of an image.
pub fn uf2_blocks(segments: &[Segment], family: u32) -> Result<Vec<u8>> {
    let parts: Vec<_> = segments.iter().map(|segment| (segment.stored_at, &*segment.bytes)).collect();
    uf2::encode(&parts, family)
}
