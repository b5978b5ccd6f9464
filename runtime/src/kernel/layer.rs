//! What a kernel is given: a layer, its weights, and the buffers of one step.

use super::matrix::WeightMatrix;
use super::tiling::Form;
use crate::model::{Activation, PoolKind, Shape, Window};

/// Weights of a convolution or linear layer, in row-major order.
#[derive(Clone, Copy, Debug)]
pub enum LayerWeights<'a> {
    /// `[n, c·kh·kw]`.
    Dense(WeightMatrix<'a>),
    /// thin `[r, c·kh·kw]`, expand `[n, r]`.
    #[allow(missing_docs)]
    Pair { thin: WeightMatrix<'a>, expand: WeightMatrix<'a>, rank: usize },
    /// `[n, kh·kw]`, bits of f16.
    Depthwise(&'a [u16]),
}

impl LayerWeights<'_> {
    /// How they are stored.
    pub(super) fn form(&self) -> Form {
        match self {
            LayerWeights::Dense(_) => Form::Dense,
            LayerWeights::Pair { rank, .. } => Form::Pair { rank: *rank },
            LayerWeights::Depthwise(_) => Form::Depthwise,
        }
    }

    /// The matrix of f16 over the input and its rows, in a layer of `outputs` channels.
    #[cfg(feature = "std")]
    pub(super) fn first(&self, outputs: usize) -> (&[u16], usize) {
        match self {
            LayerWeights::Dense(first) => (first.halves(), outputs),
            LayerWeights::Depthwise(first) => (first, outputs),
            LayerWeights::Pair { thin, rank, .. } => (thin.halves(), *rank),
        }
    }
}

/// What a layer computes. Shapes, weights and buffers must fit each other, as those of a checked model do: a kernel given
/// others computes nonsense or panics, but stays in its buffers.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum Layer<'a> {
    Conv {
        input: Shape,
        output: Shape,
        window: Window,
        weights: LayerWeights<'a>,
        bias: &'a [f32],
        activation: Activation,
    },
    Linear {
        weights: LayerWeights<'a>,
        bias: &'a [f32],
        activation: Activation,
    },
    Pool {
        input: Shape,
        output: Shape,
        window: Window,
        kind: PoolKind,
    },
    GlobalAverage {
        input: Shape,
    },
    PadShortcut {
        input: Shape,
        output: Shape,
        stride: u16,
    },
    Add {
        activation: Activation,
    },
    /// The values as they are: a part of a concatenation.
    Copy,
}

/// The value added to a convolution's result, or the second summand of an addition.
#[derive(Clone, Copy, Debug)]
pub enum Second<'a> {
    /// Nothing is added.
    None,
    /// It lies in the output buffer and is overwritten.
    InPlace,
    /// A value of its own.
    Other(&'a [u16]),
}

/// Where a layer's result goes.
#[derive(Debug)]
pub enum Output<'a> {
    /// An activation: rounded to f16, saturated at ±65504.
    Half(&'a mut [u16]),
    /// Logits: not rounded.
    Full(&'a mut [f32]),
}

/// Values from one plane of a map to the next; where a map is a strip of the rows of a larger one, more than it has pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planes {
    /// Of the first input; 0 where planes follow each other without a gap.
    pub input: usize,
    /// Of the result, and of a residual that it is written over; 0 as for the input. No other second value is strided.
    pub output: usize,
}

impl Planes {
    /// Of an input of this shape, at least 1.
    pub(super) fn input(self, shape: Shape) -> usize {
        self.input.max(shape.pixels()).max(1)
    }

    /// Of a result of this shape, at least 1.
    pub(super) fn output(self, shape: Shape) -> usize {
        self.output.max(shape.pixels()).max(1)
    }
}

/// Buffers of one step.
#[derive(Debug)]
pub struct Buffers<'a> {
    /// First input. The last plane may be followed by less than there is between planes.
    pub input: &'a [u16],
    /// Residual or second summand.
    pub second: Second<'a>,
    /// Result.
    pub output: Output<'a>,
    /// At least what [`super::scratch`] asks for.
    pub scratch: &'a mut [f32],
    /// How planes lie.
    pub planes: Planes,
}
