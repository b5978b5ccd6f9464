//! Inputs for networks that take values as they are: normal random numbers, the same on every machine.

use lrpet_runtime::kernel::Method;
use lrpet_runtime::model::{Model, Shape};
use lrpet_runtime::session::Hook;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::agreement::{Reference, Trace};
use super::{ExportError, Folded, Ranges};

/// Seed of the numbers.
pub const SEED: u64 = 0;

/// `count` inputs of shape `input` (C×H×W each), of mean 0 and deviation 1.
pub fn samples(input: Shape, count: usize) -> Vec<Vec<f32>> {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut one = || (0..input.len()).map(|_| StandardNormal.sample(&mut rng)).collect();
    (0..count).map(|_| one()).collect()
}

/// Holds every layer of `model` against the reference on each of `inputs`; `network` is the model's, rounded to f16. Returns how far
/// its values go.
///
/// # Errors
/// Those of [`Trace::of_values`] and [`Reference::check_values`].
pub fn hold(network: &Folded, model: &Model<'_>, inputs: &[Vec<f32>]) -> Result<Ranges, ExportError> {
    let reference = Reference::new(network);
    let mut ranges = Ranges::default();
    for (sample, input) in inputs.iter().enumerate() {
        let trace = Trace::of_values(model, input, Method::Direct)?;
        reference.check_values(sample, input, &trace)?;
        let fastest = Trace::of_values(model, input, Method::Fastest)?;
        if fastest.tiles.iter().any(Option::is_some) {
            reference.check_values(sample, input, &fastest)?;
        }
        trace.stored.iter().enumerate().for_each(|(layer, values)| ranges.stored(layer, values));
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_normal_and_the_same_again() {
        let shape = Shape::new(3, 20, 30);
        let found = samples(shape, 2);
        assert_eq!(found, samples(shape, 2));
        assert_ne!(found[0], found[1]);
        let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len() as f32;
        let squares: Vec<f32> = found[0].iter().map(|value| value * value).collect();
        assert_eq!(found[0].len(), 1800);
        assert!(mean(&found[0]).abs() < 0.1 && (mean(&squares) - 1.0).abs() < 0.15);
    }
}
