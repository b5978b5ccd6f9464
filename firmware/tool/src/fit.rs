//! Whether a model fits a board, from the linked image, before anyone flashes it.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use lrpet_report::{Compiler, Model as Document};
use lrpet_runtime::bench;
use lrpet_runtime::host::MappedModel;
use lrpet_runtime::model::Model;
use serde::Serialize;

use crate::boards::{Board, STACK_BYTES};
use crate::build::{self, Content, Image, Options};
use crate::elf;
use crate::image;
use crate::memory::{ModelMemory, Need, TooLarge};
use crate::sources::git_revision;

/// A model on a board, in bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Fit {
    /// Name of the board.
    pub board: &'static str,
    /// Core.
    pub core: &'static str,
    /// Name of the chip for probe-rs, of a real board.
    pub chip: Option<&'static str>,
    /// Instruction set for which the arena is planned.
    pub isa: &'static str,
    /// The model file.
    pub model: Document,
    /// Whether both flash and RAM suffice.
    pub fits: bool,
    /// Flash.
    pub flash: Flash,
    /// RAM.
    pub ram: Ram,
    /// The image, an ELF file, where the model fits.
    pub image: Option<PathBuf>,
    /// What compiled it.
    pub compiler: Option<Compiler>,
    /// Revision of the sources, `-dirty` where they were changed since.
    pub git: Option<String>,
}

/// Flash of a [`Fit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Flash {
    /// Code, constants and initial values, padding included; none where only RAM is too small, so that nothing was linked.
    pub code_bytes: Option<u64>,
    /// Of that, functions of the runtime (those that the compiler inlined elsewhere are not among them).
    pub runtime_bytes: Option<u64>,
    /// The model file.
    pub model_bytes: u64,
    /// All that is needed, where it is known.
    pub needed_bytes: Option<u64>,
    /// On the board.
    pub available_bytes: u64,
    /// How much is missing.
    pub missing_bytes: u64,
}

/// RAM of a [`Fit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ram {
    /// Activations, scratch and the table of steps.
    pub arena_bytes: u64,
    /// All other variables; none where only flash is too small, so that nothing was linked.
    pub static_bytes: Option<u64>,
    /// Kept for the stack.
    pub stack_bytes: u64,
    /// All that is needed, where it is known.
    pub needed_bytes: Option<u64>,
    /// On the board: of several kinds of RAM, the largest.
    pub available_bytes: u64,
    /// How much is missing.
    pub missing_bytes: u64,
    /// What the variables leave for the stack.
    pub stack_available: Option<u64>,
    /// Where the variables begin: boards with several kinds of RAM take the fastest that is large enough.
    pub at: Option<u32>,
}

/// Builds the firmware of `board` with `model` in flash and says what it takes. That it does not fit is no error: the document says so.
pub fn of(board: &'static Board, model: &Path, options: &Options) -> Result<Fit> {
    let mut fit = empty(board, model)?;
    match build::with_image(board, Content::Model(model), options, |image| fill(&mut fit, board, image)) {
        Ok(()) => Ok(fit),
        Err(error) => match error.downcast_ref::<TooLarge>() {
            Some(TooLarge { flash, ram, .. }) => {
                refuse(&mut fit, *flash, *ram);
                Ok(fit)
            }
            None => Err(error),
        },
    }
}

/// What is known of the model alone.
fn empty(board: &'static Board, file: &Path) -> Result<Fit> {
    let (path, _) = build::model_file(file)?;
    let arena_bytes = ModelMemory::of_file(board, &path)?.arena;
    let map = MappedModel::open(&path)?;
    let model = Model::new_checked(map.bytes()).map_err(|error| anyhow!("{}: {error}", file.display()))?;
    let model = bench::document(&model, &file.display().to_string());
    Ok(Fit {
        board: board.name,
        core: board.core,
        chip: board.chip().map(|chip| chip.name),
        isa: board.isa.name(),
        fits: true,
        flash: Flash {
            code_bytes: None,
            runtime_bytes: None,
            model_bytes: model.bytes,
            needed_bytes: None,
            available_bytes: board.flash,
            missing_bytes: 0,
        },
        ram: Ram {
            arena_bytes,
            static_bytes: None,
            stack_bytes: STACK_BYTES,
            needed_bytes: None,
            available_bytes: board.ram,
            missing_bytes: 0,
            stack_available: None,
            at: None,
        },
        model,
        image: None,
        compiler: None,
        git: git_revision(),
    })
}

