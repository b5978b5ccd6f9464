//! `cargo xtask bench arm`: executed instructions of whole models on emulated cores.

mod board;
mod program;
mod show;

use std::cell::OnceCell;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lrpet_board::sources::git_revision;
use serde::Serialize;

use crate::bench::models::{self, Model};
use crate::counts::cores::{CORES, Core, Place};
use crate::counts::cycles;
use crate::counts::plugin::{Counts, Plugin, Segment};
use crate::counts::profile::{Names, Profile};
use crate::process;
use crate::toolchain::Source;

/// Inferences that are counted. They take the same number of instructions, or the command says so.
const ITERATIONS: usize = 2;
/// Functions with less than this share of the instructions are not listed in the document.
const LEAST_SHARE: f64 = 0.001;

/// Options of `cargo xtask bench arm`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Model files, or networks with random weights as `NETWORK:PRUNING-RATIO` or `NETWORK:dense` [default: resnet8:dense
    /// and resnet8:0.6 on Cortex-M, resnet20b:dense, resnet20b:0.6 and resnet20b:0.8 on Cortex-A]
    models: Vec<String>,
    /// More networks with random weights, as `NETWORK:PRUNING-RATIO` or `NETWORK:dense`; all that `lrpet info` lists
    #[arg(long, value_delimiter = ',', value_name = "NETWORK:RATIO")]
    net: Vec<String>,
    /// Shape of the images of these networks [default: the one that each is known for]
    #[arg(long, value_name = "CxHxW", requires = "net")]
    size: Option<String>,
    /// Cores [default: all that run here]
    #[arg(long, value_delimiter = ',', value_parser = names())]
    core: Vec<String>,
    /// Functions and mnemonics that are printed
    #[arg(long, default_value_t = 10)]
    top: usize,
    /// No estimates of cycles, which need llvm-mca
    #[arg(long)]
    no_cycles: bool,
    /// An option for `lrpet-run bench` on Cortex-A, such as `--run-option=--isa=portable`
    #[arg(long, value_name = "OPTION")]
    run_option: Vec<String>,
    /// Seconds after which an emulator is stopped
    #[arg(long, default_value_t = 1200)]
    timeout: u64,
    /// Also write everything to a file, as one JSON document
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub fn names() -> clap::builder::PossibleValuesParser {
    CORES.iter().map(|core| core.name).collect::<Vec<_>>().into()
}

/// A model on a core.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// Core.
    core: &'static str,
    /// Emulator: a board, or a processor of `qemu-aarch64`.
    emulator: &'static str,
    /// The emulator's version.
    emulator_version: String,
    /// Model.
    model: String,
    /// CRC-32 of its file.
    model_crc32: String,
    /// Multiply-adds of an inference.
    macs: u64,
    /// Instruction set of the kernels.
    kernels: String,
    /// Compiler and revision of the sources.
    compiler: String,
    git: Option<String>,
    /// Executed instructions of an inference.
    instructions: u64,
    /// Of each counted inference: the same, or something here is not deterministic.
    inferences: Vec<u64>,
    /// What the board counted itself, where it is one.
    counted_by_board: Option<u64>,
    /// Estimated cycles of an inference; an emulator measures none.
    cycles_estimate: Option<f64>,
    /// What that rests on.
    estimate_method: Option<String>,
    /// One entry a layer.
    layers: Vec<LayerCount>,
    /// Executed instructions by function, most first.
    functions: Vec<Share>,
    /// Executed instructions by mnemonic, most first.
    mnemonics: Vec<Share>,
}

/// A layer of a model.
#[derive(Debug, Serialize)]
struct LayerCount {
    name: String,
    macs: u64,
    instructions: u64,
    cycles_estimate: Option<f64>,
}

/// Executed instructions of a function or mnemonic.
#[derive(Debug, Serialize)]
struct Share {
    name: String,
    instructions: u64,
}

/// What a run on a core left.
struct Run {
    counts: Counts,
    /// Marks that begin an interval; the ones behind them end it.
    starts: usize,
    names: Names,
    /// Multiply-adds and name of each layer.
    layers: Vec<(String, u64)>,
    /// Of each call of a layer, its index: in a stream, a layer is called once for each strip.
    calls: Vec<usize>,
    kernels: String,
    compiler: String,
    model_crc32: String,
    counted_by_board: Option<u64>,
}

/// What counts: the plugin, and how models are run.
pub struct Counter<'a> {
    plugin: Plugin,
    /// `lrpet-run` for Cortex-A, built when it is first needed.
    program: OnceCell<program::Built>,
    toolchain: Source,
    timeout: Duration,
    /// Whether cycles are estimated.
    cycles: bool,
    /// For `lrpet-run bench`.
    run_options: &'a [String],
}

