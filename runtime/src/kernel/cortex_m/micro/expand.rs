//! The expanding half of a pair, four channels after another: what is the same for all of them is checked and laid out once.

use super::super::forms::note;
use super::{Accumulate, Finish, OUTS, PIXELS, Residual, Rows, Taps, inner, of_outs, panel, stored};
use crate::kernel::{Operations, WeightMatrix};
use crate::model::Activation;

/// The rank-r values of a tile, and what becomes of them.
pub(in super::super) struct Expand<'a> {
    /// Group by group, four pixels of each rank.
    pub middle: &'a [f32],
    pub rank: usize,
    /// A row of ranks for each channel, and a bias.
    pub weights: WeightMatrix<'a>,
    pub bias: &'a [f32],
    /// Where pixels go; all channels, and groups that follow one another.
    pub rows: Rows,
    pub activation: Activation,
}

/// Expands, activates and stores as many channels as are fours, and says how many. `widened` and `sums` are scratch for the weights and the
/// sums of four channels. Does nothing where a length does not fit.
#[inline(never)]
pub(in super::super) fn expand<U: Operations>(
    of: &Expand<'_>,
    (widened, sums): (&mut [f32], &mut [f32]),
    output: &mut [u16],
    residual: Residual<'_>,
) -> usize {
    const F32: usize = size_of::<f32>();
    let (rank, Rows { channels, rows, columns, width, plane, .. }) = (of.rank, of.rows);
    let (fours, groups) = (channels / OUTS, rows * columns.div_ceil(PIXELS));
    if fours == 0 || rank == 0 || groups == 0 || columns > width {
        return 0;
    }
    let (mut added, there) = match residual {
        Residual::None => (core::ptr::null(), usize::MAX),
        Residual::InPlace => (output.as_ptr(), usize::MAX),
        Residual::Other(values) => (values.as_ptr(), values.len()),
    };
    let pixels = (fours * OUTS - 1) * plane + (rows - 1) * width + columns;
    if groups * rank * PIXELS > of.middle.len()
        || groups * OUTS * PIXELS > sums.len()
        || rank * OUTS > widened.len()
        || fours * OUTS * rank > of.weights.len()
        || fours * OUTS > of.bias.len()
        || pixels > output.len().min(there)
    {
        return 0;
    }
    let (mut output, widened) = (output.as_mut_ptr(), widened.as_mut_ptr());
    let dry = note(of_outs(Taps::Ranks.loops(), OUTS).and(stored(added, of.activation)));
    let (biases, _) = of.bias.as_chunks::<OUTS>();
    for (first, bias) in (0..).step_by(OUTS).zip(biases.iter().take(fours)) {
        let Some(weights) = of.weights.after(first, rank, 0) else { return first };
        let [a, b, c, d] = *bias;
        let initial = [a, a, a, a, b, b, b, b, c, c, c, c, d, d, d, d];
        let mut accumulated = Accumulate {
            x: of.middle.as_ptr(),
            x_row: 0,
            rows: 1,
            groups,
            offsets: core::ptr::null(),
            end: widened.wrapping_add(rank * OUTS).cast(),
            weights: widened,
            sums: sums.as_mut_ptr(),
            sums_group: OUTS * PIXELS * F32,
            start: initial.as_ptr(),
            start_group: 0,
            x_group: rank * PIXELS * F32,
            phase: rank % 2 * F32,
            weights_row: 0,
        };
        let mut finished = Finish {
            sums: sums.as_ptr(),
            sums_group: OUTS * PIXELS * F32,
            output,
            residual: added,
            groups: columns / PIXELS,
            rows,
            gap: (width - columns) * size_of::<u16>(),
            rest: columns % PIXELS,
            channels: OUTS,
            plane: plane * size_of::<u16>(),
        };
        // SAFETY: ranks, weights, sums and pixels of four channels are there, checked above. A residual in the output is read
        // before its place is written.
        unsafe {
            panel::<U>(weights, rank, OUTS, rank, widened);
            if !dry {
                inner::accumulate::<U>(Taps::Ranks, OUTS, &mut accumulated);
                inner::finish::<U>(of.activation, &mut finished);
            }
        }
        output = output.wrapping_add(OUTS * plane);
        added = if added.is_null() { added } else { added.wrapping_add(OUTS * plane) };
    }
    fours * OUTS
}
