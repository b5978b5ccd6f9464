//! Batch normalisation of channels-last feature maps, image by image: statistics, the affine map with residual and
//! activation, and the backward pass. Ioffe and Szegedy, "Batch normalization" (ICML 2015), algorithm 1 and section 3.
//!
//! Per-channel coefficients are spread to a *period*, a whole number of pixels and of vectors, so that one plain loop
//! serves any number of channels.

use lrpet_runtime::model::Activation;

use super::isa::{Isa, multiversion};
use super::lanes::LANES;

/// Values of one period: a multiple of the channels and of the lanes, long enough to hide the latency of sums.
pub(super) fn period(channels: usize) -> usize {
    let gcd = |mut a: usize, mut b: usize| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let whole = channels / gcd(channels, LANES) * LANES;
    whole * 128usize.div_ceil(whole)
}

/// Repeats per-channel values through one period.
pub(super) fn spread(values: impl ExactSizeIterator<Item = f32> + Clone) -> Vec<f32> {
    let length = period(values.len());
    values.cycle().take(length).collect()
}

/// Adds the entries of one period up by channel.
fn fold(period: &[f32], channels: usize) -> Vec<f64> {
    let mut sums = vec![0.0; channels];
    for pixel in period.chunks_exact(channels) {
        for (sum, value) in sums.iter_mut().zip(pixel) {
            *sum += f64::from(*value);
        }
    }
    sums
}

/// Calls `$apply` with a closure for the activation, so that each gets a loop of its own.
macro_rules! for_activation {
    ($activation:expr, $none:expr, $relu:expr, $relu6:expr, |$f:ident| $apply:expr) => {
        match $activation {
            Activation::None => {
                let $f = $none;
                $apply
            }
            Activation::Relu => {
                let $f = $relu;
                $apply
            }
            Activation::Relu6 => {
                let $f = $relu6;
                $apply
            }
            // Engines ask whether it is plain before.
            other => unreachable!("no kernel of training applies {}", other.name()),
        }
    };
}

/// Mean and sum of squared deviations from it, of each channel over the pixels of one image.
pub(super) fn image_moments(isa: Isa, image: &[f32], channels: usize, moments: &mut [f64]) {
    let pixels = (image.len() / channels) as f64;
    let (means, squares) = moments.split_at_mut(channels);
    channel_sums(isa, image, means);
    for mean in means.iter_mut() {
        *mean /= pixels;
    }
    // Deviations are taken from the rounded mean; the correction makes the sum exact for the true one.
    let centre = spread(means.iter().map(|mean| *mean as f32));
    let mut sums = vec![0.0; period(channels)];
    add_up_squares(isa, image, &centre, &mut sums);
    for (channel, sum) in fold(&sums, channels).into_iter().enumerate() {
        let error = means[channel] - f64::from(centre[channel]);
        squares[channel] = (sum - pixels * error * error).max(0.0);
    }
}

/// Sum of each channel over the pixels of one image.
pub(super) fn channel_sums(isa: Isa, image: &[f32], sums: &mut [f64]) {
    let mut periods = vec![0.0; period(sums.len())];
    add_up(isa, image, &mut periods);
    sums.copy_from_slice(&fold(&periods, sums.len()));
}

/// Mean and biased variance of each channel over a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// Mean of each channel.
    pub mean: Vec<f64>,
    /// Variance of each channel, divided by the number of values.
    pub variance: Vec<f64>,
    /// Values of each channel, images × pixels.
    pub count: usize,
}

/// Joins the moments of images of `pixels` pixels each, in their order (Chan, Golub, LeVeque, "Updating formulae and a
/// pairwise algorithm for computing sample variances", 1979): no cancellation however large the mean.
pub(super) fn join_moments(images: &[f64], channels: usize, pixels: usize) -> Moments {
    let mut mean = vec![0.0; channels];
    let mut squares = vec![0.0; channels];
    let count = pixels as f64;
    let mut before = 0.0;
    for image in images.chunks_exact(2 * channels) {
        let total = before + count;
        for channel in 0..channels {
            let delta = image[channel] - mean[channel];
            mean[channel] += delta * count / total;
            squares[channel] += image[channels + channel] + delta * delta * before * count / total;
        }
        before = total;
    }
    let variance = squares.into_iter().map(|sum| sum / before.max(1.0)).collect();
    Moments { mean, variance, count: before as usize }
}

impl Moments {
    /// The moments of several parts of a batch together, in their order, by the same formulae.
    pub fn joined(channels: usize, parts: impl Iterator<Item = Moments>) -> Moments {
        let mut mean = vec![0.0; channels];
        let mut squares = vec![0.0; channels];
        let mut before = 0;
        for part in parts {
            let total = before + part.count;
            let (count, share) = (part.count as f64, part.count as f64 / total.max(1) as f64);
            for channel in 0..channels {
                let delta = part.mean[channel] - mean[channel];
                mean[channel] += delta * share;
                squares[channel] += part.variance[channel] * count + delta * delta * before as f64 * share;
            }
            before = total;
        }
        let variance = squares.into_iter().map(|sum| sum / before.max(1) as f64).collect();
        Moments { mean, variance, count: before }
    }
}

