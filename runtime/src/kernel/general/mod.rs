//! The operations from `GeneralConv` on, in plain Rust for every instruction set: one file for each kind.
//!
//! Sums are accumulated in f32, and each value is rounded once, after the activation. Nothing here is tuned; the fast kernels are
//! those of the first operations, which networks spend their time on.

mod conv;
mod elementwise;
mod layout;
mod reduce;
mod resize;
mod window;

use super::{Output, activate, f16};
use crate::model::{Activation, GeneralConv, Op, Shape, Weights};

/// A feature map to read.
#[derive(Clone, Copy)]
pub(crate) struct Map<'a> {
    pub(crate) shape: Shape,
    /// C×H×W.
    pub(crate) values: &'a [u16],
}

impl Map<'_> {
    /// The value with this index.
    #[inline(always)]
    fn get(&self, index: usize) -> f32 {
        self.values.get(index).map_or(0.0, |half| f16::widen(*half))
    }

    /// Sizes, each at least 1, as that of every value of a checked model is.
    fn sizes(&self) -> [usize; 3] {
        sizes(self.shape)
    }
}

/// c, h and w, each at least 1.
#[inline(always)]
fn sizes(shape: Shape) -> [usize; 3] {
    shape.axes().map(|size| (size as usize).max(1))
}

/// What an operation computes with.
pub(crate) struct Operands<'a> {
    /// The first value read.
    pub(crate) input: Map<'a>,
    /// A residual or the second value; `None` also where it lies in the output.
    pub(crate) second: Option<Map<'a>>,
    /// True where the residual lies in the output.
    pub(crate) in_place: bool,
    /// Shape of the result.
    pub(crate) output: Shape,
    /// Weights of a convolution, f16 bits, and of a pair those that expand.
    pub(crate) weights: [&'a [u16]; 2],
    /// Scale or slope for each channel.
    pub(crate) scale: &'a [f32],
    /// Bias for each channel.
    pub(crate) bias: &'a [f32],
    /// At least what [`scratch`] asks for.
    pub(crate) scratch: &'a mut [f32],
}

/// Stores a value: rounded, or as a result that is not.
#[inline(always)]
fn set(output: &mut Output<'_>, index: usize, value: f32) {
    match output {
        Output::Half(values) => values.get_mut(index).into_iter().for_each(|to| *to = f16::narrow(value)),
        Output::Full(values) => {
            values.get_mut(index).into_iter().for_each(|to| *to = value.clamp(f32::MIN, f32::MAX));
        }
    }
}

/// Values finished together.
const TOGETHER: usize = 16;

/// Activates and stores values, the first at `index`.
fn finish(output: &mut Output<'_>, index: usize, values: &mut [f32], activation: Activation) {
    activate(activation, values);
    values.iter().enumerate().for_each(|(i, value)| set(output, index + i, *value));
}

/// Stores all values of a result, which `value` gives for an index, after the activation.
#[inline(always)]
fn each(output: &mut Output<'_>, count: usize, activation: Activation, value: impl Fn(usize) -> f32) {
    for first in (0..count).step_by(TOGETHER) {
        let mut values: [f32; TOGETHER] = core::array::from_fn(|i| value(first + i));
        let some = values.get_mut(..TOGETHER.min(count - first)).unwrap_or_default();
        finish(output, first, some, activation);
    }
}

/// Scratch of an operation, in f32: rows of sums of a convolution.
pub(super) fn scratch(op: &Op<impl AsRef<str>>, output: Shape) -> usize {
    let Op::GeneralConv(GeneralConv { weights, .. }) = op else { return 0 };
    let rank = if let Weights::Pair { rank } = weights { *rank as usize } else { 0 };
    (output.width as usize).saturating_mul(rank.saturating_add(1))
}

/// Executes an operation other than [`Op::Join`], whose parts are copied one by one ([`join`]), and [`Op::Outputs`], which computes
/// nothing.
pub(crate) fn run(op: &Op<&str>, mut operands: Operands<'_>, output: &mut Output<'_>) {
    match op {
        Op::GeneralConv(layer) => conv::run(layer, &mut operands, output),
        Op::GeneralPool(pool) => window::pool(pool, &operands, output),
        Op::Reduce(reduce) => reduce::reduce(reduce, &operands, output),
        Op::Softmax(softmax) => reduce::softmax(softmax.log, operands.input, output),
        Op::Normalise(normalise) => reduce::normalise(normalise, &operands, output),
        Op::Binary(binary) => elementwise::binary(binary, &operands, output),
        Op::Affine(affine) => elementwise::affine(affine.activation, &operands, output),
        Op::Activate(layer) => elementwise::activation(layer, &operands, output),
        Op::Resize(layer) => resize::run(layer, &operands, output),
        other => layout::run(other, &operands, output),
    }
}

pub(crate) use layout::join;
