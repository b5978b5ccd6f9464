//! `cargo xtask board`: firmware with a model in flash, on an emulated board.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::Value;

use crate::elf::{self, ImageSizes};
use crate::process::{self, Failure};
use crate::real_board;
use crate::toolchain::{self, Source, Toolchain};

/// A board whose crate is `firmware/boards/<package>`.
pub struct Board {
    /// Name of the board.
    pub name: &'static str,
    /// Name of its crate.
    pub package: &'static str,
    /// Features of its crate.
    pub features: &'static str,
    /// Rust's target.
    pub target: &'static str,
    /// The program that runs it here, for a clear error where it is missing.
    pub emulator: &'static str,
    /// Bytes of flash.
    pub flash: u64,
    /// Bytes of RAM.
    pub ram: u64,
}

/// Every board that runs here.
pub const BOARDS: &[Board] = &[
    Board {
        name: "qemu-mps2-an386",
        package: "qemu-mps2-an386",
        features: "",
        target: toolchain::THUMBV7EM,
        emulator: "qemu-system-arm",
        flash: 4 << 20,
        ram: 4 << 20,
    },
    Board {
        name: "qemu-mps2-an500",
        package: "qemu-mps2-an500",
        features: "",
        target: toolchain::THUMBV7EM,
        emulator: "qemu-system-arm",
        flash: 4 << 20,
        ram: 4 << 20,
    },
    Board {
        name: "qemu-mps2-an505",
        package: "qemu-mps2-an505",
        features: "",
        target: toolchain::THUMBV8M,
        emulator: "qemu-system-arm",
        flash: 4 << 20,
        ram: 4 << 20,
    },
    Board {
        name: "qemu-mps3-an547",
        package: "qemu-mps3-an547",
        features: "",
        target: toolchain::THUMBV8M,
        emulator: "qemu-system-arm",
        flash: 512 << 10,
        ram: 512 << 10,
    },
    Board {
        name: "qemu-mps3-an547-f16",
        package: "qemu-mps3-an547",
        features: "cortex-m55-f16",
        target: toolchain::THUMBV8M,
        emulator: "qemu-system-arm",
        flash: 512 << 10,
        ram: 512 << 10,
    },
];

/// Options of `cargo xtask board`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Name of the board
    #[arg(value_parser = names())]
    board: String,
    /// Model file
    model: PathBuf,
    /// Inferences that the bench counts (1 to 64)
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    iterations: u32,
    /// Inferences before it counts
    #[arg(long, default_value_t = 1)]
    warm_up: u32,
    /// Seconds after which an emulated board is stopped
    #[arg(long, default_value_t = 1200)]
    timeout: u64,
    /// One JSON document on standard output instead of the board's lines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    real: real_board::FlashArguments,
}

fn names() -> clap::builder::PossibleValuesParser {
    let real = real_board::BOARDS.iter().map(|real| &real.board);
    BOARDS.iter().chain(real).map(|board| board.name).collect::<Vec<_>>().into()
}

/// How a board is run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Inferences before the bench counts.
    pub warm_up: u32,
    /// Inferences that it counts, 1 to 64.
    pub iterations: u32,
    /// When the board is stopped.
    pub timeout: Duration,
    /// Where the compiler comes from.
    pub toolchain: Source,
}

/// What a model takes on a board, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryUse {
    /// Flash for code, constants and initial values, without the model.
    pub text_bytes: u64,
    /// Of that, functions of the runtime (those that the compiler inlined elsewhere are not among them).
    pub runtime_bytes: u64,
    /// Flash for the model file.
    pub model_bytes: u64,
    /// All flash.
    pub flash_bytes: u64,
    /// RAM for activations and scratch.
    pub arena_bytes: u64,
    /// RAM for all other variables.
    pub static_bytes: u64,
    /// RAM that the stack used at its deepest point.
    pub stack_bytes: u64,
    /// All RAM.
    pub ram_bytes: u64,
}

