//! Running firmware in an emulator.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::boards::Board;
use crate::build::{self, Image, Options};
use crate::elf;
use crate::memory::MemoryUse;
use crate::process;
use crate::report::{BoardReport, Lines, read_lines};
use crate::sources::{git_revision, root};

/// Builds the firmware of an emulated board with `model` in flash, runs it and reads its report; each of its lines also goes to
/// `relay` as it comes. A report whose `pass` is false is no error; a model that does not fit, or a board that stops before
/// the end of its report, is one.
pub fn run(
    board: &Board,
    model: &Path,
    options: &Options,
    relay: &mut dyn FnMut(&str),
) -> Result<BoardReport> {
    with_image(board, model, options, |image| image.report(&[], relay))
}

/// As [`build::with_image`]; an error where the board's emulator is missing.
pub fn with_image<T>(
    board: &Board,
    model: &Path,
    options: &Options,
    then: impl FnOnce(&Image<'_>) -> Result<T>,
) -> Result<T> {
    ensure_emulator(board)?;
    build::with_image(board, model, options, then)
}

/// As [`build::with_region_image`]; an error where the board's emulator is missing.
pub fn with_region_image<T>(
    board: &Board,
    memory: u64,
    options: &Options,
    then: impl FnOnce(&Image<'_>) -> Result<T>,
) -> Result<T> {
    ensure_emulator(board)?;
    build::with_region_image(board, memory, options, then)
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
    pub fn report(&self, more: &[String], relay: &mut dyn FnMut(&str)) -> Result<BoardReport> {
        let mut sizes = elf::sizes(&self.file())?;
        if self.region_memory.is_some() {
            sizes.flash += self.model_bytes;
        }
        let started = Instant::now();
        let lines = self.run(more, relay)?;
        let run_seconds = started.elapsed().as_secs_f64();
        let number = |event: &Value, key: &str| {
            event[key].as_u64().with_context(|| format!("the board reported no {key}"))
        };
        let arena_bytes = number(&lines.start, "arena_bytes")?;
        let memory = MemoryUse::of(sizes, self.model_bytes, arena_bytes, number(&lines.end, "stack_bytes")?);
        Ok(BoardReport {
            pass: lines.end["pass"] == Value::Bool(true),
            model: self.model.to_owned(),
            compiler: self.toolchain.version()?,
            git: git_revision(),
            start: lines.start,
            samples: lines.samples,
            layers: lines.layers,
            total: lines.total,
            end: lines.end,
            memory,
            build_seconds: self.build_time.as_secs_f64(),
            run_seconds,
        })
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

    fn run(&self, more: &[String], relay: &mut dyn FnMut(&str)) -> Result<Lines> {
        let mut events = Vec::new();
        let ended_well = process::run_lines(
            &mut self.emulator(more)?,
            self.options.timeout,
            "give it more time with --timeout, or fewer iterations",
            &mut |line| {
                relay(line);
                events.push(
                    serde_json::from_str::<Value>(line).unwrap_or_else(|_| Value::String(line.to_owned())),
                );
            },
        )?;
        let lines = read_lines(&events)
            .with_context(|| format!("{} with {}", self.board.name, self.model.display()))?;
        let passes = lines.end["pass"] == Value::Bool(true);
        if passes != ended_well {
            bail!("{} reports pass = {passes}, but its exit status says otherwise", self.board.name);
        }
        Ok(lines)
    }
}
