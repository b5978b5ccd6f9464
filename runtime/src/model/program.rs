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
//! operation makes the logits, or lists the outputs where there are several.

use serde::{Deserialize, Serialize};

use super::activation::Activation;
use super::general::{
    Activate, Affine, Binary, Blocks, GeneralConv, GeneralPool, Join, Normalise, Outputs, Pad, Reduce,
    Reshape, Resize, Shuffle, Slice, Softmax, Transpose,
};
pub use super::header::{FORMAT_VERSION, Header, MAX_INPUT_CHANNELS};
use super::infer::{self, Refusal};
use super::inputs::Inputs;
use super::needs::{FEW_INPUTS, GENERAL, Needs};
use super::shape::{Shape, Window};

/// Name of the tensor (dtype U8) that holds the program.
pub const PROGRAM_TENSOR: &str = "lrpet.program";

/// Name of the tensor (U8, `[samples, h, w, c]`) with the images of the self-check.
pub const SELF_CHECK_IMAGES: &str = "selfcheck.images";

/// Name of the tensor (F16, `[samples, c, h, w]`) with the inputs of the self-check of a model that takes values.
pub const SELF_CHECK_VALUES: &str = "selfcheck.values";

/// Name of the tensor (F32, `[samples, classes]`) with the logits that the images of the self-check must give.
pub const SELF_CHECK_LOGITS: &str = "selfcheck.logits";

/// Name of the tensor with the difference of a logit that roundings explain, for each image of the self-check.
pub const SELF_CHECK_TOLERANCE: &str = "selfcheck.tolerance";

/// Name of the tensor (U8) with the stretches in which the program runs, for files that have a
/// [`Schedule`](super::Schedule).
pub const SCHEDULE_TENSOR: &str = "lrpet.schedule";

/// Number of a value (see the module's text).
pub type Value = u16;

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
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
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

/// A fully connected layer on the values of its input, C×H×W one after another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
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
///
/// Those from [`Op::GeneralConv`] on need [`Needs::GENERAL`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(any(feature = "std", feature = "general")), serde(from = "First<N>"))]
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
    /// Convolution with groups, dilation, or transposed.
    GeneralConv(GeneralConv<N>),
    /// Pooling with dilation, or padding that counts.
    GeneralPool(GeneralPool),
    /// Mean, largest value or sum along axes.
    Reduce(Reduce),
    /// Arithmetic of two values, with broadcasting.
    Binary(Binary),
    /// A scale and a bias for each channel.
    Affine(Affine<N>),
    /// An activation alone.
    Activate(Activate<N>),
    /// Softmax over the channels.
    Softmax(Softmax),
    /// A part of a value.
    Slice(Slice),
    /// Channels dealt out among groups.
    Shuffle(Shuffle),
    /// Padding.
    Pad(Pad),
    /// Other height and width.
    Resize(Resize),
    /// Channels to blocks of pixels.
    DepthToSpace(Blocks),
    /// Blocks of pixels to channels.
    SpaceToDepth(Blocks),
    /// Normalisation by mean and variance of the value itself.
    Normalise(Normalise<N>),
    /// Other shape.
    Reshape(Reshape),
    /// Concatenation along any axis.
    Join(Join),
    /// Axes in another order.
    Transpose(Transpose),
    /// The results of a program that has several.
    Outputs(Outputs),
}

/// Those that a build without the feature `general` decodes.
#[cfg(not(any(feature = "std", feature = "general")))]
#[derive(Deserialize)]
enum First<N> {
    Conv(Conv<N>),
    Linear(Linear<N>),
    Pool(Pool),
    GlobalAveragePool { input: Value },
    PadShortcut(PadShortcut),
    Add { inputs: [Value; 2], activation: Activation },
    Concat(Concat),
}