/// Runs `cargo xtask bench arm`.
pub fn main(arguments: &Arguments, toolchain: Source) -> Result<()> {
    let cores: Vec<&Core> = if arguments.core.is_empty() {
        CORES.iter().filter(|core| core.is_known()).collect()
    } else {
        arguments.core.iter().filter_map(|name| Core::named(name)).collect()
    };
    cores.iter().try_for_each(|core| installed(core).map(|_| ()))?;
    let net = arguments.net.iter().map(|net| match &arguments.size {
        Some(size) => format!("{net}:{size}"),
        None => net.clone(),
    });
    let wanted: Vec<String> = arguments.models.iter().cloned().chain(net).collect();
    let mut counter = Counter::new(toolchain, Duration::from_secs(arguments.timeout))?;
    counter.cycles = !arguments.no_cycles;
    counter.run_options = &arguments.run_option;
    let mut all = Vec::new();
    for core in cores {
        let defaults = match core.place {
            Place::Board(_) => &["resnet8:dense", "resnet8:0.6"][..],
            Place::Program(_) => &["resnet20b:dense", "resnet20b:0.6", "resnet20b:0.8"][..],
        };
        let defaults: Vec<String> = defaults.iter().map(|name| name.to_string()).collect();
        for name in if wanted.is_empty() { &defaults } else { &wanted } {
            let model = models::find(name)?;
            let (measured, _) = counter.measure(core, &model)?;
            show::print(&measured, arguments.top);
            all.push(measured);
        }
    }
    show::table(&all);
    if let Some(file) = &arguments.json {
        let text = serde_json::to_string_pretty(&serde_json::json!({ "bench": "arm", "runs": all }))?;
        std::fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// The version of a core's emulator; an error that says what to do where it is missing or of no use.
pub fn installed(core: &Core) -> Result<String> {
    let program = match core.place {
        Place::Board(name) if !core.is_known() => bail!("{}: there is no board `{name}`", core.name),
        Place::Board(_) => "qemu-system-arm",
        Place::Program(_) => "qemu-aarch64",
    };
    ensure!(process::find(program).is_some(), "{program} is not installed; run `cargo xtask setup`");
    let version = process::capture(Command::new(program).arg("--version"), "is it QEMU?")?;
    match loads_plugin(&version) {
        Some(true) => Ok(version.lines().next().unwrap_or_default().to_owned()),
        Some(false) => bail!(
            "{program} is QEMU 9 or newer, which loads plugins of another kind; counting needs QEMU 7.2 to 8.2"
        ),
        None => bail!("{program} does not state its version: is it QEMU?"),
    }
}

/// Whether a QEMU of this version line loads the plugin.
fn loads_plugin(line: &str) -> Option<bool> {
    let major: u32 = line.split("version ").nth(1)?.split('.').next()?.parse().ok()?;
    Some(major < 9)
}

impl Counter<'_> {
    /// Builds the plugin. Emulators are stopped after `timeout`.
    pub fn new(toolchain: Source, timeout: Duration) -> Result<Self> {
        let (plugin, program) = (Plugin::build()?, OnceCell::new());
        Ok(Self { plugin, program, toolchain, timeout, cycles: true, run_options: &[] })
    }

    /// Runs `model` on `core`; also the profile of one inference.
    pub fn measure(&self, core: &Core, model: &Model) -> Result<(Measured, Profile)> {
        let (run, emulator) = match core.place {
            Place::Board(name) => (self.on_board(core, name, model), name),
            Place::Program(name) => (self.as_program(core, name, model), name),
        };
        let run = run.with_context(|| format!("{} on {}", model.name, core.name))?;
        let intervals = intervals(&run)?;
        let profile = |segment: &Segment| run.names.profile(&run.counts, &[segment]);
        let estimate = |profile: &Profile| self.cycles.then(|| cycles::estimate(core, profile)).transpose();

        let whole = profile(intervals.inferences[0])?;
        let mut layers = Vec::new();
        for ((name, macs), segments) in run.layers.iter().zip(&intervals.layers) {
            let all = run.names.profile(&run.counts, segments)?;
            let cycles_estimate = estimate(&all)?.map(|estimate| estimate.cycles);
            layers.push(LayerCount {
                name: name.clone(),
                macs: *macs,
                instructions: all.instructions(),
                cycles_estimate,
            });
        }
        let least = LEAST_SHARE * whole.instructions() as f64;
        let functions = whole.by_function().into_iter().filter(|(_, count)| *count as f64 >= least);
        let functions = functions.map(|(name, instructions)| Share { name: name.to_owned(), instructions });
        let mnemonics = whole.by_mnemonic().into_iter();
        let mnemonics = mnemonics.map(|(name, instructions)| Share { name, instructions });
        let estimate = estimate(&whole)?;
        let measured = Measured {
            core: core.name,
            emulator,
            emulator_version: installed(core)?,
            model: model.name.clone(),
            model_crc32: run.model_crc32.clone(),
            macs: run.layers.iter().map(|(_, macs)| macs).sum(),
            kernels: run.kernels.clone(),
            compiler: run.compiler.clone(),
            git: git_revision(),
            instructions: whole.instructions(),
            inferences: intervals.inferences.iter().map(|segment| segment.instructions()).collect(),
            counted_by_board: run.counted_by_board,
            cycles_estimate: estimate.as_ref().map(|estimate| estimate.cycles),
            estimate_method: estimate.map(|estimate| estimate.method),
            layers,
            functions: functions.collect(),
            mnemonics: mnemonics.collect(),
        };
        Ok((measured, whole))
    }
}

/// The intervals that matter.
struct Intervals<'a> {
    /// Whole inferences.
    inferences: Vec<&'a Segment>,
    /// The calls of each layer of one more.
    layers: Vec<Vec<&'a Segment>>,
}

