//! Latency of a model on this machine, whole and by layer.

use std::num::NonZeroUsize;
use std::time::Instant;

use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::Model;
use lrpet_runtime::plan::Plan;
use lrpet_runtime::session::{Hook, Session};
use serde::Serialize;

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
    pub isa: &'static str,
    /// Storage of weights and activations; sums are f32.
    pub dtype: &'static str,
    /// Every operation in order of execution.
    pub layers: Vec<LayerTime>,
}

/// A clock around each layer.
struct Clock {
    start: Instant,
    /// Milliseconds by layer and iteration.
    times: Vec<Vec<f64>>,
}

impl Hook for Clock {
    fn before(&mut self, _layer: usize) {
        self.start = Instant::now();
    }

    fn after(&mut self, layer: usize) {
        self.times[layer].push(milliseconds(self.start));
    }
}

/// Times `model` on an image of its self-check, or on a grey one. Whole inferences are timed apart from layers, so that
/// the clock's cost is not in their figure.
///
/// # Errors
/// [`ExportError::Model`] where the runtime refuses the model or the system gives no thread.
pub fn bench(model: &Model<'_>, options: BenchOptions) -> Result<Bench, ExportError> {
    let refused = |reason: String| ExportError::Model { what: "model".into(), reason };
    let program = model.program();
    let isa = Isa::detect();
    let plan = Plan::new(program, isa).map_err(|error| refused(error.to_string()))?;
    let mut arena = AlignedBytes::zeroed(plan.arena_bytes);
    let session = Session::new(model, arena.as_mut_slice()).map_err(|error| refused(error.to_string()))?;
    let session = session.with_threads(options.threads).map_err(|error| refused(error.to_string()));
    let mut session = session?;
    let grey = vec![128; program.header().input.len()];
    let check = model.self_check().filter(|check| check.samples() > 0);
    let image = check.as_ref().map_or(&grey[..], |check| check.image(0));
    let mut logits = vec![0.0; session.classes()];

    let iterations = options.iterations.max(1);
    let mut run = |hook: &mut Clock| {
        session.run_image(image, &mut logits, hook).map_err(|error| refused(error.to_string()))
    };
    let mut clock = Clock { start: Instant::now(), times: vec![Vec::new(); program.layers().count()] };
    for _ in 0..options.warm_up {
        run(&mut clock)?;
    }
    clock.times.iter_mut().for_each(Vec::clear);
    for _ in 0..iterations {
        run(&mut clock)?;
    }
    let mut run =
        || session.run_image(image, &mut logits, &mut ()).map_err(|error| refused(error.to_string()));
    let mut whole = Vec::with_capacity(iterations);
    for _ in 0..iterations {
        let start = Instant::now();
        run()?;
        whole.push(milliseconds(start));
    }
    let median_ms = median(&mut whole);
    let threads = session.threads();
    let layers = program.layers().zip(&mut clock.times);
    let layers = layers
        .map(|(layer, times)| {
            let median_ms = median(times);
            LayerTime { name: layer.op.name().to_owned(), median_ms, min_ms: times[0] }
        })
        .collect();
    Ok(Bench {
        median_ms,
        min_ms: whole[0],
        max_ms: whole[iterations - 1],
        iterations,
        warm_up: options.warm_up,
        threads,
        isa: isa.name(),
        dtype: "f16",
        layers,
    })
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// Sorts `values` and gives the one in the middle (the lower of two).
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) / 2]
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_lower_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.0);
    }
}
