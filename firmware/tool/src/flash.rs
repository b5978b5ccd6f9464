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

/// A board's debug probe, as probe-rs finds it.
#[derive(Clone, Copy, Debug)]
pub struct Probe<'a> {
    /// The chip behind it.
    pub chip: &'a Chip,
    /// Which one of several, `VID:PID` or `VID:PID:SERIAL` as `probe-rs list` shows them; none where there is only one.
    pub selector: Option<&'a str>,
}

impl Probe<'_> {
    /// Flashes an image, an ELF file, and starts it; ends when the user ends it.
    pub fn run(&self, image: &Path) -> Result<()> {
        start(self.command("run").arg(image))
    }

    /// Flashes an image, an ELF file.
    pub fn download(&self, image: &Path) -> Result<()> {
        start(self.command("download").arg(image))
    }

    /// Writes the bytes of a file to flash from `address` on.
    pub fn download_bytes(&self, file: &Path, address: u32) -> Result<()> {
        start(&mut self.bytes_command(file, address))
    }

    /// Starts the board's program anew.
    pub fn reset(&self) -> Result<()> {
        start(&mut self.command("reset"))
    }

    fn bytes_command(&self, file: &Path, address: u32) -> Command {
        let mut command = self.command("download");
        command.args(["--binary-format", "bin", "--base-address", &format!("{address:#010x}")]).arg(file);
        command
    }

    fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(PROBE_RS);
        command.args([subcommand, "--chip", self.chip.name]);
        if let Some(selector) = self.selector {
            command.args(["--probe", selector]);
        }
        command
    }
}

/// Runs a command whose output is for the user's eyes, on standard error.
fn start(command: &mut Command) -> Result<()> {
    let status = command.stdout(std::io::stderr()).status();
    let status = status.with_context(|| format!("cannot start `{}`", process::spell(command)))?;
    ensure!(
        status.success(),
        "`{}` failed ({status}): is the board connected, and may this user use its probe (docs/boards.md)? With several probes, \
         --probe names one of `probe-rs list`",
        process::spell(command)
    );
    Ok(())
}

/// The UF2 file of an image.
pub fn uf2_blocks(segments: &[Segment], family: u32) -> Result<Vec<u8>> {
    let parts: Vec<_> = segments.iter().map(|segment| (segment.stored_at, &*segment.bytes)).collect();
    uf2::encode(&parts, family)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boards::Board;

    #[test]
    fn the_probe_that_was_named_is_the_one_that_flashes() {
        let chip = Board::named("nucleo-f446re").unwrap().chip().unwrap();
        let spelled = |selector| {
            let probe = Probe { chip, selector };
            process::spell(&probe.bytes_command(Path::new("region.bin"), 0x0804_0000))
        };
        let behind = "--binary-format bin --base-address 0x08040000 region.bin";
        assert_eq!(spelled(None), format!("probe-rs download --chip STM32F446RETx {behind}"));
        let selector = "0483:374b:066FFF";
        let expected = format!("probe-rs download --chip STM32F446RETx --probe {selector} {behind}");
        assert_eq!(spelled(Some(selector)), expected);
    }
}
