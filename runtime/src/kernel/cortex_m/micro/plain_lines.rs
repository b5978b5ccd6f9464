//! The transforms of tiles of one row in Rust, in the order in which the assembler computes.

use core::array::from_fn;

use super::super::super::lines::Outputs;
use super::super::PIXELS;
use super::super::lines::{Pixels, Sums, Weights};
use crate::kernel::{Operations, THIN_SCALE, f16};

/// Bᵀ·d, in the order in which products are kept: of the points 1, −1, 2, −2, 0, ∞, or 0, 1, −1, ∞.
fn inputs(four: bool, d: [f32; 6]) -> [f32; 6] {
    if !four {
        return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3], 0.0, 0.0];
    }
    let (a, b) = (d[4] - 4.0 * d[2], d[3] - 4.0 * d[1]);
    let (c, e) = (d[4] - d[2], 2.0 * (d[3] - d[1]));
    [a + b, a - b, c + e, c - e, c + 4.0 * (d[0] - d[2]), d[5] - d[3] - 2.0 * e]
}

/// G·g.
fn filter(four: bool, g: [f32; 3]) -> [f32; 6] {
    let (a, b) = (g[0] + g[2], 4.0 * g[2] + g[0]);
    match four {
        true => [a + g[1], a - g[1], b + 2.0 * g[1], b - 2.0 * g[1], g[0], g[2]],
        false => [g[0], a + g[1], a - g[1], g[2], 0.0, 0.0],
    }
}

/// Aᵀ·m.
fn outputs(four: bool, m: [f32; 6]) -> [f32; 4] {
    if !four {
        return [m[0] + 0.5 * (m[1] + m[2]), 0.5 * (m[1] - m[2]) - m[3], 0.0, 0.0];
    }
    let (sixth, twenty_fourth) = (1.0 / 6.0, 1.0 / 24.0);
    let (e, f) = ((m[0] + m[1]) * sixth, (m[0] - m[1]) * sixth);
    let (g, h) = ((m[2] + m[3]) * twenty_fourth, 2.0 * ((m[2] - m[3]) * twenty_fourth));
    [m[4] * 0.25 - e + g, h - f, g * 4.0 - e, h * 4.0 - f + m[5]]
}

/// # Safety
/// As in [`super::super::lines::line_pixels`].
pub(in super::super) unsafe fn line_pixels<U: Operations>(outputs: Outputs, arguments: &Pixels) {
    let four = outputs == Outputs::Four;
    let (step, inputs_of) = if four { (4, 6) } else { (2, 4) };
    for row in 0..3 {
        for tile in 0..arguments.across * PIXELS {
            let (group, lane) = (tile / PIXELS, tile % PIXELS);
            let x = arguments.x.wrapping_byte_add(row * arguments.pitch).wrapping_add(tile * step);
            let to =
                arguments.to.wrapping_byte_add(group * arguments.group).wrapping_add(row * PIXELS + lane);
            // SAFETY: the caller's lengths.
            unsafe {
                let d = from_fn(|i| if i < inputs_of { *x.add(i) } else { 0.0 });
                for (product, value) in inputs(four, d).into_iter().take(inputs_of).enumerate() {
                    *to.byte_add(product * arguments.product) = value;
                }
            }
        }
    }
}

/// # Safety
/// As in [`super::super::lines::line_products`].
pub(in super::super) unsafe fn line_weights<U: Operations>(
    (outputs, halves): (Outputs, bool),
    outs: usize,
    arguments: &Weights,
) {
    let four = outputs == Outputs::Four;
    for out in 0..outs {
        let from = arguments.from.wrapping_byte_add(out * arguments.pitch);
        for three in 0..arguments.threes {
            // SAFETY: the caller's lengths.
            unsafe {
                let weight = |at| match halves {
                    true => f16::widen(*from.cast::<u16>().add(at)),
                    false => f32::from(*from.cast::<i8>().add(at)) * THIN_SCALE,
                };
                let products = filter(four, from_fn(|i| weight(three * 3 + i)));
                for (product, value) in products.into_iter().take(if four { 6 } else { 4 }).enumerate() {
                    *arguments.to.byte_add(product * arguments.product).add(three * outs + out) = value;
                }
            }
        }
    }
}

/// # Safety
/// As in [`super::super::lines::line_sums`].
pub(in super::super) unsafe fn line_sums<U: Operations>(kind: Outputs, arguments: &Sums) {
    let four = kind == Outputs::Four;
    let side = if four { 4 } else { 2 };
    for group in 0..arguments.across {
        for rank in 0..arguments.ranks {
            let from = arguments.from.wrapping_add((group * arguments.ranks + rank) * PIXELS);
            let to =
                arguments.to.wrapping_byte_add(group * side * arguments.pixels).wrapping_add(rank * PIXELS);
            for lane in 0..PIXELS {
                // SAFETY: the caller's lengths.
                unsafe {
                    let read = |i| *from.byte_add(i * arguments.product).add(lane);
                    let m = from_fn(|i| if i < side + 2 { read(i) } else { 0.0 });
                    for (i, value) in outputs(four, m).into_iter().take(side).enumerate() {
                        let pixel = lane * side + i;
                        *to.byte_add(pixel / PIXELS * arguments.pixels).add(pixel % PIXELS) = value;
                    }
                }
            }
        }
    }
}
