//! Convolutions: dense, fused thin pair, depthwise.
//!
//! One routine, [`Conv::accumulate`], sums a block of input channels into the sums of a tile; a dense layer stores
//! those, a pair expands them (they are its r intermediate values, in f32, never rounded) and stores the expansion.

use super::super::WeightMatrix;
use super::tile::{self, ConvTile, Lanes};
use super::{Buffers, Epilogue, Isa, LayerWeights, Primitives, finish};
use crate::model::{Shape, Window};

/// A convolution's shape.
type Geometry<'a> = (Shape, Shape, &'a Window);

#[cfg_attr(target_arch = "x86_64", inline(always))]
#[cfg_attr(not(target_arch = "x86_64"), inline(never))]
pub(super) fn run<P: Primitives<L>, const N: usize, const L: usize>(
    isa: Isa,
    (input, output, window): Geometry<'_>,
    weights: &LayerWeights<'_>,
    epilogue: Epilogue<'_>,
    buffers: &mut Buffers<'_>,
) {
    let form = weights.form();
    let tile = tile::conv(isa, input, output, window, form, buffers.scratch.len());
    let planes = [buffers.planes.input(input), buffers.planes.output(output)];
    let conv = Conv { input, output, planes, window, tile };
    let (height, width) = (output.height as usize, output.width as usize);
    for y in (0..height).step_by(tile.rows.max(1)) {
        for x in (0..width).step_by(tile.columns.max(1)) {
            let (rows, columns) = (tile.rows.min(height - y), tile.columns.min(width - x));
            let area = Area { y, x, rows, columns, lanes: tile.lanes(rows, columns) };
            match weights {
                LayerWeights::Dense(weights) => conv.dense::<P, N, L>(&area, *weights, epilogue, buffers),
                LayerWeights::Pair { thin, expand, rank } => {
                    conv.pair::<P, N, L>(&area, (*thin, *expand, *rank), epilogue, buffers);
                }
                LayerWeights::Depthwise(weights) => {
                    conv.depthwise::<P, N, L>(&area, weights, epilogue, buffers)
                }
            }
        }
    }
}

struct Conv<'a> {
    input: Shape,
    output: Shape,
    /// Values from one plane to the next, of input and output.
    planes: [usize; 2],
    window: &'a Window,
    tile: ConvTile,
}

/// The output pixels of one tile.
struct Area {
    y: usize,
    x: usize,
    rows: usize,
    columns: usize,
    lanes: Lanes,
}

/// Scratch of one tile.
struct Scratch<'a> {
    sums: &'a mut [f32],
    patch: &'a mut [f32],
    /// Widened weights of a block, tap by tap.
    panel: &'a mut [f32],
    /// Where in the patch each tap of a block begins.
    offsets: &'a mut [u32],
}

/// What a run over the lanes starts its sums from.
#[derive(Clone, Copy)]
enum Start<'a> {
    Zero,
    Bias(&'a [f32]),
    Resume,
}