#[cfg(not(any(feature = "std", feature = "general")))]
impl<N> From<First<N>> for Op<N> {
    fn from(first: First<N>) -> Self {
        match first {
            First::Conv(conv) => Op::Conv(conv),
            First::Linear(linear) => Op::Linear(linear),
            First::Pool(pool) => Op::Pool(pool),
            First::GlobalAveragePool { input } => Op::GlobalAveragePool { input },
            First::PadShortcut(shortcut) => Op::PadShortcut(shortcut),
            First::Add { inputs, activation } => Op::Add { inputs, activation },
            First::Concat(concat) => Op::Concat(concat),
        }
    }
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
            _ if !GENERAL => Inputs::one(0),
            Op::GeneralConv(GeneralConv { input, residual: Some(residual), .. }) => {
                Inputs::two(*input, *residual)
            }
            Op::GeneralConv(conv) => Inputs::one(conv.input),
            Op::GeneralPool(pool) => Inputs::one(pool.input),
            Op::Reduce(reduce) => Inputs::one(reduce.input),
            Op::Binary(Binary { inputs: [a, b], .. }) => Inputs::two(*a, *b),
            Op::Affine(affine) => Inputs::one(affine.input),
            Op::Activate(activate) => Inputs::one(activate.input),
            Op::Softmax(softmax) => Inputs::one(softmax.input),
            Op::Slice(slice) => Inputs::one(slice.input),
            Op::Shuffle(shuffle) => Inputs::one(shuffle.input),
            Op::Pad(pad) => Inputs::one(pad.input),
            Op::Resize(resize) => Inputs::one(resize.input),
            Op::DepthToSpace(blocks) | Op::SpaceToDepth(blocks) => Inputs::one(blocks.input),
            Op::Normalise(normalise) => Inputs::one(normalise.input),
            Op::Reshape(reshape) => Inputs::one(reshape.input),
            Op::Join(join) => join.inputs,
            Op::Transpose(transpose) => Inputs::one(transpose.input),
            Op::Outputs(outputs) => outputs.inputs,
        }
    }

    /// The layer's name where it has tensors.
    pub fn layer(&self) -> Option<&N> {
        match self {
            Op::Conv(conv) => Some(&conv.name),
            Op::Linear(linear) => Some(&linear.name),
            _ if !GENERAL => None,
            Op::GeneralConv(conv) => Some(&conv.name),
            Op::Affine(affine) => Some(&affine.name),
            Op::Activate(activate) => activate.slope.as_ref(),
            Op::Normalise(normalise) => Some(&normalise.name),
            _ => None,
        }
    }

    /// What the operation does, in a word or two.
    pub fn kind(&self) -> &'static str {
        match self {
            Op::Conv(_) => "convolution",
            Op::Linear(_) => "linear",
            Op::Pool(_) => "pool",
            Op::GlobalAveragePool { .. } => "global average pool",
            Op::PadShortcut(_) => "shortcut",
            Op::Add { .. } => "add",
            Op::Concat(_) => "concat",
            _ if !GENERAL => "general",
            Op::GeneralConv(GeneralConv { transposed: Some(_), .. }) => "transposed convolution",
            Op::GeneralConv(_) => "general convolution",
            Op::GeneralPool(_) => "general pool",
            Op::Reduce(_) => "reduction",
            Op::Binary(_) => "arithmetic",
            Op::Affine(_) => "affine",
            Op::Activate(_) => "activation",
            Op::Softmax(_) => "softmax",
            Op::Slice(_) => "slice",
            Op::Shuffle(_) => "channel shuffle",
            Op::Pad(_) => "pad",
            Op::Resize(_) => "resize",
            Op::DepthToSpace(_) => "depth to space",
            Op::SpaceToDepth(_) => "space to depth",
            Op::Normalise(_) => "normalisation",
            Op::Reshape(_) => "reshape",
            Op::Join(_) => "join",
            Op::Transpose(_) => "transpose",
            Op::Outputs(_) => "outputs",
        }
    }

    /// The layer's name where it has tensors, else what it does.
    pub fn name(&self) -> &str {
        self.layer().map_or_else(|| self.kind(), AsRef::as_ref)
    }

    /// True of the operations from [`Op::GeneralConv`] on.
    pub fn is_general(&self) -> bool {
        GENERAL
            && !matches!(
                self,
                Op::Conv(_)
                    | Op::Linear(_)
                    | Op::Pool(_)
                    | Op::GlobalAveragePool { .. }
                    | Op::PadShortcut(_)
                    | Op::Add { .. }
                    | Op::Concat(_)
            )
    }

    /// What is applied to its result.
    pub fn activation(&self) -> Activation {
        match self {
            Op::Conv(conv) => conv.activation,
            Op::Linear(linear) => linear.activation,
            Op::Add { activation, .. } => *activation,
            _ if !GENERAL => Activation::None,
            Op::GeneralConv(conv) => conv.activation,
            Op::Binary(binary) => binary.activation,
            Op::Affine(affine) => affine.activation,
            Op::Activate(activate) => activate.activation,
            _ => Activation::None,
        }
    }

    /// How its weights are stored, where it multiplies by a matrix.
    pub fn weights(&self) -> Option<Weights> {
        match self {
            Op::Conv(conv) => Some(conv.weights),
            Op::Linear(linear) => Some(linear.weights),
            Op::GeneralConv(conv) if GENERAL => Some(conv.weights),
            _ => None,
        }
    }

    /// What a reader must have for it, beside what a list of values in all needs.
    pub fn needs(&self) -> Needs {
        let general = if self.is_general() { Needs::GENERAL } else { Needs::NONE };
        let activation = if self.activation().is_plain() { Needs::NONE } else { Needs::ACTIVATIONS };
        let many = if self.inputs().values().len() > FEW_INPUTS { Needs::MANY } else { Needs::NONE };
        let outputs = if GENERAL && matches!(self, Op::Outputs(_)) { Needs::OUTPUTS } else { Needs::NONE };
        general.and(activation).and(many).and(outputs)
    }

    /// Shape of the result over a first input of shape `input`; `None` where the two do not go together.
    pub fn output_shape(&self, input: Shape) -> Option<Shape> {
        self.result_shape(input).ok()
    }

    /// As [`Op::output_shape`]; of a general operation with the reason why there is none.
    pub(super) fn result_shape(&self, input: Shape) -> Result<Shape, Refusal> {
        let shape = match self {
            Op::Conv(conv) => {
                if conv.weights == Weights::Depthwise && conv.out_channels != input.channels {
                    return Err("");
                }
                let (height, width) = conv.window.output(input.height, input.width).ok_or("")?;
                Shape::new(conv.out_channels, height, width)
            }
            Op::Linear(linear) => {
                if linear.weights == Weights::Depthwise {
                    return Err("");
                }
                Shape::vector(linear.out_features)
            }
            Op::Pool(pool) => {
                let (height, width) = pool.window.output(input.height, input.width).ok_or("")?;
                Shape::new(input.channels, height, width)
            }
            Op::GlobalAveragePool { .. } => Shape::vector(input.channels),
            Op::PadShortcut(shortcut) => {
                if shortcut.stride == 0 || shortcut.out_channels < input.channels {
                    return Err("");
                }
                let stride = u32::from(shortcut.stride);
                Shape::new(shortcut.out_channels, input.height.div_ceil(stride), input.width.div_ceil(stride))
            }
            Op::Add { .. } => input,
            Op::Concat(concat) => Shape { channels: concat.out_channels, ..input },
            general => return infer::general(general, input),
        };
        shape.len_checked().map(|_| shape).ok_or("")
    }

    /// True where the values that the operation reads, of the shapes `inputs`, go with a result of shape `output`: a
    /// residual or summand has its shape, joined values have its height and width and together its channels; values of arithmetic
    /// have its size along each axis, or 1.
    pub fn joins(&self, output: Shape, inputs: &[Shape]) -> bool {
        match self {
            Op::Concat(_) => {
                let same_planes = inputs.iter().all(|x| (x.height, x.width) == (output.height, output.width));
                let channels = inputs.iter().try_fold(0u32, |sum, x| sum.checked_add(x.channels));
                same_planes && channels == Some(output.channels) && inputs.len() <= FEW_INPUTS
            }
            Op::Binary(_) | Op::Join(_) | Op::Outputs(_) => infer::joins(self, output, inputs),
            _ => inputs.iter().skip(1).all(|x| *x == output),
        }
    }
}
