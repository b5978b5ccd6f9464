//! Latency of a model on this machine, whole and by layer.

use std::num::{NonZeroU32, NonZeroUsize};

use lrpet_report::load::Busy;
use lrpet_report::{Host, Kind, Run};
use lrpet_runtime::bench::Bench;
use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::Model;
use lrpet_runtime::plan::Plan;
use lrpet_runtime::session::Session;
use serde::Serialize;
use sha2::{Digest, Sha256};

use lrpet_network::export::ExportError;

/// How often a model runs.
#[derive(Clone, Copy, Debug)]
pub struct BenchOptions {
    /// Inferences before measuring.
    pub warm_up: usize,
    /// Inferences measured whole, and as many again measured by layer; at least 1.
    pub iterations: usize,
    /// Threads of one inference.
    pub threads: NonZeroUsize,
}

/// Turns in which several models are measured.
const TURNS: usize = 10;

/// Measures `model`, from the file called `file`, on an image of its self-check, or on a grey one: the document that every machine
/// writes.
///
/// # Errors
/// [`ExportError::Model`] where the runtime refuses the model or the system gives no thread.
pub fn run(model: &Model<'_>, file: &str, options: BenchOptions) -> Result<Run, ExportError> {
    let mut runs = run_all(&[(model, file)], options)?;
    runs.pop().ok_or_else(|| refused(file, "nothing was measured"))
}

