//! `cargo xtask bench kernels`: the variants of single convolutions on this machine, and the inner loops on Arm cores.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use lrpet_board::sources::git_revision;
use lrpet_report::load;
use serde::{Deserialize, Serialize};

use crate::bench::arm::{self, Counter};
use crate::bench::models;
use crate::counts::cores::{CORES, Core};
use crate::counts::cycles::{self, Loop};
use crate::process;
use crate::toolchain::{self, Source};

/// The program that measures, an example of the runtime.
const PROGRAM: &str = "kernels";
/// Blocks of code with less than this share of a model's instructions are not shown.
const LEAST_SHARE: f64 = 0.02;
/// Share of the processors' time that other programs may use before times are doubtful.
const QUIET: f64 = 0.1;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Times on this machine
    Host,
    /// Inner loops on emulated Arm cores
    Arm,
}

/// Options of `cargo xtask bench kernels`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only this part
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Rounds, in each of which every variant has its turn
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only shapes whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    shape: String,
    /// Arm cores [default: all that run here]
    #[arg(long, value_delimiter = ',', value_parser = arm::names())]
    core: Vec<String>,
    /// Models whose inner loops are looked at on Arm: files, or networks as for `bench arm`
    #[arg(long = "model", value_name = "MODEL", default_values_t = [
        "models/fashion-mnist-resnet8-dense.safetensors".to_owned(),
        "models/fashion-mnist-resnet8-g0.6.safetensors".to_owned(),
    ])]
    models: Vec<String>,
    /// Also write everything to a file, as one JSON document
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The variants of one shape.
#[derive(Debug, Deserialize, Serialize)]
struct Case {
    shape: String,
    /// Instruction set of `peak_gmacs`, the best of this machine.
    isa: String,
    /// Multiply-adds a second, in 1e9, of a loop that does nothing else: the fastest of this run.
    peak_gmacs: f64,
    variants: Vec<Variant>,
}

/// One way of computing one workload.
#[derive(Debug, Deserialize, Serialize)]
struct Variant {
    /// `dense`, `depthwise` or the ratio that is pruned.
    workload: String,
    rank: Option<u32>,
    macs: u64,
    /// `one operation`, or `two layers` with the values between them in memory.
    form: String,
    isa: String,
    /// `in place`, `packed`, or packed for the tiles of Winograd that it names.
    weights: String,
    min_us: f64,
    median_us: f64,
}

/// The inner loops of a model on a core.
#[derive(Debug, Serialize)]
struct Loops {
    core: &'static str,
    model: String,
    loops: Vec<Loop>,
}

/// Runs `cargo xtask bench kernels`.
pub fn main(arguments: &Arguments, toolchain: Source) -> Result<()> {
    let mut cases = Vec::new();
    let mut loops = Vec::new();
    if arguments.only != Some(Part::Arm) {
        cases = on_host(arguments)?;
    }
    if arguments.only != Some(Part::Host) {
        loops = on_arm(arguments, toolchain)?;
    }
    if let Some(file) = &arguments.json {
        let document =
            serde_json::json!({ "bench": "kernels", "git": git_revision(), "host": cases, "arm": loops });
        let text = serde_json::to_string_pretty(&document)?;
        std::fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// Times the variants on this machine and prints them.
fn on_host(arguments: &Arguments) -> Result<Vec<Case>> {
    let mut build = Command::new(toolchain::cargo());
    build.current_dir(crate::root()).args([
        "build",
        "--release",
        "--package",
        "lrpet-runtime",
        "--features",
        "std",
        "--example",
        PROGRAM,
    ]);
    let log = crate::root().join("target/bench.log");
    process::run_logged(&mut build, "building the program that measures", &log, "the build must succeed")?;
    let mut command = Command::new(crate::root().join("target/release/examples").join(PROGRAM));
    command.arg(arguments.rounds.to_string()).arg(&arguments.shape);
    let before = load::Busy::now(std::iter::empty());
    let started = std::time::Instant::now();
    let mut lines = Vec::new();
    let limit = Duration::from_secs(3600);
    let done = process::run_lines(&mut command, limit, "fewer --rounds take less time", &mut |line| {
        let case = serde_json::from_str::<Case>(line);
        if let Ok(case) = &case {
            print(case);
        }
        lines.push(case);
    })?;
    if !done {
        bail!("`{}` failed; see above", process::spell(&command));
    }
    let cases = lines.into_iter().collect::<Result<Vec<_>, _>>().context("the program printed no JSON")?;
    if cases.is_empty() {
        bail!("no shape's name contains `{}`", arguments.shape);
    }
    summary(&cases);
    let after = load::Busy::now(std::iter::empty());
    if let Some((before, after)) = before.zip(after) {
        // The program itself is one thread that never waits.
        let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get());
        let others = after.others_since(&before) - 1.0 / threads as f64;
        if others > QUIET && started.elapsed().as_secs() > 1 {
            println!(
                "other programs used {:.0} % of the processors: the minimum is the better figure",
                100.0 * others
            );
        }
    }
    Ok(cases)
}

/// The fastest variant of a workload.
fn best<'a>(case: &'a Case, workload: &str) -> Option<&'a Variant> {
    let variants = case.variants.iter().filter(|variant| variant.workload == workload);
    variants.min_by(|a, b| a.min_us.total_cmp(&b.min_us))
}

