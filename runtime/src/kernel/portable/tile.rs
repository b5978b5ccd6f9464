//! Tiles of output pixels and the scratch that they take.
//!
//! A convolution goes over its output in tiles. The part of the input under a tile is widened into a *patch*: for each
//! channel of a block, the rows and columns split by stride phase, so that the pixels which one kernel tap meets lie
//! side by side whatever the stride. A tile of several rows keeps the patch's pitch in its sums; the few columns
//! between its rows are computed and never stored, and every tap is one contiguous run of lanes.
//!
//! The scratch of a layer depends on its shape and not on whether it is stored dense or as a pair (up to the rank at
//! which a pair stops paying), so that a low-rank model never needs a larger arena than its dense twin.

// A Cortex-M cuts convolutions up in its own way.
#![cfg_attr(all(target_arch = "arm", target_os = "none", target_abi = "eabihf"), allow(dead_code))]

use crate::kernel::Isa;
use crate::kernel::tiling::{Form, largest_paying_rank, of_either_form};
use crate::model::{Shape, Window};

/// How an instruction set tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kernel) struct Geometry {
    /// Pixels computed together.
    pub lanes: usize,
    /// Output channels computed together.
    pub outs: usize,
    /// Pixels that a tile aims at.
    pub tile: usize,
    /// Kernel taps (over all channels of a block) that share one pass over the sums.
    pub taps: usize,
    /// Scratch of one layer, in f32, that tiles are fitted to; exceeded only where the smallest tile needs more.
    pub budget: usize,
}

impl Isa {
    /// Tiling of this instruction set.
    pub(in crate::kernel) const fn geometry(self) -> Geometry {
        match self {
            Isa::Portable | Isa::CortexM | Isa::CortexM55 | Isa::CortexM55Half => {
                Geometry { lanes: 4, outs: 4, tile: 64, taps: 32, budget: 1024 }
            }
            Isa::Avx2 => Geometry { lanes: 16, outs: 4, tile: 64, taps: 72, budget: 8192 },
            Isa::Neon | Isa::NeonF16 => Geometry { lanes: 8, outs: 4, tile: 64, taps: 72, budget: 4096 },
            Isa::Avx512 => Geometry { lanes: 32, outs: 4, tile: 96, taps: 72, budget: 8192 },
        }
    }
}

/// Elements of a linear layer's rows that are widened at a time: a multiple of every [`Geometry::lanes`].
pub(super) const LINEAR_CHUNK: usize = 64;

/// One convolution's tiling. All sizes count f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConvTile {
    /// Output rows and columns of a full tile.
    pub rows: usize,
    pub columns: usize,
    /// Input channels of a block.
    pub block: usize,
    /// Output channels whose sums are kept at once (dense), at least 1.
    pub group: usize,
    /// Ranks of a block of the expanding half.
    pub rank_block: usize,
    geometry: Geometry,
    window: Window,
    form: Form,
}

/// Where a tile's pixels lie in patch and sums.
///
/// The lanes go over the pixels in runs: one run over all rows, with the columns between them, or one run a row, filled
/// up to whole lanes, whichever computes less in vain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lanes {
    /// Elements from one row of a phase to the next.
    pub pitch: usize,
    /// Rows of a phase.
    pub rows: usize,
    /// Elements of one channel of the patch.
    pub channel: usize,
    /// Number of runs; each begins `pitch` after the one before in the patch.
    pub runs: usize,
    /// Length of a run, a multiple of the lanes; runs follow one another in the sums.
    pub run: usize,
    /// Elements from one row of pixels to the next in the sums.
    pub stride: usize,
    /// Sums of one output channel: all runs.
    pub sums: usize,
}

/// Kernel size of each axis (rows, columns) as far as patch and taps depend on it.
fn axes(window: &Window) -> [(usize, usize); 2] {
    let [kh, kw] = window.kernel;
    let [sy, sx] = window.stride;
    [(usize::from(kh), usize::from(sy.max(1))), (usize::from(kw), usize::from(sx.max(1)))]
}

/// Stride phases of each axis that some tap meets.
pub(super) fn phases(window: &Window) -> [usize; 2] {
    axes(window).map(|(kernel, stride)| kernel.min(stride))
}

impl ConvTile {
    /// The cheapest tiling that `budget` allows; the smallest one where none fits.
    fn fit(isa: Isa, input: Shape, output: Shape, window: &Window, form: Form, budget: usize) -> ConvTile {
        let geometry = isa.geometry();
        let taps = (window.taps() as usize).max(1);
        let channels = if form == Form::Depthwise { 1 } else { input.channels as usize };
        let blocks = channels.div_ceil(geometry.taps.div_ceil(taps).max(1));
        let (height, width) = (output.height as usize, output.width as usize);
        let smallest = ConvTile {
            rows: 1,
            columns: width.min(geometry.lanes),
            block: channels.div_ceil(blocks.max(1)),
            group: geometry.outs.min(output.channels as usize),
            rank_block: form.rank().min(geometry.taps),
            geometry,
            window: *window,
            form,
        };
        let mut best = (u64::MAX, smallest);
        let mut consider = |rows: usize, columns: usize| {
            // Tiles of like size instead of full ones and a rest.
            let rows = height.div_ceil(height.div_ceil(rows.max(1)).max(1));
            let mut tile = ConvTile { rows, columns, ..smallest };
            let Some(spare) = budget.checked_sub(tile.scratch()) else { return };
            if form == Form::Dense {
                let group = tile.sums_kept() + spare / tile.lanes(rows, columns).sums.max(1);
                tile.group = (group / geometry.outs.max(1) * geometry.outs).min(output.channels as usize);
            }
            let cost = tile.cost(output);
            if cost < best.0 {
                best = (cost, tile);
            }
        };
        if width <= geometry.tile {
            let row = smallest.lanes(1, width).pitch.max(1);
            let rows = 1 + (geometry.tile - width) / row;
            (1..=rows.min(height)).for_each(|rows| consider(rows, width));
        }
        let widest = geometry.tile.min(width);
        (geometry.lanes..=widest).step_by(geometry.lanes.max(1)).for_each(|columns| consider(1, columns));
        best.1
    }