/// Measures several models, each from the file of its name, in turns: what else goes on meets all of them alike, so that their
/// figures can be compared, the least times best. One after another is measured, never two at once.
///
/// # Errors
/// As [`run`], of the first model that fails.
pub fn run_all(models: &[(&Model<'_>, &str)], options: BenchOptions) -> Result<Vec<Run>, ExportError> {
    let mut arenas = Vec::new();
    for (model, file) in models {
        let plan = Plan::new(model.program(), Isa::detect()).map_err(|error| refused(file, error))?;
        arenas.push(AlignedBytes::zeroed(plan.arena_bytes));
    }
    let mut sessions = Vec::new();
    for ((model, file), arena) in models.iter().zip(&mut arenas) {
        let session = Session::new(model, arena.as_mut_slice()).map_err(|error| refused(file, error))?;
        sessions.push(session.with_threads(options.threads).map_err(|error| refused(file, error))?);
    }
    let mut benches = Vec::new();
    for ((model, file), session) in models.iter().zip(&mut sessions) {
        benches.push(Bench::new(model, session, file).map_err(|error| refused(file, error))?);
    }
    let turns = if models.len() == 1 { 1 } else { TURNS.min(options.iterations.max(1)) };
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let busy = Busy::here();
    for turn in 0..turns {
        // Shares of the iterations that add up to all of them.
        let iterations =
            options.iterations.max(1) * (turn + 1) / turns - options.iterations.max(1) * turn / turns;
        let iterations = NonZeroU32::new(count(iterations)).unwrap_or(NonZeroU32::MIN);
        // In another order each time: none is always the one behind the largest.
        for at in 0..benches.len() {
            let at = (turn + at) % benches.len();
            let failed = |error| refused(models[at].1, error);
            // The other models' weights took this one's place in the caches.
            let warm_up = if turn == 0 { count(options.warm_up) } else { 1 };
            benches[at].warm_up(warm_up).map_err(failed)?;
            benches[at].turn(iterations, &mut |_| Ok(())).map_err(failed)?;
        }
    }
    let others = busy.and_then(|busy| busy.others_until_now());
    let runs = models.iter().zip(benches).map(|((model, _), bench)| {
        let run = bench.finish();
        let host = run.host.clone().map(|host| Host { others, ..host });
        with_sha256(Run { host, ..run }, model.bytes())
    });
    Ok(runs.collect())
}

fn refused(file: &str, reason: impl std::fmt::Display) -> ExportError {
    ExportError::Model { what: file.to_owned(), reason: reason.to_string() }
}

/// The document of a run of the model file `bytes`, with their SHA-256.
pub fn with_sha256(mut run: Run, bytes: &[u8]) -> Run {
    run.model.sha256 = Some(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect());
    run
}

/// Time of one layer.
#[derive(Clone, Debug, Serialize)]
pub struct LayerTime {
    /// Name of the layer, or what it does.
    pub name: String,
    /// Median over the iterations, in milliseconds, the clock's own cost (under 0.1 µs) included.
    pub median_ms: f64,
    /// Fastest, milliseconds.
    pub min_ms: f64,
}

/// Latency of one inference, in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Times {
    /// Half of the inferences were faster.
    pub median_ms: f64,
    /// The fastest.
    pub min_ms: f64,
    /// The slowest.
    pub max_ms: f64,
    /// Inferences measured.
    pub iterations: usize,
    /// Inferences before measuring.
    pub warm_up: usize,
    /// Threads that one inference uses.
    pub threads: usize,
    /// Instruction set of the kernels.
    pub isa: String,
    /// Storage of weights and activations; sums are f32.
    pub dtype: String,
    /// Every operation in order of execution.
    pub layers: Vec<LayerTime>,
}

impl Times {
    /// The times of a run; none where it counted something else.
    pub fn of(run: &Run) -> Option<Times> {
        if run.counter.kind != Kind::Nanoseconds {
            return None;
        }
        let ms = |nanoseconds: u64| nanoseconds as f64 / 1e6;
        let layers = run.layers.iter().map(|layer| LayerTime {
            name: layer.name.clone(),
            median_ms: ms(layer.typical()),
            min_ms: ms(layer.min),
        });
        Some(Times {
            median_ms: ms(run.total.median),
            min_ms: ms(run.total.min),
            max_ms: ms(run.total.max),
            iterations: run.iterations as usize,
            warm_up: run.warm_up as usize,
            threads: run.threads as usize,
            isa: run.isa.clone(),
            dtype: run.dtype.clone(),
            layers: layers.collect(),
        })
    }
}

/// As [`run`], the times alone.
///
/// # Errors
/// As [`run`].
pub fn bench(model: &Model<'_>, options: BenchOptions) -> Result<Times, ExportError> {
    let what = "model";
    let other = || ExportError::Model { what: what.into(), reason: "this machine counts no time".into() };
    Times::of(&run(model, what, options)?).ok_or_else(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrpet_network::export::checked;

    #[test]
    fn models_are_measured_in_turns_and_every_inference_counts() {
        let file = |name: &str| {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models").join(name);
            AlignedBytes::copy_of(&std::fs::read(path).unwrap())
        };
        let files =
            ["fashion-mnist-resnet8-dense.safetensors", "fashion-mnist-resnet8-g0.6.safetensors"].map(file);
        let [dense, low] = [&files[0], &files[1]].map(|file| checked(file.as_slice(), "model").unwrap());
        let options = BenchOptions { warm_up: 3, iterations: 23, threads: NonZeroUsize::MIN };
        let runs = run_all(&[(&dense, "dense"), (&low, "low")], options).unwrap();
        assert_eq!(runs.iter().map(|run| run.model.file.as_str()).collect::<Vec<_>>(), ["dense", "low"]);
        for run in &runs {
            run.check().unwrap();
            // The first turn's three, and one for each of the nine others.
            assert_eq!((run.iterations, run.warm_up), (23, 12));
            assert!(run.self_check.unwrap().passes());
        }
        // The same sessions side by side, and each model's own bytes.
        assert!(
            runs[1].macs * 2 < runs[0].macs && runs[1].total.min < runs[0].total.min,
            "{:?}",
            runs[1].total
        );
        assert_ne!(runs[0].model.sha256, runs[1].model.sha256);
        let alone = run(&low, "low", options).unwrap();
        assert_eq!((alone.iterations, alone.warm_up, &alone.model.sha256), (23, 3, &runs[1].model.sha256));
        assert_eq!(alone.outputs_crc32, runs[1].outputs_crc32);
        assert!(run_all(&[], options).unwrap().is_empty());
    }
}
