//! Elementwise operations, the loss, and the optimiser's step.

use candle_core::{Device, Result, Tensor, bail};
use lrpet_runtime::model::Activation;

use super::launch::{address, code, fresh, launch, over};
use super::parameters::{self, Address};

fn length(tensor: &Tensor) -> Result<u32> {
    match u32::try_from(tensor.elem_count()) {
        Ok(length) if length <= i32::MAX as u32 => Ok(length),
        _ => bail!("a map of shape {:?} is too large; give a smaller batch", tensor.dims()),
    }
}

fn elementwise(kernel: &'static str, [a, b, to]: [&Tensor; 3], activation: Activation) -> Result<()> {
    let length = length(to)?;
    let [a, b, to_address] = [address(a)?, address(b)?, address(to)?];
    let parameters = parameters::Sum { a, b, to: to_address, length, activation: code(activation) };
    launch(to.device(), kernel, over(length, 1), parameters)
}

/// act(a + b).
pub(crate) fn add(a: &Tensor, b: &Tensor, activation: Activation) -> Result<Tensor> {
    let to = fresh(a.shape(), a.device())?;
    elementwise("add", [a, b, &to], activation)?;
    Ok(to)
}

/// The gradient before an activation whose result was `z`, in memory of its own.
pub(crate) fn before(slope: &Tensor, z: &Tensor, activation: Activation) -> Result<Tensor> {
    let to = fresh(z.shape(), z.device())?;
    elementwise("add_input", [slope, z, &to], activation)?;
    Ok(to)
}

/// `more`, added in place to `old` where there is one.
pub(crate) fn sum(old: Option<Tensor>, more: Tensor) -> Result<Tensor> {
    let Some(old) = old else { return Ok(more) };
    elementwise("add", [&old, &more, &old], Activation::None)?;
    Ok(old)
}

/// Mean of each plane: `[c, batch, h, w]` to `[c, batch, 1, 1]`.
pub(crate) fn mean(x: &Tensor) -> Result<Tensor> {
    let (c, batch, h, w) = x.dims4()?;
    let to = fresh((c, batch, 1, 1), x.device())?;
    let parameters = parameters::Mean {
        from: address(x)?,
        to: address(&to)?,
        length: length(&to)?,
        pixels: (h * w) as u32,
        add: 0,
    };
    launch(x.device(), "mean", over(parameters.length, 1), parameters)?;
    Ok(to)
}

/// Gradient of [`mean`]'s input `x`, added to `old` where there is one.
pub(crate) fn mean_back(x: &Tensor, slope: &Tensor, old: Option<Tensor>) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    let add = u32::from(old.is_some());
    let to = old.map_or_else(|| fresh(x.shape(), x.device()), Ok)?;
    let parameters = parameters::Mean {
        from: address(slope)?,
        to: address(&to)?,
        length: length(&to)?,
        pixels: (h * w) as u32,
        add,
    };
    launch(x.device(), "mean_input", over(parameters.length, 1), parameters)?;
    Ok(to)
}

/// Gradient of the batch's mean cross-entropy of `logits` `[batch, classes]` with `labels` `[batch]` (u32, each a
/// class). Adds the sum of the images' losses and the number of right answers to `totals` (f64, `[2]`).
///
/// # Errors
/// Where the device fails.
pub(crate) fn cross_entropy(logits: &Tensor, labels: &Tensor, totals: &Tensor) -> Result<Tensor> {
    let logits = logits.contiguous()?;
    let (batch, classes) = logits.dims2()?;
    let slope = fresh((batch, classes), logits.device())?;
    let parameters = parameters::Entropy {
        logits: address(&logits)?,
        labels: address(labels)?,
        slope: address(&slope)?,
        totals: address(totals)?,
        batch: batch as u32,
        classes: classes as u32,
    };
    launch(logits.device(), "cross_entropy", [1, 1], parameters)?;
    Ok(slope)
}

/// A parameter with its gradient and velocity, all of one shape and contiguous; the gradient is read, the others move.
pub(crate) struct Moved<'a> {
    pub weight: &'a Tensor,
    pub slope: &'a Tensor,
    pub velocity: &'a Tensor,
}

/// One step of SGD on all of `moved` in one kernel: v ← μ·v + (g + λ·w), w ← w − η·v.
///
/// # Errors
/// Where the device fails.
pub(crate) fn descend(device: &Device, moved: &[Moved], rate: f64, momentum: f64, decay: f64) -> Result<()> {
    let mut table: Vec<Address> = Vec::with_capacity(4 * moved.len());
    for Moved { weight, slope, velocity } in moved {
        table.extend([address(weight)?, address(slope)?, address(velocity)?, weight.elem_count() as u64]);
    }
    let table: Vec<i64> = table.into_iter().map(u64::cast_signed).collect();
    let slots = Tensor::from_vec(table, 4 * moved.len(), device)?;
    let parameters = parameters::Descent {
        slots: address(&slots)?,
        tensors: moved.len() as u32,
        rate: rate as f32,
        momentum: momentum as f32,
        decay: decay as f32,
    };
    // 64 blocks are enough for the widest layers; most of a small tensor's find nothing to do.
    launch(device, "descend", [64, parameters.tensors.clamp(1, 65_535)], parameters)
}
