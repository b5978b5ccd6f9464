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

/// An error that says what to do where nothing here can flash.
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
    probe_rs(&["run", "--chip", chip.name], image)
}

/// Flashes an image, an ELF file, through the board's debug probe.
pub fn download(chip: &Chip, image: &Path) -> Result<()> {
    probe_rs(&["download", "--chip", chip.name], image)
}

/// Writes the bytes of a file to flash from `address` on, through the board's debug probe.
pub fn download_bytes(chip: &Chip, file: &Path, address: u32) -> Result<()> {
    let address = format!("{address:#010x}");
    probe_rs(&["download", "--chip", chip.name, "--binary-format", "bin", "--base-address", &address], file)
}

/// Starts the board's program anew.
pub fn reset(chip: &Chip) -> Result<()> {
    start(Command::new(PROBE_RS).args(["reset", "--chip", chip.name]))
}

fn probe_rs(arguments: &[&str], file: &Path) -> Result<()> {
    start(Command::new(PROBE_RS).args(arguments).arg(file))
}

/// Runs a command whose output is for the user's eyes, on standard error.
fn start(command: &mut Command) -> Result<()> {
    let status = command.stdout(std::io::stderr()).status();
    let status = status.with_context(|| format!("cannot start `{}`", process::spell(command)))?;
    ensure!(status.success(), "`{}` failed ({status})", process::spell(command));
    Ok(())
}

/// The UF2 file of an image.
pub fn uf2_blocks(segments: &[Segment], family: u32) -> Result<Vec<u8>> {
    let parts: Vec<_> = segments.iter().map(|segment| (segment.stored_at, &*segment.bytes)).collect();
    uf2::encode(&parts, family)
}