impl Conv<'_> {
    /// Splits the caller's scratch; `None` where it is too small, which a plan rules out.
    fn scratch<'s>(&self, scratch: &'s mut [f32], sums: usize, outs: usize) -> Option<Scratch<'s>> {
        let taps = self.tile.panel_taps();
        let (sums, rest) = scratch.split_at_mut_checked(sums)?;
        let (patch, rest) = rest.split_at_mut_checked(self.tile.patch())?;
        let (panel, rest) = rest.split_at_mut_checked(taps * outs)?;
        let offsets = bytemuck::try_cast_slice_mut(rest.get_mut(..taps)?).ok()?;
        // The last run of lanes may read this far beyond the patch: whatever it finds is not stored.
        let beyond = patch.len() - patch.len().min(self.tile.lanes_count());
        patch.get_mut(beyond..)?.fill(0.0);
        Some(Scratch { sums, patch, panel, offsets })
    }

    #[cfg_attr(target_arch = "x86_64", inline(always))]
    #[cfg_attr(not(target_arch = "x86_64"), inline(never))]
    fn dense<P: Primitives<L>, const N: usize, const L: usize>(
        &self,
        area: &Area,
        weights: WeightMatrix<'_>,
        epilogue: Epilogue<'_>,
        buffers: &mut Buffers<'_>,
    ) {
        let n = self.output.channels as usize;
        let (group, pitch) = (self.tile.group, area.lanes.sums);
        let Some(mut scratch) = self.scratch(buffers.scratch, group * pitch, N) else { return };
        for first in (0..n).step_by(group) {
            let channels = first..n.min(first + group);
            let columns = weights.len() / n;
            let Some(weights) = weights.rows(channels.clone(), columns) else { return };
            let Some(bias) = epilogue.bias.get(channels.clone()) else { return };
            self.accumulate::<P, N, L>(area, weights, Start::Bias(bias), buffers.input, &mut scratch);
            for (channel, sums) in channels.zip(scratch.sums.chunks_exact_mut(pitch)) {
                self.store::<P, L>(area, sums, channel, epilogue, &mut buffers.output, buffers.second);
            }
        }
    }

    #[cfg_attr(target_arch = "x86_64", inline(always))]
    #[cfg_attr(not(target_arch = "x86_64"), inline(never))]
    fn pair<P: Primitives<L>, const N: usize, const L: usize>(
        &self,
        area: &Area,
        (thin, expand, rank): (WeightMatrix<'_>, WeightMatrix<'_>, usize),
        epilogue: Epilogue<'_>,
        buffers: &mut Buffers<'_>,
    ) {
        let (n, pitch) = (self.output.channels as usize, area.lanes.sums);
        let Some(mut scratch) = self.scratch(buffers.scratch, (rank + N) * pitch, N) else { return };
        self.accumulate::<P, N, L>(area, thin, Start::Zero, buffers.input, &mut scratch);
        let Some((middle, sums)) = scratch.sums.split_at_mut_checked(rank * pitch) else { return };
        let block = self.tile.rank_block.max(1);
        for first in (0..n).step_by(N) {
            let outs = N.min(n - first);
            let Some(bias) = epilogue.bias.get(first..first + outs) else { return };
            for from in (0..rank).step_by(block) {
                let ranks = block.min(rank - from);
                let Some(offsets) = scratch.offsets.get_mut(..ranks) else { return };
                offsets.iter_mut().enumerate().for_each(|(k, offset)| *offset = ((from + k) * pitch) as u32);
                let start = if from == 0 { Start::Bias(bias) } else { Start::Resume };
                let rows = (first..first + outs).filter_map(|row| expand.after(row, rank, from));
                let runs = Runs { count: 1, length: pitch, pitch };
                panel::<P, N, L>(outs, rows, scratch.panel, offsets, middle, sums, runs, start);
            }
            for (channel, sums) in (first..first + outs).zip(sums.chunks_exact_mut(pitch)) {
                self.store::<P, L>(area, sums, channel, epilogue, &mut buffers.output, buffers.second);
            }
        }
    }

    #[cfg_attr(target_arch = "x86_64", inline(always))]
    #[cfg_attr(not(target_arch = "x86_64"), inline(never))]
    fn depthwise<P: Primitives<L>, const N: usize, const L: usize>(
        &self,
        area: &Area,
        weights: &[u16],
        epilogue: Epilogue<'_>,
        buffers: &mut Buffers<'_>,
    ) {
        let Some(mut scratch) = self.scratch(buffers.scratch, area.lanes.sums, 1) else { return };
        let taps = self.window.taps() as usize;
        let planes = buffers.input.chunks(self.planes[0]);
        for (channel, (plane, weights)) in planes.zip(weights.chunks_exact(taps)).enumerate() {
            let Some(bias) = epilogue.bias.get(channel..channel + 1) else { return };
            let weights = WeightMatrix::Half(weights);
            self.accumulate::<P, N, L>(area, weights, Start::Bias(bias), plane, &mut scratch);
            self.store::<P, L>(area, scratch.sums, channel, epilogue, &mut buffers.output, buffers.second);
        }
    }

    /// Sums of a tile: one row of `weights` (channels of `input` × taps) for each output channel.
    #[cfg_attr(target_arch = "x86_64", inline(always))]
    #[cfg_attr(not(target_arch = "x86_64"), inline(never))]
    fn accumulate<P: Primitives<L>, const N: usize, const L: usize>(
        &self,
        area: &Area,
        weights: WeightMatrix<'_>,
        start: Start<'_>,
        input: &[u16],
        scratch: &mut Scratch<'_>,
    ) {
        let taps = self.window.taps() as usize;
        let plane = self.planes[0];
        let columns = input.len().div_ceil(plane) * taps;
        let lanes = &area.lanes;
        let block = self.tile.block;
        let runs = Runs { count: lanes.runs, length: lanes.run, pitch: lanes.pitch };
        for (i, planes) in input.chunks(block * plane).enumerate() {
            let channels = planes.len().div_ceil(plane);
            for (plane, patch) in planes.chunks(plane).zip(scratch.patch.chunks_exact_mut(lanes.channel)) {
                self.fill::<P, L>(area, plane, patch);
            }
            let Some(offsets) = scratch.offsets.get_mut(..channels * taps) else { return };
            self.offsets(lanes, offsets);
            let from = i * block * taps;
            let all = weights.len() / columns;
            for (outs, sums) in scratch.sums.chunks_mut(lanes.sums * N).enumerate() {
                let first = outs * N;
                if first >= all {
                    break;
                }
                let start = match start {
                    _ if i > 0 => Start::Resume,
                    Start::Bias(bias) => Start::Bias(bias.get(outs * N..).unwrap_or_default()),
                    start => start,
                };
                let count = N.min(all - first);
                let rows = (first..first + count).filter_map(|row| weights.after(row, columns, from));
                panel::<P, N, L>(count, rows, scratch.panel, offsets, scratch.patch, sums, runs, start);
            }
        }
    }

    fn offsets(&self, lanes: &Lanes, offsets: &mut [u32]) {
        let [kernel_height, kernel_width] = self.window.kernel.map(usize::from);
        let mut offsets = offsets.iter_mut();
        let mut channel = 0;
        while offsets.len() > 0 {
            for ky in 0..kernel_height {
                for kx in 0..kernel_width {
                    let Some(offset) = offsets.next() else { return };
                    *offset = (channel + self.tile.tap_offset(lanes, ky, kx)) as u32;
                }
            }
            channel += lanes.channel;
        }
    }

    /// Widens the part of one input plane under a tile into the patch, phase by phase, with zeros for the padding.
    #[cfg_attr(target_arch = "x86_64", inline(always))]
    #[cfg_attr(not(target_arch = "x86_64"), inline(never))]
    fn fill<P: Primitives<L>, const L: usize>(&self, area: &Area, plane: &[u16], patch: &mut [f32]) {
        let (height, width) = (self.input.height as usize, self.input.width as usize);
        let [sy, sx] = self.window.stride.map(usize::from);
        let [top, left, _, _] = self.window.padding.map(usize::from);
        let [phases_y, phases_x] = tile::phases(self.window);
        let Lanes { pitch, rows, .. } = area.lanes;
        let mut lines = patch.chunks_exact_mut(pitch);
        for phase_y in 0..phases_y {
            for phase_x in 0..phases_x {
                // Input column of element i: (x + i)·sx + phase_x − left.
                let column = area.x * sx + phase_x;
                let before = left.saturating_sub(column).div_ceil(sx).min(pitch);
                let end = (width + left).saturating_sub(column).div_ceil(sx).clamp(before, pitch);
                for row in 0..rows {
                    let Some(line) = lines.next() else { return };
                    let y = ((area.y + row) * sy + phase_y).checked_sub(top).filter(|y| *y < height);
                    let from = y.map(|y| y * width + column + before * sx - left.min(column + before * sx));
                    let source = from.and_then(|from| plane.get(from..)).filter(|_| before < end);
                    let Some(source) = source else {
                        line.fill(0.0);
                        continue;
                    };
                    let (padding, line) = line.split_at_mut(before);
                    let (line, behind) = line.split_at_mut(end - before);
                    padding.fill(0.0);
                    behind.fill(0.0);
                    if sx == 1 {
                        source.get(..line.len()).into_iter().for_each(|source| P::widen(source, line));
                    } else {
                        let source = source.iter().step_by(sx);
                        line.iter_mut().zip(source).for_each(|(to, from)| *to = P::widen_one(*from));
                    }
                }
            }
        }
    }

    /// Finishes and stores the sums of one output channel of a tile.
    #[cfg_attr(target_arch = "x86_64", inline(always))]
    #[cfg_attr(not(target_arch = "x86_64"), inline(never))]
    fn store<P: Primitives<L>, const L: usize>(
        &self,
        area: &Area,
        sums: &mut [f32],
        channel: usize,
        epilogue: Epilogue<'_>,
        output: &mut super::Output<'_>,
        second: super::Second<'_>,
    ) {
        let width = self.output.width as usize;
        let first = channel * self.planes[1] + area.y * width + area.x;
        for (row, sums) in sums.chunks_mut(area.lanes.stride).take(area.rows).enumerate() {
            let Some(sums) = sums.get_mut(..area.columns) else { return };
            finish::<P, L>(sums, first + row * width, epilogue.activation, second, output);
        }
    }
}