/// What the linked image says.
fn fill(fit: &mut Fit, board: &'static Board, image: &Image<'_>) -> Result<()> {
    let file = image.file();
    let sizes = elf::sizes(&file)?;
    let (mut flash, mut variables, mut stack) = (sizes.flash, sizes.ram, board.ram.saturating_sub(sizes.ram));
    if let Some(chip) = board.chip() {
        let placed = image::check(board, chip, &elf::segments(&file)?)?;
        (flash, variables, stack) = (placed.flash, placed.variables, placed.stack);
        fit.ram.at = Some(placed.ram_at);
    }
    fit.flash.code_bytes = Some(flash.saturating_sub(image.model_bytes));
    fit.flash.runtime_bytes = Some(sizes.runtime);
    fit.flash.needed_bytes = Some(flash);
    fit.ram.static_bytes = Some(variables.saturating_sub(image.arena_bytes));
    fit.ram.needed_bytes = Some(variables + STACK_BYTES);
    fit.ram.stack_available = Some(stack);
    fit.compiler = Some(image.compiler()?);
    fit.image = Some(file);
    Ok(())
}

/// What the linker's refusal says.
fn refuse(fit: &mut Fit, flash: Option<Need>, ram: Option<Need>) {
    fit.fits = false;
    if let Some(need) = flash {
        fit.flash.code_bytes = Some(need.needed.saturating_sub(fit.flash.model_bytes));
        fit.flash.needed_bytes = Some(need.needed);
        fit.flash.missing_bytes = need.missing();
    }
    if let Some(need) = ram {
        let other = need.needed.saturating_sub(STACK_BYTES + fit.ram.arena_bytes);
        fit.ram.static_bytes = Some(other);
        fit.ram.needed_bytes = Some(need.needed);
        fit.ram.missing_bytes = need.missing();
    }
}

impl Fit {
    /// The table of flash and RAM for a terminal.
    pub fn text(&self) -> String {
        let known = |bytes: Option<u64>| bytes.map_or("not known".to_owned(), |bytes| bytes.to_string());
        let chip = self.chip.map(|chip| format!(", {chip}")).unwrap_or_default();
        let rows = [
            ("flash", "code", known(self.flash.code_bytes)),
            ("", "model", self.flash.model_bytes.to_string()),
            ("", "needed", known(self.flash.needed_bytes)),
            ("", "on the board", self.flash.available_bytes.to_string()),
            ("", "missing", self.flash.missing_bytes.to_string()),
            ("RAM", "arena", self.ram.arena_bytes.to_string()),
            ("", "static", known(self.ram.static_bytes)),
            ("", "kept for the stack", self.ram.stack_bytes.to_string()),
            ("", "needed", known(self.ram.needed_bytes)),
            ("", "on the board", self.ram.available_bytes.to_string()),
            ("", "missing", self.ram.missing_bytes.to_string()),
        ];
        let rows = rows.into_iter().filter(|(_, what, bytes)| *what != "missing" || bytes != "0");
        let lines = rows.map(|(kind, what, bytes)| format!("{kind:<7}{what:<20}{bytes:>12}\n"));
        format!(
            "{} on {} ({}{chip}), bytes:\n{}",
            self.model.file,
            self.board,
            self.core,
            lines.collect::<String>()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/cifar10-resnet20-dense.safetensors");

    #[test]
    fn what_the_linker_refuses_is_accounted_for() {
        let board = Board::named("nucleo-f446re").unwrap();
        let mut fit = empty(board, Path::new(MODEL)).unwrap();
        let model = fit.model.bytes;
        refuse(&mut fit, Some(Need { needed: model + 40_000, available: board.flash }), None);
        assert!(!fit.fits);
        assert_eq!(fit.flash.code_bytes, Some(40_000));
        assert_eq!(fit.flash.missing_bytes, model + 40_000 - (512 << 10));
        assert_eq!((fit.ram.static_bytes, fit.ram.missing_bytes), (None, 0));
        let text = fit.text();
        assert!(text.contains("missing") && text.contains("not known"), "{text}");

        let arena = fit.ram.arena_bytes;
        refuse(&mut fit, None, Some(Need { needed: 200 << 10, available: board.ram }));
        assert_eq!(fit.ram.static_bytes, Some((200 << 10) - STACK_BYTES - arena));
        assert_eq!(fit.ram.missing_bytes, 72 << 10);
    }
}
