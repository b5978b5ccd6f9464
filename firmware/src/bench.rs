//! The bench: whole inferences, and each layer through the runtime's hook.

use embedded_hal::digital::OutputPin;
use lrpet_runtime::kernel::Operations;
use lrpet_runtime::model::SelfCheck;
use lrpet_runtime::session::{Hook, RunError, Session};

use crate::counter::{Counter, Stopwatch};

/// Most iterations: their totals are kept for the median.
pub const MAX_ITERATIONS: usize = 64;

/// What one layer took, over the iterations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct LayerCount {
    /// Fewest.
    pub min: u64,
    /// Most.
    pub max: u64,
    /// Sum over the iterations.
    pub sum: u64,
    /// In this iteration so far: in a stream, a layer runs once for each strip.
    now: u64,
}

impl LayerCount {
    /// Of no iteration.
    pub const EMPTY: Self = Self { min: u64::MAX, max: 0, sum: 0, now: 0 };

    fn add(&mut self, count: u64) {
        self.now = self.now.saturating_add(count);
    }

    /// Counts an iteration in which the layer was reached.
    fn end(&mut self) {
        self.min = self.min.min(self.now);
        self.max = self.max.max(self.now);
        self.sum = self.sum.saturating_add(self.now);
        self.now = 0;
    }
}

/// Counts of whole inferences, sorted.
pub struct Totals {
    sorted: [u64; MAX_ITERATIONS],
    length: usize,
}

impl Totals {
    fn new() -> Self {
        Self { sorted: [u64::MAX; MAX_ITERATIONS], length: 0 }
    }

    /// Inserts in order; what exceeds [`MAX_ITERATIONS`] pushes the largest out.
    fn insert(&mut self, mut count: u64) {
        for slot in &mut self.sorted {
            if count < *slot {
                core::mem::swap(slot, &mut count);
            }
        }
        self.length = (self.length + 1).min(MAX_ITERATIONS);
    }

    /// Fewest, median (the lower one of an even number), most; zeros where nothing was counted.
    pub fn min_median_max(&self) -> [u64; 3] {
        let last = self.length.saturating_sub(1);
        [0, last / 2, last].map(|index| match self.sorted.get(index) {
            Some(count) if self.length > 0 => *count,
            _ => 0,
        })
    }
}

/// Why a bench stopped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BenchError {
    /// An inference failed.
    Run(RunError),
    /// The pin cannot be set.
    Pin,
}

/// Counts `iterations` (at most [`MAX_ITERATIONS`]) inferences of the first of `samples` after `warm_up` uncounted ones, with
/// `pin` high during each, and then as many again layer by layer. `hook` is called around each layer of all of them; in the
/// counts by layer it has no part.
///
/// `layers` holds one entry a layer; entries that are [`LayerCount::EMPTY`] afterwards were never reached.
#[allow(clippy::too_many_arguments)]
pub fn measure(
    session: &mut Session<'_, impl Operations>,
    samples: &SelfCheck<'_>,
    logits: &mut [f32],
    layers: &mut [LayerCount],
    counter: &mut impl Counter,
    pin: &mut impl OutputPin,
    hook: &mut impl Hook,
    warm_up: usize,
    iterations: usize,
) -> Result<Totals, BenchError> {
    for _ in 0..warm_up {
        session.run_sample(samples, 0, logits, hook).map_err(BenchError::Run)?;
    }
    let mut watch = Stopwatch::new(counter);
    let mut totals = Totals::new();
    for _ in 0..iterations.min(MAX_ITERATIONS) {
        pin.set_high().map_err(|_| BenchError::Pin)?;
        watch.start();
        let done = session.run_sample(samples, 0, logits, hook);
        totals.insert(watch.stop());
        pin.set_low().map_err(|_| BenchError::Pin)?;
        done.map_err(BenchError::Run)?;
    }
    layers.fill(LayerCount::EMPTY);
    let mut counting = LayerHook { watch, layers, hook };
    for _ in 0..iterations.min(MAX_ITERATIONS) {
        session.run_sample(samples, 0, logits, &mut counting).map_err(BenchError::Run)?;
        counting.layers.iter_mut().take(session.layers()).for_each(LayerCount::end);
    }
    Ok(totals)
}

/// Counts each layer.
struct LayerHook<'a, C, H> {
    watch: Stopwatch<'a, C>,
    layers: &'a mut [LayerCount],
    hook: &'a mut H,
}

impl<C: Counter, H: Hook> Hook for LayerHook<'_, C, H> {
    fn before(&mut self, layer: usize) {
        self.hook.before(layer);
        self.watch.start();
    }

    fn after(&mut self, layer: usize) {
        let count = self.watch.stop();
        if let Some(slot) = self.layers.get_mut(layer) {
            slot.add(count);
        }
        self.hook.after(layer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_sorted_whatever_their_order() {
        let mut totals = Totals::new();
        assert_eq!(totals.min_median_max(), [0, 0, 0]);
        for count in [7, 3, 9, 5] {
            totals.insert(count);
        }
        assert_eq!(totals.min_median_max(), [3, 5, 9]);
        totals.insert(1);
        assert_eq!(totals.min_median_max(), [1, 5, 9]);
    }
}
