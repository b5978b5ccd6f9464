//! The operations of networks from elsewhere as candle operations, on any device, differentiable by candle's backward pass.
//!
//! Values are `[batch, c, h, w]`, vectors `[batch, c, 1, 1]`.

mod activation;
mod convolution;
mod pool;
mod reduce;
mod resize;
mod shape;
#[cfg(test)]
mod tests;

use candle_core::{Result, Tensor, bail};
use lrpet_runtime::model::{BinaryKind, Op};

pub(crate) use activation::activate;

/// `values` `[c]` as `[1, c, 1, 1]`.
pub(crate) fn channels(values: &Tensor) -> Result<Tensor> {
    values.reshape((1, values.elem_count(), 1, 1))
}

/// The names of the tensors beside a weight that `op` needs, in the file and in training: what follows the layer's name.
pub(crate) fn tensors(op: &Op<String>) -> &'static [&'static str] {
    match op {
        Op::Affine(_) | Op::Normalise(_) => &["scale", "bias"],
        Op::Activate(activate) if activate.slope.is_some() => &["slope"],
        _ => &[],
    }
}

/// What a general operation that is no convolution computes of `inputs`, its activation included. `tensor` gives the tensor
/// `[c]` of one of the names of [`tensors`].
///
/// # Errors
/// candle's; an operation that is not one of these.
pub(crate) fn apply(
    op: &Op<String>,
    inputs: &[&Tensor],
    tensor: impl Fn(&str) -> Result<Tensor>,
) -> Result<Tensor> {
    let Some(&x) = inputs.first() else { bail!("layer {}: no input", op.name()) };
    let second = || match inputs.get(1) {
        Some(second) => Ok(*second),
        None => bail!("layer {}: no second input", op.name()),
    };
    let y = match op {
        Op::GeneralPool(pool) => pool::pool(pool, x)?,
        Op::Reduce(reduce) => reduce::reduce(reduce, x)?,
        Op::Binary(binary) => {
            let second = second()?;
            match binary.kind {
                BinaryKind::Add => x.broadcast_add(second)?,
                BinaryKind::Sub => x.broadcast_sub(second)?,
                BinaryKind::Mul => x.broadcast_mul(second)?,
                BinaryKind::Div => x.broadcast_div(second)?,
            }
        }
        Op::Affine(_) => {
            x.broadcast_mul(&channels(&tensor("scale")?)?)?.broadcast_add(&channels(&tensor("bias")?)?)?
        }
        Op::Activate(layer) if layer.slope.is_some() => {
            let negative = x.neg()?.relu()?.broadcast_mul(&channels(&tensor("slope")?)?)?;
            (x.relu()? - negative)?
        }
        Op::Activate(_) => x.clone(),
        Op::Softmax(softmax) if softmax.log => candle_nn::ops::log_softmax(x, 1)?,
        Op::Softmax(_) => candle_nn::ops::softmax(x, 1)?,
        Op::Slice(slice) => shape::slice(slice, x)?,
        Op::Shuffle(shuffle) => shape::shuffle(shuffle, x)?,
        Op::Pad(pad) => shape::pad(pad, x)?,
        Op::Resize(resize) => resize::resize(resize, x)?,
        Op::DepthToSpace(blocks) => shape::depth_to_space(blocks, x)?,
        Op::SpaceToDepth(blocks) => shape::space_to_depth(blocks, x)?,
        Op::Normalise(layer) => {
            let y = reduce::normalise(layer, x)?;
            y.broadcast_mul(&channels(&tensor("scale")?)?)?.broadcast_add(&channels(&tensor("bias")?)?)?
        }
        Op::Reshape(reshape) => shape::reshape(reshape, x)?,
        Op::Join(join) => Tensor::cat(inputs, 1 + join.axis.index())?,
        Op::Transpose(transpose) => shape::transpose(transpose, x)?,
        Op::Outputs(_) => shape::outputs(inputs)?,
        other => bail!("layer {}: {} is no operation of these", other.name(), other.kind()),
    };
    activate(&y, op.activation())
}

/// The sums of a general convolution: `weight` is `[n, c/groups, kh, kw]`.
pub(crate) use convolution::convolve;
