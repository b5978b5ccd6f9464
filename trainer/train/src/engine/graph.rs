//! Forward and backward passes as a graph of candle operations: any layer, any device.

use candle_core::{D, Tensor};
use lrpet_network::network::{Layer, Network};
use lrpet_runtime::model::{Conv, Op, PadShortcut, Pool, PoolKind, Weights, Window};

use super::{Engine, Mode, no_forward_pass};
use crate::conv2d::conv2d;
use crate::general::{self, activate, channels};
use crate::parameters::{LayerNames, NormNames};
use crate::{Gradients, Parameters, TrainError};

/// The engine.
pub(crate) struct Graph {
    layers: Vec<Layer>,
    /// Logits of the last training forward pass, with the graph behind them.
    logits: Option<Tensor>,
}

impl Graph {
    pub(crate) fn new(network: &Network) -> Graph {
        Graph { layers: network.layers.clone(), logits: None }
    }
}

impl Engine for Graph {
    fn forward(
        &mut self,
        parameters: &Parameters,
        images: &Tensor,
        mode: Mode,
    ) -> Result<Tensor, TrainError> {
        let mut values = vec![images.clone()];
        for layer in &self.layers {
            let inputs = layer.op.inputs();
            let inputs: Vec<&Tensor> =
                inputs.values().iter().map(|&value| &values[usize::from(value)]).collect();
            values.push(apply(parameters, layer, &inputs, mode)?);
        }
        let logits = values.pop().expect("the images at least");
        let logits = if logits.rank() > 2 { logits.flatten_from(1)? } else { logits };
        if matches!(mode, Mode::Train { .. }) {
            self.logits = Some(logits.clone());
        }
        Ok(logits.detach())
    }

    fn backward(&mut self, parameters: &Parameters, gradient: &Tensor) -> Result<Gradients, TrainError> {
        let Some(logits) = self.logits.take() else {
            return Err(no_forward_pass());
        };
        let mut store = (logits * gradient)?.sum_all()?.backward()?;
        let trained = parameters.trained().iter();
        Ok(trained.filter_map(|(name, var)| Some((name.clone(), store.remove(var)?))).collect())
    }
}

/// The result of `layer`, `[batch, c, h, w]`.
pub(super) fn apply(
    parameters: &Parameters,
    layer: &Layer,
    inputs: &[&Tensor],
    mode: Mode,
) -> Result<Tensor, TrainError> {
    let (x, second) = (inputs[0], inputs.get(1).copied());
    let names = LayerNames::of(layer);
    match (&layer.op, names) {
        (Op::Conv(conv), Some(names)) => {
            let y = convolve(conv, x, parameters.get(&names.weight)?)?;
            let y = shift(parameters, &names, y, mode)?;
            let y = second.map_or(Ok(y.clone()), |second| y + second)?;
            Ok(activate(&y, conv.activation)?)
        }
        (Op::GeneralConv(conv), Some(names)) => {
            let y = general::convolve(conv, x, parameters.get(&names.weight)?)?;
            let y = shift(parameters, &names, y, mode)?;
            let y = second.map_or(Ok(y.clone()), |second| y + second)?;
            Ok(activate(&y, conv.activation)?)
        }
        (Op::Linear(linear), Some(names)) => {
            let x = if x.rank() > 2 { x.flatten_from(1)? } else { x.clone() };
            let y = x.matmul(&parameters.get(&names.weight)?.t()?)?;
            let y = match &names.bias {
                Some(bias) => y.broadcast_add(parameters.get(bias)?)?,
                None => y,
            };
            // A vector, as a map of one pixel.
            Ok(activate(&y, linear.activation)?.unsqueeze(2)?.unsqueeze(3)?)
        }
        (Op::GlobalAveragePool { .. }, _) => Ok(x.mean_keepdim((2, 3))?),
        (Op::PadShortcut(shortcut), _) => pad_shortcut(shortcut, x),
        (Op::Pool(pool), _) => pool_layer(pool, x),
        (Op::Add { activation, .. }, _) => {
            let sum = second.map_or(Ok(x.clone()), |second| x + second)?;
            Ok(activate(&sum, *activation)?)
        }
        (Op::Concat(_), _) => Ok(Tensor::cat(inputs, 1)?),
        (Op::Conv(_) | Op::GeneralConv(_) | Op::Linear(_), None) => {
            unreachable!("layers with weights have names")
        }
        (op, _) => {
            let tensor = |name: &str| {
                let found = parameters.get(&format!("{}.{name}", op.name()));
                found.map(|var| var.as_tensor().clone()).map_err(candle_core::Error::wrap)
            };
            Ok(general::apply(op, inputs, tensor)?)
        }
    }
}

/// What follows a convolution's sums: its normalisation or its bias.
fn shift(parameters: &Parameters, names: &LayerNames, y: Tensor, mode: Mode) -> Result<Tensor, TrainError> {
    Ok(match (&names.norm, &names.bias) {
        (Some(norm), _) => normalise(parameters, norm, &y, mode)?,
        (None, Some(bias)) => y.broadcast_add(&channels(parameters.get(bias)?)?)?,
        (None, None) => y,
    })
}