    /// Estimate of the work for one multiply-add, in 1024ths of one: lanes computed, weights and pixels widened.
    fn cost(&self, output: Shape) -> u64 {
        /// Operations that widen and place one value, in multiply-adds.
        const WIDEN: u64 = 3;
        let lanes = self.lanes(self.rows, self.columns);
        let outs = match self.form {
            Form::Dense => self.group,
            Form::Pair { rank } => rank,
            Form::Depthwise => 1,
        };
        let (outs, taps) = (outs.max(1) as u64, u64::from(self.window.taps()).max(1));
        let weights = outs.saturating_mul(taps);
        let work =
            (lanes.sums as u64 + WIDEN).saturating_mul(weights).saturating_add(WIDEN * lanes.channel as u64);
        let tiles = (output.height as usize).div_ceil(self.rows.max(1)) as u64
            * (output.width as usize).div_ceil(self.columns.max(1)) as u64;
        work.saturating_mul(tiles).saturating_mul(1024)
            / weights.saturating_mul(output.pixels() as u64).max(1)
    }

    /// Positions in patch and sums for a tile of `rows` × `columns` output pixels.
    pub(super) fn lanes(&self, rows: usize, columns: usize) -> Lanes {
        let [(kh, sy), (kw, sx)] = axes(&self.window);
        let [phases_y, phases_x] = phases(&self.window);
        let pitch = columns.saturating_add(kw.saturating_sub(1) / sx);
        let phase_rows = rows.saturating_add(kh.saturating_sub(1) / sy);
        let channel = phase_rows.saturating_mul(pitch).saturating_mul(phases_y * phases_x);
        let whole =
            |pixels: usize| pixels.div_ceil(self.geometry.lanes.max(1)).saturating_mul(self.geometry.lanes);
        let joined = whole((rows.saturating_sub(1)).saturating_mul(pitch).saturating_add(columns));
        let row = whole(columns);
        let (runs, run, stride) =
            if row.saturating_mul(rows) < joined { (rows, row, row) } else { (1, joined, pitch) };
        Lanes { pitch, rows: phase_rows, channel, runs, run, stride, sums: runs.saturating_mul(run) }
    }

    /// Offset in one channel of the patch of the pixels that tap (`ky`, `kx`) meets.
    pub(super) fn tap_offset(&self, lanes: &Lanes, ky: usize, kx: usize) -> usize {
        let [(_, sy), (_, sx)] = axes(&self.window);
        let [_, phases_x] = phases(&self.window);
        let phase = (ky % sy) * phases_x + kx % sx;
        phase * lanes.rows * lanes.pitch + (ky / sy) * lanes.pitch + kx / sx
    }

    /// Pixels computed together, the most that a run of lanes reads beyond a patch.
    pub(super) fn lanes_count(&self) -> usize {
        self.geometry.lanes
    }

    /// Output channels whose sums are in scratch at once.
    fn sums_kept(&self) -> usize {
        match self.form {
            // A group smaller than the channels computed together still takes their room.
            Form::Dense => self.group.max(self.geometry.outs),
            Form::Pair { rank } => rank.saturating_add(self.geometry.outs),
            Form::Depthwise => 1,
        }
    }

    /// f32 for the patch of a block, with the lanes that the last run may read beyond it.
    pub(super) fn patch(&self) -> usize {
        let channel = self.lanes(self.rows, self.columns).channel;
        self.block.saturating_mul(channel).saturating_add(self.geometry.lanes)
    }

    /// Taps of a block.
    pub(super) fn panel_taps(&self) -> usize {
        (self.window.taps() as usize).saturating_mul(self.block).max(self.rank_block)
    }

    /// Scratch of the whole tiling.
    pub(super) fn scratch(&self) -> usize {
        let sums = self.lanes(self.rows, self.columns).sums.saturating_mul(self.sums_kept());
        // The widened weights of a block, and the offset of each tap.
        let panel = self.panel_taps().saturating_mul(self.geometry.outs + 1);
        sums.saturating_add(self.patch()).saturating_add(panel)
    }
}

/// The tiling of a convolution in the scratch that its shape has, or in less where no more is given.
pub(super) fn conv(
    isa: Isa,
    input: Shape,
    output: Shape,
    window: &Window,
    form: Form,
    given: usize,
) -> ConvTile {
    let scratch = conv_scratch(isa, input, output, window, form).min(given);
    ConvTile::fit(isa, input, output, window, form, scratch)
}

/// Scratch of a convolution, in f32.
pub(in crate::kernel) fn conv_scratch(
    isa: Isa,
    input: Shape,
    output: Shape,
    window: &Window,
    form: Form,
) -> usize {
    let budget = isa.geometry().budget;
    of_either_form((input, output), window, form, |form| {
        ConvTile::fit(isa, input, output, window, form, budget).scratch()
    })
}

/// Scratch of a linear layer, in f32; `rank` is 0 for a dense one.
pub(in crate::kernel) fn linear_scratch(isa: Isa, inputs: usize, outputs: usize, rank: usize) -> usize {
    let chunks = LINEAR_CHUNK * (isa.geometry().outs + 1);
    rank.max(largest_paying_rank(outputs, inputs)).saturating_add(chunks)
}
