//! `cargo xtask demo`: from images to a measured board, dense against low-rank, in one command. The low-rank network goes on from
//! the dense one's weights, as anybody's would who has trained one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lrpet_board::boards::Board;
use lrpet_board::build::Options;
use lrpet_board::emulate;
use lrpet_board::sources::git_revision;
use lrpet_report::{Run, host};
use serde_json::{Value, json};

use crate::process;
use crate::setup::{self, Group};
use crate::toolchain::{self, Source};

/// Network of the demo.
const NETWORK: &str = "resnet8";
/// Data set of the demo.
const DATA: &str = "fashion-mnist";
/// Pruning ratio of the low-rank model.
const PRUNE: f64 = 0.6;
/// Learning rate of the low-rank training, which goes on from the dense weights.
const FINE_RATE: &str = "0.05";
/// Batches between two projections: a run of few epochs needs many (docs/method.md).
const PROJECTION_PERIOD: u32 = 10;
/// Emulated board of the demo.
const BOARD: &str = "qemu-mps2-an386";
/// Inferences of each model that are timed on this machine.
const HOST_ITERATIONS: &str = "500";

/// Options of `cargo xtask demo`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Epochs of each of the two trainings
    #[arg(long, default_value_t = 8)]
    epochs: u32,
    /// Seed of the trainings
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Train again where a finished training of the same settings lies in the output folder
    #[arg(long)]
    fresh: bool,
    /// Output folder
    #[arg(long, default_value = "target/demo")]
    out: PathBuf,
}

