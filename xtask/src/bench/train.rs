//! `cargo xtask bench train`: whole training steps beside PyTorch, the two taking turns in one run.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lrpet_report::load;
use serde::{Deserialize, Serialize};

use crate::bench::side::{Side, median};
use crate::{process, setup, toolchain};

/// Our side, an example of the trainer.
const OURS: &str = "step_speed";
/// PyTorch's side.
const THEIRS: &str = "trainer/train/examples/step_speed.py";
/// Seconds of the rounds that are not counted, in which both sides make their buffers.
const WARM_UP: f64 = 2.0;
/// How PyTorch's threads (OpenMP) wait for one another. Spinning is their own choice and the better one on an idle machine;
/// where other programs run, a thread that spins waits for one that is not running. The faster of the two is measured.
const WAIT_POLICIES: [Option<&str>; 2] = [None, Some("passive")];
/// Share of the processors' time that other programs may use before the figures are doubtful.
const QUIET: f64 = 0.1;

/// Options of `cargo xtask bench train`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Networks
    #[arg(long, value_delimiter = ',', default_value = "resnet8,resnet20")]
    net: Vec<String>,
    /// Seconds of a round, for each side
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Rounds of each network
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Threads of each side [default: all cores]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    threads: Option<u32>,
    /// Images a batch
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// One round of one side.
#[derive(Deserialize)]
struct Round {
    images_per_second: f64,
    /// Median seconds of each part of a step.
    parts: Parts,
    peak_bytes: Option<u64>,
    version: Option<String>,
}

/// Median seconds of the parts of a step.
#[derive(Clone, Copy, Deserialize, Serialize)]
struct Parts {
    forward: f64,
    loss: f64,
    backward: f64,
    optimizer: f64,
}

/// One of the parts.
type Part = fn(&Parts) -> f64;

/// All rounds of one side.
#[derive(Serialize)]
struct Measured {
    /// One a round.
    images_per_second: Vec<f64>,
    /// Medians over the rounds.
    seconds: Parts,
    peak_bytes: Option<u64>,
    version: Option<String>,
}

/// One network.
#[derive(Serialize)]
struct Comparison {
    network: String,
    lrpet: Measured,
    pytorch: Option<Measured>,
    /// Images per second of ours by PyTorch's, one a round.
    ratios: Option<Vec<f64>>,
    /// OMP_WAIT_POLICY with which PyTorch was faster; none: its own choice.
    pytorch_wait_policy: Option<&'static str>,
    /// Share of the processors' time that other programs used meanwhile.
    others: Option<f64>,
}

#[derive(Serialize)]
struct Document<'a> {
    batch: u32,
    threads: u32,
    seconds: f64,
    networks: &'a [Comparison],
}

/// Runs `cargo xtask bench train`.
pub fn main(arguments: &Arguments) -> Result<()> {
    ensure!(
        arguments.seconds.is_finite() && arguments.seconds > 0.0,
        "--seconds {}: it must be above 0",
        arguments.seconds
    );
    let ours = build()?;
    let python = setup::python_with_torch();
    if python.is_none() {
        eprintln!(
            "PyTorch is missing, so only lrpet is measured; `cargo xtask setup --bench` installs it \
             (Debian: apt-get install python3-torch)"
        );
    }
    let threads = arguments
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |threads| threads.get() as u32));
    let mut networks = Vec::new();
    for name in &arguments.net {
        let comparison = compare(arguments, name, threads, &ours, python.as_deref())?;
        if !arguments.json {
            print(arguments, threads, &comparison);
        }
        networks.push(comparison);
    }
    if arguments.json {
        let Arguments { batch, seconds, .. } = *arguments;
        let document = Document { batch, threads, seconds, networks: &networks };
        println!("{}", serde_json::to_string_pretty(&document)?);
    }
    Ok(())
}

/// Builds our side; its file.
fn build() -> Result<PathBuf> {
    let mut build = Command::new(toolchain::cargo());
    build.current_dir(crate::root()).args(["build", "--release", "-p", "lrpet-train", "--example", OURS]);
    let log = crate::root().join("target/bench.log");
    process::run_logged(&mut build, "building the trainer", &log, "the build must succeed")?;
    Ok(crate::root().join("target/release/examples").join(OURS))
}

