//! What a layer costs: multiply-adds, parameters and weight bytes, for the stored form and for the dense layer
//! that it replaces. Convolutions and linear layers only: no bias in MACs and parameters, as the literature counts.

use super::general::GeneralConv;
use super::needs::GENERAL;
use super::program::{Op, Weights};
use super::shape::Shape;

/// Costs of one layer or, added up, of a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Multiply-adds of one inference.
    pub macs: u64,
    /// Weights, without biases.
    pub params: u64,
    /// Bytes of the stored weights (f16) and biases (f32).
    pub weight_bytes: u64,
}

impl core::ops::Add for Cost {
    type Output = Cost;
    fn add(self, other: Cost) -> Cost {
        Cost {
            macs: self.macs + other.macs,
            params: self.params + other.params,
            weight_bytes: self.weight_bytes + other.weight_bytes,
        }
    }
}

impl core::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        *self = *self + other;
    }
}

/// Bytes of one weight (f16).
pub const WEIGHT_BYTES: u64 = 2;
/// Bytes of one bias (f32).
pub const BIAS_BYTES: u64 = 4;
/// Bytes of the scale (f32) of one row of weights of 8 bits; thin halves have none.
pub const SCALE_BYTES: u64 = 4;

/// The matrix of a layer (method: the matrix view): n rows by c·kh·kw columns, applied at `pixels` positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// Rows n, the output channels or features.
    pub rows: u64,
    /// Columns c·kh·kw (kh·kw of a depthwise convolution).
    pub columns: u64,
    /// Output pixels.
    pub pixels: u64,
}

impl Matrix {
    /// The matrix of `op` over an input of shape `input`; `None` for operations without weights.
    pub fn of(op: &Op<impl AsRef<str>>, input: Shape) -> Option<Matrix> {
        let output = op.output_shape(input)?;
        let columns = match op {
            Op::Conv(conv) if conv.weights == Weights::Depthwise => u64::from(conv.window.taps()),
            Op::Conv(conv) => u64::from(input.channels) * u64::from(conv.window.taps()),
            Op::Linear(_) => input.len() as u64,
            Op::GeneralConv(conv) if GENERAL => {
                u64::from(input.channels / conv.groups.max(1)) * u64::from(conv.window.taps())
            }
            _ => return None,
        };
        // A transposed convolution applies its matrix, transposed, at each pixel of the input.
        let pixels = match op {
            Op::GeneralConv(GeneralConv { transposed: Some(_), .. }) if GENERAL => input.pixels(),
            _ => output.pixels(),
        };
        Some(Matrix { rows: u64::from(output.channels), columns, pixels: pixels as u64 })
    }

    /// Weights of the layer stored dense (rank 0) or as a pair of the given rank: n·c·k² or r·(c·k² + n).
    pub fn params(&self, rank: u64) -> u64 {
        if rank == 0 { self.rows * self.columns } else { rank * (self.columns + self.rows) }
    }

    /// Costs stored dense (rank 0) or as a pair of the given rank.
    pub fn cost(&self, rank: u64) -> Cost {
        let params = self.params(rank);
        Cost {
            macs: params * self.pixels,
            params,
            weight_bytes: params * WEIGHT_BYTES + self.rows * BIAS_BYTES,
        }
    }

    /// Bytes of weights of 8 bits, their scales and the biases (f32), stored dense (rank 0) or as a pair of the given rank.
    pub fn bytes_of_eights(&self, rank: u64) -> u64 {
        self.params(rank) + self.rows * (BIAS_BYTES + SCALE_BYTES)
    }

    /// True where a pair of this rank has fewer multiply-adds than the dense layer: r < n·c·k² / (n + c·k²).
    pub fn pays(&self, rank: u64) -> bool {
        rank > 0 && self.params(rank) < self.params(0)
    }
}

/// Costs of `op` as stored, over an input of shape `input`.
pub fn stored(op: &Op<impl AsRef<str>>, input: Shape) -> Cost {
    let rank = op.weights().map_or(0, rank_of);
    Matrix::of(op, input).map(|matrix| matrix.cost(rank)).unwrap_or_default()
}

/// Costs of the dense layer in place of `op`.
pub fn dense(op: &Op<impl AsRef<str>>, input: Shape) -> Cost {
    Matrix::of(op, input).map(|matrix| matrix.cost(0)).unwrap_or_default()
}

/// Rank of a pair, 0 otherwise.
pub fn rank_of(weights: Weights) -> u64 {
    match weights {
        Weights::Pair { rank } => u64::from(rank),
        Weights::Dense | Weights::Depthwise => 0,
    }
}