/// Runs `cargo xtask demo`.
pub fn main(arguments: &Arguments, toolchain: Source) -> Result<()> {
    let start = Instant::now();
    let out = &arguments.out;
    std::env::set_current_dir(crate::root()).context("cannot go to the root of the repository")?;
    if arguments.fresh && out.join("runs").exists() {
        std::fs::remove_dir_all(out.join("runs"))
            .with_context(|| format!("cannot empty {}", out.display()))?;
    }
    std::fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let mut steps = Steps { start, done: Vec::new() };

    steps.run("set up what is missing", || setup::ensure(&[Group::Boards, Group::Data], toolchain))?;
    steps.run("build the trainer", || {
        let mut build = Command::new(toolchain::cargo());
        build.args(["build", "--release", "--package", "lrpet-trainer"]).current_dir(crate::root());
        pass_through(&mut build)
    })?;
    let lrpet = Lrpet { program: crate::root().join("target/release/lrpet") };
    let dataset = steps.run("find the data", || lrpet.json(&["data", "get", DATA]))?;

    let dense = training(arguments, "dense", 0.0, None);
    let lowrank = training(arguments, "lowrank", PRUNE, Some(&dense.checkpoint()));
    let mut models = Vec::new();
    for training in [&dense, &lowrank] {
        models.push(model(&lrpet, &mut steps, out, training, toolchain)?);
    }
    // Both in one measurement, in turns: what else the machine does meets both alike.
    let files = ["dense", "lowrank"].map(|name| path(&out.join(format!("{name}.safetensors"))));
    let found = steps.run("measure both on this machine", || {
        lrpet.json(&["bench", &files[0], &files[1], "--iterations", HOST_ITERATIONS])
    })?;
    for (model, run) in
        models.iter_mut().zip(found["runs"].as_array().context("`lrpet bench` lists no runs")?)
    {
        let measured: Run = serde_json::from_value(run.clone()).context("`lrpet bench` printed no run")?;
        if let Some(warning) = measured.disturbed() {
            eprintln!("{}: {warning}", measured.model.file);
        }
        model["bench"] = run.clone();
    }

    let report = json!({
        "title": format!("{NETWORK} on {DATA}: dense against low-rank"),
        "created": capture("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]),
        "command": "cargo xtask demo",
        "version": env!("CARGO_PKG_VERSION"),
        "revision": git_revision(),
        "host": {
            "cpu": host::core(),
            "threads": std::thread::available_parallelism().map_or(1, usize::from),
            "rustc": capture("rustc", &["--version"]),
        },
        "dataset": {
            "name": DATA,
            "train_images": dataset["train"],
            "test_images": dataset["test"],
            "classes": dataset["classes"].as_array().map(Vec::len),
            "shape": dataset["shape"],
        },
        "models": models,
        "steps": steps.done,
    });
    let file = out.join("report.json");
    // Renamed into place, so that a kill leaves the report of the run before.
    let partial = out.join("report.json.partial");
    std::fs::write(&partial, serde_json::to_vec_pretty(&report)?)
        .and_then(|()| std::fs::rename(&partial, &file))
        .with_context(|| format!("cannot write {}", file.display()))?;
    let table = lrpet.text(&["report", &path(out)])?;
    println!("{table}");
    println!(
        "done in {} s; models, report.json and report.html are in {}",
        start.elapsed().as_secs(),
        out.display()
    );
    Ok(())
}

/// One of the two trainings.
struct Training {
    name: &'static str,
    prune: f64,
    /// Folder of the run.
    run: PathBuf,
    /// Arguments of `lrpet`, without `--resume`.
    words: Vec<String>,
}

impl Training {
    /// The weights that it ends with.
    fn checkpoint(&self) -> PathBuf {
        self.run.join("final.safetensors")
    }
}

/// A training at pruning ratio `prune`, from random weights or from those in `init`.
fn training(arguments: &Arguments, name: &'static str, prune: f64, init: Option<&Path>) -> Training {
    let Arguments { epochs, seed, out, .. } = arguments;
    // Paths relative to the root: the commands stand in the model's card. What began otherwise has another folder.
    let from = if init.is_some() { "-from-dense" } else { "" };
    let run = out.join("runs").join(format!("{name}{from}-{epochs}-epochs-seed-{seed}"));
    let (ratio, period) = (prune.to_string(), PROJECTION_PERIOD.to_string());
    let (epochs, seed) = (epochs.to_string(), seed.to_string());
    let mut words = vec!["train", "--net", NETWORK, "--data", DATA, "--prune", &ratio, "--epochs", &epochs];
    words.extend(["--seed", &seed, "--project-iterations", &period]);
    // Augmentation pays only in longer runs.
    words.extend(["--crop-padding", "0", "--no-flip"]);
    let (folder, init) = (path(&run), init.map(path));
    if let Some(init) = &init {
        words.extend(["--init", init, "--lr", FINE_RATE]);
    }
    words.extend(["--out", &folder]);
    let words = words.into_iter().map(str::to_owned).collect();
    Training { name, prune, run, words }
}

/// Trains, exports and measures one model; its entry of the report.
fn model(
    lrpet: &Lrpet,
    steps: &mut Steps,
    out: &Path,
    training: &Training,
    toolchain: Source,
) -> Result<Value> {
    let Training { name, prune, run, words } = training;
    let file = out.join(format!("{name}.safetensors"));
    let (checkpoint, ratio) = (training.checkpoint(), prune.to_string());
    // An interrupted demo goes on.
    let resume = crate::root().join(run).exists().then_some("--resume");
    let training = steps.run(&format!("train {NETWORK}, {name}"), || {
        lrpet.json(&words.iter().map(String::as_str).chain(resume).collect::<Vec<_>>())
    })?;
    steps.run(&format!("export {name}"), || {
        lrpet.json(&[
            "factorize",
            &path(&checkpoint),
            "--net",
            NETWORK,
            "--data",
            DATA,
            "--prune",
            &ratio,
            "--out",
            &path(&file),
        ])
    })?;
    let model = path(&file);
    let (inspect, eval) = steps.run(&format!("evaluate {name}"), || {
        let eval = |engine| lrpet.json(&["eval", &model, "--data", DATA, "--engine", engine]);
        let eval = json!({ "runtime": eval("runtime")?, "candle": eval("candle")? });
        Ok((lrpet.json(&["inspect", &model])?, eval))
    })?;
    let measured = steps.run(&format!("measure {name} on {BOARD}"), || {
        let options = Options { warm_up: 1, iterations: 2, timeout: Duration::from_secs(600), toolchain };
        emulate::run(Board::named(BOARD)?, &file, &options, &mut |_| {})
    })?;
    check_board(&measured)?;
    Ok(json!({
        "name": name,
        "file": format!("{name}.safetensors"),
        "sha256": inspect["sha256"],
        "crc32": measured.model.crc32,
        "prune": prune,
        "inspect": inspect,
        "eval": eval,
        "boards": [measured],
        "training": training,
    }))
}

/// The board must compute what the host computed when the model was exported.
fn check_board(run: &Run) -> Result<()> {
    let check = run.self_check.with_context(|| format!("{} has no self-check", run.model.file))?;
    let difference = check.largest_difference.unwrap_or(f64::INFINITY);
    ensure!(
        check.passes(),
        "the self-check of {} fails on {BOARD}: a logit is {difference} away from the host's",
        run.model.file
    );
    Ok(())
}

/// The steps that were done, with their time.
struct Steps {
    start: Instant,
    done: Vec<Value>,
}

impl Steps {
    fn run<T>(&mut self, name: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        eprintln!("[{:>5.0} s] {name}", self.start.elapsed().as_secs_f64());
        let start = Instant::now();
        let result = step().with_context(|| format!("cannot {name}"))?;
        self.done.push(json!({ "name": name, "seconds": start.elapsed().as_secs_f64() }));
        Ok(result)
    }
}

/// The command line of the trainer.
struct Lrpet {
    program: PathBuf,
}

impl Lrpet {
    /// Runs a subcommand with `--json` and reads its document; progress goes to standard error.
    fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.text(&[arguments, &["--json"]].concat())?;
        serde_json::from_str(&text)
            .with_context(|| format!("`lrpet {}` printed no JSON", arguments.join(" ")))
    }

    /// Standard output of a subcommand.
    fn text(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(crate::root());
        let mut output = String::new();
        let hour = Duration::from_secs(3600);
        let done = process::run_lines(&mut command, hour, "see above", &mut |line| {
            output.push_str(line);
            output.push('\n');
        })?;
        ensure!(done, "`{}` failed; see above", process::spell(&command));
        Ok(output)
    }
}

/// Runs a command whose output is for the user's eyes, on standard error.
fn pass_through(command: &mut Command) -> Result<()> {
    let status = command.stdout(std::io::stderr()).status();
    let status = status.with_context(|| format!("cannot start `{}`", process::spell(command)))?;
    ensure!(status.success(), "`{}` failed; see above", process::spell(command));
    Ok(())
}

fn capture(program: &str, arguments: &[&str]) -> Option<String> {
    process::capture(Command::new(program).args(arguments), "").ok().map(|line| line.trim().to_owned())
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
