//! Fully connected layers, the mean of each plane, additions.

use super::super::portable::{self, Epilogue, finish};
use super::super::{Buffers, LayerWeights, Output, Second, WeightMatrix};
use super::Native;
use super::micro::{self, Residual};
use crate::model::{Activation, Shape};

/// Results finished together.
const TOGETHER: usize = 8;

/// A fully connected layer: products and sums in f32.
pub(super) fn linear(weights: &LayerWeights<'_>, epilogue: Epilogue<'_>, buffers: &mut Buffers<'_>) {
    let x = buffers.input;
    match weights {
        LayerWeights::Dense(weights) => {
            rows(epilogue, &mut buffers.output, |row| dot(weights, row, x, micro::dot));
        }
        LayerWeights::Pair { thin, expand, rank } => {
            let Some(middle) = buffers.scratch.get_mut(..*rank) else { return };
            for (row, middle) in middle.iter_mut().enumerate() {
                *middle = dot(thin, row, x, micro::dot);
            }
            rows(epilogue, &mut buffers.output, |row| dot(expand, row, middle, micro::dot_wide));
        }
        // No linear layer is one.
        LayerWeights::Depthwise(_) => {}
    }
}

/// A row of weights times `x`, by `product`.
fn dot<T>(weights: &WeightMatrix<'_>, row: usize, x: &[T], product: impl Fn(&[u16], &[T]) -> f32) -> f32 {
    let Some(weights) = weights.after(row, x.len(), 0) else { return 0.0 };
    let mut sum = 0.0;
    weights.in_halves(x.len(), |weights, columns| match x.get(columns) {
        Some(x) => {
            sum += product(weights, x);
            true
        }
        None => false,
    });
    sum
}

/// Stores bias and `dot` of each row.
fn rows(epilogue: Epilogue<'_>, output: &mut Output<'_>, dot: impl Fn(usize) -> f32) {
    for (i, bias) in epilogue.bias.chunks(TOGETHER).enumerate() {
        let mut sums = [0.0; TOGETHER];
        for (row, (sum, bias)) in sums.iter_mut().zip(bias).enumerate() {
            *sum = bias + dot(i * TOGETHER + row);
        }
        let sums = sums.get_mut(..bias.len()).unwrap_or_default();
        finish::<Native, 4>(sums, i * TOGETHER, epilogue.activation, Second::None, output);
    }
}

/// Mean of each plane.
pub(super) fn global_average(input: Shape, buffers: &mut Buffers<'_>) {
    let pixels = input.pixels().max(1);
    let planes = buffers.input.chunks_exact(pixels);
    for (i, plane) in planes.enumerate() {
        let mut sum = 0.0;
        portable::add_rows(plane, input.width as usize, &mut sum, micro::sum);
        let mut mean = [sum / pixels as f32];
        finish::<Native, 4>(&mut mean, i, Activation::None, Second::None, &mut buffers.output);
    }
}

/// An addition of activations; false, and nothing done, where the result is logits.
pub(super) fn add(activation: Activation, buffers: &mut Buffers<'_>) -> bool {
    let second = match buffers.second {
        _ if !activation.is_plain() => return false,
        Second::None => return false,
        Second::InPlace => Residual::InPlace,
        Second::Other(values) => Residual::Other(values),
    };
    let Output::Half(output) = &mut buffers.output else { return false };
    micro::add(buffers.input, second, output, activation);
    true
}
