//! Checks of a real board's linked image before anyone flashes it. None is attached where this is developed: the images are
//! compiled, linked and checked, and that is all.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use crate::boards::{Board, Chip};
use crate::build::{self, Content, Image, Options};
use crate::elf::{self, Segment};
use crate::loader::Place;
use crate::sources::git_revision;
use crate::uf2;

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

/// Builds the firmware of a real board with `model` in flash and checks the image. A model that does not fit is an error that says
/// by how many bytes.
pub fn build(board: &Board, model: &Path, options: &Options) -> Result<ImageReport> {
    let Some(chip) = board.chip() else {
        bail!("{} is emulated: it has no image to flash", board.name);
    };
    build::with_image(board, Content::Model(model), options, |image| checked(board, chip, image))
}

/// As [`build()`], for firmware without a model that has `memory` bytes for one in the board's region; gives the region too.
pub fn build_for_region(board: &Board, memory: u64, options: &Options) -> Result<(ImageReport, Place)> {
    let Some(chip) = board.chip() else {
        bail!("{} is emulated: it has no image to flash", board.name);
    };
    build::with_image(board, Content::Region(memory), options, |image| {
        Ok((checked(board, chip, image)?, image.region()?))
    })
}

fn checked(board: &Board, chip: &Chip, image: &Image<'_>) -> Result<ImageReport> {
    let file = image.file();
    let sizes = elf::sizes(&file)?;
    let placed = check(board, chip, &elf::segments(&file)?)
        .with_context(|| format!("the image {}", file.display()))?;
    Ok(ImageReport {
        event: "image",
        board: board.name,
        chip: chip.name,
        compiler: image.toolchain.version()?,
        git: git_revision(),
        text_bytes: sizes.flash.saturating_sub(image.model_bytes),
        model_bytes: image.model_bytes,
        flash_bytes: placed.flash,
        flash_available: board.flash,
        static_bytes: placed.variables,
        stack_available: placed.stack,
        ram_at: placed.ram_at,
        file,
    })
}

/// Where an image lies and what it takes in bytes, padding included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// All that is stored in flash.
    pub flash: u64,
    /// Variables.
    pub variables: u64,
    /// What they leave for the stack.
    pub stack: u64,
    /// Where they begin.
    pub ram_at: u32,
}

/// Checks that a chip can start from the image: everything lies in the board's memory, the vector table where the chip looks,
/// the first stack pointer in RAM above the variables, the reset vector at code, and the definition that a boot ROM wants.
pub fn check(board: &Board, chip: &Chip, segments: &[Segment]) -> Result<Placement> {
    let flash_end = u64::from(chip.flash_at) + board.flash;
    let in_flash = |at: u32, bytes: u64| at >= chip.flash_at && u64::from(at) + bytes <= flash_end;
    let ram_of = |at: u32, bytes: u64| {
        chip.ram.iter().find(|(start, length)| {
            at >= *start && u64::from(at) + bytes <= u64::from(*start) + u64::from(*length)
        })
    };
    let (mut end, mut low, mut high) = (u64::from(chip.flash_at), u32::MAX, 0);
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
        bytes_at(segments, chip.flash_at, 8).context("there is no vector table where flash begins")?;
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
    if chip.uf2_family == Some(uf2::RP2350_ARM_S) {
        rp2350_definition(segments, chip.flash_at)?;
    }
    Ok(Placement {
        flash: end - u64::from(chip.flash_at),
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

    fn checked(board: &str, segments: &[Segment]) -> Result<Placement> {
        let board = Board::named(board).unwrap();
        check(board, board.chip().unwrap(), segments)
    }

    fn refusal(segments: &[Segment]) -> String {
        checked("nucleo-f446re", segments).unwrap_err().to_string()
    }

    #[test]
    fn an_image_that_starts_passes() {
        let memory = Placement { flash: 20, variables: 1024, stack: (128 << 10) - 1024, ram_at: 0x2000_0000 };
        assert_eq!(checked("nucleo-f446re", &image(0x2002_0000, 0x0800_0009)).unwrap(), memory);
        // A stack in a RAM of its own.
        let mut axi = image(0x2002_0000, 0x0800_0009);
        (axi[1].used_at, axi[2].used_at) = (0x2400_0000, 0x2400_0004);
        let memory = checked("nucleo-h743zi", &axi).unwrap();
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
        let words = |definition: [u32; 5]| {
            let start = [0x2008_2000, 0x1000_0009, 0, 0];
            let bytes = start.iter().chain(&definition).flat_map(|word| word.to_le_bytes()).collect();
            vec![segment(0x1000_0000, bytes)]
        };
        let definition = [0xffff_ded3, 0x1021_0142, 0x0000_01ff, 0, 0xab12_3579];
        assert!(checked("pico2", &words(definition)).is_ok());
        assert!(checked("pico2", &words([0; 5])).unwrap_err().to_string().contains("image definition"));
    }
}
