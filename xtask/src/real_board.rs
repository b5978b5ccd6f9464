//! Real boards: what they have, and checks of a linked image before anyone flashes it. None is attached where this is developed:
//! the images are compiled, linked and checked, and that is all.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use crate::board::{self, Board, Options};
use crate::elf::{self, Segment};
use crate::process;
use crate::toolchain;
use crate::uf2;

/// What flashes.
const PROBE_RS: &str = "probe-rs";

/// A board whose firmware is compiled for the chip and flashed through a debug probe.
pub struct RealBoard {
    /// What it shares with emulated boards. Its RAM is the largest that one model's variables can have.
    pub board: Board,
    /// Name of the chip for probe-rs.
    pub chip: &'static str,
    /// Where flash begins.
    flash_at: u32,
    /// Where RAM lies: first address and bytes.
    ram: &'static [(u32, u32)],
    /// Family of its UF2 files, where its boot ROM takes them.
    uf2_family: Option<u32>,
}

const fn board(name: &'static str, target: &'static str, flash: u64, ram: u64) -> Board {
    Board { name, package: name, features: "", target, emulator: PROBE_RS, flash, ram }
}

/// Every real board.
pub const BOARDS: &[RealBoard] = &[
    RealBoard {
        board: board("nucleo-f446re", toolchain::THUMBV7EM, 512 << 10, 128 << 10),
        chip: "STM32F446RETx",
        flash_at: 0x0800_0000,
        ram: &[(0x2000_0000, 128 << 10)],
        uf2_family: None,
    },
    RealBoard {
        board: board("nucleo-h743zi", toolchain::THUMBV7EM, 2 << 20, 512 << 10),
        chip: "STM32H743ZITx",
        flash_at: 0x0800_0000,
        // DTCM and AXI SRAM.
        ram: &[(0x2000_0000, 128 << 10), (0x2400_0000, 512 << 10)],
        uf2_family: None,
    },
    RealBoard {
        board: board("nrf52840-dk", toolchain::THUMBV7EM, 1 << 20, 256 << 10),
        chip: "nRF52840_xxAA",
        flash_at: 0,
        ram: &[(0x2000_0000, 256 << 10)],
        uf2_family: None,
    },
    RealBoard {
        board: board("pico2", toolchain::THUMBV8M, 4 << 20, 520 << 10),
        chip: "RP235x",
        flash_at: 0x1000_0000,
        ram: &[(0x2000_0000, 520 << 10)],
        uf2_family: Some(uf2::RP2350_ARM_S),
    },
];

/// The real board of this name.
pub fn find(name: &str) -> Option<&'static RealBoard> {
    BOARDS.iter().find(|real| real.board.name == name)
}

/// Options of `cargo xtask board` for real boards.
#[derive(clap::Args)]
pub struct FlashArguments {
    /// Flash a real board through its debug probe with probe-rs, and start it
    #[arg(long)]
    flash: bool,
    /// Write an UF2 file for a real board whose boot ROM takes them (pico2)
    #[arg(long, value_name = "FILE")]
    uf2: Option<PathBuf>,
}

impl FlashArguments {
    /// Whether any was given.
    pub fn any(&self) -> bool {
        self.flash || self.uf2.is_some()
    }
}

/// A linked image that passed every check that needs no board.
#[derive(Clone, Debug, Serialize)]
pub struct ImageReport {
    /// Always `image`.
    event: &'static str,
    /// Name of the board.
    pub board: &'static str,
    /// Name of the chip for probe-rs.
    pub chip: &'static str,
    /// The image, an ELF file.
    pub file: PathBuf,
    /// Version of the compiler.
    pub compiler: String,
    /// Revision of the sources, `-dirty` where they were changed since.
    pub git: Option<String>,
    /// Flash for code, constants and initial values, without the model.
    pub text_bytes: u64,
    /// Flash for the model file.
    pub model_bytes: u64,
    /// All flash.
    pub flash_bytes: u64,
    /// Flash that the board has.
    pub flash_available: u64,
    /// RAM for all variables, the arena among them.
    pub static_bytes: u64,
    /// RAM that is left for the stack.
    pub stack_available: u64,
    /// Where the variables begin: boards with several kinds of RAM take the fastest that is large enough.
    pub ram_at: u32,
}

