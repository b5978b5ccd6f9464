//! Both gradients of a convolution over a batch.
//!
//! Sums over images are made in one order that depends only on the batch, so results do not depend on the number of
//! threads.

use rayon::prelude::*;

use super::convolution::Convolution;
use super::frame::{with_packed, with_scratch};
use super::isa::Isa;

/// Parts that a batch is split into where each part needs a weight gradient of its own.
const PARTS: usize = 16;

/// Weights from which on the parts of a batch share one gradient.
pub(super) const WIDE: usize = 1 << 17;

/// Pixels that the kernels should have at a time where the weights are many.
const PIXELS: usize = 64;

/// Values of padded images and gradients that are held at a time where parts share a gradient.
const HELD: usize = 1 << 21;

/// Where the gradient of the input goes.
pub enum InputGradient<'a> {
    /// Not wanted.
    Skip,
    /// Written.
    Write(&'a mut [f32]),
    /// Added to what is there.
    Add(&'a mut [f32]),
}

/// Images that the kernels take at a time: several where a few pixels would meet many weights.
pub(super) fn block(conv: &dyn Convolution) -> usize {
    let [rows, cols, _] = conv.output();
    if conv.packed_len() < WIDE { 1 } else { PIXELS.div_ceil(rows * cols) }
}

/// Both gradients; `slope` writes the gradient of one image's result. Returns that of the weights. `partial` is
/// scratch, resized as needed.
pub(super) fn gradients(
    conv: &dyn Convolution,
    isa: Isa,
    x: &[f32],
    weight: &[f32],
    slope: impl Fn(usize, &mut [f32]) + Sync,
    dx: InputGradient,
    partial: &mut Vec<f32>,
) -> Vec<f32> {
    let (dx, accumulate) = match dx {
        InputGradient::Skip => (None, false),
        InputGradient::Write(dx) => (Some(dx), false),
        InputGradient::Add(dx) => (Some(dx), true),
    };
    let transposed_len = if dx.is_some() { conv.packed_transposed_len() } else { 0 };
    let mut gradient = vec![0.0; conv.weight_len()];
    with_packed(transposed_len, |transposed| {
        if dx.is_some() {
            conv.pack_transposed(isa, weight, transposed);
        }
        let task = Task { conv, isa, transposed, accumulate };
        let packed = if conv.packed_len() < WIDE {
            task.narrow(x, slope, dx, partial)
        } else {
            task.wide(x, slope, dx, partial)
        };
        conv.unpack(isa, packed, &mut gradient);
    });
    gradient
}

struct Task<'a> {
    conv: &'a dyn Convolution,
    isa: Isa,
    transposed: &'a [f32],
    accumulate: bool,
}

/// The gradient of the input in pieces of `len` values, or as many times nothing.
fn pieces(dx: Option<&mut [f32]>, len: usize, count: usize) -> Vec<Option<&mut [f32]>> {
    match dx {
        Some(dx) => dx.chunks_mut(len).map(Some).collect(),
        None => (0..count).map(|_| None).collect(),
    }
}