/// Sorts the intervals of a run: each side measures `ITERATIONS` whole inferences and then as many layer by layer.
fn intervals(run: &Run) -> Result<Intervals<'_>> {
    let all = run.counts.started(run.starts);
    let count = run.calls.len();
    let wanted = ITERATIONS * (1 + count);
    // A board's stopwatch measures empty intervals first.
    let Some(first) = all.len().checked_sub(wanted).filter(|_| count > 0) else {
        bail!("{} intervals were counted, not {wanted}", all.len());
    };
    let all = &all[first..];
    let (inferences, calls) = all.split_at(ITERATIONS);
    let sum: u64 = calls[..count].iter().map(|segment| segment.instructions()).sum();
    let whole = inferences[0].instructions();
    ensure!(sum <= whole, "the layers take {sum} instructions and the whole inference {whole}");
    let mut layers = vec![Vec::new(); run.layers.len()];
    for (layer, segment) in run.calls.iter().zip(calls) {
        layers.get_mut(*layer).context("a call of a layer that is not there")?.push(*segment);
    }
    Ok(Intervals { inferences: inferences.to_vec(), layers })
}

/// A file for the plugin, of its own for each run.
fn counts_file() -> PathBuf {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let (process, run) = (std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed));
    crate::root().join(format!("target/counts-{process}-{run}.txt"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = "models/fashion-mnist-resnet8-g0.6.safetensors";

    fn measured(core: &str) -> (Measured, Profile) {
        let model = models::find(crate::root().join(MODEL).to_str().unwrap()).unwrap();
        let counter = Counter::new(Source::Auto, Duration::from_secs(300)).unwrap();
        counter.measure(Core::named(core).unwrap(), &model).unwrap()
    }

    #[test]
    fn versions_of_the_emulator_are_told_apart() {
        assert_eq!(loads_plugin("qemu-aarch64 version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright"), Some(true));
        assert_eq!(loads_plugin("QEMU emulator version 10.0.2"), Some(false));
        assert_eq!(loads_plugin("something else"), None);
    }

    /// What holds on every core.
    fn check(measured: &Measured, profile: &Profile) {
        assert!(measured.inferences.iter().all(|count| *count == measured.instructions), "{measured:?}");
        let layers: u64 = measured.layers.iter().map(|layer| layer.instructions).sum();
        // An inference is little more than its layers.
        assert!(measured.instructions - layers < measured.instructions / 50, "{measured:?}");
        assert!(measured.layers.iter().all(|layer| layer.instructions > layer.macs / 8), "{measured:?}");
        let mnemonics: u64 = measured.mnemonics.iter().map(|share| share.instructions).sum();
        assert_eq!(mnemonics, measured.instructions);
        let functions = profile.by_function();
        let kernels = functions.iter().filter(|(name, _)| name.contains("lrpet_runtime::kernel"));
        let kernels: u64 = kernels.map(|(_, count)| count).sum();
        assert!(
            kernels > measured.instructions * 9 / 10,
            "{kernels} of {}: {functions:?}",
            measured.instructions
        );
        let unknown =
            profile.by_mnemonic().into_iter().find(|(name, _)| name == "?" || name.starts_with('<'));
        assert_eq!(unknown, None);
        // One instruction a cycle is no more than a factor of four away on any core here.
        let cycles = measured.cycles_estimate.unwrap() / measured.instructions as f64;
        assert!((0.25..4.0).contains(&cycles), "{cycles} cycles an instruction");
    }

    #[test]
    fn the_plugin_counts_what_the_board_counts() {
        let (measured, profile) = measured("cortex-m4");
        check(&measured, &profile);
        // Their intervals differ by the calls at both ends.
        let board = measured.counted_by_board.unwrap();
        assert!(board.abs_diff(measured.instructions) <= 16, "{board} and {}", measured.instructions);
    }

    #[test]
    fn a_program_counts_the_same_on_every_run() {
        let (first, profile) = measured("cortex-a53");
        check(&first, &profile);
        let (second, _) = measured("cortex-a53");
        assert_eq!(first.instructions, second.instructions);
        let layers =
            |measured: &Measured| measured.layers.iter().map(|layer| layer.instructions).collect::<Vec<_>>();
        assert_eq!(layers(&first), layers(&second));
    }
}
