//! What follows a product: batch normalisation or bias, residual, activation; forward and back.

use candle_core::{Device, Result, Tensor};
use lrpet_runtime::model::Activation;

use super::launch::{address, code, fresh, launch, over};
use super::parameters;
use crate::Exchange;

/// Values of a channel that one block sums.
const PART: u32 = 4096;
/// Most parts of a channel; one thread adds them up.
const MOST_PARTS: u32 = 64;

/// The tensors of a batch normalisation, `[n]` each, and its ε.
pub(crate) struct Norm<'a> {
    pub gamma: &'a Tensor,
    pub beta: &'a Tensor,
    pub mean: &'a Tensor,
    pub variance: &'a Tensor,
    pub epsilon: f64,
}

/// How much of a batch this process has, and who has the rest.
#[derive(Clone, Copy)]
pub(crate) struct Share<'a> {
    pub exchange: &'a dyn Exchange,
    /// Images here, and in all processes together.
    pub images: usize,
    pub whole: usize,
}

impl Share<'_> {
    /// Values of a channel in all processes, of which `length` are here.
    fn count(&self, length: u32) -> Result<u32> {
        let count = length as usize / self.images.max(1) * self.whole;
        match u32::try_from(count) {
            Ok(count) => Ok(count),
            Err(_) => candle_core::bail!("a batch of {} images is too large; give a smaller one", self.whole),
        }
    }

    fn is_whole(&self) -> bool {
        self.exchange.size() == 1
    }
}

/// Mean and 1 / standard deviation by which a batch was normalised, `[n]` each.
pub(crate) struct Statistics {
    mean: Tensor,
    inverse: Tensor,
}

/// Channels, and values of each, of a map `[n, …]`.
fn sizes(y: &Tensor) -> Result<(u32, u32)> {
    let channels = y.dim(0)?;
    let length = y.elem_count() / channels.max(1);
    match (u32::try_from(channels), u32::try_from(length)) {
        (Ok(channels), Ok(length)) if length <= i32::MAX as u32 => Ok((channels, length)),
        _ => candle_core::bail!("a map of shape {:?} is too large; give a smaller batch", y.dims()),
    }
}

fn parts(length: u32) -> u32 {
    length.div_ceil(PART).clamp(1, MOST_PARTS)
}

impl Statistics {
    /// Those of the batch of which `y` is a share; the running ones move towards them by `momentum` (variances unbiased).
    pub(crate) fn of_batch(y: &Tensor, norm: &Norm, momentum: f64, share: Share) -> Result<Statistics> {
        let (channels, length) = sizes(y)?;
        let splits = parts(length);
        let device = y.device();
        let mut found = Statistics {
            mean: fresh(channels as usize, device)?,
            inverse: fresh(channels as usize, device)?,
        };
        let partial = fresh(2 * (channels * splits) as usize, device)?;
        let mut parameters = parameters::Moments {
            y: address(y)?,
            partial: address(&partial)?,
            mean: address(&found.mean)?,
            inverse: address(&found.inverse)?,
            running_mean: address(norm.mean)?,
            running_variance: address(norm.variance)?,
            channels,
            length,
            splits,
            count: share.count(length)?,
            momentum: momentum as f32,
            epsilon: norm.epsilon as f32,
        };
        launch(device, "moments", [splits, channels.min(65_535)], parameters)?;
        if share.is_whole() {
            launch(device, "finish_moments", over(channels, 1), parameters)?;
            return Ok(found);
        }
        // The squares are summed about the common mean: about anything else they would cancel.
        launch(device, "share_mean", over(channels, 1), parameters)?;
        found.mean = share.exchange.sum_tensor(&found.mean)?;
        parameters.mean = address(&found.mean)?;
        launch(device, "share_spread", over(channels, 1), parameters)?;
        found.inverse = share.exchange.sum_tensor(&found.inverse)?;
        parameters.inverse = address(&found.inverse)?;
        launch(device, "finish_shares", over(channels, 1), parameters)?;
        Ok(found)
    }

    /// The running ones.
    pub(crate) fn running(norm: &Norm) -> Result<Statistics> {
        let device = norm.mean.device();
        let inverse = fresh(norm.mean.shape(), device)?;
        let channels = norm.mean.elem_count() as u32;
        let parameters = parameters::Moments {
            y: 0,
            partial: 0,
            mean: 0,
            inverse: address(&inverse)?,
            running_mean: 0,
            running_variance: address(norm.variance)?,
            channels,
            length: 0,
            splits: 0,
            count: 0,
            momentum: 0.0,
            epsilon: norm.epsilon as f32,
        };
        launch(device, "running_inverse", over(channels, 1), parameters)?;
        Ok(Statistics { mean: norm.mean.clone(), inverse })
    }
}