impl Task<'_> {
    /// Few weights: each part of the batch adds up a gradient of its own, image by image, and what is made of an image
    /// stays in the caches.
    fn narrow<'a>(
        &self,
        x: &[f32],
        slope: impl Fn(usize, &mut [f32]) + Sync,
        dx: Option<&mut [f32]>,
        partial: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        let Task { conv, isa, .. } = *self;
        let (input_len, packed_len) = (conv.input_len(), conv.packed_len());
        let batch = x.len() / input_len;
        let share = batch.div_ceil(PARTS).max(1);
        let parts = batch.div_ceil(share).max(1);
        partial.clear();
        partial.resize(parts * packed_len, 0.0);
        let slices = conv.slices(isa);
        (
            partial.par_chunks_exact_mut(packed_len),
            pieces(dx, share * input_len, parts).par_iter_mut(),
            x.par_chunks(share * input_len),
        )
            .into_par_iter()
            .enumerate()
            .for_each(|(part, (partial, dx, x))| {
                let geometry = conv.geometry();
                let lens = [conv.output_len(), geometry.input_frame.len(), geometry.slope_frame.len()];
                with_scratch(lens, |[dy, frame, slopes]| {
                    for (image, x) in x.chunks_exact(input_len).enumerate() {
                        slope(part * share + image, dy);
                        geometry.slope_frame.fill(dy, slopes);
                        if let Some(dx) = dx {
                            let dx = &mut dx[image * input_len..][..input_len];
                            conv.input_gradient(isa, slopes, self.transposed, dx, self.accumulate);
                        }
                        geometry.input_frame.fill(x, frame);
                        let mut rest = &mut *partial;
                        for (index, len) in slices.iter().enumerate() {
                            let (slice, after) = rest.split_at_mut(*len);
                            conv.weight_gradient(isa, index, frame, slopes, slice);
                            rest = after;
                        }
                    }
                });
            });
        let (total, others) = partial.split_at_mut(packed_len);
        for other in others.chunks_exact(packed_len) {
            for (sum, value) in total.iter_mut().zip(other) {
                *sum += *value;
            }
        }
        total
    }

    /// Many weights: a gradient for each part would be larger than the feature maps. A few images are padded, then
    /// the threads share the one gradient out among them.
    fn wide<'a>(
        &self,
        x: &[f32],
        slope: impl Fn(usize, &mut [f32]) + Sync,
        dx: Option<&mut [f32]>,
        partial: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        let Task { conv, isa, .. } = *self;
        let geometry = conv.geometry();
        let (input_len, output_len) = (conv.input_len(), conv.output_len());
        let (frame_len, slope_len) = (geometry.input_frame.len(), geometry.slope_frame.len());
        let batch = x.len() / input_len;
        let block = block(conv);
        let held = (HELD / (frame_len + slope_len)).next_multiple_of(block).clamp(block, batch.max(block));
        partial.clear();
        partial.resize(conv.packed_len() + held * (frame_len + slope_len), 0.0);
        let (gradient, rest) = partial.split_at_mut(conv.packed_len());
        let (frames, slopes) = rest.split_at_mut(held * frame_len);
        let mut slices = Vec::new();
        let mut rest = &mut *gradient;
        for len in conv.slices(isa) {
            let (slice, after) = rest.split_at_mut(len);
            slices.push(slice);
            rest = after;
        }
        let chunks = pieces(dx, held * input_len, batch.div_ceil(held));
        for ((chunk, dx), x) in chunks.into_iter().enumerate().zip(x.chunks(held * input_len)) {
            let images = x.len() / input_len;
            let (frames, slopes) = (&mut frames[..images * frame_len], &mut slopes[..images * slope_len]);
            (
                x.par_chunks(block * input_len),
                pieces(dx, block * input_len, images.div_ceil(block)).par_iter_mut(),
                frames.par_chunks_mut(block * frame_len),
                slopes.par_chunks_mut(block * slope_len),
            )
                .into_par_iter()
                .enumerate()
                .for_each(|(index, (x, dx, frames, slopes))| {
                    geometry.input_frame.fill_all(x, frames);
                    with_scratch([output_len], |[dy]| {
                        for (image, to) in slopes.chunks_exact_mut(slope_len).enumerate() {
                            slope(chunk * held + index * block + image, dy);
                            geometry.slope_frame.fill(dy, to);
                        }
                    });
                    if let Some(dx) = dx {
                        conv.input_gradient(isa, slopes, self.transposed, dx, self.accumulate);
                    }
                });
            slices.par_iter_mut().enumerate().for_each(|(index, slice)| {
                conv.weight_gradient(isa, index, frames, slopes, slice);
            });
        }
        gradient
    }
}
