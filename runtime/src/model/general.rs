//! The operations that networks from elsewhere need, with the semantics of the ONNX operations named.

use serde::{Deserialize, Serialize};

use super::activation::Activation;
use super::inputs::Inputs;
use super::program::{Value, Weights};
use super::shape::{Shape, Window};

/// A convolution with every option (Conv, ConvTranspose): y = act(W ∗ x + b + residual).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeneralConv<N> {
    /// Name of the layer, the prefix of its tensors' names.
    pub name: N,
    /// Value convolved.
    pub input: Value,
    /// Output channels n.
    pub out_channels: u32,
    /// Kernel, stride and padding. Of a transposed convolution, what is cut off at each side; the stride spreads the input.
    pub window: Window,
    /// Distance of the kernel's taps, down and across.
    pub dilation: [u16; 2],
    /// Groups of channels, each convolved by itself: a divisor of c and of n.
    pub groups: u32,
    /// Of a transposed convolution: rows and columns added below and at the right (`output_padding`), fewer than the stride.
    pub transposed: Option<[u16; 2]>,
    /// Storage of the weights: dense `[n, c/groups, kh, kw]` also where it is transposed; a pair where it has one group and is not.
    pub weights: Weights,
    /// Value added before the activation; its shape is the output's.
    pub residual: Option<Value>,
    /// Applied last.
    pub activation: Activation,
}

/// What a pooling or a reduction computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reduction {
    /// Largest value.
    Max,
    /// Mean.
    Mean,
    /// Sum.
    Sum,
}

/// A pooling with every option (MaxPool, AveragePool).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeneralPool {
    /// Value pooled.
    pub input: Value,
    /// What is computed of the taps inside the input: [`Reduction::Max`] or [`Reduction::Mean`].
    pub kind: Reduction,
    /// Kernel, stride and padding.
    pub window: Window,
    /// Distance of the kernel's taps, down and across.
    pub dilation: [u16; 2],
    /// Rows and columns of the padding at each side (top, left, bottom, right) whose taps count in a mean's divisor, though not in its sum.
    pub counted: [u16; 4],
}

/// An axis of a feature map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Axis {
    /// Channels.
    Channel,
    /// Rows.
    Height,
    /// Columns.
    Width,
}

impl Axis {
    /// Its place in C×H×W.
    pub fn index(self) -> usize {
        self as usize
    }
}

/// One value in place of all along some axes (ReduceMean, ReduceMax, ReduceSum, GlobalMaxPool), which stay with size 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reduce {
    /// Value reduced.
    pub input: Value,
    /// What is computed.
    pub kind: Reduction,
    /// True for each axis (channel, height, width) that is reduced; at least one.
    pub axes: [bool; 3],
}

/// Arithmetic of two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BinaryKind {
    /// a + b.
    Add,
    /// a − b.
    Sub,
    /// a · b.
    Mul,
    /// a / b.
    Div,
}

/// act(a ∘ b), elementwise, each value repeated along the axes where it has size 1 (Add, Sub, Mul, Div).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Binary {
    /// What is computed.
    pub kind: BinaryKind,
    /// a and b.
    pub inputs: [Value; 2],
    /// Shape of the result: of each axis the larger size of the two.
    pub output: Shape,
    /// Applied to the result.
    pub activation: Activation,
}

/// act(scale·x + bias) with one scale and bias a channel (BatchNormalization, Mul and Add with constants).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Affine<N> {
    /// Name of the layer: `<name>.scale` and `<name>.bias`, F32 `[c]`.
    pub name: N,
    /// Value read.
    pub input: Value,
    /// Applied last.
    pub activation: Activation,
}

/// An activation alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Activate<N> {
    /// Value read.
    pub input: Value,
    /// What is applied; none where there is a slope.
    pub activation: Activation,
    /// Of a PRelu the name of the layer: `<name>.slope`, F32 `[c]`, one factor of negative values for each channel.
    pub slope: Option<N>,
}

/// e^x of each channel over their sum, at each pixel (Softmax, LogSoftmax).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Softmax {
    /// Value read.
    pub input: Value,
    /// True for the natural logarithm of that.
    pub log: bool,
}

/// A part of a value (Slice, Split): along each axis (channel, height, width) the indices start, start + step, …
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// Value read.
    pub input: Value,
    /// First index along each axis.
    pub start: [u32; 3],
    /// Distance of indices along each axis, at least 1.
    pub step: [u32; 3],
    /// Shape of the result.
    pub output: Shape,
}

