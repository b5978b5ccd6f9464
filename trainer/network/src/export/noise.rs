//! How far roundings move the logits of a network on given images: the tolerance of its self-check.
//!
//! Two machines that add in another order store some values one step of f16 apart; what such steps do to the logits depends on the
//! network and on the image. Values that are rounded up or down at random, each way as likely as it is near, have the error of two
//! correct machines' difference (h²/6, of a step h, against h²/12 of one machine's), so some such runs tell what to expect.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{ExportError, Folded, Machine};

/// Runs with random roundings for each image.
const RUNS: usize = 8;
/// Tolerance, in root mean squares of what the runs' logits are off.
const FACTOR: f64 = 5.0;

/// For each of `samples` (normalised values, C×H×W) how far a logit of a correct machine may be from that of another one, tried on `machine`. `last` is what the
/// sums of the last layer alone may move it, for each sample.
///
/// # Errors
/// [`ExportError::Machine`].
pub fn tolerances(
    network: &Folded,
    samples: &[Vec<f32>],
    last: &[f64],
    machine: &dyn Machine,
) -> Result<Vec<f32>, ExportError> {
    let squares: Vec<f64> = samples
        .iter()
        .enumerate()
        .map(|(sample, input)| mean_square(network, machine, input, sample as u64))
        .collect::<Result<_, _>>()?;
    let all = squares.iter().sum::<f64>() / squares.len().max(1) as f64;
    let tolerance = |(square, last): (&f64, &f64)| (FACTOR * square.max(all).sqrt() + 2.0 * last) as f32;
    Ok(squares.iter().zip(last).map(tolerance).collect())
}

/// Mean square of what the furthest logit is off, over the runs.
fn mean_square(
    network: &Folded,
    machine: &dyn Machine,
    input: &[f32],
    seed: u64,
) -> Result<f64, ExportError> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let input: Vec<f32> = input.iter().map(|&value| half::f16::from_f32(value).to_f32()).collect();
    // The first copy keeps what is computed; the others store it with random roundings.
    let images = input.repeat(RUNS + 1);
    let logits = machine.forward(network, images, &mut |values| {
        let one = values.len() / (RUNS + 1);
        values[one..].iter_mut().for_each(|value| *value = randomly_rounded(*value, rng.random()));
    })?;
    let runs: Vec<&[f32]> = logits.chunks_exact(network.classes as usize).collect();
    let distance = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).abs();
    let off = |run: &&[f32]| run.iter().zip(runs[0]).map(distance).fold(0.0, f64::max);
    Ok(runs[1..].iter().map(|run| off(run).powi(2)).sum::<f64>() / RUNS as f64)
}

/// One of the two values of f16 around `value`, the nearer one the likelier: `random` says which. Saturates.
fn randomly_rounded(value: f32, random: u16) -> f32 {
    /// Bits of an f32 that an f16 lacks.
    const LOST: u32 = 13;
    /// Smallest normal f16; below it all steps are of one size.
    const NORMAL: f32 = 6.103_515_6e-5;
    const STEP: f32 = 5.960_464_5e-8;
    let rounded = if value.abs() < NORMAL {
        (value / STEP + (f32::from(random) + 0.5) / 65536.0).floor() * STEP
    } else {
        f32::from_bits((value.to_bits() + u32::from(random >> (16 - LOST))) & (u32::MAX << LOST))
    };
    rounded.clamp(-65504.0, 65504.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    #[test]
    fn random_rounding_takes_a_neighbour_and_is_right_on_the_average() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for value in [1.0003_f32, -0.123, 6.1e-5, -3.01e-8, 1.4e-6, 65503.0, 3.0] {
            let (mut sum, runs) = (0.0, 20_000);
            let step = f64::from(f32::max(value.abs(), 6.2e-5)) / 1024.0;
            for _ in 0..runs {
                let rounded = randomly_rounded(value, rng.random());
                assert_eq!(f16::from_f32(rounded).to_f32(), rounded, "{value} became no f16");
                assert!(f64::from((rounded - value).abs()) <= step, "{value} became {rounded}");
                sum += f64::from(rounded);
            }
            assert!((sum / f64::from(runs) - f64::from(value)).abs() < step / 20.0, "{value}");
        }
        assert_eq!(randomly_rounded(1e6, 0), 65504.0);
    }
}
