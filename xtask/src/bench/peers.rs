//! `cargo xtask bench peers`: latency of whole networks beside ONNX Runtime, OpenVINO and tract, all taking turns in one run.

mod table;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use lrpet_report::load;
use serde::{Deserialize, Serialize};

use crate::bench::models;
use crate::bench::side::{Side, median};
use crate::{process, setup};

/// The crate of ours and tract, outside of the workspace.
pub const OURS: &str = "tests/peers";
/// ONNX Runtime's and OpenVINO's side.
const PYTHON: &str = "tests/peers/engines.py";
/// Seconds of the round that is not counted, in which an engine makes its buffers.
const WARM_UP: f64 = 0.3;
/// Largest difference of a logit between two engines, as a share of the largest one (at least 1): what the roundings of
/// activations to f16 come to in deep networks with random weights. Another network's logits differ by about 1.
const TOLERANCE: f64 = 2e-2;

/// Options of `cargo xtask bench peers`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Networks, each with its pruning ratio, 0 for dense; for the images that the network is known for
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "NAME:RATIO",
        default_value = "resnet20b:0,resnet20b:0.6,resnet20b:0.8,resnet56b:0,resnet56b:0.8,resnet8:0,resnet8:0.6,\
                         ds_cnn:0,ds_cnn:0.6,mobilenet_v1_025:0,mobilenet_v1_025:0.6,mobilenet_v2:0,mobilenet_v2:0.6,\
                         resnet18:0,resnet18:0.6,resnet50:0,resnet50:0.6"
    )]
    net: Vec<Subject>,
    /// Threads of every engine; tract, which has one, is left out where there are more
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,
    /// Instruction set of lrpet: avx2 or avx512 (the others take the best of this machine)
    #[arg(long, value_name = "NAME")]
    isa: Option<String>,
    /// Seconds of a turn of each engine
    #[arg(long, default_value_t = 0.25)]
    seconds: f64,
    /// Turns of each engine on each network
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Neither build nor measure tract, which takes minutes to compile
    #[arg(long)]
    no_tract: bool,
    /// Also write one JSON document
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A network at a pruning ratio.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Subject {
    network: String,
    /// Pruning ratio g; 0 is dense.
    prune: f64,
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Subject, String> {
        let (network, prune) = text.split_once(':').ok_or("it must be NAME:RATIO, such as resnet20b:0.8")?;
        let prune = prune.parse().map_err(|_| format!("{prune} is no number"))?;
        if (0.0..1.0).contains(&prune) {
            Ok(Subject { network: network.to_owned(), prune })
        } else {
            Err(format!("a pruning ratio is at least 0 and below 1, not {prune}"))
        }
    }
}

/// An engine, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Engine {
    #[serde(rename = "lrpet")]
    Lrpet,
    #[serde(rename = "ONNX Runtime")]
    OnnxRuntime,
    #[serde(rename = "OpenVINO")]
    OpenVino,
    #[serde(rename = "tract")]
    Tract,
}

impl Engine {
    fn name(self) -> &'static str {
        match self {
            Engine::Lrpet => "lrpet",
            Engine::OnnxRuntime => "ONNX Runtime",
            Engine::OpenVino => "OpenVINO",
            Engine::Tract => "tract",
        }
    }

    /// True of those that a network must beat.
    fn is_rival(self) -> bool {
        matches!(self, Engine::OnnxRuntime | Engine::OpenVino)
    }

    /// The command that serves it.
    fn command(self, arguments: &Arguments, program: &Path, files: &Files) -> Command {
        let (mut command, model) = match self {
            Engine::Lrpet => (Command::new(program), &files.model),
            Engine::Tract => (Command::new(program), &files.onnx),
            Engine::OnnxRuntime | Engine::OpenVino => {
                let mut command = Command::new(setup::venv_python());
                command.arg(crate::root().join(PYTHON));
                (command, &files.onnx)
            }
        };
        let name = match self {
            Engine::OnnxRuntime => "onnxruntime",
            Engine::OpenVino => "openvino",
            _ => self.name(),
        };
        command.arg(name).arg(model).arg(&files.values).arg(arguments.threads.to_string());
        if self == Engine::Lrpet {
            command.args(&arguments.isa);
        }
        command
    }
}

