//! Weights in the order in which the kernels read them, made once when a model is loaded.

use std::vec::Vec;

use super::element::Element;
use super::fill::{self, Columns, Frame};
use super::finish::Near;
use super::geometry::{self, Runs};
use super::matrix::{Matrix, Taps};
use super::squares::Squared;
use crate::kernel::tiling::Form;
use crate::kernel::tiling::Patch;
use crate::kernel::{Arithmetic, Layer, LayerWeights, Method};
use crate::model::{Activation, Shape, Window};

/// A convolution ready to run: everything that depends on the model alone.
///
/// Its fields fit each other by construction; the kernels rely on that.
#[derive(Debug)]
pub(super) struct Packed<B> {
    pub(super) input: Shape,
    pub(super) output: Shape,
    pub(super) window: Window,
    pub(super) depthwise: bool,
    pub(super) patch: Patch,
    /// Ranks, 0 for a dense layer, and output rows of a strip.
    pub(super) rank: usize,
    pub(super) strip: usize,
    /// Where the columns of `first` lie in the patch, and those of `expand` in the intermediate values.
    pub(super) taps: Taps,
    pub(super) middle: Taps,
    /// How the patch is filled; see [`super::fill`].
    pub(super) columns: Vec<Columns>,
    /// The dense weights, or a pair's thin half. Of a depthwise layer each row is a group.
    pub(super) first: Matrix<B>,
    /// A pair's expanding half.
    pub(super) expand: Option<Matrix<B>>,
    /// Where Winograd's tiles compute the dense layer, or a pair's thin half: `first` is then empty.
    pub(super) squares: Option<Squared<B>>,
    pub(super) bias: Vec<f32>,
    /// The small and the large parts of the biases in f16, with a register behind them, where results are finished so; see
    /// [`Near`].
    parts: [Vec<u16>; 2],
    pub(super) activation: Activation,
}

impl<B: Copy + Default + 'static> Packed<B> {
    /// `method` says whether tiles may compute it, or must where they serve.
    pub(super) fn new<E: Element<Bits = B>>(layer: &Layer<'_>, method: Method) -> Option<Self> {
        let Layer::Conv { input, output, window, weights, bias, activation } = *layer else { return None };
        let form = weights.form();
        let (first, rows) = weights.first(output.channels as usize);
        let depthwise = form == Form::Depthwise;
        let patch = geometry::fit(E::ARITHMETIC, (input, output), &window, form)?;
        let columns = patch.channels * window.taps() as usize;
        let whole = window.output(input.height, input.width) == Some((output.height, output.width))
            && rows > 0
            && first.len() == rows.checked_mul(columns)?
            && bias.len() == output.channels as usize
            && (!depthwise || input.channels == output.channels);
        if !whole {
            return None;
        }
        let rank = form.rank();
        let strip = patch.strip(rank);
        let runs = patch.runs(strip);
        let squares = Squared::new::<E>((input, output), (&patch, method), form, (first, rows));
        // Outputs of a strip.
        let area = squares.as_ref().map_or(patch.area(strip), |squares| squares.plan.area());
        let expand = match weights {
            LayerWeights::Pair { expand, .. } if expand.len() != bias.len().checked_mul(rank)? => {
                return None;
            }
            LayerWeights::Pair { expand, .. } => {
                let runs = Runs { runs: 1, registers: area / E::LANES, pitch: 0 };
                Some(Matrix::new::<E>(expand.halves(), bias.len(), runs))
            }
            _ => None,
        };
        let mut parts = [Vec::new(), Vec::new()];
        if E::ARITHMETIC == Arithmetic::F16 {
            for bias in bias {
                parts.iter_mut().zip(Near::parts(*bias)).for_each(|(all, part)| all.push(part));
            }
            parts.iter_mut().for_each(|all| all.resize(all.len() + 2 * E::LANES, 0));
        }
        // Depthwise weights are rows of their own: no two share a pixel.
        let first = if squares.is_some() {
            Matrix::empty()
        } else if depthwise && geometry::sums_rows(&window) {
            Matrix::of_channels::<E>(first, rows)
        } else if depthwise {
            Matrix::with_groups::<E>(first, rows, core::iter::repeat_n(1, rows))
        } else {
            Matrix::new::<E>(first, rows, runs)
        };
        Some(Packed {
            input,
            output,
            window,
            depthwise,
            patch,
            rank,
            strip,
            taps: Taps::new::<E>(patch.offsets()),
            middle: Taps::new::<E>((0..rank).map(|k| (k * area) as u32).collect()),
            columns: fill::columns(&patch, input, &window),
            first,
            expand,
            squares,
            bias: bias.to_vec(),
            parts,
            activation,
        })
    }

    /// Whether the kernels for depthwise windows compute it.
    pub(super) fn by_rows(&self) -> bool {
        self.depthwise && geometry::sums_rows(&self.window)
    }

    /// How the patch is filled.
    pub(super) fn frame(&self) -> Frame<'_> {
        Frame { patch: &self.patch, columns: &self.columns, input: self.input }
    }

    /// How sums of `taps` products from channel `channel` on are finished in f16, where they are: all of the products must be in
    /// one f16 sum, and nothing but the bias is added.
    pub(super) fn near<E: Element>(
        &self,
        taps: usize,
        channel: usize,
        second: *const u16,
    ) -> Option<(Near, [*const u16; 2])> {
        let [small, large] = [self.parts[0].get(channel..)?, self.parts[1].get(channel..)?];
        // Where rows have idle lanes, results come from sums in memory.
        let whole = self.squares.is_some()
            || self.patch.joined
            || self.patch.width.is_multiple_of(E::LANES)
            || self.by_rows();
        let one = whole && taps <= E::CARRY && second.is_null() && small.len() > E::LANES;
        Near::of(self.activation).filter(|_| one).map(|near| (near, [small.as_ptr(), large.as_ptr()]))
    }

    /// f32 of scratch that it uses.
    pub(super) fn scratch(&self) -> usize {
        match &self.squares {
            Some(squares) => squares.plan.scratch(self.input.channels as usize, self.rank),
            None => self.patch.scratch(self.rank),
        }
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.first.bytes()
            + self.expand.as_ref().map_or(0, Matrix::bytes)
            + self.squares.as_ref().map_or(0, Squared::bytes)
            + self.taps.bytes()
            + self.middle.bytes()
            + size_of_val(self.columns.as_slice())
            + size_of_val(self.bias.as_slice())
            + self.parts.iter().map(|part| size_of_val(part.as_slice())).sum::<usize>()
    }
}
