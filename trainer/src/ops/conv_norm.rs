//! Convolution, batch normalisation, residual add and activation as one operation over a batch, forward and backward.
//!
//! A feature map of a batch is larger than the caches, an image of it is not. So the statistics of an image are taken
//! right after its convolution, and the backward pass makes the gradient behind the normalisation image by image and
//! uses it at once for both gradients of the convolution: it never goes to memory.
//!
//! Images are split among threads; sums over images are made in one order that depends only on the batch, so results
//! do not depend on the number of threads.

use lrpet_runtime::model::Activation;
use rayon::prelude::*;

use super::conv::Conv;
use super::frame::with_scratch;
use super::isa::Isa;
use super::norm::{self, Affine, Backward, Moments};

/// Added to the variance under the root (the default of PyTorch's BatchNorm2d).
pub const EPSILON: f64 = 1e-5;

/// Parts that a batch is split into where each part needs a weight gradient of its own.
const PARTS: usize = 16;

/// The operation; all feature maps are channels-last, batch first.
#[derive(Clone, Debug)]
pub struct ConvNorm {
    conv: Conv,
    activation: Activation,
    isa: Isa,
}

/// What the backward pass reads, all of the same forward pass.
pub struct Past<'a> {
    /// Input of the convolution.
    pub x: &'a [f32],
    /// Result of the convolution.
    pub y: &'a [f32],
    /// Result of the whole operation; read only where there was a residual.
    pub z: &'a [f32],
    /// Statistics of y.
    pub moments: &'a Moments,
    /// Whether a residual was added.
    pub residual: bool,
}

/// Gradients of the parameters.
#[derive(Clone, Debug)]
pub struct ParameterGradients {
    /// Of the weights `[n, c, kh, kw]`.
    pub weight: Vec<f32>,
    /// Of γ.
    pub gamma: Vec<f32>,
    /// Of β.
    pub beta: Vec<f32>,
}

