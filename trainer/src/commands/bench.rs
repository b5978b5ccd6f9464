//! `lrpet bench`: a model on this machine, on an emulated board or on a real one.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use lrpet_board::boards::{self, Board, Chip};
use lrpet_board::build::Options;
use lrpet_board::report::{self, Built};
use lrpet_board::serial::Line;
use lrpet_board::toolchain::Source;
use lrpet_board::{emulate, flash};
use lrpet_report::{Memory, Run};
use lrpet_trainer::measure::{self, BenchOptions};

use super::Output;
use super::model_file::ModelFile;

#[derive(clap::Args)]
pub struct Args {
    /// Model file
    model: PathBuf,
    /// Board instead of this machine; emulated ones run in QEMU, real ones need --serial
    #[arg(long, value_parser = board_names())]
    board: Option<String>,
    /// Serial line of a real board that has this model in flash (`lrpet flash`); the board is started anew through its debug
    /// probe where probe-rs is installed, else press its reset button. Tested with emulated lines only: no board was attached
    /// where this was written
    #[arg(long, value_name = "PORT", requires = "board")]
    serial: Option<PathBuf>,
    /// Inferences measured whole, and as many again by layer [default: 200; on boards 2, at most 64, and as flashed on real ones]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    iterations: Option<u32>,
    /// Inferences before measuring [default: 20; on boards 1]
    #[arg(long)]
    warm_up: Option<u32>,
    /// Threads of one inference on this machine; the logits do not depend on it
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Seconds after which a board is given up
    #[arg(long, default_value_t = 1200)]
    timeout: u64,
    /// Where the compiler for boards comes from
    #[arg(long, env = "LRPET_TOOLCHAIN", default_value = "auto", value_enum)]
    toolchain: Source,
}

/// The names of all boards, for the command line.
pub fn board_names() -> clap::builder::PossibleValuesParser {
    boards::names().collect::<Vec<_>>().into()
}

pub fn run(args: Args, output: &Output) -> Result<()> {
    let file = ModelFile::open(&args.model)?;
    let run = match args.board.as_deref().map(Board::named).transpose()? {
        None => {
            let options = BenchOptions {
                warm_up: args.warm_up.unwrap_or(20) as usize,
                iterations: args.iterations.unwrap_or(200) as usize,
                threads: NonZeroUsize::new(args.threads.into()).unwrap_or(NonZeroUsize::MIN),
            };
            measure::run(&file.model()?, &args.model.display().to_string(), options)?
        }
        Some(board) => {
            ensure!(args.threads == 1, "--threads {}: boards have one core", args.threads);
            // The errors of a wrong file are the same as here.
            file.model()?;
            measure::with_sha256(on_board(&args, board)?, file.bytes())
        }
    };
    output.print(&run, Run::text)?;
    checked(&run)
}

/// An error where the self-check fails.
pub fn checked(run: &Run) -> Result<()> {
    let failures = run.self_check.map_or(0, |check| check.samples - check.passed);
    ensure!(failures == 0, "{failures} samples of the self-check fail on {}", run.board);
    Ok(())
}

fn on_board(args: &Args, board: &'static Board) -> Result<Run> {
    let limit = Duration::from_secs(args.timeout);
    match (board.chip(), &args.serial) {
        (None, None) => {
            let iterations = args.iterations.unwrap_or(2);
            ensure!(iterations <= 64, "--iterations {iterations}: boards count 1 to 64");
            let warm_up = args.warm_up.unwrap_or(1);
            let options = Options { warm_up, iterations, timeout: limit, toolchain: args.toolchain };
            emulate::run(board, &args.model, &options, &mut |line| tracing::debug!("{line}"))
        }
        (None, Some(_)) => {
            bail!("{} is emulated: it has no serial line here, leave --serial away", board.name)
        }
        (Some(_), None) => bail!(
            "{} is a real board: flash the model with `lrpet flash --board {0} {}`, then name its serial line with --serial",
            board.name,
            args.model.display()
        ),
        (Some(chip), Some(port)) => {
            let fixed = args.iterations.is_none() && args.warm_up.is_none();
            ensure!(
                fixed,
                "--iterations and --warm-up are fixed when a real board is flashed (`lrpet flash`)"
            );
            over_serial(board, chip, &args.model, port, limit)
        }
    }
}

/// What a board that is flashed already says.
fn over_serial(board: &Board, chip: &Chip, model: &Path, port: &Path, limit: Duration) -> Result<Run> {
    let mut line = Line::open(port)?;
    match flash::ensure_probe() {
        Ok(()) => flash::reset(chip)?,
        Err(_) => eprintln!("press the board's reset button"),
    }
    let report = line.report(limit, &mut |line| tracing::debug!("{line}"))?;
    let built = Built { compiler: None, git: None, memory: Memory::default() };
    report::run(board, model, built, report)
}