/// The lanes that a panel goes over: runs that begin `pitch` apart in the patch and follow one another in the sums.
#[derive(Clone, Copy)]
struct Runs {
    count: usize,
    /// A multiple of the lanes.
    length: usize,
    pitch: usize,
}

/// Adds to the sums of `count` ≤ `N` output channels: for each tap, weight · lanes from its offset in `x`. `rows` begin with
/// the weights of each channel, one a tap; `sums` has all runs of one channel, then those of the next.
#[cfg_attr(target_arch = "x86_64", inline(always))]
#[cfg_attr(not(target_arch = "x86_64"), inline(never))]
#[allow(clippy::too_many_arguments)]
fn panel<'w, P: Primitives<L>, const N: usize, const L: usize>(
    count: usize,
    rows: impl Iterator<Item = WeightMatrix<'w>>,
    panel: &mut [f32],
    offsets: &[u32],
    x: &[f32],
    sums: &mut [f32],
    runs: Runs,
    start: Start<'_>,
) {
    for (out, row) in rows.enumerate() {
        let to = panel.get_mut(out..).unwrap_or_default();
        row.in_halves(offsets.len(), |row, columns| {
            let to = to.get_mut(columns.start * count..);
            to.map(|to| P::widen_strided(row, to, count)).is_some()
        });
    }
    let Some(weights) = panel.get(..offsets.len() * count) else { return };
    match count {
        1 => lanes::<P, 1, L>(weights, offsets, x, sums, runs, start),
        2 if N > 2 => lanes::<P, 2, L>(weights, offsets, x, sums, runs, start),
        3 if N > 3 => lanes::<P, 3, L>(weights, offsets, x, sums, runs, start),
        _ if count == N => lanes::<P, N, L>(weights, offsets, x, sums, runs, start),
        _ => {}
    }
}

