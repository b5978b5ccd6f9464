//! Weights in the order in which the kernels read them, made once when a model is loaded.

use std::vec::Vec;

use super::conv;
use super::depthwise;
use super::element::{Element, Full, Half};
use super::fill::{self, Columns, Frame};
use super::finish::Near;
use super::geometry::{self, MOST_ROWS, Runs};
use super::squares::Squared;
use crate::kernel::team::Team;
use crate::kernel::tiling::Form;
use crate::kernel::tiling::Patch;
use crate::kernel::{Arithmetic, Buffers, Isa, Layer, LayerWeights, Method, WinogradTile};
use crate::model::{Activation, Shape, Window};

/// Rows of a matrix whose sums are made together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub(super) first: usize,
    pub(super) rows: usize,
    /// Where its weights begin.
    pub(super) at: usize,
}

/// A matrix in groups of rows, each stored column by column, a column in whole registers.
#[derive(Debug)]
pub(super) struct Matrix<B> {
    pub(super) groups: Vec<Group>,
    weights: Vec<B>,
}

impl<B: Copy + Default> Matrix<B> {
    /// From f16 bits in row-major order, in the groups that take the fewest instructions for pixels in `runs`.
    pub(super) fn new<E: Element<Bits = B>>(bits: &[u16], rows: usize, runs: Runs) -> Self {
        let sizes = sizes(rows, |rows| runs.cost(rows, E::LANES));
        Self::with_groups::<E>(bits, rows, sizes)
    }

    pub(super) fn with_groups<E: Element<Bits = B>>(
        bits: &[u16],
        rows: usize,
        sizes: impl IntoIterator<Item = usize>,
    ) -> Self {
        let columns = bits.len() / rows.max(1);
        let mut matrix = Matrix { groups: Vec::new(), weights: Vec::new() };
        let mut first = 0;
        for rows in sizes {
            matrix.groups.push(Group { first, rows, at: matrix.weights.len() });
            for column in 0..columns {
                let values = bits.iter().skip(first * columns + column).step_by(columns).take(rows);
                matrix.weights.extend(values.map(|bits| E::element(*bits)));
                let whole = matrix.weights.len().next_multiple_of(E::LANES);
                matrix.weights.resize(whole, B::default());
            }
            first += rows;
        }
        matrix
    }

    /// One row of taps behind the other, each in whole registers, for [`depthwise`].
    fn of_channels<E: Element<Bits = B>>(bits: &[u16], rows: usize) -> Self {
        let taps = (bits.len() / rows.max(1)).max(1);
        let mut weights = Vec::new();
        for row in bits.chunks(taps) {
            weights.extend(row.iter().map(|bits| E::element(*bits)));
            weights.resize(weights.len().next_multiple_of(E::LANES), B::default());
        }
        Matrix { groups: Vec::new(), weights }
    }

    /// All weights.
    pub(super) fn all(&self) -> &[B] {
        &self.weights
    }

    /// Weights of a group from column `column` on.
    pub(super) fn weights(&self, group: &Group, column: usize, lanes: usize) -> &[B] {
        let column = group.at + column * group.rows.next_multiple_of(lanes);
        self.weights.get(column..).unwrap_or_default()
    }

    fn bytes(&self) -> usize {
        size_of_val(self.weights.as_slice()) + size_of_val(self.groups.as_slice())
    }
}

/// Cuts `rows` into groups of up to [`MOST_ROWS`] rows that cost the least in all, the larger ones first.
pub(super) fn sizes(rows: usize, cost: impl Fn(usize) -> usize) -> Vec<usize> {
    let costs: Vec<usize> = (0..=MOST_ROWS).map(cost).collect();
    // The least cost of each number of rows, and its last group.
    let mut best = Vec::with_capacity(rows + 1);
    best.push((0, 0));
    for rows in 1..=rows {
        let last = (1..=rows.min(MOST_ROWS)).map(|last| (best[rows - last].0 + costs[last], last));
        best.push(last.min().unwrap_or_default());
    }
    let mut sizes = Vec::new();
    let mut left = rows;
    while left > 0 {
        sizes.push(best[left].1);
        left -= best[left].1;
    }
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    sizes
}

/// Where the pixels of each column of a matrix lie.
#[derive(Debug)]
pub(super) struct Taps {
    /// Elements from the first pixel.
    pub(super) offsets: Vec<u32>,
    /// Bytes from one column's to the next's.
    pub(super) steps: Vec<isize>,
}

