//! Planes of another height and width: along each axis, entries picked or mixed.

use candle_core::{Result, Tensor};
use lrpet_runtime::model::{Resize, ResizeMode};
use lrpet_runtime::reference::sample;

use super::shape::pick;

pub(super) fn resize(resize: &Resize, x: &Tensor) -> Result<Tensor> {
    let mut y = x.clone();
    for (axis, &resized) in resize.size.iter().enumerate() {
        let length = u32::try_from(x.dim(2 + axis)?).map_err(candle_core::Error::wrap)?;
        if length == resized && resize.scales[axis] == 1.0 {
            continue;
        }
        let pixels: Vec<_> =
            (0..resized).map(|at| sample(resize, axis, i64::from(at), [length, resized])).collect();
        // Within the axis, which a u32 counts.
        let part =
            |which: usize| pick(&y, 2 + axis, pixels.iter().map(|pair| pair[which].0 as u32).collect());
        y = match resize.mode {
            ResizeMode::Nearest(_) => part(0)?,
            ResizeMode::Linear => {
                let shares: Vec<f64> = pixels.iter().map(|pair| pair[1].1).collect();
                let shape = if axis == 0 { (1, 1, shares.len(), 1) } else { (1, 1, 1, shares.len()) };
                let shares = Tensor::from_vec(shares, shape, x.device())?.to_dtype(x.dtype())?;
                let (low, high) = (part(0)?, part(1)?);
                (&low + (high - &low)?.broadcast_mul(&shares)?)?
            }
        };
    }
    Ok(y)
}
