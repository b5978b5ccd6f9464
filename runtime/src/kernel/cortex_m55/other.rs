//! Fully connected layers, the mean of each plane, additions.

use super::super::portable::{self, Epilogue, finish};
use super::super::{Buffers, LayerWeights, Output, Second};
use super::Native;
use super::micro::{self, Residual};
use crate::model::{Activation, Shape};

/// Results finished together.
const TOGETHER: usize = 8;

/// A fully connected layer: products and sums in f32.
pub(super) fn linear(weights: &LayerWeights<'_>, epilogue: Epilogue<'_>, buffers: &mut Buffers<'_>) {
    let x = buffers.input;
    match weights {
        LayerWeights::Dense(weights) | LayerWeights::Depthwise(weights) => {
            rows(weights, x.len(), epilogue, &mut buffers.output, |row| micro::dot(row, x));
        }
        LayerWeights::Pair { thin, expand, rank } => {
            let Some(middle) = buffers.scratch.get_mut(..*rank) else { return };
            for (middle, row) in middle.iter_mut().zip(thin.chunks_exact(x.len().max(1))) {
                *middle = micro::dot(row, x);
            }
            rows(expand, *rank, epilogue, &mut buffers.output, |row| micro::dot_wide(row, middle));
        }
    }
}

/// Stores bias and `dot` of each row of `length` weights.
fn rows(
    weights: &[u16],
    length: usize,
    epilogue: Epilogue<'_>,
    output: &mut Output<'_>,
    dot: impl Fn(&[u16]) -> f32,
) {
    let length = length.max(1);
    for (i, (rows, bias)) in
        weights.chunks((length * TOGETHER).max(1)).zip(epilogue.bias.chunks(TOGETHER)).enumerate()
    {
        let mut sums = [0.0; TOGETHER];
        for ((sum, row), bias) in sums.iter_mut().zip(rows.chunks_exact(length)).zip(bias) {
            *sum = bias + dot(row);
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
