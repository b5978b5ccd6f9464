//! Activations behind ReLU6, in f32: what they are off is a few units in the last place, 2^-24 of a value each.
//!
//! The exponential is a polynomial of our own, without branches, so that it vectorises; a test states what it is off. The others
//! come from it where that loses nothing, else from `libm`.

#![cfg_attr(not(any(feature = "std", feature = "activations")), allow(dead_code))]

use crate::model::Activation;

/// Largest relative error of [`exp`], sigmoid and SiLU.
#[cfg(test)]
const ERROR: f64 = 4e-7;

/// Exponents beyond which [`exp`] stays as it is: e^88 is the last power of e below the range of f32.
const MOST: f32 = 88.0;

/// e^x; of x beyond ±88 that of ±88. A NaN stays one.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Comparisons, not f32::clamp: one select each on every core, and a NaN stays.
    let x = if x > MOST { MOST } else { x };
    let x = if x < -MOST { -MOST } else { x };
    // x = n·ln 2 + r with |r| ≤ ln 2 / 2: adding 1.5·2^23 rounds to whole numbers.
    const WHOLE: f32 = 12_582_912.0;
    let n = (x * core::f32::consts::LOG2_E + WHOLE) - WHOLE;
    // ln 2 in two parts, of which the first has few bits: its products are exact.
    let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    // The series up to r^7: the rest is below 6e-9.
    const SERIES: [f32; 7] = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    let series = SERIES.iter().fold(1.0 / 5040.0, |sum, term| sum * r + term);
    // 2^n by its bits, in two factors: n may be −127.
    let half = ((n as i32) >> 1).clamp(-64, 64);
    let power = |n: i32| f32::from_bits(((n + 127) as u32) << 23);
    series * power(half) * power((n as i32).clamp(-128, 128) - half)
}

/// 1 / (1 + e^−x).
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The part of a line between 0 and 1.
#[inline(always)]
fn hard_sigmoid(x: f32, alpha: f32, beta: f32) -> f32 {
    let line = alpha * x + beta;
    let line = if line < 0.0 { 0.0 } else { line };
    if line > 1.0 { 1.0 } else { line }
}

/// Applies an activation to all values; the first three are those of `primitives`.
// One copy, wherever it is called from.
#[inline(never)]
pub(super) fn apply(activation: Activation, values: &mut [f32]) {
    apply_inlined(activation, values);
}