/// Measures one network in rounds, the sides in turns; who begins changes with each round.
fn compare(
    arguments: &Arguments,
    name: &str,
    threads: u32,
    ours: &std::path::Path,
    python: Option<&std::path::Path>,
) -> Result<Comparison> {
    let batch = arguments.batch.to_string();
    let mut command = Command::new(ours);
    command.args(["--serve", name, &batch]);
    let warm_up = WARM_UP.min(arguments.seconds);
    let (ours, _) = start(command, threads, warm_up)?;
    let mut sides = vec![ours];
    let mut policy = None;
    if let Some(python) = python {
        let mut best = f64::NEG_INFINITY;
        for wait in WAIT_POLICIES {
            let mut command = Command::new(python);
            command.arg(crate::root().join(THEIRS)).args(["--serve", name, &batch, &threads.to_string()]);
            command.envs(wait.map(|wait| ("OMP_WAIT_POLICY", wait)));
            let (side, rate) = start(command, threads, warm_up)?;
            if rate > best {
                (best, policy) = (rate, wait);
                sides.truncate(1);
                sides.push(side);
            }
        }
    }
    let before = load::Busy::now(sides.iter().map(|side| side.id()));
    let mut rounds: Vec<Vec<Round>> = sides.iter().map(|_| Vec::new()).collect();
    for number in 0..arguments.rounds as usize {
        for turn in 0..sides.len() {
            let index = (number + turn) % sides.len();
            rounds[index].push(sides[index].round(arguments.seconds)?);
        }
        eprintln!("{name}: round {} of {}", number + 1, arguments.rounds);
    }
    let after = load::Busy::now(sides.iter().map(|side| side.id()));
    let others = before.zip(after).map(|(before, after)| after.others_since(&before));
    let mut measured = rounds.into_iter().map(Measured::of);
    let lrpet = measured.next().context("no side was measured")?;
    let pytorch = measured.next();
    let ratios = pytorch.as_ref().map(|theirs| {
        let pairs = lrpet.images_per_second.iter().zip(&theirs.images_per_second);
        pairs.map(|(ours, theirs)| ours / theirs).collect()
    });
    let network = name.to_owned();
    Ok(Comparison { network, lrpet, pytorch, ratios, pytorch_wait_policy: policy, others })
}

/// Starts a process that trains for as long as it is told and lets it do so for two rounds of `warm_up` seconds; also its
/// images per second in the second.
fn start(command: Command, threads: u32, warm_up: f64) -> Result<(Side, f64)> {
    let mut side = Side::start(command, threads)?;
    side.round::<Round>(warm_up)?;
    let rate = side.round::<Round>(warm_up)?.images_per_second;
    Ok((side, rate))
}

impl Measured {
    fn of(rounds: Vec<Round>) -> Measured {
        let part = |of: Part| median(rounds.iter().map(|round| of(&round.parts)));
        Measured {
            seconds: Parts {
                forward: part(|parts| parts.forward),
                loss: part(|parts| parts.loss),
                backward: part(|parts| parts.backward),
                optimizer: part(|parts| parts.optimizer),
            },
            images_per_second: rounds.iter().map(|round| round.images_per_second).collect(),
            peak_bytes: rounds.iter().filter_map(|round| round.peak_bytes).max(),
            version: rounds.into_iter().find_map(|round| round.version),
        }
    }
}

/// Median with the smallest and the largest value.
fn spread(values: &[f64], decimals: usize) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let middle = median(values.iter().copied());
    format!("{middle:.decimals$} ({least:.decimals$}–{most:.decimals$})")
}

fn print(arguments: &Arguments, threads: u32, comparison: &Comparison) {
    println!(
        "{}, 3×32×32, batch {}, {threads} threads, {} rounds of {} s: median (least–most)",
        comparison.network, arguments.batch, arguments.rounds, arguments.seconds
    );
    for [name, ours, theirs, ratio] in rows(comparison) {
        println!("  {name:<16} {ours:>22} {theirs:>22} {ratio:>20}");
    }
    if let Some(policy) = comparison.pytorch_wait_policy {
        println!("  PyTorch with OMP_WAIT_POLICY={policy}, which is faster here");
    }
    if let Some(others) = comparison.others.filter(|others| *others > QUIET) {
        println!(
            "  other programs used {:.0} % of the processors: measure again on an idle machine",
            100.0 * others
        );
    }
}