impl Taps {
    pub(super) fn new<E: Element>(offsets: Vec<u32>) -> Taps {
        let next = offsets.iter().skip(1).chain(offsets.last());
        let elements = offsets.iter().zip(next).map(|(at, next)| i64::from(*next) - i64::from(*at));
        let steps = elements.map(|step| step as isize * size_of::<E::Bits>() as isize).collect();
        Taps { offsets, steps }
    }

    fn bytes(&self) -> usize {
        size_of_val(self.offsets.as_slice()) + size_of_val(self.steps.as_slice())
    }
}

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
    fn new<E: Element<Bits = B>>(layer: &Layer<'_>, method: Method) -> Option<Self> {
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
            Matrix { groups: Vec::new(), weights: Vec::new() }
        } else if depthwise && depthwise::covers(&window) {
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
            || (self.depthwise && depthwise::covers(&self.window));
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

    fn bytes(&self) -> usize {
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

/// A convolution whose weights were packed for an arithmetic.
#[derive(Debug)]
pub struct PackedConv(Kind);

#[derive(Debug)]
enum Kind {
    Full(Packed<f32>),
    Half(Packed<u16>),
}

impl PackedConv {
    /// Packs a convolution for `isa`; `None` where the portable code runs it, and for other layers.
    pub fn new(isa: Isa, arithmetic: Arithmetic, method: Method, layer: &Layer<'_>) -> Option<PackedConv> {
        let kind = match (isa, arithmetic) {
            (Isa::Neon | Isa::NeonF16, Arithmetic::F32) => Kind::Full(Packed::new::<Full>(layer, method)?),
            (Isa::NeonF16, Arithmetic::F16) => Kind::Half(Packed::new::<Half>(layer, method)?),
            _ => return None,
        };
        Some(PackedConv(kind))
    }

    /// Bytes on the heap.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Kind::Full(conv) => conv.bytes(),
            Kind::Half(conv) => conv.bytes(),
        }
    }

    /// The tiles by which it is computed; `None` where every product is made.
    pub fn tile(&self) -> Option<WinogradTile> {
        match &self.0 {
            Kind::Full(conv) => conv.squares.as_ref().map(|_| geometry::tile(Arithmetic::F32)),
            Kind::Half(conv) => conv.squares.as_ref().map(|_| geometry::tile(Arithmetic::F16)),
        }
    }

    /// How it is computed, in a word or two for reports.
    pub fn form(&self) -> &'static str {
        let depthwise = |conv: (bool, Window)| conv.0 && depthwise::covers(&conv.1);
        match (self.tile(), &self.0) {
            (Some(tile), _) => tile.name(),
            (None, Kind::Full(conv)) if depthwise((conv.depthwise, conv.window)) => "depthwise",
            (None, Kind::Half(conv)) if depthwise((conv.depthwise, conv.window)) => "depthwise",
            _ => "pixels in lanes",
        }
    }

    /// f32 of scratch that it uses.
    pub fn scratch(&self) -> usize {
        match &self.0 {
            Kind::Full(conv) => conv.scratch(),
            Kind::Half(conv) => conv.scratch(),
        }
    }

    /// Runs it, shared by `team` where there is one; false, and nothing done, where a buffer does not fit it or the result goes to logits. The machine must
    /// have FEAT_FP16 if `isa` has.
    pub(in crate::kernel) fn run(
        &self,
        isa: Isa,
        buffers: &mut Buffers<'_>,
        team: Option<&mut Team>,
    ) -> bool {
        match &self.0 {
            Kind::Full(conv) => conv::run::<Full>(conv, buffers, team),
            Kind::Half(conv) => isa == Isa::NeonF16 && conv::run::<Half>(conv, buffers, team),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_fall_into_the_cheapest_groups() {
        let runs = |runs, registers| Runs { runs, registers, pitch: 0 };
        let groups = |rows, r| sizes(rows, |rows| Runs::cost(r, rows, 4));
        for rows in 1..60 {
            for r in [runs(1, 1), runs(8, 8), runs(8, 7), runs(3, 2)] {
                let groups = groups(rows, r);
                assert_eq!(groups.iter().sum::<usize>(), rows);
                assert!(groups.iter().all(|group| (1..=MOST_ROWS).contains(group)));
            }
        }
        // Where a row has many registers, groups that leave room for them; where it has two, many rows.
        assert_eq!(groups(3, runs(8, 8)), [3]);
        assert_eq!(groups(12, runs(8, 4)), [6, 6]);
        assert_eq!(groups(25, runs(8, 2)), [12, 12, 1]);
    }
}