/// The workloads of a shape, as they come.
fn workloads(case: &Case) -> Vec<&str> {
    let mut workloads: Vec<&str> = case.variants.iter().map(|variant| variant.workload.as_str()).collect();
    workloads.dedup();
    workloads
}

impl Variant {
    /// Multiply-adds a second in 1e9, at the minimum.
    fn rate(&self) -> f64 {
        self.macs as f64 / self.min_us / 1e3
    }

    fn name(&self) -> String {
        let form = if self.rank.is_some() { format!("{}, ", self.form) } else { String::new() };
        format!("{form}{}, {}", self.isa, self.weights)
    }
}

/// Share of the MAC cut against the dense layer that becomes a cut in time, 1 being all of it.
fn realisation(dense: &Variant, variant: &Variant) -> f64 {
    (dense.min_us / variant.min_us) / (dense.macs as f64 / variant.macs as f64)
}

/// Prints a shape's variants, ranked within each workload.
fn print(case: &Case) {
    println!("\n{}: {} reaches {:.1} GMAC/s here", case.shape, case.isa, case.peak_gmacs);
    println!(
        "  {:44} {:>10} {:>10} {:>8} {:>8} {:>9} {:>12}",
        "", "min, µs", "median, µs", "GMAC/s", "of peak", "to dense", "realisation"
    );
    let dense = best(case, "dense");
    for workload in workloads(case) {
        let mut variants: Vec<&Variant> =
            case.variants.iter().filter(|variant| variant.workload == workload).collect();
        variants.sort_by(|a, b| a.min_us.total_cmp(&b.min_us));
        let Some(first) = variants.first() else { continue };
        let rank = first.rank.map_or_else(String::new, |rank| format!(", rank {rank}"));
        println!("  {workload}{rank}, {} multiply-adds", first.macs);
        for (place, variant) in variants.iter().enumerate() {
            let ratio = |of: &dyn Fn(&Variant) -> f64| {
                dense.map_or_else(String::new, |dense| format!("{:.2}", of(dense)))
            };
            println!(
                "  {:>2}. {:40} {:>10.2} {:>10.2} {:>8.2} {:>6.0} % {:>9} {:>12}",
                place + 1,
                variant.name(),
                variant.min_us,
                variant.median_us,
                variant.rate(),
                100.0 * variant.rate() / case.peak_gmacs.max(1e-9),
                ratio(&|dense| dense.min_us / variant.min_us),
                ratio(&|dense| realisation(dense, variant)),
            );
        }
    }
}