/// Channels dealt out: channel g·(c/groups) + i goes to i·groups + g.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shuffle {
    /// Value read.
    pub input: Value,
    /// A divisor of c.
    pub groups: u32,
}

/// What padding holds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum PadMode {
    /// This value, rounded to f16.
    Constant(f32),
    /// The value mirrored at the edge, which is not repeated: less than the axis has.
    Reflect,
    /// The value at the edge.
    Edge,
}

/// More indices along each axis (Pad).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pad {
    /// Value read.
    pub input: Value,
    /// How many before the first, along each axis (channel, height, width).
    pub before: [u32; 3],
    /// How many behind the last.
    pub after: [u32; 3],
    /// What they hold.
    pub mode: PadMode,
}

/// Which pixel is the nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Nearest {
    /// Rounded, of two the lower (`round_prefer_floor`).
    RoundDown,
    /// Rounded, of two the higher (`round_prefer_ceil`).
    RoundUp,
    /// The one below (`floor`).
    Floor,
    /// The one above (`ceil`).
    Ceil,
}

/// How pixels between pixels are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResizeMode {
    /// The nearest pixel.
    Nearest(Nearest),
    /// Of the two nearest along each axis, by their distances (`linear`).
    Linear,
}

/// Where pixel i of the result lies in an input of `length` pixels, for a result of `resized` (ONNX's
/// `coordinate_transformation_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Coordinates {
    /// (i + ½) / scale − ½.
    HalfPixel,
    /// The same, but 0 for a result of one pixel (`pytorch_half_pixel`).
    PytorchHalfPixel,
    /// i · (length − 1) / (resized − 1), 0 for a result of one pixel.
    AlignCorners,
    /// i / scale.
    Asymmetric,
}

/// Planes of another height and width (Resize, Upsample).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resize {
    /// Value read.
    pub input: Value,
    /// Height and width of the result.
    pub size: [u32; 2],
    /// How pixels are made.
    pub mode: ResizeMode,
    /// Where they lie.
    pub coordinates: Coordinates,
    /// Down and across: pixels of the result for one of the input. Positive, not used with [`Coordinates::AlignCorners`].
    pub scales: [f32; 2],
}

/// How the channel of a block of pixels is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlockOrder {
    /// The place in the block counts more than the channel: (dy·block + dx)·depth + channel (`DCR`).
    BlockFirst,
    /// The channel counts more than the place in the block: (channel·block + dy)·block + dx (`CRD`, PyTorch's pixel shuffle).
    ChannelFirst,
}

/// Channels to blocks of pixels (DepthToSpace), or back (SpaceToDepth).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocks {
    /// Value read.
    pub input: Value,
    /// Height and width of a block.
    pub block: u16,
    /// Where a pixel of a block lies among the channels.
    pub order: BlockOrder,
}

/// Over what values a normalisation takes mean and variance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NormaliseOver {
    /// All channels of each pixel (LayerNormalization of channels-last maps).
    Channels,
    /// Each plane (InstanceNormalization).
    Plane,
    /// All values (LayerNormalization of whole maps, GroupNorm with one group).
    All,
    /// The planes of each of so many groups of channels, a divisor of c (GroupNormalization).
    Groups(u32),
}

/// scale · (x − mean) / √(variance + epsilon) + bias.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalise<N> {
    /// Name of the layer: `<name>.scale` and `<name>.bias`, F32 `[c]`.
    pub name: N,
    /// Value read.
    pub input: Value,
    /// Added to the variance, above 0.
    pub epsilon: f32,
    /// Over what.
    pub over: NormaliseOver,
}

/// The same values, C×H×W one after another, in another shape (Flatten, Reshape, Squeeze).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reshape {
    /// Value read.
    pub input: Value,
    /// Shape of the result, of as many values.
    pub output: Shape,
}

/// Values joined to one along an axis (Concat).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// Values joined, in this order; of one size along the other axes.
    pub inputs: Inputs,
    /// Along which axis.
    pub axis: Axis,
    /// Size of the result along it, the sum of the inputs'.
    pub size: u32,
}

/// Several results of a program: the last operation, which reads them all. Its own result is their values, C×H×W each, one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outputs {
    /// The outputs, in order: two or more, none twice.
    pub inputs: Inputs,
    /// Values of all of them.
    pub count: u32,
}

/// Axes in another order (Transpose).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transpose {
    /// Value read.
    pub input: Value,
    /// Of each axis of the result, the axis of the input that it is.
    pub axes: [Axis; 3],
}
