//! How far sums of products made by tiles of one row may be from the exact ones.

use std::vec;
use std::vec::Vec;

use super::bound::gamma;
use crate::model::{Shape, Window};

/// Rows of a window, and weights of each.
const TAPS: usize = 3;

/// Magnitudes of the transforms of a tile of `M` pixels and `P` products: of the pixels, of the weights, and back.
struct Tile<const M: usize, const P: usize> {
    inputs: [[f64; P]; P],
    weights: [[f64; TAPS]; P],
    outputs: [[f64; P]; M],
}

const TWO: Tile<2, 4> = Tile {
    inputs: [[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]],
    weights: [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 1.0]],
    outputs: [[1.0, 0.5, 0.5, 0.0], [0.0, 0.5, 0.5, 1.0]],
};

const FOUR: Tile<4, 6> = Tile {
    inputs: [
        [4.0, 0.0, 5.0, 0.0, 1.0, 0.0],
        [0.0, 4.0, 4.0, 1.0, 1.0, 0.0],
        [0.0, 4.0, 4.0, 1.0, 1.0, 0.0],
        [0.0, 2.0, 1.0, 2.0, 1.0, 0.0],
        [0.0, 2.0, 1.0, 2.0, 1.0, 0.0],
        [0.0, 4.0, 0.0, 5.0, 0.0, 1.0],
    ],
    weights: [
        [1.0, 0.0, 0.0],
        [1.0, 1.0, 1.0],
        [1.0, 1.0, 1.0],
        [1.0, 2.0, 4.0],
        [1.0, 2.0, 4.0],
        [0.0, 0.0, 1.0],
    ],
    outputs: [
        [1.0 / 4.0, 1.0 / 6.0, 1.0 / 6.0, 1.0 / 24.0, 1.0 / 24.0, 0.0],
        [0.0, 1.0 / 6.0, 1.0 / 6.0, 1.0 / 12.0, 1.0 / 12.0, 0.0],
        [0.0, 1.0 / 6.0, 1.0 / 6.0, 1.0 / 6.0, 1.0 / 6.0, 0.0],
        [0.0, 1.0 / 6.0, 1.0 / 6.0, 1.0 / 3.0, 1.0 / 3.0, 1.0],
    ],
};

/// Bounds on the errors of the sums of products of a 3×3 convolution with stride 1 that is computed in f32 by tiles of one row, of
/// two pixels or of four, as on Cortex-M: `x`, `filters` and the result are those of [`winograd_error`](super::winograd_error).
///
/// A transformed weight and a transformed pixel have two roundings each, a sum of 3·c products has 3·c + 1, the transform back five,
/// one of them that of its constants. No step takes away what another added: so the sum is off by γₙ·|Aᵀ|·Σ(|G|·|g| ⊙ |Bᵀ|·|d|) at most,
/// where n is all of these.
pub fn winograd_row_error(x: &[f64], input: Shape, window: &Window, filters: &[f64]) -> Vec<f64> {
    let two = error(&TWO, x, (input, window), filters);
    let four = error(&FOUR, x, (input, window), filters);
    two.into_iter().zip(four).map(|(two, four)| two.max(four)).collect()
}

fn error<const M: usize, const P: usize>(
    tile: &Tile<M, P>,
    x: &[f64],
    (input, window): (Shape, &Window),
    filters: &[f64],
) -> Vec<f64> {
    let Some((height, width)) = window.output(input.height, input.width) else { return Vec::new() };
    let (height, width, channels) = (height as usize, width as usize, input.channels as usize);
    let lines = channels * TAPS;
    let sums = gamma(lines + 1 + 2 + 2 + 5) * (1.0 + 1e-12);
    let dot = |row: &[f64], of: &[f64]| row.iter().zip(of).map(|(a, b)| a * b.abs()).sum::<f64>();
    let weights: Vec<[f64; P]> =
        filters.chunks_exact(TAPS).map(|g| tile.weights.map(|row| dot(&row, g))).collect();
    let count = weights.len() / lines.max(1);
    let mut errors = vec![0.0; count * height * width];
    for y in 0..height {
        for left in (0..width).step_by(M) {
            let pixels: Vec<[f64; P]> = (0..lines)
                .map(|line| {
                    let d = inputs::<P>(x, (input, window), (line / TAPS, y + line % TAPS, left));
                    tile.inputs.map(|row| dot(&row, &d))
                })
                .collect();
            for filter in 0..count {
                let mut products = [0.0; P];
                for (pixels, weights) in pixels.iter().zip(&weights[filter * lines..]) {
                    let both = pixels.iter().zip(weights);
                    products.iter_mut().zip(both).for_each(|(sum, (pixel, weight))| *sum += pixel * weight);
                }
                for (at, row) in tile.outputs.iter().enumerate().take(width - left) {
                    errors[(filter * height + y) * width + left + at] = sums * dot(row, &products);
                }
            }
        }
    }
    errors
}

/// `P` pixels of row `y` of the padded map from column `left` on.
fn inputs<const P: usize>(
    x: &[f64],
    (input, window): (Shape, &Window),
    (channel, y, left): (usize, usize, usize),
) -> [f64; P] {
    let (height, width) = (input.height as usize, input.width as usize);
    let [above, before, _, _] = window.padding.map(usize::from);
    core::array::from_fn(|at| {
        let (y, column) = (y.wrapping_sub(above), (left + at).wrapping_sub(before));
        let inside = y < height && column < width;
        let value = inside.then(|| x.get((channel * height + y) * width + column)).flatten();
        value.copied().unwrap_or(0.0)
    })
}
