//! Flashing a real board.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::boards::Chip;
use crate::elf::Segment;
use crate::process;
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
    let status = flash.status().with_context(|| format!("cannot start `{}`", process::spell(&flash)))?;
    ensure!(status.success(), "`{}` failed ({status})", process::spell(&flash));
    Ok(())
}

/// The UF2 file of an image.
pub fn uf2_blocks(segments: &[Segment], family: u32) -> Result<Vec<u8>> {
    let parts: Vec<_> = segments.iter().map(|segment| (segment.stored_at, &*segment.bytes)).collect();
    uf2::encode(&parts, family)
}
