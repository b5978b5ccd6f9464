//! `lrpet sweep`: one run for each pruning ratio.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, ValueEnum};
use lrpet_network::Source;
use lrpet_network::lrpet::{RankPlan, RankRule, Rule, Scope};
use lrpet_runtime::plan::Ram;
use lrpet_study::boards::{Board, HOST, count_text};
use lrpet_study::host::Host;
use lrpet_study::launch::Slurm;
use lrpet_study::report::{columns, units};
use lrpet_study::schema;
use lrpet_study::schema::sweep::Sweep;
use lrpet_study::sweep::{self, Runs, WarmStart, jobs};

use super::numbers::{above_zero, below_one, count};
use super::ram::check_network;
use super::train::Options;
use super::{Cli, Output};

/// Options of `lrpet train` that do not change what comes out.
const NOT_SETTINGS: [&str; 3] = ["threads", "device", "data_dir"];

/// What the runs of low rank start from.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Warm {
    /// Fresh weights, each run for itself
    None,
    /// The weights of the dense run
    Dense,
    /// The weights of the run with the next lower ratio
    Neighbour,
}

impl From<Warm> for WarmStart {
    fn from(warm: Warm) -> WarmStart {
        match warm {
            Warm::None => WarmStart::None,
            Warm::Dense => WarmStart::Dense,
            Warm::Neighbour => WarmStart::Neighbour,
        }
    }
}

#[derive(clap::Args)]
pub struct Args {
    /// Pruning ratios, one run each; 0 is dense
    #[arg(long, value_name = "G,…", value_delimiter = ',', required = true, value_parser = below_one)]
    prune: Vec<f64>,
    /// Where models are measured: host for the time on one thread of this machine, emulated boards for instructions
    #[arg(long, value_name = "BOARD,…", value_delimiter = ',', default_value = HOST,
        value_parser = Board::measurable_names())]
    boards: Vec<String>,
    /// Give each model the schedule that suits this arena on a Cortex-M, such as 32KB (`least` for the smallest): rows instead of layers,
    /// in which all is then measured [default: layer by layer; the table says what the least would be]
    #[arg(long, value_name = "BYTES|least|fastest")]
    ram: Option<Ram>,
    /// Folder of the sweep: sweep.json, sweep.csv, and a folder of `lrpet train` for each run in runs
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What the runs of low rank start from
    #[arg(long, value_enum, default_value = "none")]
    warm_start: Warm,
    /// Epochs of the runs that start from another run's weights [default: those of all]
    #[arg(long, value_name = "EPOCHS", value_parser = count::<usize>)]
    warm_epochs: Option<usize>,
    /// Learning rate of the runs that start from another run's weights [default: that of all]
    #[arg(long, value_name = "RATE", value_parser = above_zero::<f64>)]
    warm_lr: Option<f64>,
    /// Runs at a time, each on its share of the cores unless --threads says otherwise
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// What trains the runs
    #[arg(long, value_enum, default_value = "local")]
    launcher: Launcher,
    /// Options of `sbatch` for every run, as "--time=2:00:00 --cpus-per-task=4"
    #[arg(long, value_name = "OPTIONS", allow_hyphen_values = true)]
    sbatch: Option<String>,
    /// A run is given up after it ended so often in Slurm without another epoch
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = count::<u32>)]
    attempts: u32,
    #[command(flatten)]
    options: Options,
}

/// What trains the runs of a sweep.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Launcher {
    /// This machine, --jobs at a time
    Local,
    /// Slurm, as job arrays of --jobs at a time [default: as many as it allows]
    Slurm,
}

/// Time between two looks at Slurm.
const LOOK: Duration = Duration::from_secs(2);

pub fn run(args: Args, output: &Output) -> Result<()> {
    let matches = Cli::command().get_matches();
    let given = matches.subcommand_matches("sweep").context("no sweep on the command line")?;
    let warm_start = WarmStart::from(args.warm_start);
    let jobs = jobs(&args.prune, warm_start)?;
    let warm = warm_arguments(&args);
    ensure!(
        warm.is_empty() || warm_start != WarmStart::None,
        "--warm-epochs and --warm-lr are for runs that start from another one: give --warm-start"
    );
    // Wrong names and numbers must cost nothing.
    args.options.check(None)?;
    args.options.check(args.warm_epochs)?;
    for job in &jobs {
        let rule = RankRule { rule: Rule::Prune(job.prune), scope: Scope::Convolutions };
        args.options.check_projection(Some(&rule))?;
    }
    let source = Source::named(&args.options.net)?;
    let images = args.options.data.find(&source)?;
    let network = source.network(images.shape, images.classes as u32)?;
    if let Some(Ram::Bytes(bytes)) = args.ram {
        for job in &jobs {
            check_network(&network, Some(RankPlan::uniform(&network, job.prune)?), bytes)?;
        }
    }
    let dataset = schema::Dataset {
        name: images.name.clone(),
        classes: Some(images.classes as u64),
        shape: Some([images.shape.channels, images.shape.height, images.shape.width].map(u64::from)),
        ..schema::Dataset::default()
    };
    drop(images);
    let here = Host::here();
    let mut arguments = train_arguments(given, |name| !NOT_SETTINGS.contains(&name))?;
    if !warm.is_empty() {
        arguments.push("| warm:".to_owned());
        arguments.extend(warm.iter().cloned());
    }
    let sweep = Sweep {
        command: super::command_line(),
        created: humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string(),
        version: here.version.to_owned(),
        revision: here.revision.to_owned(),
        host: schema::Host::here(),
        // A file that was edited is another network: runs that are there are not of it.
        network: match network.is_known() {
            true => network.name.clone(),
            false => format!("{} {}", network.name, network.digest()),
        },
        dataset,
        warm_start: warm_start.name().to_owned(),
        arguments,
        rows: Vec::new(),
    };
    let mut sweep = sweep.go_on(&args.out)?;
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot create {}", args.out.display()))?;

    let mut train = train_arguments(given, |name| name != "init")?;
    let replaced = |name: &str| match name {
        "epochs" => args.warm_epochs.is_some(),
        "lr" => args.warm_lr.is_some(),
        _ => matches!(name, "init" | "new_head"),
    };
    let mut train_warm = train_arguments(given, |name| !replaced(name))?;
    train_warm.extend(warm);
    let local = args.launcher == Launcher::Local;
    ensure!(!local || args.sbatch.is_none(), "--sbatch is for Slurm: give --launcher slurm");
    if args.options.threads.is_none() && local {
        let share = (here.processors / usize::from(args.jobs)).max(1);
        for arguments in [&mut train, &mut train_warm] {
            arguments.extend(["--threads".to_owned(), share.to_string()]);
        }
    }
    let runs = Runs {
        program: std::env::current_exe().context("cannot find this program")?,
        out: args.out.clone(),
        train,
        train_warm,
        init: args.options.init.clone(),
        images: args.options.data.words(),
        ram: args.ram,
        boards: args.boards.iter().filter(|board| *board != HOST).cloned().collect(),
        at_once: args.jobs.into(),
        slurm: (!local).then(|| slurm(&args, given)),
    };
    let trained = sweep::run(&runs, &jobs, &mut sweep);
    // Only now is the machine quiet.
    if args.boards.iter().any(|board| board == HOST) {
        time_here(&mut sweep, &args.out)?;
    }
    trained?;
    output.print(&sweep, text)
}

