//! Planes of another height and width.

use super::{Operands, Output, set, sizes};
use crate::model::{Coordinates, Nearest, Resize, ResizeMode};

/// Where a pixel of the result lies in the input, along one axis.
fn coordinate(layer: &Resize, at: usize, scale: f32, [length, resized]: [usize; 2]) -> f32 {
    let at = at as f32;
    match layer.coordinates {
        Coordinates::PytorchHalfPixel if resized <= 1 => 0.0,
        Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => (at + 0.5) / scale - 0.5,
        Coordinates::AlignCorners if resized <= 1 => 0.0,
        Coordinates::AlignCorners => at * (length - 1) as f32 / (resized - 1) as f32,
        Coordinates::Asymmetric => at / scale,
    }
}

/// The nearest whole number, within an axis.
fn nearest(at: f32, rounding: Nearest, length: usize) -> usize {
    let below = libm::floorf(at);
    let rest = at - below;
    let up = match rounding {
        Nearest::RoundDown => rest > 0.5,
        Nearest::RoundUp => rest >= 0.5,
        Nearest::Floor => false,
        Nearest::Ceil => rest > 0.0,
    };
    // A negative number becomes 0.
    ((below + f32::from(u8::from(up))) as usize).min(length - 1)
}

/// The two pixels around a coordinate, and the share of the second.
fn around(at: f32, length: usize) -> (usize, usize, f32) {
    let at = at.clamp(0.0, (length - 1) as f32);
    let first = (at as usize).min(length - 1);
    (first, (first + 1).min(length - 1), at - first as f32)
}

pub(super) fn run(layer: &Resize, operands: &Operands<'_>, output: &mut Output<'_>) {
    let [channels, height, width] = sizes(operands.output);
    let input = operands.input;
    let [_, rows, columns] = input.sizes();
    let [down, across] = layer.scales;
    for c in 0..channels {
        for y in 0..height {
            let at_y = coordinate(layer, y, down, [rows, height]);
            for x in 0..width {
                let at_x = coordinate(layer, x, across, [columns, width]);
                let to = (c * height + y) * width + x;
                let get = |row: usize, column: usize| input.get((c * rows + row) * columns + column);
                let value = match layer.mode {
                    ResizeMode::Nearest(rounding) => {
                        get(nearest(at_y, rounding, rows), nearest(at_x, rounding, columns))
                    }
                    ResizeMode::Linear => {
                        let ((above, below, v), (left, right, u)) =
                            (around(at_y, rows), around(at_x, columns));
                        let line = |row: usize| get(row, left) * (1.0 - u) + get(row, right) * u;
                        line(above) * (1.0 - v) + line(below) * v
                    }
                };
                set(output, to, value);
            }
        }
    }
}
