//! Convolution, batch normalisation, residual add and activation as one operation over a batch, forward and backward.
//!
//! A feature map of a batch is larger than the caches, an image of it is not. So the statistics of an image are taken
//! right after its convolution, and the backward pass makes the gradient behind the normalisation image by image and
//! uses it at once for both gradients of the convolution: it never goes to memory.
//!
//! A convolution without normalisation has a bias instead.

use lrpet_runtime::model::Activation;
use rayon::prelude::*;

use super::convolution::Convolution;
use super::frame::{with_packed, with_scratch};
use super::gradients::{InputGradient, block, gradients};
use super::isa::Isa;
use super::norm::{self, Affine, Backward, Moments};

/// The operation; all feature maps are channels-last, batch first.
#[derive(Debug)]
pub struct ConvNorm {
    conv: Box<dyn Convolution>,
    activation: Activation,
    epsilon: f64,
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

/// Sums of the slopes behind the activation that the backward pass of a normalisation takes: Σ d and Σ d·(y − mean)
/// of each channel.
#[derive(Clone, Copy, Debug)]
pub struct SlopeSums<'a> {
    /// Over the images at hand.
    pub own: &'a [f64],
    /// Over all images that the moments are of: those of other processes too.
    pub whole: &'a [f64],
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

impl ConvNorm {
    /// The operation around `conv`, for the instruction set `isa`. `epsilon` is added to the variance under the root; without a
    /// normalisation it says nothing.
    pub fn new(conv: impl Convolution + 'static, activation: Activation, epsilon: f64, isa: Isa) -> Self {
        ConvNorm { conv: Box::new(conv), activation, epsilon, isa }
    }

    /// The convolution.
    pub fn conv(&self) -> &dyn Convolution {
        &*self.conv
    }

    fn with_packed<R>(&self, weight: &[f32], f: impl FnOnce(&[f32]) -> R) -> R {
        with_packed(self.conv.packed_len(), |packed| {
            self.conv.pack(self.isa, weight, packed);
            f(packed)
        })
    }

    /// Channels of the result.
    pub fn channels(&self) -> usize {
        self.conv.output()[2]
    }

    /// A few images.
    fn forward(&self, x: &[f32], packed: &[f32], y: &mut [f32]) {
        let images = y.len() / self.conv.output_len();
        let frame = &self.conv.geometry().input_frame;
        with_scratch([images * frame.len()], |[frames]| {
            frame.fill_all(x, frames);
            self.conv.forward(self.isa, frames, packed, y);
        });
    }

