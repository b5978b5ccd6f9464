//! Weights in the order in which the kernels read them, widened to f32 once when a model is loaded.

use std::vec::Vec;

use super::fill::{self, Columns};
use super::geometry::{self, ALIGNMENT, Registers, registers};
use crate::kernel::patch::Patch;
use crate::kernel::tile::Form;
use crate::kernel::{Arithmetic, Isa, Layer, LayerWeights, f16};
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

/// A convolution ready to run: everything that depends on the model alone.
///
/// Its fields fit each other by construction; the kernels rely on that.
#[derive(Debug)]
pub struct PackedConv {
    pub(super) input: Shape,
    pub(super) output: Shape,
    pub(super) window: Window,
    pub(super) depthwise: bool,
    pub(super) patch: Patch,
    /// Where each column of `first` begins in the patch.
    pub(super) offsets: Vec<u32>,
    /// How the patch is filled; see [`super::fill`].
    pub(super) columns: Vec<Columns>,
    pub(super) masks: Vec<u32>,
    /// The dense weights, or a pair's thin half.
    pub(super) first: Matrix,
    /// A pair's expanding half, and where each rank's values begin.
    pub(super) expand: Option<(Matrix, Vec<u32>)>,
    pub(super) bias: Vec<f32>,
    pub(super) activation: Activation,
}

impl PackedConv {
    /// Packs a convolution for `isa`; `None` where the portable code runs it, and for other layers.
    pub fn new(isa: Isa, arithmetic: Arithmetic, layer: &Layer<'_>) -> Option<PackedConv> {
        if arithmetic != Arithmetic::F32 {
            return None;
        }
        let Layer::Conv { input, output, window, weights, bias, activation } = *layer else { return None };
        let taps = window.taps() as usize;
        let form = weights.form();
        let (first, rows) = weights.first(output.channels as usize);
        let depthwise = form == Form::Depthwise;
        let Registers { lanes, rows: group } = registers(isa)?;
        let patch = geometry::fit(lanes, (input, output), &window, form)?;
        let columns = patch.channels * taps;
        let whole = window.output(input.height, input.width) == Some((output.height, output.width))
            && rows > 0
            && first.len() == rows.checked_mul(columns)?
            && bias.len() == output.channels as usize
            && (!depthwise || input.channels == output.channels);
        let expand = match weights {
            LayerWeights::Pair { expand, rank, .. } => {
                let step = patch.middle(1);
                let offsets = (0..rank).map(|k| (k * step) as u32).collect();
                Some((Matrix::new(expand, bias.len(), group), offsets))
            }
            _ => None,
        };
        let fits =
            expand.as_ref().is_none_or(|(matrix, _)| matrix.columns == rows && matrix.rows == bias.len());
        // Depthwise weights are rows of their own: no two share a pixel.
        let first = if depthwise {
            Matrix { rows, columns, group: 1, weights: first.iter().map(|bits| f16::widen(*bits)).collect() }
        } else {
            Matrix::new(first, rows, group)
        };
        let mut conv = PackedConv {
            input,
            output,
            window,
            depthwise,
            patch,
            offsets: patch.offsets(),
            columns: Vec::new(),
            masks: Vec::new(),
            first,
            expand,
            bias: bias.to_vec(),
            activation,
        };
        if !whole || !fits {
            return None;
        }
        (conv.columns, conv.masks) = (fill::columns(&conv), fill::masks(&conv));
        Some(conv)
    }

    /// Weights of channel `channel` of a depthwise convolution.
    pub(super) fn channel(&self, channel: usize) -> &[f32] {
        let columns = self.first.columns;
        self.first.weights.get(channel * columns..(channel + 1) * columns).unwrap_or_default()
    }

    /// Bytes on the heap.
    pub fn bytes(&self) -> usize {
        let expand = self
            .expand
            .as_ref()
            .map_or(0, |(matrix, offsets)| matrix.bytes() + size_of_val(offsets.as_slice()));
        self.first.bytes()
            + expand
            + size_of_val(self.offsets.as_slice())
            + size_of_val(self.columns.as_slice())
            + size_of_val(self.masks.as_slice())
            + size_of_val(self.bias.as_slice())
    }

    /// f32 of scratch that it uses.
    pub(crate) fn scratch(&self) -> usize {
        ALIGNMENT
            + self.patch.len()
            + self.expand.as_ref().map_or(0, |(matrix, _)| self.patch.middle(matrix.columns))
    }
}