fn convolve(conv: &Conv<String>, x: &Tensor, weight: &Tensor) -> Result<Tensor, TrainError> {
    if conv.weights != Weights::Depthwise {
        return Ok(conv2d(x, weight, &conv.window)?);
    }
    // One filter a channel: the sum over the taps of a shifted, strided copy times the tap's weight.
    let taps = conv.window.taps();
    let mut sum: Option<Tensor> = None;
    for tap in 0..taps as usize {
        let (row, col) = (tap / usize::from(conv.window.kernel[1]), tap % usize::from(conv.window.kernel[1]));
        let value = weight.narrow(2, row, 1)?.narrow(3, col, 1)?.reshape((1, x.dim(1)?, 1, 1))?;
        let product = shifted(x, &conv.window, row, col, 0.0)?.broadcast_mul(&value)?;
        sum = Some(match sum {
            Some(sum) => (sum + product)?,
            None => product,
        });
    }
    sum.ok_or_else(|| TrainError::Setting(format!("layer {}: empty kernel", conv.name)))
}

/// The value under tap (row, col) of each window, `outside` where the tap is outside the image.
fn shifted(x: &Tensor, window: &Window, row: usize, col: usize, outside: f64) -> Result<Tensor, TrainError> {
    let (_, _, h, w) = x.dims4()?;
    let size = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
    let (oh, ow) = window
        .output(size(h), size(w))
        .ok_or_else(|| TrainError::Setting(format!("{window:?} does not fit {h}×{w}")))?;
    let [top, left, bottom, right] = window.padding.map(usize::from);
    let padded = |x: &Tensor| x.pad_with_zeros(2, top, bottom)?.pad_with_zeros(3, left, right);
    let mut field = padded(x)?;
    if outside != 0.0 && window.padding != [0; 4] {
        let inside = padded(&x.ones_like()?)?;
        field = (field + inside.affine(-outside, outside)?)?;
    }
    let pick = |from: usize, stride: u16, count: u32| -> Result<Tensor, candle_core::Error> {
        let indices: Vec<u32> = (0..count).map(|at| size(from) + at * u32::from(stride)).collect();
        Tensor::new(indices, x.device())
    };
    Ok(field
        .index_select(&pick(row, window.stride[0], oh)?, 2)?
        .index_select(&pick(col, window.stride[1], ow)?, 3)?)
}

fn normalise(
    parameters: &Parameters,
    names: &NormNames,
    y: &Tensor,
    mode: Mode,
) -> Result<Tensor, TrainError> {
    let (gamma, beta) = (channels(&names.gamma(parameters)?)?, channels(&names.beta(parameters)?)?);
    let (mean, variance) = match mode {
        Mode::Train { momentum } => {
            let momentum = momentum.unwrap_or(names.momentum);
            let mean = y.mean_keepdim((0, 2, 3))?;
            let variance = y.broadcast_sub(&mean)?.sqr()?.mean_keepdim((0, 2, 3))?;
            let count = (y.elem_count() / y.dim(1)?) as f64;
            let unbiased = count / (count - 1.0).max(1.0);
            for (name, new, factor) in [(&names.mean, &mean, 1.0), (&names.variance, &variance, unbiased)] {
                let old = parameters.get(name)?;
                let new = new.detach().flatten_all()?.affine(factor * momentum, 0.0)?;
                old.set(&(old.as_detached_tensor().affine(1.0 - momentum, 0.0)? + new)?)?;
            }
            (mean, variance)
        }
        Mode::Infer => (channels(parameters.get(&names.mean)?)?, channels(parameters.get(&names.variance)?)?),
    };
    let scale = (variance + names.epsilon)?.sqrt()?.recip()?.mul(&gamma)?;
    Ok(y.broadcast_sub(&mean)?.broadcast_mul(&scale)?.broadcast_add(&beta)?)
}

fn pad_shortcut(shortcut: &PadShortcut, x: &Tensor) -> Result<Tensor, TrainError> {
    let new = shortcut.out_channels as usize - x.dim(1)?;
    let every = Window { kernel: [1, 1], stride: [shortcut.stride; 2], padding: [0; 4] };
    Ok(shifted(x, &every, 0, 0, 0.0)?.pad_with_zeros(1, new / 2, new - new / 2)?)
}

fn pool_layer(pool: &Pool, x: &Tensor) -> Result<Tensor, TrainError> {
    let [kh, kw] = pool.window.kernel.map(usize::from);
    let mut places = (0..kh).flat_map(|row| (0..kw).map(move |col| (row, col)));
    match pool.kind {
        // Not candle's maximum over an axis: where several taps are the largest, that gives each the whole gradient.
        // Here the first one has it, as in PyTorch.
        PoolKind::Max => {
            let largest = |most: Option<Tensor>, (row, col): (usize, usize)| {
                let tap = shifted(x, &pool.window, row, col, f64::from(f32::MIN))?;
                Ok::<_, TrainError>(Some(match most {
                    Some(most) => tap.gt(&most)?.where_cond(&tap, &most)?,
                    None => tap,
                }))
            };
            let most = places.try_fold(None, largest)?;
            most.ok_or_else(|| TrainError::Setting("a pooling with an empty window".to_owned()))
        }
        PoolKind::Average => {
            let sum = |x: &Tensor| -> Result<Tensor, TrainError> {
                let taps = places.clone().map(|(row, col)| shifted(x, &pool.window, row, col, 0.0));
                Ok(Tensor::stack(&taps.collect::<Result<Vec<_>, _>>()?, D::Minus1)?.sum(D::Minus1)?)
            };
            Ok(sum(x)?.div(&sum(&x.ones_like()?)?)?)
        }
    }
}