/// Where the gradient of the input goes.
pub enum InputGradient<'a> {
    /// Not wanted.
    Skip,
    /// Written.
    Write(&'a mut [f32]),
    /// Added to what is there.
    Add(&'a mut [f32]),
}

impl ConvNorm {
    /// The operation around `conv`, for the instruction set `isa`.
    pub fn new(conv: Conv, activation: Activation, isa: Isa) -> Self {
        ConvNorm { conv, activation, isa }
    }

    /// The convolution.
    pub fn conv(&self) -> &Conv {
        &self.conv
    }

    fn packed(&self, weight: &[f32]) -> Vec<f32> {
        let mut packed = vec![0.0; self.conv.packed_len()];
        self.conv.pack(self.isa, weight, &mut packed);
        packed
    }

    fn channels(&self) -> usize {
        self.conv.output()[2]
    }

    fn forward_image(&self, x: &[f32], packed: &[f32], y: &mut [f32]) {
        with_scratch([self.conv.input_frame_len()], |[frame]| {
            self.conv.frame_input(x, frame);
            self.conv.forward(self.isa, frame, packed, y);
        });
    }

    /// Convolution of a batch with its statistics: writes `y`.
    pub fn convolve(&self, x: &[f32], weight: &[f32], y: &mut [f32]) -> Moments {
        let packed = self.packed(weight);
        let (channels, length) = (self.channels(), self.conv.output_len());
        let mut images = vec![0.0; y.len() / length * 2 * channels];
        (y.par_chunks_exact_mut(length), x.par_chunks_exact(self.conv.input_len()))
            .into_par_iter()
            .zip(images.par_chunks_exact_mut(2 * channels))
            .for_each(|((y, x), moments)| {
                self.forward_image(x, &packed, y);
                norm::image_moments(self.isa, y, channels, moments);
            });
        norm::join_moments(&images, channels, length / channels)
    }

    /// z = act((y − mean)·γ/√(variance + ε) + β + residual).
    pub fn normalise(
        &self,
        y: &[f32],
        moments: &Moments,
        gamma: &[f32],
        beta: &[f32],
        residual: Option<&[f32]>,
        z: &mut [f32],
    ) {
        let affine = Affine::normalise(moments, gamma, beta, EPSILON);
        let length = self.conv.output_len();
        (z.par_chunks_exact_mut(length), y.par_chunks_exact(length)).into_par_iter().enumerate().for_each(
            |(image, (z, y))| {
                let residual = residual.map(|residual| &residual[image * length..][..length]);
                affine.apply(self.isa, y, residual, self.activation, z);
            },
        );
    }

    /// Convolution, affine map, residual and activation at once: inference, with fixed statistics.
    pub fn infer(
        &self,
        x: &[f32],
        weight: &[f32],
        scale: &[f32],
        shift: &[f32],
        residual: Option<&[f32]>,
        z: &mut [f32],
    ) {
        let packed = self.packed(weight);
        let affine = Affine::new(scale, shift);
        let length = self.conv.output_len();
        (z.par_chunks_exact_mut(length), x.par_chunks_exact(self.conv.input_len()))
            .into_par_iter()
            .enumerate()
            .for_each(|(image, (z, x))| {
                let residual = residual.map(|residual| &residual[image * length..][..length]);
                with_scratch([self.conv.input_frame_len(), length], |[frame, y]| {
                    self.conv.frame_input(x, frame);
                    self.conv.forward(self.isa, frame, &packed, y);
                    affine.apply(self.isa, y, residual, self.activation, z);
                });
            });
    }

    /// The backward pass from `dz`, the gradient of the result. Where a residual was added, `dz` leaves as the gradient
    /// of the residual. `partial` is scratch, resized as needed.
    #[allow(clippy::too_many_arguments)]
    pub fn backward(
        &self,
        past: &Past,
        weight: &[f32],
        gamma: &[f32],
        beta: &[f32],
        dz: &mut [f32],
        dx: InputGradient,
        partial: &mut Vec<f32>,
    ) -> ParameterGradients {
        let (channels, length) = (self.channels(), self.conv.output_len());
        let affine = Affine::normalise(past.moments, gamma, beta, EPSILON);
        let mut back = Backward::new(affine, past.moments);
        let act = if past.residual { Activation::None } else { self.activation };

        let mut images = vec![0.0; dz.len() / length * 2 * channels];
        (dz.par_chunks_exact_mut(length), past.y.par_chunks_exact(length))
            .into_par_iter()
            .zip(images.par_chunks_exact_mut(2 * channels))
            .enumerate()
            .for_each(|(image, ((dz, y), sums))| {
                if past.residual && self.activation != Activation::None {
                    norm::mask(self.isa, &past.z[image * length..][..length], self.activation, dz);
                }
                norm::slope_sums(self.isa, dz, y, &back, act, sums);
            });
        let mut sums = vec![0.0; 2 * channels];
        for image in images.chunks_exact(2 * channels) {
            for (sum, value) in sums.iter_mut().zip(image) {
                *sum += value;
            }
        }
        let (gamma_gradient, beta_gradient) = back.finish(&sums, past.moments, gamma, EPSILON);

        let slope = |image: usize, to: &mut [f32]| {
            let range = image * length..(image + 1) * length;
            back.apply(self.isa, &dz[range.clone()], &past.y[range], act, to);
        };
        let weight_gradient = self.convolution_gradients(past.x, weight, slope, dx, partial);
        ParameterGradients { weight: weight_gradient, gamma: gamma_gradient, beta: beta_gradient }
    }

    /// Both gradients of the convolution over a batch; `slope` writes the gradient of one image's result.
    pub(super) fn convolution_gradients(
        &self,
        x: &[f32],
        weight: &[f32],
        slope: impl Fn(usize, &mut [f32]) + Sync,
        dx: InputGradient,
        partial: &mut Vec<f32>,
    ) -> Vec<f32> {
        let conv = &self.conv;
        let (dx, accumulate) = match dx {
            InputGradient::Skip => (None, false),
            InputGradient::Write(dx) => (Some(dx), false),
            InputGradient::Add(dx) => (Some(dx), true),
        };
        let mut transposed = vec![0.0; if dx.is_some() { conv.packed_transposed_len() } else { 0 }];
        if dx.is_some() {
            conv.pack_transposed(self.isa, weight, &mut transposed);
        }
        let batch = x.len() / conv.input_len();
        let share = batch.div_ceil(PARTS).max(1);
        let parts = batch.div_ceil(share);
        let mut dx_parts: Vec<Option<&mut [f32]>> = match dx {
            Some(dx) => dx.chunks_mut(share * conv.input_len()).map(Some).collect(),
            None => (0..parts).map(|_| None).collect(),
        };
        let packed_len = conv.packed_len();
        partial.clear();
        partial.resize(parts * packed_len, 0.0);
        (
            partial.par_chunks_exact_mut(packed_len),
            dx_parts.par_iter_mut(),
            x.par_chunks(share * conv.input_len()),
        )
            .into_par_iter()
            .enumerate()
            .for_each(|(part, (partial, dx, x))| {
                let lens = [conv.output_len(), conv.input_frame_len(), conv.slope_frame_len()];
                with_scratch(lens, |[dy, input_frame, slope_frame]| {
                    for (image, x) in x.chunks_exact(conv.input_len()).enumerate() {
                        slope(part * share + image, dy);
                        conv.frame_slope(dy, slope_frame);
                        if let Some(dx) = dx {
                            let dx = &mut dx[image * conv.input_len()..][..conv.input_len()];
                            conv.input_gradient(self.isa, slope_frame, &transposed, dx, accumulate);
                        }
                        conv.frame_input(x, input_frame);
                        conv.weight_gradient(self.isa, input_frame, slope_frame, partial);
                    }
                });
            });
        let (total, others) = partial.split_at_mut(packed_len.min(parts * packed_len));
        for other in others.chunks_exact(packed_len) {
            for (sum, value) in total.iter_mut().zip(other) {
                *sum += *value;
            }
        }
        let mut gradient = vec![0.0; conv.weight_len()];
        if parts > 0 {
            conv.unpack(self.isa, total, &mut gradient);
        }
        gradient
    }
}