/// [`apply`], to be inlined into a function that has an instruction set, whose registers it then uses. The results are the same.
#[inline(always)]
pub(super) fn apply_inlined(activation: Activation, values: &mut [f32]) {
    use core::f32::consts::FRAC_1_SQRT_2;
    #[inline(always)]
    fn all(values: &mut [f32], f: impl Fn(f32) -> f32) {
        values.iter_mut().for_each(|x| *x = f(*x));
    }
    match activation {
        Activation::None => {}
        Activation::Relu => all(values, |x| if x > 0.0 { x } else { 0.0 }),
        Activation::Relu6 => all(values, |x| {
            let positive = if x > 0.0 { x } else { 0.0 };
            if positive < 6.0 { positive } else { 6.0 }
        }),
        Activation::LeakyRelu { slope } => all(values, |x| if x < 0.0 { slope * x } else { x }),
        Activation::Sigmoid => all(values, sigmoid),
        Activation::HardSigmoid { alpha, beta } => all(values, |x| hard_sigmoid(x, alpha, beta)),
        // x + 3 is exact where it is small.
        Activation::HardSwish => all(values, |x| x * hard_sigmoid(x + 3.0, 1.0 / 6.0, 0.0)),
        Activation::Silu => all(values, |x| x * sigmoid(x)),
        Activation::Tanh => all(values, libm::tanhf),
        Activation::Elu { alpha } => all(values, |x| if x < 0.0 { alpha * libm::expm1f(x) } else { x }),
        // Of large negative x the sum 1 + erf would be all rounding.
        Activation::Gelu => all(values, |x| 0.5 * x * libm::erfcf(-x * FRAC_1_SQRT_2)),
        Activation::GeluTanh => all(values, |x| {
            // (1 + tanh z) / 2 is the sigmoid of 2z; √(8/π) is the factor.
            x * sigmoid(1.595_769 * (x + 0.044_715 * x * x * x))
        }),
        Activation::Clip { min, max } => all(values, |x| {
            let x = if x < min { min } else { x };
            if x > max { max } else { x }
        }),
        // Of large x, e^x would leave the range.
        Activation::Softplus => all(values, |x| {
            let positive = if x > 0.0 { x } else { 0.0 };
            positive + libm::log1pf(exp(if x > 0.0 { -x } else { x }))
        }),
        Activation::Exp => all(values, exp),
        Activation::Sqrt => all(values, libm::sqrtf),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(activation: Activation, x: f32) -> f64 {
        let mut value = [x];
        apply(activation, &mut value);
        f64::from(value[0])
    }

    /// Every 2^-10th from −90 to 90, and all powers of 2.
    fn numbers() -> impl Iterator<Item = f32> {
        let powers = (-30..=6).map(|n: i32| 2f32.powi(n));
        let both = powers.flat_map(|x| [x, -x, 1.1 * x, -1.3 * x]);
        (-92_160..=92_160).map(|i| i as f32 / 1024.0).chain(both)
    }

    /// Holds an activation against its definition: within a share of the value, and of the least f16.
    fn hold(activation: Activation, relative: f64, definition: impl Fn(f64) -> f64) {
        for x in numbers() {
            let (found, expected) = (of(activation, x), definition(f64::from(x)));
            let allowed = relative * expected.abs() + 1e-9;
            assert!((found - expected).abs() <= allowed, "{activation:?} of {x}: {found}, not {expected}");
        }
    }

    #[test]
    fn exponentials_are_what_they_are() {
        hold(Activation::Exp, ERROR, |x| x.clamp(-88.0, 88.0).exp());
        hold(Activation::Sigmoid, ERROR, |x| 1.0 / (1.0 + (-x).exp()));
        hold(Activation::Silu, ERROR, |x| x / (1.0 + (-x).exp()));
        hold(Activation::Softplus, ERROR, |x| if x > 40.0 { x } else { x.exp().ln_1p() });
    }

    #[test]
    fn the_others_are_what_they_are() {
        hold(Activation::Tanh, ERROR, f64::tanh);
        hold(Activation::Elu { alpha: 1.5 }, ERROR, |x| if x < 0.0 { 1.5 * x.exp_m1() } else { x });
        // The argument of the exponential is off by a share of it.
        hold(Activation::Gelu, 3e-6, |x| x / 2.0 * libm::erfc(-x / 2f64.sqrt()));
        hold(Activation::GeluTanh, 6e-6, |x| {
            let z = (2.0 / core::f64::consts::PI).sqrt() * (x + f64::from(0.044_715f32) * x.powi(3));
            x / (1.0 + (-2.0 * z).exp())
        });
        hold(Activation::HardSwish, ERROR, |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0));
        hold(Activation::HardSigmoid { alpha: 0.25, beta: 0.5 }, ERROR, |x| (x / 4.0 + 0.5).clamp(0.0, 1.0));
        hold(Activation::LeakyRelu { slope: 0.125 }, 0.0, |x| if x < 0.0 { x / 8.0 } else { x });
        hold(Activation::Clip { min: -1.0, max: 2.0 }, 0.0, |x| x.clamp(-1.0, 2.0));
        for x in numbers().filter(|x| *x >= 0.0) {
            let (found, expected) = (of(Activation::Sqrt, x), f64::from(x).sqrt());
            assert!((found - expected).abs() <= ERROR * expected);
        }
    }

    #[test]
    fn no_number_stays_none_and_no_finite_one_becomes_infinite() {
        use Activation::*;
        let all = [
            Sigmoid,
            HardSigmoid { alpha: 0.2, beta: 0.5 },
            HardSwish,
            Silu,
            Tanh,
            Elu { alpha: 1.0 },
            Gelu,
            GeluTanh,
            Softplus,
            Exp,
            LeakyRelu { slope: 0.1 },
        ];
        for activation in all {
            assert!(of(activation, f32::NAN).is_nan(), "{activation:?}");
            for x in [1e6, -1e6, 65504.0, -65504.0] {
                assert!(of(activation, x).is_finite(), "{activation:?} of {x}");
            }
        }
    }
}