/// Runs `cargo xtask board` for a real board.
pub fn main(
    real: &RealBoard,
    model: &Path,
    options: &Options,
    arguments: &FlashArguments,
    json: bool,
) -> Result<()> {
    if arguments.uf2.is_some() && real.uf2_family.is_none() {
        bail!("{} takes no UF2 files: flash it with --flash", real.board.name);
    }
    if arguments.flash && process::find(PROBE_RS).is_none() {
        bail!(
            "{PROBE_RS} is not in the PATH: install it as https://probe.rs says (`cargo install probe-rs-tools --locked`), \
             connect the board, then run this again"
        );
    }
    let report = build(real, model, options)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{}", serde_json::to_string(&report)?);
    }
    if let (Some(file), Some(family)) = (&arguments.uf2, real.uf2_family) {
        let blocks = uf2_blocks(&elf::segments(&report.file)?, family)?;
        std::fs::write(file, blocks).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if arguments.flash {
        let mut flash = Command::new(PROBE_RS);
        flash.args(["run", "--chip", real.chip]).arg(&report.file);
        eprintln!("the report comes on the serial line, 115200 8N1 (docs/boards.md)");
        let status = flash.status().with_context(|| format!("cannot start `{}`", process::spell(&flash)))?;
        ensure!(status.success(), "`{}` failed ({status})", process::spell(&flash));
    }
    Ok(())
}

/// Builds the firmware of a board with `model` in flash and checks the image. A model that does not fit is an error that says by
/// how many bytes.
pub fn build(real: &RealBoard, model: &Path, options: &Options) -> Result<ImageReport> {
    board::with_image_of(&real.board, model, options, |image| {
        let file = image.file();
        let sizes = elf::sizes(&file)?;
        let memory =
            check(real, &elf::segments(&file)?).with_context(|| format!("the image {}", file.display()))?;
        Ok(ImageReport {
            event: "image",
            board: real.board.name,
            chip: real.chip,
            compiler: image.toolchain.version()?,
            git: board::git_revision(),
            text_bytes: sizes.flash.saturating_sub(image.model_bytes),
            model_bytes: image.model_bytes,
            flash_bytes: memory.flash,
            flash_available: real.board.flash,
            static_bytes: memory.variables,
            stack_available: memory.stack,
            ram_at: memory.ram_at,
            file,
        })
    })
}

/// What an image takes, padding included.
#[derive(Debug, PartialEq, Eq)]
struct MemoryUse {
    flash: u64,
    variables: u64,
    stack: u64,
    ram_at: u32,
}

/// Checks that a chip can start from the image: everything lies in the board's memory, the vector table where the chip looks,
/// the first stack pointer in RAM above the variables, the reset vector at code, and the definition that a boot ROM wants.
fn check(real: &RealBoard, segments: &[Segment]) -> Result<MemoryUse> {
    let flash_end = u64::from(real.flash_at) + real.board.flash;
    let in_flash = |at: u32, bytes: u64| at >= real.flash_at && u64::from(at) + bytes <= flash_end;
    let ram_of = |at: u32, bytes: u64| {
        real.ram.iter().find(|(start, length)| {
            at >= *start && u64::from(at) + bytes <= u64::from(*start) + u64::from(*length)
        })
    };
    let (mut end, mut low, mut high) = (u64::from(real.flash_at), u32::MAX, 0);
    for segment in segments {
        let Segment { stored_at, used_at, used, .. } = *segment;
        let stored = segment.bytes.len() as u64;
        if stored > 0 {
            ensure!(in_flash(stored_at, stored), "{stored} bytes at {stored_at:#010x} lie outside of flash");
            end = end.max(u64::from(stored_at) + stored);
        }
        if !in_flash(used_at, used.into()) {
            ensure!(
                ram_of(used_at, used.into()).is_some(),
                "{used} bytes at {used_at:#010x} lie outside of RAM"
            );
            (low, high) = (low.min(used_at), high.max(used_at + used));
        }
    }
    let table =
        bytes_at(segments, real.flash_at, 8).context("there is no vector table where flash begins")?;
    let (stack, reset) = (word(&table[..4]), word(&table[4..]));
    let Some((ram, _)) = ram_of(stack.wrapping_sub(8), 8) else {
        bail!("the first stack pointer, {stack:#010x}, lies outside of RAM");
    };
    ensure!(stack.is_multiple_of(8), "the first stack pointer, {stack:#010x}, is no multiple of 8");
    ensure!(reset & 1 == 1, "the reset vector, {reset:#010x}, names no Thumb code");
    ensure!(
        bytes_at(segments, reset - 1, 2).is_some(),
        "the reset vector, {reset:#010x}, lies outside of the code"
    );
    // The stack grows down to the variables, or to the beginning of a RAM of its own.
    let floor = if high > *ram && low < stack { high } else { *ram };
    ensure!(floor < stack, "the variables, up to {floor:#010x}, leave the stack at {stack:#010x} no room");
    if real.uf2_family == Some(uf2::RP2350_ARM_S) {
        rp2350_definition(segments, real.flash_at)?;
    }
    Ok(MemoryUse {
        flash: end - u64::from(real.flash_at),
        variables: u64::from(high.saturating_sub(low)),
        stack: u64::from(stack - floor),
        ram_at: low,
    })
}

