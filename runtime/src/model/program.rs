//! The layer program: what a model file says about the order and the geometry of its layers.
//!
//! The program is one tensor of bytes in the model file (`lrpet.program`): a [`Header`] and then `header.ops`
//! records [`Op`], one after another, in postcard's wire format. The trainer writes these types, the device
//! reads the same ones in place.
//!
//! `N` is how a layer's name is held: `&str` on the device, in place, and `String` in the trainer, whose networks are
//! made of the same operations.
//!
//! Values are numbered: value 0 is the input image, operation `i` (from 0) makes value `i + 1`. The last
//! operation makes the logits.

use serde::{Deserialize, Serialize};

use super::inputs::Inputs;
use super::shape::{Shape, Window};

/// Version of the program that this crate writes and reads.
pub const FORMAT_VERSION: u16 = 1;

/// Name of the tensor (dtype U8) that holds the program.
pub const PROGRAM_TENSOR: &str = "lrpet.program";

/// Name of the tensor (U8, `[samples, h, w, c]`) with the images of the self-check.
pub const SELF_CHECK_IMAGES: &str = "selfcheck.images";

/// Name of the tensor (F32, `[samples, classes]`) with the logits that the images of the self-check must give.
pub const SELF_CHECK_LOGITS: &str = "selfcheck.logits";

/// Name of the tensor with the difference of a logit that roundings explain, for each image of the self-check.
pub const SELF_CHECK_TOLERANCE: &str = "selfcheck.tolerance";

/// Name of the tensor (U8) with the stretches in which the program runs, for files that have a
/// [`Schedule`](super::Schedule).
pub const SCHEDULE_TENSOR: &str = "lrpet.schedule";

/// Most channels of an input image whose normalisation a program can hold.
pub const MAX_INPUT_CHANNELS: usize = 4;

/// Number of a value (see the module's text).
pub type Value = u16;

/// The head of a program.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT_VERSION`] of the writer. Always the first field, whatever the version.
    pub version: u16,
    /// Shape of the input image.
    pub input: Shape,
    /// Mean of each input channel, of pixels scaled to 0..1 (unused entries 0).
    pub mean: [f32; MAX_INPUT_CHANNELS],
    /// Standard deviation of each input channel, of pixels scaled to 0..1 (unused entries 1).
    pub std: [f32; MAX_INPUT_CHANNELS],
    /// Number of logits.
    pub classes: u32,
    /// Number of operations that follow.
    pub ops: u16,
}

/// What is applied to an output value after bias and residual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activation {
    /// Nothing.
    None,
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
}

/// How the weights of a convolution or linear layer are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Weights {
    /// `<name>.weight` `[n, c, kh, kw]` (linear: `[n, c]`) and `<name>.bias` `[n]`.
    Dense,
    /// `<name>.thin.weight` `[r, c, kh, kw]`, `<name>.expand.weight` `[n, r, 1, 1]` (linear: `[r, c]`, `[n, r]`)
    /// and `<name>.expand.bias` `[n]`.
    Pair {
        /// Rank r.
        rank: u32,
    },
    /// One filter a channel: `<name>.weight` `[n, 1, kh, kw]` and `<name>.bias` `[n]`, with n = c.
    Depthwise,
}

/// A convolution with bias, optional residual add and activation: y = act(W ∗ x + b + residual).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conv<N> {
    /// Name of the layer, the prefix of its tensors' names.
    pub name: N,
    /// Value convolved.
    pub input: Value,
    /// Output channels n.
    pub out_channels: u32,
    /// Kernel, stride and padding (of the thin convolution where the layer is a pair).
    pub window: Window,
    /// Storage of the weights.
    pub weights: Weights,
    /// Value added before the activation; its shape is the output's.
    pub residual: Option<Value>,
    /// Applied last.
    pub activation: Activation,
}

/// A fully connected layer on a vector value (height = width = 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Linear<N> {
    /// Name of the layer, the prefix of its tensors' names.
    pub name: N,
    /// Value multiplied.
    pub input: Value,
    /// Output features n.
    pub out_features: u32,
    /// Storage of the weights ([`Weights::Depthwise`] is invalid here).
    pub weights: Weights,
    /// Applied last.
    pub activation: Activation,
}

/// What a pooling computes over its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PoolKind {
    /// Largest value; padding never wins.
    Max,
    /// Mean over the taps inside the image (padding is not counted).
    Average,
}

/// A pooling over a sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Value pooled.
    pub input: Value,
    /// What is computed.
    pub kind: PoolKind,
    /// Kernel, stride and padding.
    pub window: Window,
}

