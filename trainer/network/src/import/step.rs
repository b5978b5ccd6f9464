//! Steps: what the network computes, before it is made of the runtime's operations.

use lrpet_runtime::model::{
    Activation, Axis, BinaryKind, BlockOrder, Coordinates, NormaliseOver, PadMode, Reduction, ResizeMode,
};

use crate::import::view::Stored;

/// A sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    /// Top, left, bottom, right.
    pub padding: [usize; 4],
}

impl Frame {
    pub(crate) const POINT: Frame =
        Frame { kernel: [1; 2], stride: [1; 2], dilation: [1; 2], padding: [0; 4] };

    /// Pixels that the kernel spans on an axis.
    pub(crate) fn span(&self, axis: usize) -> usize {
        (self.kernel[axis].saturating_sub(1)).saturating_mul(self.dilation[axis]).saturating_add(1)
    }

    /// Outputs on an axis of `size` pixels; `None` where the kernel does not fit.
    pub(crate) fn outputs(&self, axis: usize, size: usize) -> Option<usize> {
        let padded = size.checked_add(self.padding[axis])?.checked_add(self.padding[axis + 2])?;
        Some(padded.checked_sub(self.span(axis))?.checked_div(self.stride[axis])? + 1)
    }
}

/// A batch normalisation, values of its channels.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BatchNorm {
    pub name: String,
    pub gamma: Vec<f32>,
    pub beta: Vec<f32>,
    pub mean: Vec<f32>,
    pub variance: Vec<f32>,
    pub epsilon: f64,
    /// How much of the running statistics a batch leaves.
    pub keeps: f64,
}

impl BatchNorm {
    /// Scale and shift of each channel.
    pub(crate) fn affine(&self) -> (Vec<f32>, Vec<f32>) {
        let scale =
            |at: usize| f64::from(self.gamma[at]) / (f64::from(self.variance[at]) + self.epsilon).sqrt();
        let shift = |at: usize| f64::from(self.beta[at]) - scale(at) * f64::from(self.mean[at]);
        let channels = 0..self.gamma.len();
        (channels.clone().map(|at| scale(at) as f32).collect(), channels.map(|at| shift(at) as f32).collect())
    }
}

/// A convolution with its weights.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Convolution {
    pub frame: Frame,
    pub groups: usize,
    /// Padding of the result of a transposed convolution.
    pub transposed: Option<[usize; 2]>,
    pub out_channels: usize,
    /// `[n, c / groups, kh, kw]`.
    pub weight: Vec<f32>,
    pub bias: Option<Vec<f32>>,
    pub norm: Option<BatchNorm>,
    /// The second input is added before the activation.
    pub residual: bool,
}

/// A function of one number that the runtime has only as a part of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Erf,
    Log,
}

/// What a step computes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    Convolution(Convolution),
    /// `[n, c]` over all numbers of the input.
    Linear {
        weight: Vec<f32>,
        bias: Vec<f32>,
    },
    /// `counted`: how much of the padding of each side an average counts.
    Pool {
        kind: Reduction,
        frame: Frame,
        counted: [usize; 4],
    },
    /// Over channels, rows, columns.
    Reduce {
        kind: Reduction,
        axes: [bool; 3],
    },
    Binary(BinaryKind),
    Affine {
        scale: Vec<f32>,
        shift: Vec<f32>,
    },
    BatchNorm(BatchNorm),
    /// The activation alone.
    Activate,
    Part(Part),
    /// x where x ≥ 0, else slope·x, a slope for each channel.
    PRelu {
        slope: Vec<f32>,
    },
    Softmax {
        log: bool,
    },
    Slice {
        start: [usize; 3],
        step: [usize; 3],
    },
    Shuffle {
        groups: usize,
    },
    Pad {
        before: [usize; 3],
        after: [usize; 3],
        mode: PadMode,
    },
    /// Every `stride`-th pixel of both axes, and zero channels around: half of the new ones before, rounded down.
    PadShortcut {
        stride: usize,
    },
    Resize {
        mode: ResizeMode,
        coordinates: Coordinates,
        scales: [f32; 2],
    },
    DepthToSpace {
        block: usize,
        order: BlockOrder,
    },
    SpaceToDepth {
        block: usize,
        order: BlockOrder,
    },
    Normalise {
        over: NormaliseOver,
        epsilon: f32,
        scale: Vec<f32>,
        shift: Vec<f32>,
    },
    Reshape,
    Join {
        axis: Axis,
    },
    Transpose {
        axes: [Axis; 3],
    },
    /// Several results.
    Outputs,
}

/// A step: `activation(what(inputs))`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    pub what: What,
    pub inputs: Vec<Stored>,
    pub shape: [usize; 3],
    /// Applied last.
    pub activation: Activation,
    /// Name of the layer, where it has weights.
    pub name: String,
    /// Index of the file's node that it comes from.
    pub node: usize,
}

impl Step {
    /// True where the runtime applies an activation to the sums of such a step, and it has none yet.
    pub(crate) fn takes_activation(&self) -> bool {
        let kind = matches!(
            self.what,
            What::Convolution(_)
                | What::Linear { .. }
                | What::Binary(_)
                | What::Affine { .. }
                | What::BatchNorm(_)
                | What::Activate
        );
        kind && self.activation == Activation::None
    }

    /// True where its values are never below 0.
    pub(crate) fn is_positive(&self) -> bool {
        match self.activation {
            Activation::Relu
            | Activation::Relu6
            | Activation::Sigmoid
            | Activation::HardSigmoid { .. }
            | Activation::Softplus
            | Activation::Exp
            | Activation::Sqrt => true,
            Activation::Clip { min, .. } => min >= 0.0,
            _ => false,
        }
    }
}
