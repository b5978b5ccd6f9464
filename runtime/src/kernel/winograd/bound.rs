//! How far sums of products made by tiles may be from the exact ones.

use std::vec;
use std::vec::Vec;

use super::matrices::{MOST_PRODUCTS, both_sides, filter, inputs, magnitudes, outputs};
use super::transform::{INPUT_ROUNDINGS, OUTPUT_ROUNDINGS};
use super::{TOGETHER, WinogradTile};
use crate::model::{Shape, Window};

/// γₙ = n·u / (1 − n·u), u = 2⁻²⁴ (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1).
pub(super) fn gamma(roundings: usize) -> f64 {
    let n = roundings as f64 * f64::from(f32::EPSILON) / 2.0;
    n / (1.0 - n)
}

/// Bounds on the errors of a 3×3 convolution with stride 1 that is computed in f32 by tiles: for each filter and pixel how far
/// its sum of products may be from the exact one, before any bias, residual or rounding to f16.
///
/// `x` has the values of `input`, `filters` 9·c weights for each filter; all are values of f16. The result has the filters
/// in the order of `filters`, each h·w, where h×w is the window's output.
///
/// With U the transformed weights, V = Bᵀ·d·B the exact transformed inputs and W = |Bᵀ|·|d|·|B|, a computed V is off by
/// γ₈·W at most; a sum over the channels has `n` roundings more, one of them that of U; the transform back has ten. So the
/// sum is off by γₙ₊₁₀·|Aᵀ|(Σ|U|⊙(|V| + γ₈·W))|A| + γ₈·|Aᵀ|(Σ|U|⊙W)|A| at most.
pub fn winograd_error(
    tile: WinogradTile,
    x: &[f64],
    input: Shape,
    window: &Window,
    filters: &[f64],
) -> Vec<f64> {
    let channels = input.channels as usize;
    let sums = channels.min(TOGETHER) + channels.div_ceil(TOGETHER) + 2;
    error(tile, x, (input, window), filters, sums, |weights| filter(tile, weights))
}

/// The same for tiles of 2×2 whose weights are transformed in f32 where they are used, and whose products are summed one after
/// another, as on Cortex-M. A computed weight is off by γ₄·|G|·|g|·|Gᵀ| at most, scaling by a half being exact; so that stands
/// for |U|, with four roundings more.
pub fn winograd_error_in_place(x: &[f64], input: Shape, window: &Window, filters: &[f64]) -> Vec<f64> {
    let sums = input.channels as usize + 1 + 4;
    error(WinogradTile::Two, x, (input, window), filters, sums, |weights| {
        // G's only negative entries stand at the middle weight of one row, so of |g| the other row has their magnitudes.
        let products = filter(WinogradTile::Two, weights.map(f64::abs));
        core::array::from_fn(|at| {
            let positive = |i: usize| if i == 2 { 1 } else { i };
            products[positive(at / 4) * 4 + positive(at % 4)]
        })
    })
}

/// The bounds, of sums in which so many roundings meet, of weights whose magnitudes are those that `transform` gives.
fn error(
    tile: WinogradTile,
    x: &[f64],
    (input, window): (Shape, &Window),
    filters: &[f64],
    sums: usize,
    transform: impl Fn([f64; 9]) -> [f64; MOST_PRODUCTS],
) -> Vec<f64> {
    let Some((height, width)) = window.output(input.height, input.width) else { return Vec::new() };
    let (height, width, channels) = (height as usize, width as usize, input.channels as usize);
    let (m, side, products) = (tile.outputs(), tile.inputs(), tile.products());
    let count = filters.len() / (9 * channels).max(1);
    let sums = gamma(sums + OUTPUT_ROUNDINGS);
    let inputs_of = gamma(INPUT_ROUNDINGS);
    let (b, a) = (inputs(tile), magnitudes(outputs(tile)));
    let of_magnitudes = magnitudes(b);
    // |U|, with room for what f64 rounds.
    let weights: Vec<[f64; MOST_PRODUCTS]> = filters
        .chunks_exact(9)
        .map(|weights| {
            let weights = core::array::from_fn(|i| weights.get(i).copied().unwrap_or(0.0));
            transform(weights).map(|weight| weight.abs() * (1.0 + 1e-12))
        })
        .collect();
    let mut errors = vec![0.0; count * height * width];
    let mut values: Vec<[f64; MOST_PRODUCTS]> = vec![[0.0; MOST_PRODUCTS]; channels];
    for top in (0..height).step_by(m) {
        for left in (0..width).step_by(m) {
            for (channel, value) in values.iter_mut().enumerate() {
                let d = inputs_of_tile(x, input, window, (channel, top, left), side);
                let exact = both_sides(&b, side, side, &d);
                let size = both_sides(&of_magnitudes, side, side, &d.map(f64::abs));
                for (value, (exact, size)) in value.iter_mut().zip(exact.iter().zip(size)) {
                    *value = sums * (exact.abs() + inputs_of * size) + inputs_of * size;
                }
            }
            for of_filter in 0..count {
                let weights = weights.get(of_filter * channels..).unwrap_or_default();
                let mut sum = [0.0; MOST_PRODUCTS];
                for (weights, value) in weights.iter().zip(&values) {
                    for (sum, (weight, value)) in sum.iter_mut().zip(weights.iter().zip(value)).take(products)
                    {
                        *sum += weight * value;
                    }
                }
                let error = both_sides(&a, m, side, &sum);
                for y in top..height.min(top + m) {
                    for x in left..width.min(left + m) {
                        errors[(of_filter * height + y) * width + x] = error[(y - top) * m + x - left];
                    }
                }
            }
        }
    }
    errors
}

/// The inputs under the tile whose first output is at (`top`, `left`), with zeros for the padding.
fn inputs_of_tile(
    x: &[f64],
    input: Shape,
    window: &Window,
    (channel, top, left): (usize, usize, usize),
    side: usize,
) -> [f64; MOST_PRODUCTS] {
    let (height, width) = (input.height as usize, input.width as usize);
    let [above, before, _, _] = window.padding.map(usize::from);
    let mut d = [0.0; MOST_PRODUCTS];
    for (at, to) in d.iter_mut().enumerate().take(side * side) {
        let (y, column) = ((top + at / side).wrapping_sub(above), (left + at % side).wrapping_sub(before));
        if y < height && column < width {
            *to = x.get((channel * height + y) * width + column).copied().unwrap_or(0.0);
        }
    }
    d
}
