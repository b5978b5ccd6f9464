//! The convolution of batches whose channels come first, as other libraries lay them out.

use rayon::prelude::*;

use super::conv::Conv;
use super::convolution::Convolution;
use super::frame::with_scratch;
use super::gradients::{InputGradient, gradients};
use super::isa::Isa;
use super::layout::{to_channels_first, to_channels_last};

/// Convolution of `x` `[batch, c, h, w]` with `weight` `[n, c, kh, kw]`: `[batch, n, oh, ow]`.
pub fn convolve(conv: &Conv, x: &[f32], weight: &[f32]) -> Vec<f32> {
    let frame_map = conv.geometry().input_frame;
    let (channels, n) = (conv.geometry().input[2], conv.output()[2]);
    let (input, output) = (conv.input_len(), conv.output_len());
    let mut packed = vec![0.0; conv.packed_len()];
    conv.pack(Isa::best(), weight, &mut packed);
    let mut result = vec![0.0; x.len() / input * output];
    (result.par_chunks_exact_mut(output), x.par_chunks_exact(input)).into_par_iter().for_each(
        |(result, x)| {
            with_scratch([input, frame_map.len(), output], |[last, frame, y]| {
                to_channels_last(x, channels, last);
                frame_map.fill(last, frame);
                conv.forward(Isa::best(), frame, &packed, y);
                to_channels_first(y, n, result);
            });
        },
    );
    result
}

/// Gradients of `x` and `weight` of [`convolve`], from the result's `slope`, each laid out as what it belongs to.
pub fn convolve_back(conv: &Conv, x: &[f32], weight: &[f32], slope: &[f32]) -> [Vec<f32>; 2] {
    let transposed = |values: &[f32], channels, length: usize| {
        let mut last = vec![0.0; values.len()];
        (last.par_chunks_exact_mut(length), values.par_chunks_exact(length))
            .into_par_iter()
            .for_each(|(to, from)| to_channels_last(from, channels, to));
        last
    };
    let (channels, n) = (conv.geometry().input[2], conv.output()[2]);
    let (input, output) = (conv.input_len(), conv.output_len());
    let (last, slope) = (transposed(x, channels, input), transposed(slope, n, output));
    let mut dx = vec![0.0; last.len()];
    let image = |image: usize, to: &mut [f32]| to.copy_from_slice(&slope[image * output..][..output]);
    let into = InputGradient::Write(&mut dx);
    let dw = gradients(conv, Isa::best(), &last, weight, image, into, &mut Vec::new());
    let mut first = last;
    (first.par_chunks_exact_mut(input), dx.par_chunks_exact(input))
        .into_par_iter()
        .for_each(|(to, from)| to_channels_first(from, channels, to));
    [first, dw]
}
