//! Latency of a model on this machine, whole and by layer.

use std::num::{NonZeroU32, NonZeroUsize};

use lrpet_report::{Kind, Run};
use lrpet_runtime::bench::{self, Options};
use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::Model;
use lrpet_runtime::plan::Plan;
use lrpet_runtime::session::Session;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::export::ExportError;

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

/// Measures `model`, from the file called `file`, on an image of its self-check, or on a grey one: the document that every machine
/// writes.
///
/// # Errors
/// [`ExportError::Model`] where the runtime refuses the model or the system gives no thread.
pub fn run(model: &Model<'_>, file: &str, options: BenchOptions) -> Result<Run, ExportError> {
    let refused = |reason: String| ExportError::Model { what: file.to_owned(), reason };
    let plan = Plan::new(model.program(), Isa::detect()).map_err(|error| refused(error.to_string()))?;
    let mut arena = AlignedBytes::zeroed(plan.arena_bytes);
    let session = Session::new(model, arena.as_mut_slice()).map_err(|error| refused(error.to_string()))?;
    let session = session.with_threads(options.threads).map_err(|error| refused(error.to_string()));
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let often = Options {
        warm_up: number(options.warm_up),
        iterations: NonZeroU32::new(number(options.iterations)).unwrap_or(NonZeroU32::MIN),
    };
    let run = bench::bench(model, &mut session?, file, often, &mut |_| Ok(()));
    Ok(with_sha256(run.map_err(|error| refused(error.to_string()))?, model.bytes()))
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
pub struct Bench {
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

impl Bench {
    /// The times of a run; none where it counted something else.
    pub fn of(run: &Run) -> Option<Bench> {
        if run.counter.kind != Kind::Nanoseconds {
            return None;
        }
        let ms = |nanoseconds: u64| nanoseconds as f64 / 1e6;
        let layers = run.layers.iter().map(|layer| LayerTime {
            name: layer.name.clone(),
            median_ms: ms(layer.typical()),
            min_ms: ms(layer.min),
        });
        Some(Bench {
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
pub fn bench(model: &Model<'_>, options: BenchOptions) -> Result<Bench, ExportError> {
    let what = "model";
    let other = || ExportError::Model { what: what.into(), reason: "this machine counts no time".into() };
    Bench::of(&run(model, what, options)?).ok_or_else(other)
}
