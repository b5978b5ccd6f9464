//! One engine, serving timed inferences: `lrpet-peers lrpet|tract MODEL VALUES THREADS [ISA]`.
//!
//! MODEL is a model file for `lrpet` and ONNX for `tract`; VALUES holds its input, raw f32, channel by channel. The first
//! line printed has the engine's version and its logits; then each line read, a number of seconds, is answered by the
//! nanoseconds of every inference made in that time. `engines.py` serves the other engines in the same way.

use std::io::{BufRead, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use lrpet_runtime::host::{AlignedBytes, MappedModel};
use lrpet_runtime::kernel::{self, Isa};
use lrpet_runtime::model::{Model, cost};
use lrpet_runtime::plan::Plan;
use lrpet_runtime::session::Session;
use serde_json::{Value, json};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [engine, model, values, threads, isa @ ..] = arguments.as_slice() else {
        bail!("usage: lrpet-peers lrpet|tract MODEL VALUES THREADS [ISA]");
    };
    let threads: NonZeroUsize =
        threads.parse().with_context(|| format!("{threads} is no number of threads"))?;
    let bytes = std::fs::read(values).with_context(|| format!("cannot read {values}"))?;
    let values: Vec<f32> = bytes
        .chunks_exact(4)
        .map(|value| f32::from_le_bytes([value[0], value[1], value[2], value[3]]))
        .collect();
    let serve = match engine.as_str() {
        "lrpet" => lrpet(Path::new(model), &values, threads, isa.first().map(String::as_str)),
        #[cfg(feature = "tract")]
        "tract" if threads.get() == 1 => tract(Path::new(model), &values),
        _ => bail!("there is no engine {engine} with {threads} threads"),
    };
    serve.with_context(|| format!("{engine}, {model}"))
}

/// The runtime of this project, with the best kernels of this machine or those of an instruction set that it has.
fn lrpet(file: &Path, values: &[f32], threads: NonZeroUsize, isa: Option<&str>) -> Result<()> {
    let map = MappedModel::open(file)?;
    let model = Model::new_checked(map.bytes()).map_err(|error| anyhow!("{error}"))?;
    let isa = match isa {
        None => Isa::detect(),
        Some(name) => [Isa::Avx2, Isa::Avx512, Isa::Neon, Isa::NeonF16]
            .into_iter()
            .find(|isa| isa.name() == name && isa.is_available())
            .with_context(|| format!("this machine has no instruction set {name} that packs weights"))?,
    };
    let plan = Plan::new(model.program(), isa).map_err(|error| anyhow!("{error}"))?;
    let mut arena = AlignedBytes::zeroed(plan.arena_bytes);
    let mut session = Session::with_isa(&model, arena.as_mut_slice(), isa)
        .map_err(|error| anyhow!("{error}"))?
        .with_threads(threads)?;
    let mut logits = vec![0.0; session.classes()];
    session.run_values(values, &mut logits, &mut ()).map_err(|error| anyhow!("{error}"))?;
    let macs: u64 = model.program().layers().map(|layer| cost::stored(&layer.op, layer.input).macs).sum();
    let hello = json!({
        "version": locked("lrpet-runtime")?,
        "logits": logits,
        "isa": isa.name(),
        "macs": macs,
        "packed_bytes": session.packed_bytes(),
        "call_us": null,
    });
    let run = || session.run_values(values, &mut logits, &mut ()).map_err(|error| anyhow!("{error}"));
    serve(&hello, run, || json!({ "peak_gmacs": peak(isa) }))
}

/// tract, which uses one thread unless it is told otherwise.
#[cfg(feature = "tract")]
fn tract(file: &Path, values: &[f32]) -> Result<()> {
    use tract_onnx::prelude::*;

    let plan = tract_onnx::onnx().model_for_path(file)?.into_optimized()?.into_runnable()?;
    let shape =
        plan.model().input_fact(0)?.shape.as_concrete().context("the input has no fixed shape")?.to_vec();
    let input = Tensor::from_shape(&shape, values)?.into_tvalue();
    let mut state = plan.spawn()?;
    let outputs = state.run(tvec![input.clone()])?;
    let logits: Vec<f32> =
        outputs.first().context("no output")?.to_plain_array_view::<f32>()?.iter().copied().collect();
    let hello = json!({ "version": locked("tract-onnx")?, "logits": logits, "call_us": null });
    serve(&hello, || state.run(tvec![input.clone()]).map(|_| ()), || json!({}))
}

/// Prints `hello` and answers every line of standard input: times `run`, and adds what `after` says.
fn serve(hello: &Value, mut run: impl FnMut() -> Result<()>, after: impl Fn() -> Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{hello}")?;
    out.flush()?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let seconds = line.trim().parse().with_context(|| format!("{line:?} is no number of seconds"))?;
        let end = Instant::now() + Duration::try_from_secs_f64(seconds)?;
        let mut nanoseconds = Vec::new();
        loop {
            let start = Instant::now();
            run()?;
            let stop = Instant::now();
            nanoseconds.push((stop - start).as_nanos() as u64);
            if stop >= end {
                break;
            }
        }
        let mut answer = after();
        answer["nanoseconds"] = json!(nanoseconds);
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

/// Multiply-adds a second of a loop that does nothing else on this core, in 1e9: the best of some short runs. None
/// where there is no such loop.
fn peak(isa: Isa) -> Option<f64> {
    /// About 50 µs, less than the time that a scheduler gives.
    const ROUNDS: u32 = 16_000;
    let rate = |_| {
        let start = Instant::now();
        let count = kernel::multiply_adds(isa, kernel::Arithmetic::F32, ROUNDS)?;
        Some(count as f64 / start.elapsed().as_secs_f64() / 1e9)
    };
    (0..100).filter_map(rate).reduce(f64::max)
}

/// The version of a dependency.
fn locked(package: &str) -> Result<&'static str> {
    let lock = include_str!("../Cargo.lock");
    let (_, after) =
        lock.split_once(&format!("name = \"{package}\"\nversion = \"")).context("no such package")?;
    let (version, _) = after.split_once('"').context("Cargo.lock is cut short")?;
    Ok(version)
}
