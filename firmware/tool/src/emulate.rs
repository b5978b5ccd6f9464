//! Running firmware in an emulator.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use lrpet_report::{Memory, Run};

use crate::boards::Board;
use crate::build::{self, Content, Image, Options};
use crate::elf;
use crate::events::Reader;
use crate::process;
use crate::report::{self, Built};
use crate::sources::{git_revision, root};

/// Builds the firmware of an emulated board with `model` in flash, runs it and reads its report; each of its lines also goes to
/// `relay` as it comes. A self-check that fails is no error; a model that does not fit, or a board that stops before
/// the end of its report, is one.
pub fn run(board: &Board, model: &Path, options: &Options, relay: &mut dyn FnMut(&str)) -> Result<Run> {
    with_image(board, Content::Model(model), options, |image| image.report(&[], relay))
}

/// As [`build::with_image`]; an error where the board's emulator is missing.
pub fn with_image<T>(
    board: &Board,
    content: Content<'_>,
    options: &Options,
    then: impl FnOnce(&Image<'_>) -> Result<T>,
) -> Result<T> {
    ensure_emulator(board)?;
    build::with_image(board, content, options, then)
}

fn ensure_emulator(board: &Board) -> Result<()> {
    let Some(emulator) = board.emulator() else {
        bail!("{} is a real board: nothing here emulates it", board.name);
    };
    if process::find(emulator).is_none() {
        bail!("{emulator} is not installed; run `cargo xtask setup`");
    }
    Ok(())
}

impl Image<'_> {
    /// Runs it, the emulator with `more` options, and reads its report.
    pub fn report(&self, more: &[String], relay: &mut dyn FnMut(&str)) -> Result<Run> {
        let mut reader = Reader::default();
        let mut broken = None;
        let ended_well = process::run_lines(
            &mut self.emulator(more)?,
            self.options.timeout,
            "give it more time with --timeout, or fewer iterations",
            &mut |line| {
                relay(line);
                broken = broken.take().or(reader.line(line).err());
            },
        )?;
        let run = broken.map_or(Ok(()), Err).and_then(|()| reader.finish());
        let run = run.and_then(|report| report::run(self.board, self.model, self.built()?, report));
        let run = run.with_context(|| format!("{} with {}", self.board.name, self.model.display()))?;
        let passes = run.self_check.is_some_and(|check| check.passes());
        if passes != ended_well {
            bail!("{} reports pass = {passes}, but its exit status says otherwise", self.board.name);
        }
        Ok(run)
    }

    /// What the image takes, but for the stack.
    fn built(&self) -> Result<Built> {
        let mut sizes = elf::sizes(&self.file())?;
        if self.region_memory.is_some() {
            sizes.flash += self.model_bytes;
        }
        let memory = Memory {
            code_bytes: Some(sizes.flash.saturating_sub(self.model_bytes)),
            runtime_bytes: Some(sizes.runtime),
            flash_bytes: Some(sizes.flash),
            static_bytes: Some(sizes.ram.saturating_sub(self.arena_bytes)),
            ..Memory::default()
        };
        Ok(Built { compiler: Some(self.compiler()?), git: git_revision(), memory })
    }

    /// The command of the board's runner, which its folder's configuration has, with `more` options before the last one.
    pub(crate) fn emulator(&self, more: &[String]) -> Result<Command> {
        let file = root().join("firmware/boards").join(self.board.package).join(".cargo/config.toml");
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let runner = text.lines().find_map(|line| line.strip_prefix("runner = \"")?.strip_suffix('"'));
        let words: Vec<&str> = runner.unwrap_or_default().split(' ').collect();
        let [program, options @ .., last] = &words[..] else {
            bail!("{} names no runner with options", file.display());
        };
        let mut command = Command::new(program);
        command.args(options).args(more).arg(last).arg(self.file());
        Ok(command)
    }
}