/// Prints the winners.
fn summary(cases: &[Case]) {
    println!("\nfastest variants (share of the peak, realisation against the fastest dense one)");
    for case in cases {
        println!("  {}", case.shape);
        let dense = best(case, "dense");
        for workload in workloads(case) {
            let Some(variant) = best(case, workload) else { continue };
            let share = 100.0 * variant.rate() / case.peak_gmacs.max(1e-9);
            let realised = dense.filter(|_| workload != "dense").map(|dense| realisation(dense, variant));
            let realised = realised.map_or_else(String::new, |realised| format!("{realised:.2}"));
            println!(
                "    {workload:10} {:40} {:>9.2} µs {share:>5.0} % {realised:>6}",
                variant.name(),
                variant.min_us
            );
        }
    }
}

/// Runs models on Arm cores and prints their inner loops.
fn on_arm(arguments: &Arguments, toolchain: Source) -> Result<Vec<Loops>> {
    let cores: Vec<&Core> = if arguments.core.is_empty() {
        CORES.iter().filter(|core| core.is_known()).collect()
    } else {
        arguments.core.iter().filter_map(|name| Core::named(name)).collect()
    };
    cores.iter().try_for_each(|core| arm::installed(core).map(|_| ()))?;
    let counter = Counter::new(toolchain, Duration::from_secs(1200))?;
    let mut all = Vec::new();
    for core in cores {
        for name in &arguments.models {
            let path = crate::root().join(name);
            let model = models::find(if Path::new(name).exists() || name.contains(':') {
                name
            } else {
                path.to_str().unwrap_or(name)
            })?;
            let (_, profile) = counter.measure(core, &model)?;
            let loops = Loops {
                core: core.name,
                model: model.name.clone(),
                loops: cycles::inner_loops(core, &profile, LEAST_SHARE)?,
            };
            print_loops(core, &loops);
            all.push(loops);
        }
    }
    Ok(all)
}

fn print_loops(core: &Core, loops: &Loops) {
    println!("\n{}: inner loops of {}", loops.core, loops.model);
    println!(
        "  cycles are estimates ({}); the peak is {} f32 multiply-adds a cycle",
        cycles::method(core),
        core.peak
    );
    println!(
        "  {:>7} {:>12} {:>6} {:>8} {:>8} {:>10} {:>8}  function",
        "share", "instructions", "MACs", "per MAC", "cycles", "MACs/cycle", "of peak"
    );
    for block in &loops.loops {
        let cycles = block.cycles.map_or_else(|| "–".to_owned(), |cycles| format!("{cycles:.1}"));
        let rate = block.cycles.map(|cycles| block.macs as f64 / cycles);
        let share = rate.map_or_else(String::new, |rate| format!("{:.0} %", 100.0 * rate / core.peak));
        let rate = rate.map_or_else(String::new, |rate| format!("{rate:.2}"));
        println!(
            "  {:>5.1} % {:>12} {:>6} {:>8.3} {cycles:>8} {rate:>10} {share:>8}  {}",
            100.0 * block.share,
            block.instructions,
            block.macs,
            block.instructions as f64 / block.macs as f64,
            block.function,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_wins_and_is_held_against_dense() {
        let variant = |workload: &str, macs, isa: &str, min_us| {
            serde_json::json!({
                "workload": workload, "rank": if workload == "dense" { None } else { Some(3) }, "macs": macs,
                "form": "one operation", "isa": isa, "weights": "packed", "min_us": min_us, "median_us": 99.0,
            })
        };
        let variants = [
            variant("dense", 1000, "a", 20.0),
            variant("dense", 1000, "b", 10.0),
            variant("g = 0.8", 250, "b", 5.0),
        ];
        let case = serde_json::json!({ "shape": "s", "isa": "b", "peak_gmacs": 1.0, "variants": variants });
        let case: Case = serde_json::from_value(case).unwrap();
        assert_eq!(workloads(&case), ["dense", "g = 0.8"]);
        let (dense, pair) = (best(&case, "dense").unwrap(), best(&case, "g = 0.8").unwrap());
        assert_eq!((dense.isa.as_str(), dense.rate()), ("b", 0.1));
        assert_eq!(realisation(dense, pair), 0.5);
        assert_eq!(pair.name(), "one operation, b, packed");
    }
}