/// The table: name, ours, theirs, ours by theirs.
fn rows(comparison: &Comparison) -> Vec<[String; 4]> {
    let (ours, theirs) = (&comparison.lrpet, comparison.pytorch.as_ref());
    let version = theirs.map(|side| format!("PyTorch {}", side.version.as_deref().unwrap_or("")));
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    let mut rows = vec![
        [String::new(), "lrpet".to_owned(), or_dash(version), "lrpet / PyTorch".to_owned()],
        [
            "images/s".to_owned(),
            spread(&ours.images_per_second, 0),
            or_dash(theirs.map(|side| spread(&side.images_per_second, 0))),
            or_dash(comparison.ratios.as_ref().map(|ratios| spread(ratios, 2))),
        ],
    ];
    let mut add = |name: &str, unit: f64, decimals: usize, ours: Option<f64>, theirs: Option<f64>| {
        let text = |value: Option<f64>| or_dash(value.map(|value| format!("{:.decimals$}", value / unit)));
        let ratio = ours.zip(theirs).map(|(ours, theirs)| format!("{:.2}", ours / theirs));
        rows.push([name.to_owned(), text(ours), text(theirs), or_dash(ratio)]);
    };
    let peak = |side: &Measured| side.peak_bytes.map(|bytes| bytes as f64);
    add("peak memory, MB", 1048576.0, 0, peak(ours), theirs.and_then(peak));
    let parts: [(&str, Part); 4] = [
        ("forward, ms", |parts| parts.forward),
        ("loss, ms", |parts| parts.loss),
        ("backward, ms", |parts| parts.backward),
        ("optimiser, ms", |parts| parts.optimizer),
    ];
    for (name, of) in parts {
        add(name, 1e-3, 2, Some(of(&ours.seconds)), theirs.map(|side| of(&side.seconds)));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(rates: &[f64], peak: u64) -> Measured {
        let round = |rate: &f64| -> Round {
            let seconds = 1.0 / rate;
            serde_json::from_value(serde_json::json!({
                "images_per_second": rate,
                "steps": 3,
                "parts": { "forward": seconds, "loss": 0.0, "backward": 2.0 * seconds, "optimizer": 0.001 },
                "peak_bytes": peak,
            }))
            .unwrap()
        };
        Measured::of(rates.iter().map(round).collect())
    }

    fn comparison(lrpet: Measured, pytorch: Option<Measured>, ratios: Option<Vec<f64>>) -> Comparison {
        let network = "net".to_owned();
        Comparison { network, lrpet, pytorch, ratios, pytorch_wait_policy: None, others: None }
    }

    #[test]
    fn the_table_has_medians_spreads_and_ratios() {
        let (lrpet, theirs) = (side(&[90.0, 110.0, 100.0], 1 << 20), side(&[100.0, 100.0, 50.0], 4 << 20));
        let comparison = comparison(lrpet, Some(theirs), Some(vec![0.9, 1.1, 2.0]));
        let rows = rows(&comparison);
        assert_eq!(rows[1], ["images/s", "100 (90–110)", "100 (50–100)", "1.10 (0.90–2.00)"]);
        assert_eq!(rows[2], ["peak memory, MB", "1", "4", "0.25"]);
        assert_eq!(rows[3], ["forward, ms", "10.00", "10.00", "1.00"]);
    }

    #[test]
    fn without_pytorch_its_columns_are_empty() {
        let lrpet = side(&[90.0, 110.0], 1 << 20);
        let comparison = comparison(lrpet, None, None);
        let rows = rows(&comparison);
        assert_eq!(rows[1], ["images/s", "100 (90–110)", "–", "–"]);
        assert!(rows.iter().skip(1).all(|row| row[2] == "–" && row[3] == "–"));
    }
}
