//! `lrpet bench`: a model on this machine, on an emulated board or on a real one.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use lrpet_board::boards::{self, Board};
use lrpet_board::build::Options;
use lrpet_board::emulate;
use lrpet_board::flash::{self, Probe};
use lrpet_board::memory::ModelMemory;
use lrpet_board::report::{self, Built};
use lrpet_board::serial::Line;
use lrpet_board::toolchain::Source;
use lrpet_report::{Memory, Run};
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::Model;
use lrpet_runtime::plan::Ram;
use lrpet_study::measure::{self, BenchOptions};
use lrpet_study::report::{columns, units};
use serde::Serialize;

use super::Output;
use super::model_file::ModelFile;
use super::numbers::{count, whole};
use super::ram::copy_for;

#[derive(clap::Args)]
pub struct Args {
    /// Model files; on this machine several are measured in turns, so that what else it does meets all of them alike
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<PathBuf>,
    /// Run each model in this arena, such as 32KB (`least` for the smallest, `fastest` for layer by layer), by a schedule that is made for
    /// it: the file stays as it is. On a real board, the --ram that it was flashed with
    #[arg(long, value_name = "BYTES|least|fastest")]
    ram: Option<Ram>,
    /// Board instead of this machine; emulated ones run in QEMU, real ones need --serial
    #[arg(long, value_parser = board_names())]
    board: Option<String>,
    /// Serial line of a real board that has this model in flash (`lrpet flash`); the board is started anew through its debug
    /// probe where probe-rs is installed, else press its reset button. Tested with emulated lines only: no board was attached
    /// where this was written
    #[arg(long, value_name = "PORT", requires = "board")]
    serial: Option<PathBuf>,
    /// Debug probe that starts a real board anew, where several are connected: VID:PID or VID:PID:SERIAL as `probe-rs list` shows
    /// them
    #[arg(long, value_name = "PROBE", requires = "serial")]
    probe: Option<String>,
    /// Inferences measured whole, and as many again by layer [default: 200; on boards 2, at most 64, and as flashed on real ones]
    #[arg(long, value_name = "N", value_parser = count::<u32>)]
    iterations: Option<u32>,
    /// Inferences before measuring [default: 20; on boards 1]
    #[arg(long, value_name = "N", value_parser = whole::<u32>)]
    warm_up: Option<u32>,
    /// Threads of one inference on this machine; the logits do not depend on it
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Seconds after which a board is given up
    #[arg(long, value_name = "SECONDS", default_value_t = 1200, value_parser = count::<u64>)]
    timeout: u64,
    /// Where the compiler for boards comes from
    #[arg(long, env = "LRPET_TOOLCHAIN", default_value = "auto", value_enum)]
    toolchain: Source,
}

/// The names of all boards, for the command line.
pub fn board_names() -> clap::builder::PossibleValuesParser {
    boards::names().collect::<Vec<_>>().into()
}

pub fn run(mut args: Args, output: &Output) -> Result<()> {
    let board = args.board.as_deref().map(Board::named).transpose()?;
    let isa = board.map_or_else(Isa::detect, |board| board.isa);
    // As long as they are in use.
    let rewritten = match args.ram {
        Some(ram) => args.models.iter().map(|model| copy_for(model, isa, ram)).collect::<Result<Vec<_>>>()?,
        None => Vec::new(),
    };
    let names = args.models.clone();
    args.models.iter_mut().zip(&rewritten).for_each(|(model, (_, copy))| model.clone_from(copy));
    let mut runs = match board {
        None => {
            let options = BenchOptions {
                warm_up: args.warm_up.unwrap_or(20) as usize,
                iterations: args.iterations.unwrap_or(200) as usize,
                threads: NonZeroUsize::new(args.threads.into()).unwrap_or(NonZeroUsize::MIN),
            };
            on_host(&args.models, options)?
        }
        Some(board) => {
            ensure!(args.threads == 1, "--threads {}: boards have one core", args.threads);
            ensure!(
                args.serial.is_none() || args.models.len() == 1,
                "{} has one model in flash: name that one alone",
                board.name
            );
            // The errors of a wrong file are the same as here, and come before anything is built.
            let files: Vec<ModelFile> =
                args.models.iter().map(|model| ModelFile::open(model)).collect::<Result<_>>()?;
            files.iter().try_for_each(|file| file.model().map(drop))?;
            let on_board = |(model, file): (&PathBuf, &ModelFile)| {
                Ok(measure::with_sha256(on_board(&args, model, board)?, file.bytes()))
            };
            args.models.iter().zip(&files).map(on_board).collect::<Result<Vec<_>>>()?
        }
    };
    for (run, name) in runs.iter_mut().zip(&names) {
        run.model.file = name.display().to_string();
    }
    for (run, warning) in runs.iter().filter_map(|run| Some((run, run.disturbed()?))) {
        tracing::warn!("{}: {warning}", run.model.file);
    }
    match &runs[..] {
        [run] => output.print(run, Run::text)?,
        runs => output.print(&Several { runs }, Several::text)?,
    }
    runs.iter().try_for_each(checked)
}