/// What `lrpet inspect --json` says of a model, as far as it is used.
#[derive(Deserialize)]
struct Inspection {
    input: [usize; 3],
}

/// What a side says when it is ready.
#[derive(Deserialize)]
struct Hello {
    version: String,
    logits: Vec<f64>,
    /// Microseconds of a call that does nothing.
    call_us: Option<f64>,
    /// Instruction set, of ours.
    isa: Option<String>,
    /// Multiply-adds, of ours.
    macs: Option<u64>,
    /// Bytes of packed weights, of ours.
    packed_bytes: Option<u64>,
}

/// What a side says after a turn.
#[derive(Deserialize)]
struct Turn {
    /// Of each inference.
    nanoseconds: Vec<u64>,
    /// 1e9 multiply-adds a second of a loop that does nothing else, of ours.
    peak_gmacs: Option<f64>,
}

/// One engine on one network.
#[derive(Clone, Debug, Serialize)]
struct Measured {
    engine: Engine,
    version: String,
    median_ms: f64,
    least_ms: f64,
    inferences: usize,
    call_us: Option<f64>,
}

/// One network.
#[derive(Clone, Debug, Serialize)]
struct Comparison {
    #[serde(flatten)]
    subject: Subject,
    /// Channels, height and width of its images.
    input: [usize; 3],
    macs: u64,
    threads: u32,
    /// Instruction set of ours.
    isa: String,
    /// Bytes of ours for weights in the order of the kernels.
    packed_bytes: u64,
    /// 1e9 multiply-adds a second that one core reaches in a loop of nothing else: the most in this run.
    peak_gmacs: Option<f64>,
    /// Largest difference of a logit between ours and another engine, as a share of the largest (at least 1).
    difference: f64,
    engines: Vec<Measured>,
    /// Share of the processors' time that other programs used meanwhile.
    others: Option<f64>,
}

#[derive(Serialize)]
struct Document<'a> {
    processor: Option<String>,
    threads: u32,
    rounds: u32,
    seconds: f64,
    networks: &'a [Comparison],
    realisation: Vec<table::Realisation>,
}

/// What the engines read.
struct Files {
    model: PathBuf,
    onnx: PathBuf,
    values: PathBuf,
    input: [usize; 3],
}

