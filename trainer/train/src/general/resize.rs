//! Planes of another height and width: along each axis, entries picked or mixed.

use candle_core::{Result, Tensor};
use lrpet_runtime::model::{Coordinates, Nearest, Resize, ResizeMode};

use super::shape::pick;

pub(super) fn resize(resize: &Resize, x: &Tensor) -> Result<Tensor> {
    let mut y = x.clone();
    for axis in 0..2 {
        let (length, resized) = (x.dim(2 + axis)?, resize.size[axis] as usize);
        if length == resized && resize.scales[axis] == 1.0 {
            continue;
        }
        let places: Vec<f32> = (0..resized)
            .map(|at| {
                place(resize.coordinates, at as f32, length as f32, resized as f32, resize.scales[axis])
            })
            .collect();
        let index = |place: f32| (place.max(0.0) as u32).min(length as u32 - 1);
        y = match resize.mode {
            ResizeMode::Nearest(nearest) => {
                let rounded = places.iter().map(|&place| {
                    index(match nearest {
                        Nearest::RoundDown => (place - 0.5).ceil(),
                        Nearest::RoundUp => (place + 0.5).floor(),
                        Nearest::Floor => place.floor(),
                        Nearest::Ceil => place.ceil(),
                    })
                });
                pick(&y, 2 + axis, rounded.collect())?
            }
            ResizeMode::Linear => {
                let inside = |place: f32| place.clamp(0.0, length as f32 - 1.0);
                let low = pick(&y, 2 + axis, places.iter().map(|&at| index(inside(at).floor())).collect())?;
                let high =
                    pick(&y, 2 + axis, places.iter().map(|&at| index(inside(at).floor() + 1.0)).collect())?;
                let shares: Vec<f32> = places.iter().map(|&at| inside(at) - inside(at).floor()).collect();
                let shape = if axis == 0 { (1, 1, resized, 1) } else { (1, 1, 1, resized) };
                let shares = Tensor::from_vec(shares, shape, x.device())?.to_dtype(x.dtype())?;
                (&low + (high - &low)?.broadcast_mul(&shares)?)?
            }
        };
    }
    Ok(y)
}

/// Where pixel `at` of a result of `resized` pixels lies in an input of `length`.
fn place(coordinates: Coordinates, at: f32, length: f32, resized: f32, scale: f32) -> f32 {
    match coordinates {
        Coordinates::PytorchHalfPixel if resized <= 1.0 => 0.0,
        Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => (at + 0.5) / scale - 0.5,
        Coordinates::AlignCorners if resized <= 1.0 => 0.0,
        Coordinates::AlignCorners => at * (length - 1.0) / (resized - 1.0),
        Coordinates::Asymmetric => at / scale,
    }
}