/// A run of a board that came to its end.
#[derive(Clone, Debug, Serialize)]
pub struct BoardReport {
    /// Whether every sample of the self-check passed.
    pub pass: bool,
    /// Model file.
    pub model: PathBuf,
    /// Version of the compiler.
    pub compiler: String,
    /// Revision of the sources, `-dirty` where they were changed since.
    pub git: Option<String>,
    /// The board's first line: board, core, clock, counter, model, dtype.
    pub start: Value,
    /// One entry a sample of the self-check.
    pub samples: Vec<Value>,
    /// One entry a layer.
    pub layers: Vec<Value>,
    /// Whole inferences: `min`, `median`, `max` in the unit that `start.counter` names.
    pub total: Value,
    /// The board's last line.
    pub end: Value,
    /// What the model takes on the board.
    pub memory: MemoryUse,
    /// Seconds that the build took.
    pub build_seconds: f64,
    /// Seconds that the run took.
    pub run_seconds: f64,
}

impl BoardReport {
    /// Median cycles or instructions (see [`BoardReport::start`]) of an inference.
    pub fn median(&self) -> u64 {
        self.total["median"].as_u64().unwrap_or(0)
    }
}

/// Runs `cargo xtask board`.
pub fn main(arguments: &Arguments, toolchain: Source) -> Result<()> {
    let options = Options {
        warm_up: arguments.warm_up,
        iterations: arguments.iterations,
        timeout: Duration::from_secs(arguments.timeout),
        toolchain,
    };
    if let Some(real) = real_board::find(&arguments.board) {
        return real_board::main(real, &arguments.model, &options, &arguments.real, arguments.json);
    }
    if arguments.real.any() {
        bail!("{} is emulated: --flash and --uf2 are for real boards", arguments.board);
    }
    let mut relay = |line: &str| {
        if !arguments.json {
            println!("{line}");
        }
    };
    let report = run_with(&arguments.board, &arguments.model, &options, &mut relay)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{}", serde_json::json!({ "event": "memory", "memory": report.memory }));
    }
    if !report.pass {
        bail!("{} samples of the self-check fail on {}", failures(&report), arguments.board);
    }
    Ok(())
}

fn failures(report: &BoardReport) -> usize {
    report.samples.iter().filter(|sample| sample["pass"] != Value::Bool(true)).count()
}

/// Builds the firmware of `board` with `model` in flash, runs it and reads its report. A report whose `pass` is false
/// is no error; a model that does not fit, or a board that stops before the end of its report, is one.
pub fn run(board: &str, model: &Path, options: &Options) -> Result<BoardReport> {
    run_with(board, model, options, &mut |_| {})
}

fn run_with(
    board: &str,
    model: &Path,
    options: &Options,
    relay: &mut dyn FnMut(&str),
) -> Result<BoardReport> {
    with_image(board, model, options, |image| image.report(&[], relay))
}

