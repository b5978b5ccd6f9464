//! Random weights of operations, of a size that keeps activations near 1.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use half::f16;
use lrpet_runtime::model::{Activate, Activation, Op, Reduce, Reduction, Shape, Weights, Window};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, TensorView};

/// What random weights, biases and images are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Of a size that keeps activations near 1.
    Real,
    /// -1, 0 and 1, and the lightest and darkest pixel. With [`Activation::Relu6`] behind every convolution sums are
    /// small whole numbers, exact in whatever order and precision they are added: all kernels give the same bits.
    Whole,
}

/// A tensor in memory.
pub(crate) struct Tensor {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl Tensor {
    pub(crate) fn bytes(name: &str, shape: Vec<usize>, data: Vec<u8>) -> Self {
        Self { name: name.to_owned(), dtype: Dtype::U8, shape, data }
    }

    pub(crate) fn f16(name: &str, shape: Vec<usize>, data: Vec<u8>) -> Self {
        Self { name: name.to_owned(), dtype: Dtype::F16, shape, data }
    }

    pub(crate) fn f32(name: &str, shape: Vec<usize>, values: &[f32]) -> Self {
        let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { name: name.to_owned(), dtype: Dtype::F32, shape, data }
    }

    /// f16 weights: real ones uniform, so that `fan_in` inputs of a mean square `square` make sums of a mean square of 1.
    fn weight(
        name: String,
        shape: Vec<usize>,
        (fan_in, square): (usize, f32),
        values: Values,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let bound = (3.0 / (fan_in as f32 * square)).sqrt();
        let mut weight = || match values {
            Values::Real => rng.random_range(-bound..bound),
            Values::Whole => rng.random_range(-1..2) as f32,
        };
        let values = (0..shape.iter().product()).map(|_| f16::from_f32(weight()));
        let data = values.flat_map(|value: f16| value.to_le_bytes()).collect();
        Self { name, dtype: Dtype::F16, shape, data }
    }
}

/// A value while weights are drawn.
#[derive(Clone, Copy)]
pub(crate) struct Made {
    pub(crate) shape: Shape,
    /// Mean square of its elements, about.
    pub(crate) square: f32,
}

/// Mean square of what `op` makes of `inputs`, about: sums of random weights have 1 and are as often below as above 0.
pub(crate) fn square(op: &Op<String>, inputs: &[Made], shape: Shape) -> f32 {
    let halved = |activation: Activation| if activation == Activation::None { 1.0 } else { 0.5 };
    let [first, rest @ ..] = inputs else { return 1.0 };
    let total: f32 = inputs.iter().map(|made| made.square).sum();
    match op {
        // A residual is seldom below 0.
        Op::Conv(_) if !rest.is_empty() => 1.0 + rest.iter().map(|made| made.square).sum::<f32>(),
        Op::Conv(conv) => halved(conv.activation),
        Op::Linear(linear) => halved(linear.activation),
        Op::Pool(_) | Op::GlobalAveragePool { .. } => first.square,
        Op::PadShortcut(_) => first.square * first.shape.channels as f32 / shape.channels as f32,
        Op::Add { .. } => total,
        Op::Concat(_) => {
            let weighed = inputs.iter().map(|made| made.square * made.shape.channels as f32);
            weighed.sum::<f32>() / shape.channels as f32
        }
        Op::GeneralConv(conv) => {
            let residual: f32 = rest.iter().map(|made| made.square).sum();
            halved(conv.activation) + residual
        }
        // Means of a plane differ little.
        Op::Reduce(Reduce { kind: Reduction::Mean, .. }) => 0.1 * first.square,
        Op::Affine(affine) => halved(affine.activation) * first.square,
        Op::Normalise(_) => 1.0,
        Op::Join(_) => {
            let weighed = inputs.iter().map(|made| made.square * made.shape.len() as f32);
            weighed.sum::<f32>() / shape.len() as f32
        }
        _ => first.square,
    }
}

/// The tensors of an operation: none, weight and bias, or thin and expand weight and bias; scale and bias; slopes.
pub(crate) fn weights(
    op: &Op<String>,
    input: Made,
    values: Values,
    rng: &mut ChaCha8Rng,
) -> Result<Vec<Tensor>> {
    let channels = input.shape.channels as usize;
    let kernel_of = |window: Window| Some(window.kernel.map(usize::from));
    // Input channels of a filter, filters, kernel.
    let (weights, c, n, kernel) = match op {
        Op::Conv(conv) => (conv.weights, channels, conv.out_channels, kernel_of(conv.window)),
        Op::Linear(linear) => (linear.weights, input.shape.len(), linear.out_features, None),
        Op::GeneralConv(conv) => {
            let group = channels.checked_div(conv.groups as usize).context("no group")?;
            (conv.weights, group, conv.out_channels, kernel_of(conv.window))
        }
        Op::Affine(_) | Op::Normalise(_) => {
            let mut of = |suffix: &str, range: std::ops::Range<f32>| {
                let values: Vec<f32> = (0..channels).map(|_| rng.random_range(range.clone())).collect();
                Tensor::f32(&format!("{}.{suffix}", op.name()), vec![channels], &values)
            };
            return Ok(vec![of("scale", 0.5..1.5), of("bias", -0.5..0.5)]);
        }
        Op::Activate(Activate { slope: Some(name), .. }) => {
            let slopes: Vec<f32> = (0..channels).map(|_| rng.random_range(-0.5..0.5)).collect();
            return Ok(vec![Tensor::f32(&format!("{name}.slope"), vec![channels], &slopes)]);
        }
        _ => return Ok(Vec::new()),
    };
    let (name, n) = (op.name(), n as usize);
    let taps: usize = kernel.unwrap_or([1, 1]).iter().product();
    let shape = |rows: usize, columns: usize, kernel: Option<[usize; 2]>| {
        [rows, columns].into_iter().chain(kernel.into_iter().flatten()).collect::<Vec<_>>()
    };
    let mut bias = || match values {
        Values::Real => rng.random_range(-0.1..0.1),
        Values::Whole => rng.random_range(-1..2) as f32,
    };
    let bias: Vec<f32> = (0..n).map(|_| bias()).collect();
    let mut weight = |suffix: &str, shape, fan_in, square| {
        Tensor::weight(format!("{name}{suffix}"), shape, (fan_in, square), values, rng)
    };
    let square = input.square;
    Ok(match weights {
        Weights::Dense => vec![
            weight(".weight", shape(n, c, kernel), c * taps, square),
            Tensor::f32(&format!("{name}.bias"), vec![n], &bias),
        ],
        Weights::Depthwise => vec![
            weight(".weight", shape(n, 1, kernel), taps, square),
            Tensor::f32(&format!("{name}.bias"), vec![n], &bias),
        ],
        Weights::Pair { rank: 0 } => bail!("{name}: rank 0"),
        Weights::Pair { rank } => vec![
            weight(".thin.weight", shape(rank as usize, c, kernel), c * taps, square),
            weight(".expand.weight", shape(n, rank as usize, kernel.map(|_| [1, 1])), rank as usize, 1.0),
            Tensor::f32(&format!("{name}.expand.bias"), vec![n], &bias),
        ],
    })
}

pub(crate) fn serialize(tensors: &[Tensor]) -> Result<Vec<u8>> {
    let views = tensors
        .iter()
        .map(|tensor| Ok((&tensor.name, TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.data)?)))
        .collect::<Result<Vec<_>>>()?;
    let card = HashMap::from([("network".to_owned(), "random weights".to_owned())]);
    Ok(safetensors::serialize(views, Some(card))?)
}