/// How the sum becomes the result.
pub(crate) enum Shift<'a> {
    /// By statistics, γ and β.
    Norm(&'a Statistics, &'a Norm<'a>),
    /// By a bias `[n]`.
    Bias(&'a Tensor),
}

impl Shift<'_> {
    /// Addresses of mean, 1 / standard deviation, γ and β.
    fn addresses(&self) -> Result<[parameters::Address; 4]> {
        match self {
            Shift::Norm(found, norm) => Ok([
                address(&found.mean)?,
                address(&found.inverse)?,
                address(norm.gamma)?,
                address(norm.beta)?,
            ]),
            Shift::Bias(bias) => Ok([0, 0, 0, address(bias)?]),
        }
    }
}

fn optional(tensor: Option<&Tensor>) -> Result<parameters::Address> {
    tensor.map_or(Ok(0), address)
}

/// act(shift(y) + residual).
pub(crate) fn finish(
    y: &Tensor,
    shift: &Shift,
    residual: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    let (channels, length) = sizes(y)?;
    let z = fresh(y.shape(), y.device())?;
    let [mean, inverse, gamma, beta] = shift.addresses()?;
    let parameters = parameters::Normalise {
        y: address(y)?,
        mean,
        inverse,
        gamma,
        beta,
        residual: optional(residual)?,
        z: address(&z)?,
        channels,
        length,
        activation: code(activation),
    };
    launch(y.device(), "normalise", over(length, channels), parameters)?;
    Ok(z)
}

/// What the way back gives.
pub(crate) struct Slopes {
    /// Gradient of the product y.
    pub y: Tensor,
    /// Gradients of γ (without a normalisation there is none) and of β or the bias, by this process's share.
    pub gamma: Option<Tensor>,
    pub beta: Tensor,
    /// Gradient of the residual, where there is one.
    pub residual: Option<Tensor>,
}

/// What the way back starts from.
pub(crate) struct Past<'a> {
    /// The product; a bias does not need it.
    pub y: Option<&'a Tensor>,
    /// The result.
    pub z: &'a Tensor,
    pub activation: Activation,
}

/// The way back through [`finish`], from `slope`, the gradient of its result, which it overwrites. Where there is a
/// residual, its gradient is written, or added to the one that it has.
pub(crate) fn back(
    past: &Past,
    shift: &Shift,
    slope: Tensor,
    residual: Option<Option<Tensor>>,
    share: Share,
) -> Result<Slopes> {
    let (channels, length) = sizes(past.z)?;
    let splits = parts(length);
    let device: &Device = slope.device();
    let partial = fresh(2 * (channels * splits) as usize, device)?;
    let beta = fresh(channels as usize, device)?;
    let [mean, inverse, gamma, _] = shift.addresses()?;
    let gamma_slope = match shift {
        Shift::Norm(..) => Some(fresh(channels as usize, device)?),
        Shift::Bias(_) => None,
    };
    let add = matches!(residual, Some(Some(_)));
    let residual = match residual {
        Some(Some(old)) => Some(old),
        Some(None) => Some(fresh(past.z.shape(), device)?),
        None => None,
    };
    let mut parameters = parameters::Slopes {
        slope: address(&slope)?,
        z: address(past.z)?,
        y: optional(past.y)?,
        mean,
        inverse,
        gamma,
        partial: address(&partial)?,
        gamma_slope: optional(gamma_slope.as_ref())?,
        beta_slope: address(&beta)?,
        tilt: optional(gamma_slope.as_ref())?,
        shift: address(&beta)?,
        y_slope: address(&slope)?,
        residual_slope: optional(residual.as_ref())?,
        channels,
        length,
        splits,
        count: share.count(length)?,
        activation: code(past.activation),
        add: u32::from(add),
    };
    launch(device, "slope_sums", [splits, channels.min(65_535)], parameters)?;
    launch(device, "finish_slopes", over(channels, 1), parameters)?;
    // Kept until the kernel that reads them is started.
    let mut whole = None;
    if let (false, Some(gamma_slope)) = (share.is_whole(), &gamma_slope) {
        let sums = whole.insert(share.exchange.sum_tensor(&Tensor::cat(&[gamma_slope, &beta], 0)?)?);
        parameters.tilt = address(sums)?;
        parameters.shift = parameters.tilt + 4 * parameters::Address::from(channels);
    }
    launch(device, "slopes", over(length, channels), parameters)?;
    drop(whole);
    Ok(Slopes { y: slope, gamma: gamma_slope, beta, residual })
}