/// Builds the firmware of `board` with `model` in flash and hands it to `then`; no other run replaces it meanwhile.
pub fn with_image<T>(
    board: &str,
    model: &Path,
    options: &Options,
    then: impl FnOnce(&Image<'_>) -> Result<T>,
) -> Result<T> {
    let Some(board) = BOARDS.iter().find(|known| known.name == board) else {
        let names: Vec<_> = BOARDS.iter().map(|board| board.name).collect();
        bail!("there is no board `{board}`; known: {}", names.join(", "));
    };
    if process::find(board.emulator).is_none() {
        bail!("{} is not installed; run `cargo xtask setup`", board.emulator);
    }
    with_image_of(board, model, options, then)
}

/// As [`with_image`], without a program that could run it.
pub fn with_image_of<T>(
    board: &Board,
    model: &Path,
    options: &Options,
    then: impl FnOnce(&Image<'_>) -> Result<T>,
) -> Result<T> {
    let (model, model_bytes) = model_file(model)?;
    let toolchain = Toolchain::for_target(board.target, options.toolchain)?;
    let mut image =
        Image { board, model: &model, model_bytes, options, toolchain, build_time: Duration::ZERO };
    let _lock = image.lock()?;
    let started = Instant::now();
    image.build()?;
    image.build_time = started.elapsed();
    then(&image)
}

/// The whole path of a model file, and its bytes.
pub fn model_file(model: &Path) -> Result<(PathBuf, u64)> {
    let model = std::path::absolute(model)?;
    let bytes = std::fs::metadata(&model)
        .and_then(
            |file| if file.is_file() { Ok(file.len()) } else { Err(std::io::ErrorKind::IsADirectory.into()) },
        )
        .with_context(|| format!("cannot read the model {}", model.display()))?;
    Ok((model, bytes))
}

fn memory(image: ImageSizes, model_bytes: u64, arena_bytes: u64, stack_bytes: u64) -> MemoryUse {
    MemoryUse {
        text_bytes: image.flash.saturating_sub(model_bytes),
        runtime_bytes: image.runtime,
        model_bytes,
        flash_bytes: image.flash,
        arena_bytes,
        static_bytes: image.ram.saturating_sub(arena_bytes),
        stack_bytes,
        ram_bytes: image.ram + stack_bytes,
    }
}

/// The events of a complete report.
struct Lines {
    start: Value,
    samples: Vec<Value>,
    layers: Vec<Value>,
    total: Value,
    end: Value,
}

/// A board's firmware with a model.
pub struct Image<'a> {
    board: &'a Board,
    model: &'a Path,
    /// Bytes of the model file.
    pub model_bytes: u64,
    options: &'a Options,
    /// What built it.
    pub toolchain: Toolchain,
    build_time: Duration,
}

impl Image<'_> {
    fn target_folder(&self) -> PathBuf {
        crate::root().join(match self.toolchain {
            Toolchain::Rustup => "target/boards",
            Toolchain::Debian => "target/boards/debian",
        })
    }

    /// The image, an ELF file.
    pub fn file(&self) -> PathBuf {
        self.target_folder().join(self.board.target).join("release").join(self.board.package)
    }

    /// Two runs at a time must not take each other's image.
    fn lock(&self) -> Result<File> {
        let folder = self.target_folder();
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let file = folder.join(format!("{}.lock", self.board.package));
        let lock = File::create(&file).with_context(|| format!("cannot write {}", file.display()))?;
        lock.lock().with_context(|| format!("cannot lock {}", file.display()))?;
        Ok(lock)
    }

    /// `cargo build` of the board's crate.
    fn cargo_build(&self) -> Command {
        let mut command = self.toolchain.cargo("build", self.board.target);
        command
            .current_dir(crate::root().join("firmware/boards").join(self.board.package))
            .args(["--release", "--locked", "--quiet", "--features", self.board.features, "--target-dir"])
            .arg(self.target_folder())
            .env("LRPET_MODEL", self.model)
            .env("LRPET_ITERATIONS", self.options.iterations.to_string())
            .env("LRPET_WARM_UP", self.options.warm_up.to_string());
        command
    }

    fn build(&self) -> Result<()> {
        let label = format!("building {} with {}", self.board.name, self.model.display());
        let log = self.target_folder().join(format!("{}.log", self.board.name));
        let built = process::run_logged(&mut self.cargo_build(), &label, &log, "see below");
        built.map_err(|error| match error.downcast_ref::<Failure>() {
            Some(failure) => self.explain(&failure.output).unwrap_or(error),
            None => error,
        })
    }

    /// What a failed build says about the model: the build script's own message, or the regions that overflow.
    fn explain(&self, output: &str) -> Option<anyhow::Error> {
        let script = format!("error: {}@", self.board.package);
        if let Some(message) = output.lines().find_map(|line| line.strip_prefix(&script)?.split_once(": ")) {
            return Some(anyhow::anyhow!("{}", message.1));
        }
        let regions = [
            ("FLASH", "flash", self.board.flash, "lower ranks take less"),
            ("RAM", "RAM", self.board.ram, "a smaller input image takes less"),
        ];
        let overflows: Vec<String> = regions
            .into_iter()
            .filter_map(|(region, name, available, help)| {
                let missing = overflow(output, region)?;
                let needed = available + missing;
                Some(format!(
                    "{name}: {needed} bytes needed, {available} available, {missing} missing ({help})"
                ))
            })
            .collect();
        if overflows.is_empty() {
            return None;
        }
        let (model, board) = (self.model.display(), self.board.name);
        Some(anyhow::anyhow!("{model} does not fit {board}: {}", overflows.join("; ")))
    }

    /// Runs it, the emulator with `more` options, and reads its report.
    pub fn report(&self, more: &[String], relay: &mut dyn FnMut(&str)) -> Result<BoardReport> {
        let sizes = elf::sizes(&self.file())?;
        let started = Instant::now();
        let lines = self.run(more, relay)?;
        let run_seconds = started.elapsed().as_secs_f64();
        let number = |event: &Value, key: &str| {
            event[key].as_u64().with_context(|| format!("the board reported no {key}"))
        };
        let arena_bytes = number(&lines.start, "arena_bytes")?;
        let memory = memory(sizes, self.model_bytes, arena_bytes, number(&lines.end, "stack_bytes")?);
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
    fn emulator(&self, more: &[String]) -> Result<Command> {
        let file = crate::root().join("firmware/boards").join(self.board.package).join(".cargo/config.toml");
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

/// Sorts a board's events; an error where the board reported one or stopped early.
fn read_lines(events: &[Value]) -> Result<Lines> {
    let named =
        |name: &str| events.iter().filter(move |event| event["event"] == name).cloned().collect::<Vec<_>>();
    if let Some(failed) = named("error").first() {
        bail!("{}", failed["message"].as_str().unwrap_or("the board failed and did not say why"));
    }
    let one =
        |name: &str| named(name).pop().with_context(|| format!("the board stopped before its `{name}` line"));
    Ok(Lines {
        start: one("start")?,
        samples: named("sample"),
        layers: named("layer"),
        total: one("total")?,
        end: one("end")?,
    })
}

/// Bytes by which a region overflows, from the linker's messages (one a section; the last section overflows most).
fn overflow(output: &str, region: &str) -> Option<u64> {
    let pattern = format!("will not fit in region '{region}': overflowed by ");
    output
        .match_indices(&pattern)
        .filter_map(|(at, _)| output[at + pattern.len()..].split(' ').next()?.parse().ok())
        .max()
}

/// Revision of the sources, `-dirty` where they were changed since; none outside a git checkout.
pub fn git_revision() -> Option<String> {
    let mut command = Command::new("git");
    command.current_dir(crate::root()).args(["describe", "--always", "--dirty", "--abbrev=12"]);
    process::capture(&mut command, "").ok().map(|line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_overflow_of_a_region_counts() {
        let output = "note: rust-lld: error: section '.rodata' will not fit in region 'FLASH': overflowed by 20 bytes\n\
                      rust-lld: error: section '.data' will not fit in region 'FLASH': overflowed by 64 bytes";
        assert_eq!(overflow(output, "FLASH"), Some(64));
        assert_eq!(overflow(output, "RAM"), None);
    }

    #[test]
    fn an_incomplete_or_failed_report_is_an_error() {
        let events =
            |text: &str| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>();
        let complete =
            "{\"event\":\"start\"}\n{\"event\":\"sample\"}\n{\"event\":\"total\"}\n{\"event\":\"end\"}";
        assert_eq!(read_lines(&events(complete)).unwrap().samples.len(), 1);
        let message = |text: &str| read_lines(&events(text)).err().unwrap().to_string();
        assert!(message("{\"event\":\"start\"}").contains("`total`"));
        assert_eq!(message("{\"event\":\"start\"}\n{\"event\":\"error\",\"message\":\"no\"}"), "no");
    }
}