/// Runs `cargo xtask bench peers`.
pub fn main(arguments: &Arguments) -> Result<()> {
    ensure!(
        arguments.seconds.is_finite() && arguments.seconds > 0.0,
        "--seconds {}: it must be above 0",
        arguments.seconds
    );
    let mut engines = vec![Engine::Lrpet];
    if setup::venv_is_current() {
        engines.push(Engine::OnnxRuntime);
    } else {
        eprintln!("ONNX Runtime is missing, so it is not measured; `cargo xtask setup` installs it");
    }
    if setup::has_openvino() {
        engines.push(Engine::OpenVino);
    } else {
        eprintln!("OpenVINO is missing, so it is not measured; `cargo xtask setup --bench` installs it");
    }
    let tract = !arguments.no_tract && arguments.threads == 1;
    if tract {
        engines.push(Engine::Tract);
    }
    let program = build(tract)?;
    let processor = processor();
    println!(
        "{}, {}, batch 1, {} turns of {} s: milliseconds, median (least)",
        processor.as_deref().unwrap_or("unknown processor"),
        if arguments.threads == 1 {
            "one thread".to_owned()
        } else {
            format!("{} threads", arguments.threads)
        },
        arguments.rounds,
        arguments.seconds
    );
    let mut networks = Vec::new();
    for subject in &arguments.net {
        networks.push(compare(arguments, subject, &engines, &program)?);
    }
    print!("{}", table::text(&networks));
    if let Some(path) = &arguments.json {
        let document = Document {
            processor,
            threads: arguments.threads,
            rounds: arguments.rounds,
            seconds: arguments.seconds,
            networks: &networks,
            realisation: table::realisations(&networks),
        };
        let text = serde_json::to_string_pretty(&document)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Builds what is measured and what writes the models; the program of ours and, if wanted, tract.
fn build(tract: bool) -> Result<PathBuf> {
    super::build_trainer()?;
    let manifest = format!("{OURS}/Cargo.toml");
    let mut own = vec!["--locked", "--manifest-path", &manifest, "--target-dir", "target/peers"];
    if !tract {
        own.push("--no-default-features");
    }
    super::build(
        &own,
        if tract { "building lrpet's runtime and tract" } else { "building lrpet's runtime" },
    )?;
    Ok(crate::root().join("target/peers/release/lrpet-peers"))
}

/// Writes a network with random weights for all engines.
fn write(subject: &Subject) -> Result<Files> {
    let Subject { network, prune } = subject;
    let model = models::find(&format!("{network}:{prune}"))?.file;
    let folder = crate::root().join("target/peers/models");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let file = |extension: &str| folder.join(format!("{network}-{prune}.{extension}"));
    let program = crate::root().join("target/release/lrpet");
    let mut inspect = Command::new(&program);
    inspect.arg("inspect").arg(&model).arg("--json");
    let hint = "the model was written by this program";
    let Inspection { input } = serde_json::from_str(&process::capture(&mut inspect, hint)?)?;
    let files = Files { model, onnx: file("onnx"), values: file("values"), input };
    let mut export = Command::new(program);
    export.arg("export").arg(&files.model).arg("--onnx").arg(&files.onnx).args(["--input", "values"]);
    process::capture(&mut export, hint)?;
    let bytes: Vec<u8> =
        values(input.iter().product()).iter().flat_map(|value| value.to_le_bytes()).collect();
    std::fs::write(&files.values, bytes)
        .with_context(|| format!("cannot write {}", files.values.display()))?;
    Ok(files)
}

/// An image of noise, from −2 to 2 in steps that f16 holds, so that every engine gets the same numbers.
fn values(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        // Numerical Recipes' generator; the upper bits are the random ones.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as f32 / 64.0 - 2.0
    };
    (0..count).map(|_| next()).collect()
}

/// Measures one network in rounds, the engines in turns; who begins changes with each round.
fn compare(
    arguments: &Arguments,
    subject: &Subject,
    engines: &[Engine],
    program: &Path,
) -> Result<Comparison> {
    let label = format!("{} at g = {}", subject.network, subject.prune);
    let files = write(subject)?;
    let (mut sides, mut hellos) = (Vec::new(), Vec::new());
    for engine in engines {
        let mut side = Side::start(engine.command(arguments, program, &files), arguments.threads)?;
        hellos.push(side.line::<Hello>()?);
        sides.push(side);
    }
    let difference = check(&label, engines, &hellos)?;
    for side in &mut sides {
        side.round::<Turn>(WARM_UP)?;
    }
    let before = load::Busy::now(sides.iter().map(Side::id));
    let mut times: Vec<Vec<f64>> = sides.iter().map(|_| Vec::new()).collect();
    let mut peak_gmacs = None;
    for number in 0..arguments.rounds as usize {
        for turn in 0..sides.len() {
            let index = (number + turn) % sides.len();
            let turn: Turn = sides[index].round(arguments.seconds)?;
            times[index].extend(turn.nanoseconds.iter().map(|time| *time as f64 / 1e6));
            peak_gmacs = turn.peak_gmacs.into_iter().chain(peak_gmacs).reduce(f64::max);
        }
    }
    let after = load::Busy::now(sides.iter().map(Side::id));
    eprintln!("{label}: done");
    let ours = hellos.first().context("no engine was measured")?;
    let (macs, isa) = (ours.macs.unwrap_or(0), ours.isa.clone().unwrap_or_default());
    let packed_bytes = ours.packed_bytes.unwrap_or(0);
    let measured = engines.iter().zip(&hellos).zip(&times).map(|((engine, hello), times)| Measured {
        engine: *engine,
        version: hello.version.clone(),
        median_ms: median(times.iter().copied()),
        least_ms: times.iter().copied().fold(f64::INFINITY, f64::min),
        inferences: times.len(),
        call_us: hello.call_us,
    });
    Ok(Comparison {
        subject: subject.clone(),
        input: files.input,
        macs,
        threads: arguments.threads,
        isa,
        packed_bytes,
        peak_gmacs,
        difference,
        engines: measured.collect(),
        others: before.zip(after).map(|(before, after)| after.others_since(&before)),
    })
}

/// The largest difference between the first engine's logits and another's, which must compute the same.
fn check(label: &str, engines: &[Engine], hellos: &[Hello]) -> Result<f64> {
    let ours = &hellos.first().context("no engine was measured")?.logits;
    let largest = ours.iter().map(|logit| logit.abs()).fold(1.0, f64::max);
    let mut most = 0.0;
    for (engine, hello) in engines.iter().zip(hellos) {
        let name = engine.name();
        ensure!(hello.logits.len() == ours.len(), "{label}: {name} gives {} logits", hello.logits.len());
        let pairs = ours.iter().zip(&hello.logits);
        let difference = pairs.map(|(a, b)| (a - b).abs() / largest).fold(0.0, f64::max);
        // NaN is not below it either.
        if !hello.logits.iter().all(|logit| logit.is_finite()) || difference > TOLERANCE {
            bail!(
                "{label}: {name} computes something else: a logit differs by {difference:.1e} of the largest, \
                 more than {TOLERANCE:.0e}"
            );
        }
        most = f64::max(most, difference);
    }
    Ok(most)
}

/// The processor's name (Linux).
fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let of = |key: &str| {
        let line = text.lines().find(|line| line.split(':').next().is_some_and(|name| name.trim() == key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    // Some hypervisors leave the name short: family and model say which one it is.
    let name = of("model name")?;
    match of("cpu family").zip(of("model")) {
        Some((family, model)) => Some(format!("{name} (family {family}, model {model})")),
        None => Some(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_read() {
        let subject = Subject { network: "resnet20b".to_owned(), prune: 0.8 };
        assert_eq!("resnet20b:0.8".parse(), Ok(subject));
        for wrong in ["resnet20b", "resnet20b:x", "resnet20b:1", "resnet20b:-0.1"] {
            assert!(wrong.parse::<Subject>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_image_is_noise_that_f16_holds() {
        let values = values(3 * 32 * 32);
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        assert!(mean.abs() < 0.1, "{mean}");
        assert!(values.iter().all(|value| value.abs() <= 2.0 && (value * 64.0).fract() == 0.0));
        assert!(values[1..].iter().any(|value| *value != values[0]));
    }

    #[test]
    fn other_logits_are_refused() {
        let hello = |logits: &[f64]| {
            let json = serde_json::json!({ "version": "1", "logits": logits, "call_us": null });
            serde_json::from_value::<Hello>(json).unwrap()
        };
        let engines = [Engine::Lrpet, Engine::Tract];
        let of = |a: &[f64], b: &[f64]| check("net", &engines, &[hello(a), hello(b)]);
        assert!((of(&[10.0, 0.0], &[10.0, 0.1]).unwrap() - 1e-2).abs() < 1e-12);
        for other in [&[10.0, 0.3][..], &[10.0], &[]] {
            let error = of(&[10.0, 0.0], other).unwrap_err().to_string();
            assert!(error.contains("tract"), "{error}");
        }
    }
}