/// The boot ROM of an RP2350 starts what has a block with an image type in its first 4 KiB (data sheet, 5.9.5).
fn rp2350_definition(segments: &[Segment], flash_at: u32) -> Result<()> {
    const BLOCK_BEGIN: u32 = 0xffff_ded3;
    const BLOCK_END: u32 = 0xab12_3579;
    /// An item of one word, IMAGE_TYPE: executable for Arm cores, secure, RP2350.
    const ARM_S: u32 = 0x1021_0142;
    let stored = segments.iter().filter(|segment| {
        (flash_at..flash_at + 4096).contains(&segment.stored_at) && !segment.bytes.is_empty()
    });
    let found = stored.into_iter().any(|segment| {
        let first = &segment.bytes[..segment.bytes.len().min((flash_at + 4096 - segment.stored_at) as usize)];
        let words: Vec<u32> = first.chunks_exact(4).map(word).collect();
        let begins = words.windows(2).any(|pair| pair == [BLOCK_BEGIN, ARM_S]);
        begins && words.contains(&BLOCK_END)
    });
    ensure!(found, "the first 4 KiB hold no image definition for the boot ROM");
    Ok(())
}

fn word(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

/// Bytes of the image as the program finds them.
fn bytes_at(segments: &[Segment], at: u32, length: usize) -> Option<&[u8]> {
    segments.iter().find_map(|segment| {
        let from = at.checked_sub(segment.used_at)? as usize;
        segment.bytes.get(from..from + length)
    })
}

/// The UF2 file of an image.
pub fn uf2_blocks(segments: &[Segment], family: u32) -> Result<Vec<u8>> {
    let parts: Vec<_> = segments.iter().map(|segment| (segment.stored_at, &*segment.bytes)).collect();
    uf2::encode(&parts, family)
}

/// For `cargo xtask test`: builds a board with a model that fits and checks the image; where `too_large` is given, that must be
/// refused with the bytes that are missing. Says what was measured.
pub fn verify(real: &RealBoard, model: &Path, too_large: Option<&Path>, options: &Options) -> Result<String> {
    let report = build(real, model, options)?;
    let ImageReport { text_bytes, flash_bytes, flash_available, static_bytes, stack_available, .. } = report;
    let mut said = format!(
        "flash {flash_bytes} of {flash_available} bytes, {text_bytes} of them code; variables {static_bytes} bytes at \
         {:#010x}, {stack_available} left for the stack",
        report.ram_at
    );
    if let Some(family) = real.uf2_family {
        let segments = elf::segments(&report.file)?;
        let blocks = uf2_blocks(&segments, family)?;
        let (start, flash) = uf2::decode(&blocks, family)?;
        ensure!(start == real.flash_at, "the UF2 file begins at {start:#x}");
        for segment in &segments {
            let from = (segment.stored_at.max(start) - start) as usize;
            let there = flash.get(from..from + segment.bytes.len());
            ensure!(
                segment.bytes.is_empty() || there == Some(&segment.bytes),
                "the UF2 file differs from the image"
            );
        }
        said += &format!("; {} blocks of UF2", blocks.len() / 512);
    }
    if let Some(too_large) = too_large {
        let (path, bytes) = board::model_file(too_large)?;
        let error = match build(real, &path, options) {
            Ok(_) => bail!("{} should not fit {}", path.display(), real.board.name),
            Err(error) => format!("{error:#}"),
        };
        let needed: u64 = error
            .split_once("flash: ")
            .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok())
            .with_context(|| format!("the refusal names no bytes of flash: {error}"))?;
        // Other sizes, other code: some hundred bytes.
        ensure!(
            needed.abs_diff(text_bytes + bytes) < 4096,
            "refused for {needed} bytes of flash, but {text_bytes} of code and {bytes} of model were expected"
        );
        said += &format!("; refused: {error}");
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(at: u32, bytes: Vec<u8>) -> Segment {
        Segment { stored_at: at, used_at: at, used: bytes.len() as u32, bytes }
    }

    /// A vector table and code, a variable with an initial value, and variables without.
    fn image(stack: u32, reset: u32) -> Vec<Segment> {
        let code = [stack.to_le_bytes(), reset.to_le_bytes(), [0; 4], [0; 4]].concat();
        let value = Segment { stored_at: 0x0800_0010, used_at: 0x2000_0000, bytes: vec![1; 4], used: 4 };
        let zeros = Segment { stored_at: 0x2000_0004, used_at: 0x2000_0004, bytes: vec![], used: 1020 };
        vec![segment(0x0800_0000, code), value, zeros]
    }

    fn refusal(segments: &[Segment]) -> String {
        check(find("nucleo-f446re").unwrap(), segments).unwrap_err().to_string()
    }

    #[test]
    fn an_image_that_starts_passes() {
        let real = find("nucleo-f446re").unwrap();
        let memory = MemoryUse { flash: 20, variables: 1024, stack: (128 << 10) - 1024, ram_at: 0x2000_0000 };
        assert_eq!(check(real, &image(0x2002_0000, 0x0800_0009)).unwrap(), memory);
        // A stack in a RAM of its own.
        let mut axi = image(0x2002_0000, 0x0800_0009);
        (axi[1].used_at, axi[2].used_at) = (0x2400_0000, 0x2400_0004);
        let memory = check(find("nucleo-h743zi").unwrap(), &axi).unwrap();
        assert_eq!((memory.variables, memory.stack, memory.ram_at), (1024, 128 << 10, 0x2400_0000));
    }

    #[test]
    fn an_image_that_cannot_start_is_refused() {
        assert!(refusal(&image(0x2002_0008, 0x0800_0009)).contains("stack pointer"));
        assert!(refusal(&image(0x2001_fffc, 0x0800_0009)).contains("multiple of 8"));
        assert!(refusal(&image(0x2000_0400, 0x0800_0009)).contains("no room"));
        assert!(refusal(&image(0x2002_0000, 0x0800_0008)).contains("Thumb"));
        assert!(refusal(&image(0x2002_0000, 0x0900_0009)).contains("outside of the code"));
        assert!(refusal(&image(0x2002_0000, 0x0800_0009)[1..]).contains("no vector table"));
        let mut beyond = image(0x2002_0000, 0x0800_0009);
        beyond[2].used = 128 << 10;
        assert!(refusal(&beyond).contains("outside of RAM"));
        beyond = image(0x2002_0000, 0x0800_0009);
        beyond[1].stored_at = 0x0807_fffe;
        assert!(refusal(&beyond).contains("outside of flash"));
    }

    #[test]
    fn a_pico2_wants_its_image_definition() {
        let pico2 = find("pico2").unwrap();
        let words = |definition: [u32; 5]| {
            let start = [0x2008_2000, 0x1000_0009, 0, 0];
            let bytes = start.iter().chain(&definition).flat_map(|word| word.to_le_bytes()).collect();
            vec![segment(0x1000_0000, bytes)]
        };
        let definition = [0xffff_ded3, 0x1021_0142, 0x0000_01ff, 0, 0xab12_3579];
        assert!(check(pico2, &words(definition)).is_ok());
        assert!(check(pico2, &words([0; 5])).unwrap_err().to_string().contains("image definition"));
    }
}