/// Per-channel coefficients of the affine map y·scale + shift, spread to a period.
#[derive(Clone, Debug)]
pub(super) struct Affine {
    scale: Vec<f32>,
    shift: Vec<f32>,
}

impl Affine {
    /// scale and shift of each channel.
    pub(super) fn new(scale: &[f32], shift: &[f32]) -> Self {
        Affine { scale: spread(scale.iter().copied()), shift: spread(shift.iter().copied()) }
    }

    /// (y − mean)·γ/√(variance + ε) + β.
    pub(super) fn normalise(moments: &Moments, gamma: &[f32], beta: &[f32], epsilon: f64) -> Self {
        let (scale, shift): (Vec<f32>, Vec<f32>) = (0..gamma.len())
            .map(|channel| {
                let scale = f64::from(gamma[channel]) / (moments.variance[channel] + epsilon).sqrt();
                (scale as f32, (f64::from(beta[channel]) - moments.mean[channel] * scale) as f32)
            })
            .unzip();
        Affine::new(&scale, &shift)
    }

    /// act(y·scale + shift + residual) of one image.
    pub(super) fn apply(
        &self,
        isa: Isa,
        y: &[f32],
        residual: Option<&[f32]>,
        act: Activation,
        to: &mut [f32],
    ) {
        match residual {
            Some(residual) => affine_add(isa, y, residual, &self.scale, &self.shift, act, to),
            None => affine(isa, y, &self.scale, &self.shift, act, to),
        }
    }
}

/// Σ d and Σ d·(y − mean) of each channel over one image, where d is the gradient behind the activation.
///
/// The activation's derivative is found from y itself, which is right where no residual was added.
pub(super) fn slope_sums(
    isa: Isa,
    dz: &[f32],
    y: &[f32],
    back: &Backward,
    act: Activation,
    sums: &mut [f64],
) {
    let channels = sums.len() / 2;
    let mut periods = vec![0.0; 2 * back.mean.len()];
    let (plain, centred) = periods.split_at_mut(back.mean.len());
    add_up_slopes(isa, dz, y, &back.affine.scale, &back.affine.shift, &back.mean, act, plain, centred);
    sums[..channels].copy_from_slice(&fold(plain, channels));
    sums[channels..].copy_from_slice(&fold(centred, channels));
}

/// Per-channel coefficients of the backward pass, spread to a period.
#[derive(Clone, Debug)]
pub(super) struct Backward {
    affine: Affine,
    mean: Vec<f32>,
    /// γ/√(variance + ε), mean of d, and 1/(variance + ε) · mean of d·(y − mean): known after the sums.
    factor: Vec<f32>,
    mean_slope: Vec<f32>,
    mean_centred: Vec<f32>,
}

impl Backward {
    pub(super) fn new(affine: Affine, moments: &Moments) -> Self {
        let mean = spread(moments.mean.iter().map(|mean| *mean as f32));
        Backward { affine, mean, factor: Vec::new(), mean_slope: Vec::new(), mean_centred: Vec::new() }
    }

    /// Takes the sums over the whole batch.
    pub(super) fn finish(&mut self, sums: &[f64], moments: &Moments, gamma: &[f32], epsilon: f64) {
        let channels = gamma.len();
        let count = moments.count as f64;
        let inverse = |channel: usize| 1.0 / (moments.variance[channel] + epsilon);
        let (plain, centred) = sums.split_at(channels);
        let of =
            |f: &dyn Fn(usize) -> f64| (0..channels).map(|channel| f(channel) as f32).collect::<Vec<f32>>();
        let factor = of(&|channel| f64::from(gamma[channel]) * inverse(channel).sqrt());
        let mean_centred = of(&|channel| inverse(channel) * centred[channel] / count);
        self.factor = spread(factor.into_iter());
        self.mean_slope = spread(of(&|channel| plain[channel] / count).into_iter());
        self.mean_centred = spread(mean_centred.into_iter());
    }

    /// The gradient of y of one image: factor·(d − mean of d − (y − mean)·mean_centred).
    pub(super) fn apply(&self, isa: Isa, dz: &[f32], y: &[f32], act: Activation, to: &mut [f32]) {
        let Backward { affine, mean, factor, mean_slope, mean_centred } = self;
        slopes(isa, dz, y, &affine.scale, &affine.shift, mean, factor, mean_slope, mean_centred, act, to);
    }
}

/// The gradients of γ and of β from the sums of [`slope_sums`].
pub(super) fn parameter_gradients(sums: &[f64], moments: &Moments, epsilon: f64) -> (Vec<f32>, Vec<f32>) {
    let (plain, centred) = sums.split_at(sums.len() / 2);
    let of_gamma = |(sum, variance): (&f64, &f64)| (sum * (1.0 / (variance + epsilon)).sqrt()) as f32;
    let gamma = centred.iter().zip(&moments.variance).map(of_gamma).collect();
    (gamma, plain.iter().map(|sum| *sum as f32).collect())
}