    /// Convolution of a batch with its statistics: writes `y`.
    pub fn convolve(&self, x: &[f32], weight: &[f32], y: &mut [f32]) -> Moments {
        let (channels, length, block) = (self.channels(), self.conv.output_len(), block(self.conv()));
        let mut images = vec![0.0; y.len() / length * 2 * channels];
        self.with_packed(weight, |packed| {
            (y.par_chunks_mut(block * length), x.par_chunks(block * self.conv.input_len()))
                .into_par_iter()
                .zip(images.par_chunks_mut(block * 2 * channels))
                .for_each(|((y, x), moments)| {
                    self.forward(x, packed, y);
                    for (y, moments) in y.chunks_exact(length).zip(moments.chunks_exact_mut(2 * channels)) {
                        norm::image_moments(self.isa, y, channels, moments);
                    }
                });
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
        let affine = Affine::normalise(moments, gamma, beta, self.epsilon);
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
        let affine = Affine::new(scale, shift);
        let (length, block) = (self.conv.output_len(), block(self.conv()));
        let frame = &self.conv.geometry().input_frame;
        self.with_packed(weight, |packed| {
            (z.par_chunks_mut(block * length), x.par_chunks(block * self.conv.input_len()))
                .into_par_iter()
                .enumerate()
                .for_each(|(index, (z, x))| {
                    let residual = residual.map(|residual| &residual[index * block * length..][..z.len()]);
                    with_scratch([z.len() / length * frame.len(), z.len()], |[frames, y]| {
                        frame.fill_all(x, frames);
                        self.conv.forward(self.isa, frames, packed, y);
                        affine.apply(self.isa, y, residual, self.activation, z);
                    });
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
        let sums = self.slope_sums(past, gamma, beta, dz);
        let sums = SlopeSums { own: &sums, whole: &sums };
        self.backward_from(past, weight, gamma, beta, &sums, dz, dx, partial)
    }

    /// The first half of [`ConvNorm::backward`]: the sums. Where a residual was added, `dz` leaves as the gradient of the
    /// residual.
    pub fn slope_sums(&self, past: &Past, gamma: &[f32], beta: &[f32], dz: &mut [f32]) -> Vec<f64> {
        let (channels, length) = (self.channels(), self.conv.output_len());
        let (back, act) = self.back(past, gamma, beta);
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
        sums
    }

    /// What the backward pass starts from, and the activation whose derivative it takes from y.
    fn back(&self, past: &Past, gamma: &[f32], beta: &[f32]) -> (Backward, Activation) {
        let affine = Affine::normalise(past.moments, gamma, beta, self.epsilon);
        let act = if past.residual { Activation::None } else { self.activation };
        (Backward::new(affine, past.moments), act)
    }

    /// The second half of [`ConvNorm::backward`], with `dz` as the first half left it.
    #[allow(clippy::too_many_arguments)]
    pub fn backward_from(
        &self,
        past: &Past,
        weight: &[f32],
        gamma: &[f32],
        beta: &[f32],
        sums: &SlopeSums,
        dz: &[f32],
        dx: InputGradient,
        partial: &mut Vec<f32>,
    ) -> ParameterGradients {
        let length = self.conv.output_len();
        let (mut back, act) = self.back(past, gamma, beta);
        back.finish(sums.whole, past.moments, gamma, self.epsilon);
        let (gamma, beta) = norm::parameter_gradients(sums.own, past.moments, self.epsilon);
        let slope = |image: usize, to: &mut [f32]| {
            let range = image * length..(image + 1) * length;
            back.apply(self.isa, &dz[range.clone()], &past.y[range], act, to);
        };
        let weight = self.convolution_gradients(past.x, weight, slope, dx, partial);
        ParameterGradients { weight, gamma, beta }
    }

    /// The backward pass of act(convolution + bias + residual) from `dz`, the gradient of the result `z` (read only
    /// where there is an activation). `dz` leaves as the gradient before the activation, which is the residual's. Returns the gradients of weights and bias;
    /// `partial` is scratch, resized as needed.
    pub fn backward_biased(
        &self,
        x: &[f32],
        z: &[f32],
        weight: &[f32],
        dz: &mut [f32],
        dx: InputGradient,
        partial: &mut Vec<f32>,
    ) -> (Vec<f32>, Vec<f32>) {
        let (channels, length) = (self.channels(), self.conv.output_len());
        let mut images = vec![0.0; dz.len() / length * channels];
        (dz.par_chunks_exact_mut(length), images.par_chunks_exact_mut(channels))
            .into_par_iter()
            .enumerate()
            .for_each(|(image, (dz, sums))| {
                if self.activation != Activation::None {
                    norm::mask(self.isa, &z[image * length..][..length], self.activation, dz);
                }
                norm::channel_sums(self.isa, dz, sums);
            });
        let mut bias = vec![0.0; channels];
        for image in images.chunks_exact(channels) {
            for (sum, value) in bias.iter_mut().zip(image) {
                *sum += value;
            }
        }
        let slope = |image: usize, to: &mut [f32]| to.copy_from_slice(&dz[image * length..][..length]);
        let weight = self.convolution_gradients(x, weight, slope, dx, partial);
        (weight, bias.into_iter().map(|sum| sum as f32).collect())
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
        gradients(self.conv(), self.isa, x, weight, slope, dx, partial)
    }
}