fn slurm(args: &Args, given: &ArgMatches) -> Slurm {
    let asked = given.value_source("jobs") == Some(ValueSource::CommandLine);
    Slurm {
        folder: args.out.join("slurm"),
        options: args
            .sbatch
            .iter()
            .flat_map(|options| options.split_whitespace())
            .map(str::to_owned)
            .collect(),
        at_once: asked.then_some(args.jobs.into()),
        attempts: args.attempts,
        look: LOOK,
    }
}

/// Times the models on this machine, where some were not yet: all of them, so that they can be compared.
fn time_here(sweep: &mut Sweep, out: &Path) -> Result<()> {
    if sweep.rows.iter().all(|row| row.model.bench.is_some()) {
        return Ok(());
    }
    eprintln!("timing {} on this machine", units::things(sweep.rows.len() as u64, "model"));
    sweep::host_times(sweep, out)?;
    Ok(sweep.write(out)?)
}

fn warm_arguments(args: &Args) -> Vec<String> {
    let epochs = args.warm_epochs.map(|epochs| ["--epochs".to_owned(), epochs.to_string()]);
    let rate = args.warm_lr.map(|rate| ["--lr".to_owned(), rate.to_string()]);
    epochs.into_iter().chain(rate).flatten().collect()
}

/// The arguments of `lrpet train` among those given to this command, by name, for which `wanted` is true.
fn train_arguments(given: &ArgMatches, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let cli = Cli::command();
    let train = cli.find_subcommand("train").context("no command train")?;
    let mut arguments = Vec::new();
    for argument in train.get_arguments() {
        let id = argument.get_id().as_str();
        let shared = given.try_contains_id(id).is_ok() && !OWN.contains(&id) && wanted(id);
        let Some(name) = argument.get_long().filter(|_| shared) else { continue };
        if given.value_source(id) != Some(ValueSource::CommandLine) {
            continue;
        }
        arguments.push(format!("--{name}"));
        if argument.get_action().takes_values() {
            let text = |value: &OsStr| {
                value.to_str().map(str::to_owned).with_context(|| format!("--{name} is no UTF-8 text"))
            };
            let values: Vec<String> =
                given.get_raw(id).into_iter().flatten().map(text).collect::<Result<_>>()?;
            arguments.push(values.join(","));
        }
    }
    Ok(arguments)
}

/// Arguments that this command shares with `lrpet train` in name alone.
const OWN: [&str; 5] = ["prune", "out", "json", "resume", "launcher"];

fn text(sweep: &Sweep) -> String {
    let boards = sweep.boards();
    let head = ["run", "accuracy", "MACs", "model file", "arena by layers", "in rows", "host"]
        .into_iter()
        .chain(boards.iter().copied());
    let mut rows = vec![head.map(str::to_owned).collect::<Vec<_>>()];
    for row in &sweep.rows {
        let accuracy = row.accuracy().map_or("–".to_owned(), units::percent);
        let macs = row.model.inspect.as_ref().map_or("–".to_owned(), |of| units::count(of.macs as f64));
        let host = row.model.bench.as_ref().map_or("–".to_owned(), |of| units::milliseconds(of.median_ms));
        let bytes = units::bytes(row.file_bytes as f64);
        let counts = boards.iter().map(|board| {
            let count = row.board(board).map(|of| count_text(of.total as f64, &of.counter));
            count.unwrap_or("–".to_owned())
        });
        let layers = row.layers_bytes().map_or("–".to_owned(), |bytes| units::bytes(bytes as f64));
        let in_rows =
            row.schedule.as_ref().map_or("–".to_owned(), |of| units::bytes(of.arena_bytes as f64));
        rows.push(
            [row.run.clone(), accuracy, macs, bytes, layers, in_rows, host]
                .into_iter()
                .chain(counts)
                .collect(),
        );
    }
    columns(&rows, 1)
}
