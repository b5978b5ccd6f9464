//! Weights in the order in which the kernels read them, widened to f32 once when a model is loaded.

use std::vec::Vec;

use super::fill::Fill;
use super::geometry::{ALIGNMENT, MOST_ROWS};
use crate::kernel::tiling::Form;
use crate::kernel::tiling::Patch;
use crate::kernel::{LayerWeights, f16};
use crate::model::{Activation, Shape, Window};

/// A matrix in groups of rows of like size, each stored column by column.
#[derive(Debug)]
pub(super) struct Matrix {
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Most rows of a group.
    group: usize,
    weights: Vec<f32>,
}

impl Matrix {
    /// From f16 bits in row-major order.
    fn new(bits: &[u16], rows: usize, group: usize) -> Matrix {
        let columns = bits.len() / rows.max(1);
        let mut matrix = Matrix { rows, columns, group, weights: Vec::with_capacity(bits.len()) };
        for (first, count) in matrix.sizes() {
            for column in 0..columns {
                let column = bits.iter().skip(first * columns + column).step_by(columns).take(count);
                matrix.weights.extend(column.map(|bits| f16::widen(*bits)));
            }
        }
        matrix
    }

    /// First row and number of rows of each group.
    fn sizes(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let rows = self.rows;
        let groups = rows.div_ceil(self.group).max(1);
        let first = move |group: usize| group * (rows / groups) + group.min(rows % groups);
        (0..groups).map(move |group| (first(group), first(group + 1) - first(group)))
    }

    /// First row, number of rows, and weights of each group.
    pub(super) fn groups(&self) -> impl Iterator<Item = (usize, usize, &[f32])> {
        self.sizes().filter_map(|(first, count)| {
            let weights = self.weights.get(first * self.columns..(first + count) * self.columns)?;
            Some((first, count, weights))
        })
    }

    fn bytes(&self) -> usize {
        size_of_val(self.weights.as_slice())
    }
}

/// A convolution with pixels in the lanes, ready to run.
///
/// Its fields fit each other by construction; the kernels rely on that.
#[derive(Debug)]
pub(super) struct Pixels {
    pub(super) input: Shape,
    pub(super) output: Shape,
    pub(super) window: Window,
    pub(super) depthwise: bool,
    pub(super) patch: Patch,
    /// How it is filled.
    pub(super) fill: Fill,
    /// Where each column of `first` begins in the patch.
    pub(super) offsets: Vec<u32>,
    /// The dense weights, or a pair's thin half.
    pub(super) first: Matrix,
    /// A pair's expanding half, and where each rank's values begin.
    pub(super) expand: Option<(Matrix, Vec<u32>)>,
    pub(super) bias: Vec<f32>,
    pub(super) activation: Activation,
}

impl Pixels {
    /// Packs a convolution whose shapes, weights and bias fit each other.
    pub(super) fn new(
        patch: Patch,
        (input, output): (Shape, Shape),
        weights: &LayerWeights<'_>,
        bias: &[f32],
        activation: Activation,
    ) -> Pixels {
        let (first, rows) = weights.first(output.channels as usize);
        let depthwise = weights.form() == Form::Depthwise;
        let expand = match weights {
            LayerWeights::Pair { expand, rank, .. } => {
                let step = patch.middle(1);
                let offsets = (0..*rank).map(|k| (k * step) as u32).collect();
                Some((Matrix::new(expand.halves(), bias.len(), MOST_ROWS), offsets))
            }
            _ => None,
        };
        // Channels of a depthwise layer have their taps in the same places, and weights that are rows of their own.
        let shared = if depthwise { Patch { channels: 1, ..patch } } else { patch };
        let first = Matrix::new(first, rows, if depthwise { 1 } else { MOST_ROWS });
        Pixels {
            input,
            output,
            window: patch.window,
            depthwise,
            patch,
            fill: Fill::new(patch, input),
            offsets: shared.offsets(),
            first,
            expand,
            bias: bias.to_vec(),
            activation,
        }
    }

    /// Weights of channel `channel` of a depthwise convolution.
    pub(super) fn channel(&self, channel: usize) -> &[f32] {
        let columns = self.first.columns;
        self.first.weights.get(channel * columns..(channel + 1) * columns).unwrap_or_default()
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        let expand = self
            .expand
            .as_ref()
            .map_or(0, |(matrix, offsets)| matrix.bytes() + size_of_val(offsets.as_slice()));
        self.first.bytes()
            + expand
            + size_of_val(self.offsets.as_slice())
            + self.fill.bytes()
            + size_of_val(self.bias.as_slice())
    }

    /// f32 of scratch that it uses.
    pub(super) fn scratch(&self) -> usize {
        ALIGNMENT
            + self.patch.len()
            + self.expand.as_ref().map_or(0, |(matrix, _)| self.patch.middle(matrix.columns))
    }
}