/// The parameter-free shortcut of CIFAR ResNets (option A): every `stride`-th pixel of each axis, and zero channels
/// up to `out_channels`, half of the new ones (rounded down) before and the rest after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PadShortcut {
    /// Value subsampled.
    pub input: Value,
    /// Output channels, at least the input's.
    pub out_channels: u32,
    /// Subsampling of both axes; the output has ceil(size / stride) rows and columns.
    pub stride: u16,
}

/// Feature maps of one height and width joined to one: the channels of the first, then those of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concat {
    /// Values joined, in this order.
    pub inputs: Inputs,
    /// Output channels, the sum of the inputs'.
    pub out_channels: u32,
}

/// One operation of the program. New kinds are added at the end, so that old files keep their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op<N> {
    /// Convolution (dense, pair or depthwise).
    Conv(Conv<N>),
    /// Fully connected layer (dense or pair).
    Linear(Linear<N>),
    /// Pooling over a window.
    Pool(Pool),
    /// Mean of each plane; the result is a vector of c values.
    GlobalAveragePool {
        /// Value averaged.
        input: Value,
    },
    /// Parameter-free shortcut.
    PadShortcut(PadShortcut),
    /// act(a + b), elementwise.
    Add {
        /// The two summands, of one shape.
        inputs: [Value; 2],
        /// Applied to the sum.
        activation: Activation,
    },
    /// Concatenation of channels.
    Concat(Concat),
}

impl<N: AsRef<str>> Op<N> {
    /// The values that the operation reads; the second is a residual or second summand, or joined like the first.
    pub fn inputs(&self) -> Inputs {
        match self {
            Op::Conv(Conv { input, residual: Some(residual), .. }) => Inputs::two(*input, *residual),
            Op::Conv(conv) => Inputs::one(conv.input),
            Op::Linear(linear) => Inputs::one(linear.input),
            Op::Pool(pool) => Inputs::one(pool.input),
            Op::GlobalAveragePool { input } => Inputs::one(*input),
            Op::PadShortcut(shortcut) => Inputs::one(shortcut.input),
            Op::Add { inputs: [a, b], .. } => Inputs::two(*a, *b),
            Op::Concat(concat) => concat.inputs,
        }
    }

    /// The layer's name where it has weights, else what it does.
    pub fn name(&self) -> &str {
        match self {
            Op::Conv(conv) => conv.name.as_ref(),
            Op::Linear(linear) => linear.name.as_ref(),
            Op::Pool(_) => "pool",
            Op::GlobalAveragePool { .. } => "global average pool",
            Op::PadShortcut(_) => "shortcut",
            Op::Add { .. } => "add",
            Op::Concat(_) => "concat",
        }
    }

    /// Shape of the result over a first input of shape `input`; `None` where the two do not go together.
    pub fn output_shape(&self, input: Shape) -> Option<Shape> {
        let shape = match self {
            Op::Conv(conv) => {
                if conv.weights == Weights::Depthwise && conv.out_channels != input.channels {
                    return None;
                }
                let (height, width) = conv.window.output(input.height, input.width)?;
                Shape::new(conv.out_channels, height, width)
            }
            Op::Linear(linear) => {
                if (input.height, input.width) != (1, 1) || linear.weights == Weights::Depthwise {
                    return None;
                }
                Shape::vector(linear.out_features)
            }
            Op::Pool(pool) => {
                let (height, width) = pool.window.output(input.height, input.width)?;
                Shape::new(input.channels, height, width)
            }
            Op::GlobalAveragePool { .. } => Shape::vector(input.channels),
            Op::PadShortcut(shortcut) => {
                if shortcut.stride == 0 || shortcut.out_channels < input.channels {
                    return None;
                }
                let stride = u32::from(shortcut.stride);
                Shape::new(shortcut.out_channels, input.height.div_ceil(stride), input.width.div_ceil(stride))
            }
            Op::Add { .. } => input,
            Op::Concat(concat) => Shape { channels: concat.out_channels, ..input },
        };
        shape.len_checked().map(|_| shape)
    }

    /// True where the values that the operation reads, of the shapes `inputs`, go with a result of shape `output`: a
    /// residual or summand has its shape, joined values have its height and width and together its channels.
    pub fn joins(&self, output: Shape, inputs: &[Shape]) -> bool {
        match self {
            Op::Concat(_) => {
                let same_planes = inputs.iter().all(|x| (x.height, x.width) == (output.height, output.width));
                let channels = inputs.iter().try_fold(0u32, |sum, x| sum.checked_add(x.channels));
                same_planes && channels == Some(output.channels)
            }
            _ => inputs.iter().skip(1).all(|x| *x == output),
        }
    }
}