/// The inner loops: sums of `N` channels for `L` pixels in registers over all taps.
#[cfg_attr(target_arch = "x86_64", inline(always))]
#[cfg_attr(not(target_arch = "x86_64"), inline(never))]
#[allow(unsafe_code)]
fn lanes<P: Primitives<L>, const N: usize, const L: usize>(
    weights: &[f32],
    offsets: &[u32],
    x: &[f32],
    sums: &mut [f32],
    runs: Runs,
    start: Start<'_>,
) {
    let channel = runs.count.saturating_mul(runs.length);
    // What the loops below read and write lies under these bounds, so they go without checks of their own.
    let farthest = offsets.iter().max().map_or(0, |offset| *offset as usize);
    let reach = farthest.saturating_add(runs.count.saturating_sub(1).saturating_mul(runs.pitch));
    let fits = reach.saturating_add(runs.length) <= x.len() && N.saturating_mul(channel) <= sums.len();
    let whole = runs.length.is_multiple_of(L) && N * offsets.len() == weights.len();
    if !fits || !whole {
        return;
    }
    let (resume, bias) = match start {
        Start::Zero => (false, [0.0; N]),
        Start::Bias(bias) => (false, core::array::from_fn(|n| bias.get(n).copied().unwrap_or_default())),
        Start::Resume => (true, [0.0; N]),
    };
    for run in 0..runs.count {
        for at in (0..runs.length).step_by(L) {
            let first = run * runs.length + at;
            let mut block = bias.map(P::splat);
            if resume {
                for (n, block) in block.iter_mut().enumerate() {
                    // SAFETY: n·channel + first + L ≤ N·channel, which `sums` has.
                    *block = P::load(unsafe { &*sums.as_ptr().add(n * channel + first).cast::<[f32; L]>() });
                }
            }
            let shift = run * runs.pitch + at;
            for (weights, offset) in weights.chunks_exact(N).zip(offsets) {
                // SAFETY: offset + shift + L ≤ reach + length, which `x` has.
                let x = P::load(unsafe { &*x.as_ptr().add(*offset as usize + shift).cast::<[f32; L]>() });
                for (block, weight) in block.iter_mut().zip(weights) {
                    *block = P::mul_add(P::splat(*weight), x, *block);
                }
            }
            for (n, block) in block.iter().enumerate() {
                // SAFETY: as for the loads.
                P::store(*block, unsafe {
                    &mut *sums.as_mut_ptr().add(n * channel + first).cast::<[f32; L]>()
                });
            }
        }
    }
}