/// Measures models on this machine, in turns.
pub fn on_host(files: &[PathBuf], options: BenchOptions) -> Result<Vec<Run>> {
    let maps: Vec<ModelFile> = files.iter().map(|file| ModelFile::open(file)).collect::<Result<_>>()?;
    let models: Vec<Model<'_>> = maps.iter().map(ModelFile::model).collect::<Result<_>>()?;
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let pairs: Vec<_> = models.iter().zip(&names).map(|(model, name)| (model, name.as_str())).collect();
    Ok(measure::run_all(&pairs, options)?)
}

/// The documents of several models, which were measured side by side.
#[derive(Serialize)]
struct Several<'a> {
    runs: &'a [Run],
}

impl Several<'_> {
    /// Each in its lines, and a table of all against the first.
    fn text(&self) -> String {
        let mut text = String::new();
        for run in self.runs {
            text += &run.text();
            text.push('\n');
        }
        let first = self.runs.first();
        let mut rows = vec![["", "least", "median", "least, against the first"].map(str::to_owned).to_vec()];
        for run in self.runs {
            let ratio = first.map(|first| run.total.min as f64 / first.total.min.max(1) as f64);
            let counts = [run.total.min, run.total.median]
                .map(|count| units::counted(count as f64, run.counter.kind.name()));
            let words = std::iter::once(run.model.file.clone()).chain(counts);
            rows.push(words.chain(ratio.map(units::times)).collect());
        }
        text + &columns(&rows, 1)
    }
}

/// An error where the self-check fails.
pub fn checked(run: &Run) -> Result<()> {
    let failures = run.self_check.map_or(0, |check| check.samples - check.passed);
    ensure!(
        failures == 0,
        "{} of the self-check: wrong logits on {}",
        units::things(failures, "sample"),
        run.board
    );
    Ok(())
}

fn on_board(args: &Args, model: &Path, board: &'static Board) -> Result<Run> {
    let limit = Duration::from_secs(args.timeout);
    match (board.chip(), &args.serial) {
        (None, None) => {
            let iterations = args.iterations.unwrap_or(2);
            ensure!(iterations <= 64, "--iterations {iterations}: boards count 1 to 64");
            let warm_up = args.warm_up.unwrap_or(1);
            let options = Options { warm_up, iterations, timeout: limit, toolchain: args.toolchain };
            emulate::run(board, model, &options, &mut |line| tracing::debug!("{line}"))
        }
        (None, Some(_)) => {
            bail!("{} is emulated: it has no serial line here, leave --serial away", board.name)
        }
        (Some(_), None) => bail!(
            "{} is a real board: flash the model with `lrpet flash --board {0} {}`, then name its serial line with --serial",
            board.name,
            model.display()
        ),
        (Some(chip), Some(port)) => {
            let fixed = args.iterations.is_none() && args.warm_up.is_none();
            ensure!(
                fixed,
                "--iterations and --warm-up are fixed when a real board is flashed (`lrpet flash`)"
            );
            // No such firmware can be there: better said than waited for.
            ModelMemory::of_file(board, model)?.ensure_fits(board, model)?;
            let probe = Probe { chip, selector: args.probe.as_deref() };
            over_serial(board, probe, model, port, limit)
        }
    }
}

/// What a board that is flashed already says.
fn over_serial(board: &Board, probe: Probe<'_>, model: &Path, port: &Path, limit: Duration) -> Result<Run> {
    let mut line = Line::open(port)?;
    match flash::ensure_probe() {
        Ok(()) => probe.reset()?,
        Err(_) => eprintln!("press the board's reset button"),
    }
    let report = line.report(limit, &mut |line| tracing::debug!("{line}"))?;
    let built = Built { compiler: None, git: None, memory: Memory::default() };
    report::run(board, model, built, report)
}