multiversion! {
    fn add_up(image: &[f32], sums: &mut [f32]) {
        for chunk in image.chunks(sums.len()) {
            for (sum, value) in sums.iter_mut().zip(chunk) {
                *sum += *value;
            }
        }
    }
}

multiversion! {
    fn add_up_squares(image: &[f32], centre: &[f32], sums: &mut [f32]) {
        for chunk in image.chunks(sums.len()) {
            for ((sum, value), centre) in sums.iter_mut().zip(chunk).zip(centre) {
                let deviation = *value - *centre;
                *sum += deviation * deviation;
            }
        }
    }
}

#[inline(always)]
fn relu(x: f32) -> f32 {
    if x > 0.0 { x } else { 0.0 }
}

#[inline(always)]
fn relu6(x: f32) -> f32 {
    if x < 6.0 { relu(x) } else { 6.0 }
}

/// Whether the derivative of ReLU6 at `x` is one.
#[inline(always)]
fn within_relu6(x: f32) -> bool {
    x > 0.0 && x < 6.0
}

multiversion! {
    fn affine(y: &[f32], scale: &[f32], shift: &[f32], act: Activation, to: &mut [f32]) {
        let length = scale.len();
        for_activation!(act, |x| x, relu, relu6, |f| {
            for (to, y) in to.chunks_mut(length).zip(y.chunks(length)) {
                let (scale, shift) = (&scale[..y.len()], &shift[..y.len()]);
                for i in 0..y.len().min(to.len()) {
                    to[i] = f(y[i] * scale[i] + shift[i]);
                }
            }
        })
    }
}

multiversion! {
    fn affine_add(y: &[f32], residual: &[f32], scale: &[f32], shift: &[f32], act: Activation, to: &mut [f32]) {
        let length = scale.len();
        for_activation!(act, |x| x, relu, relu6, |f| {
            for ((to, y), residual) in to.chunks_mut(length).zip(y.chunks(length)).zip(residual.chunks(length)) {
                let (scale, shift) = (&scale[..y.len()], &shift[..y.len()]);
                for i in 0..y.len().min(to.len()).min(residual.len()) {
                    to[i] = f(y[i] * scale[i] + shift[i] + residual[i]);
                }
            }
        })
    }
}

multiversion! {
    /// act(a + b), elementwise.
    pub(super) fn add(a: &[f32], b: &[f32], act: Activation, sum: &mut [f32]) {
        for_activation!(act, |x| x, relu, relu6, |f| {
            for ((sum, a), b) in sum.iter_mut().zip(a).zip(b) {
                *sum = f(*a + *b);
            }
        })
    }
}

multiversion! {
    /// Multiplies `dz` by the activation's derivative at the value that gave `z`.
    pub(super) fn mask(z: &[f32], act: Activation, dz: &mut [f32]) {
        for_activation!(act, |_| true, |z| z > 0.0, within_relu6, |f| {
            for (dz, z) in dz.iter_mut().zip(z) {
                *dz = if f(*z) { *dz } else { 0.0 };
            }
        })
    }
}

multiversion! {
    fn add_up_slopes(
        dz: &[f32],
        y: &[f32],
        scale: &[f32],
        shift: &[f32],
        mean: &[f32],
        act: Activation,
        plain: &mut [f32],
        centred: &mut [f32],
    ) {
        let length = mean.len();
        let (plain, centred) = (&mut plain[..length], &mut centred[..length]);
        for_activation!(act, |_| true, |x| x > 0.0, within_relu6, |f| {
            for (dz, y) in dz.chunks(length).zip(y.chunks(length)) {
                let count = dz.len().min(y.len());
                let (scale, shift, mean) = (&scale[..count], &shift[..count], &mean[..count]);
                let (plain, centred) = (&mut plain[..count], &mut centred[..count]);
                for i in 0..count {
                    let d = if f(y[i] * scale[i] + shift[i]) { dz[i] } else { 0.0 };
                    plain[i] += d;
                    centred[i] += d * (y[i] - mean[i]);
                }
            }
        })
    }
}

multiversion! {
    fn slopes(
        dz: &[f32],
        y: &[f32],
        scale: &[f32],
        shift: &[f32],
        mean: &[f32],
        factor: &[f32],
        mean_slope: &[f32],
        mean_centred: &[f32],
        act: Activation,
        to: &mut [f32],
    ) {
        let length = mean.len();
        for_activation!(act, |_| true, |x| x > 0.0, within_relu6, |f| {
            for ((to, dz), y) in to.chunks_mut(length).zip(dz.chunks(length)).zip(y.chunks(length)) {
                let count = dz.len().min(y.len()).min(to.len());
                let (scale, shift, mean) = (&scale[..count], &shift[..count], &mean[..count]);
                let (factor, mean_slope) = (&factor[..count], &mean_slope[..count]);
                let mean_centred = &mean_centred[..count];
                for i in 0..count {
                    let d = if f(y[i] * scale[i] + shift[i]) { dz[i] } else { 0.0 };
                    to[i] = factor[i] * (d - mean_slope[i] - (y[i] - mean[i]) * mean_centred[i]);
                }
            }
        })
    }
}
