//! Reductions along axes, and normalisations by mean and variance.

use candle_core::{Result, Tensor};
use lrpet_runtime::model::{Normalise, NormaliseOver, Reduce, Reduction};

/// One value in place of all along some axes.
pub(super) fn reduce(reduce: &Reduce, x: &Tensor) -> Result<Tensor> {
    let axes: Vec<usize> = (0..3).filter(|&axis| reduce.axes[axis]).map(|axis| axis + 1).collect();
    match reduce.kind {
        Reduction::Mean => x.mean_keepdim(axes),
        Reduction::Sum => x.sum_keepdim(axes),
        Reduction::Max => {
            let fixed = x.detach();
            let mut most = fixed.clone();
            for &axis in &axes {
                most = most.max_keepdim(axis)?;
            }
            // The largest values share the gradient (PyTorch's amax); candle would give each the whole of it.
            let largest = fixed.broadcast_eq(&most)?.to_dtype(x.dtype())?;
            let share = largest.broadcast_div(&largest.sum_keepdim(axes.as_slice())?)?;
            most + ((x - &fixed)? * share)?.sum_keepdim(axes)?
        }
    }
}

/// (x − mean) / √(variance + ε).
pub(super) fn normalise(layer: &Normalise<String>, x: &Tensor) -> Result<Tensor> {
    let (batch, c, h, w) = x.dims4()?;
    let over = match layer.over {
        NormaliseOver::Channels => return centred(x, &[1], layer.epsilon),
        NormaliseOver::Plane => (batch, c, h * w),
        NormaliseOver::All => (batch, 1, c * h * w),
        NormaliseOver::Groups(groups) => (batch, groups as usize, x.elem_count() / batch / groups as usize),
    };
    centred(&x.reshape(over)?, &[2], layer.epsilon)?.reshape((batch, c, h, w))
}

fn centred(x: &Tensor, axes: &[usize], epsilon: f32) -> Result<Tensor> {
    let x = x.broadcast_sub(&x.mean_keepdim(axes)?)?;
    let deviation = (x.sqr()?.mean_keepdim(axes)? + f64::from(epsilon))?.sqrt()?;
    x.broadcast_div(&deviation)
}
