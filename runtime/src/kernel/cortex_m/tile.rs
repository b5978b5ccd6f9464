//! Tiles of output pixels and their scratch.
//!
//! A tile is some rows and columns of output pixels; each of its rows is cut into groups of four pixels, the last one
//! filled up. Sums lie group by group: for each group, four values of each output channel. The part of the input under
//! a tile is widened into a patch, channel by channel: rows as they follow in the image, each split by the stride's
//! phase, so that a kernel tap meets neighbouring pixels side by side.
//!
//! The scratch of a layer depends on its shape and not on whether it is stored dense or as a pair (up to the rank at
//! which a pair stops paying), so that a low-rank model never needs a larger arena than its dense twin.

use super::{OUTS, PIXELS};
use crate::kernel::tiling::{Form, of_either_form};
use crate::model::{Shape, Window};

/// Scratch that tiles are fitted to, in f32; exceeded only where the smallest tile needs more.
const BUDGET: usize = 1024;

/// Groups in a tile, at most: beyond, nothing is gained.
const GROUPS: usize = 48;

/// Channels in a block, at most.
const BLOCK: usize = 8;

/// Columns below which a tile is not cut, where it fits.
const NARROW: usize = 16;

/// Ranks that are expanded in one pass, at most.
const RANKS: usize = 32;

/// A convolution's shape, as tiles see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Geometry {
    pub input: Shape,
    pub output: Shape,
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    /// Rows above and columns left of the image.
    pub before: [usize; 2],
}

impl Geometry {
    /// A 1×1 convolution without stride and padding becomes one over a single long row.
    pub fn new(mut input: Shape, mut output: Shape, window: &Window) -> Self {
        let [top, left, bottom, right] = window.padding;
        if window.kernel == [1, 1] && window.stride == [1, 1] && [top, left, bottom, right] == [0; 4] {
            input = Shape::new(input.channels, 1, input.pixels() as u32);
            output = Shape::new(output.channels, 1, output.pixels() as u32);
        }
        Self {
            input,
            output,
            kernel: window.kernel.map(|k| usize::from(k.max(1))),
            stride: window.stride.map(|s| usize::from(s.max(1))),
            before: [usize::from(top), usize::from(left)],
        }
    }

    /// Stride phases of a row that some tap meets.
    pub fn phases(&self) -> usize {
        self.kernel[1].min(self.stride[1])
    }

    /// Patch rows from one output row to the next.
    pub fn row_step(&self) -> usize {
        self.kernel[0].min(self.stride[0])
    }

    /// Patch rows under `rows` output rows.
    pub fn patch_rows(&self, rows: usize) -> usize {
        rows.saturating_sub(1).saturating_mul(self.row_step()).saturating_add(self.kernel[0])
    }

    /// Elements of one phase of a patch row under `columns` output pixels.
    pub fn pitch(&self, columns: usize) -> usize {
        columns.saturating_add((self.kernel[1] - 1) / self.stride[1].max(1))
    }

    /// Elements of one channel of the patch.
    pub fn channel(&self, rows: usize, columns: usize) -> usize {
        self.patch_rows(rows).saturating_mul(self.pitch(columns)).saturating_mul(self.phases())
    }

    /// Kernel taps of one channel.
    pub fn taps(&self) -> usize {
        self.kernel[0].saturating_mul(self.kernel[1])
    }
}

/// How one convolution is cut up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    /// Output rows and columns of a full tile.
    pub rows: usize,
    pub columns: usize,
    /// Input channels whose patch is in scratch at once.
    pub block: usize,
    /// Output channels whose sums are in scratch at once: the ranks of a pair.
    pub outs: usize,
    /// Ranks of a block of the expanding half.
    pub ranks: usize,
}

impl Tile {
    /// The cheapest tiling that `budget` f32 of scratch allow; the smallest one where none fits.
    pub fn fit(geometry: &Geometry, form: Form, budget: usize) -> Tile {
        let (height, width) = (geometry.output.height as usize, geometry.output.width as usize);
        let channels = if form == Form::Depthwise { 1 } else { geometry.input.channels as usize };
        let n = geometry.output.channels as usize;
        let (outs, ranks) = match form {
            Form::Dense => (n.min(OUTS), 0),
            Form::Pair { rank } => (rank, rank.min(RANKS)),
            Form::Depthwise => (1, 0),
        };
        let smallest = Tile { rows: 1, columns: width.min(PIXELS), block: 1, outs, ranks };
        let mut best = (u64::MAX, smallest);
        let mut columns = width;
        loop {
            for rows in 1..=height {
                if rows.saturating_mul(columns.div_ceil(PIXELS)) > GROUPS.max(width.min(PIXELS)) {
                    break;
                }
                // Tiles of like size instead of full ones and a rest.
                let mut tile =
                    Tile { rows: height.div_ceil(height.div_ceil(rows).max(1)), columns, ..smallest };
                if tile.rows != rows {
                    continue;
                }
                let fits = |tile: &Tile| tile.scratch(geometry, form) <= budget;
                if !fits(&tile) {
                    break;
                }
                let each = tile.block_scratch(geometry);
                let room = budget.saturating_sub(tile.sums().saturating_add(PIXELS));
                let mut block = (room / each.max(1)).min(channels.min(BLOCK)).max(1);
                while block > 1 && !fits(&Tile { block, ..tile }) {
                    block -= 1;
                }
                loop {
                    tile.block = channels.div_ceil(channels.div_ceil(block.max(1)).max(1)).max(1);
                    if form == Form::Dense {
                        let left = room.saturating_sub(tile.block.saturating_mul(each));
                        let more = left / (tile.groups() * PIXELS).max(1) / OUTS * OUTS;
                        tile.outs = (smallest.outs.saturating_add(more)).min(n);
                    }
                    let cost = tile.cost(geometry, form);
                    if cost < best.0 {
                        best = (cost, tile);
                    }
                    // More channels in a dense layer's block leave less room for sums.
                    if form != Form::Dense || block <= 1 {
                        break;
                    }
                    block /= 2;
                }
            }
            // Narrow tiles widen more pixels around them.
            if columns <= PIXELS || (columns <= NARROW && best.0 < u64::MAX) {
                return best.1;
            }
            columns = (columns / 2).next_multiple_of(PIXELS);
        }
    }

    /// Groups of pixels in a full tile.
    fn groups(&self) -> usize {
        self.rows.saturating_mul(self.columns.div_ceil(PIXELS))
    }

    /// Estimate of the instructions that a layer takes: see docs/decisions/cortex-m-kernels.md.
    fn cost(&self, geometry: &Geometry, form: Form) -> u64 {
        let count = |x: usize| x as u64;
        let depthwise = form == Form::Depthwise;
        let channels = count(if depthwise { 1 } else { geometry.input.channels as usize });
        let (n, outs) = (count(geometry.output.channels as usize), count(self.outs));
        let (groups, taps) = (count(self.groups()), count(geometry.taps()));
        let passes = if form == Form::Dense { n.div_ceil(outs.max(1)) } else { 1 };
        let line = count(geometry.channel(self.rows, self.columns)) * 9 / 4;
        let fill = channels.saturating_mul(line + 40 * count(geometry.patch_rows(self.rows)));
        let weights = outs.saturating_mul(channels).saturating_mul(taps);
        let calls = channels.div_ceil(count(self.block).max(1)).saturating_mul(outs.div_ceil(OUTS as u64));
        let call = 140 + 12 * groups;
        let thin = calls.saturating_mul(call).saturating_add(weights.saturating_mul(3 + 9 * groups));
        let finish = n * (60 + 14 * groups);
        let expand = match form {
            Form::Pair { .. } => {
                n.saturating_mul(outs).saturating_mul(3 + 10 * groups) + n.div_ceil(4) * call
            }
            _ => 0,
        };
        let tiles = (geometry.output.height as usize).div_ceil(self.rows.max(1))
            * (geometry.output.width as usize).div_ceil(self.columns.max(1));
        let one =
            fill.saturating_add(thin).saturating_mul(passes).saturating_add(finish).saturating_add(expand);
        one.saturating_mul(count(tiles))
    }

    /// Elements of the sums.
    pub fn sums(&self) -> usize {
        self.groups().saturating_mul(PIXELS).saturating_mul(self.outs)
    }

    /// Elements of the patch, with the few that the last group may read beyond it. The expanded sums of a pair take
    /// its place.
    pub fn patch(&self, geometry: &Geometry, form: Form) -> usize {
        let patch =
            self.block.saturating_mul(geometry.channel(self.rows, self.columns)).saturating_add(PIXELS);
        match form {
            Form::Pair { .. } => patch.max(self.groups().saturating_mul(PIXELS * OUTS)),
            _ => patch,
        }
    }

    /// Taps whose weights are widened at once.
    pub fn panel_taps(&self, geometry: &Geometry) -> usize {
        self.block.saturating_mul(geometry.taps()).max(self.ranks)
    }

    /// What one more channel in a block takes at most.
    fn block_scratch(&self, geometry: &Geometry) -> usize {
        let weights = geometry.taps().saturating_mul(OUTS + 1);
        geometry.channel(self.rows, self.columns).saturating_add(weights)
    }

    /// Scratch of the whole tiling: sums, patch, widened weights and the offset of each tap.
    pub fn scratch(&self, geometry: &Geometry, form: Form) -> usize {
        let panel = self.panel_taps(geometry).saturating_mul(OUTS + 1);
        self.sums().saturating_add(self.patch(geometry, form)).saturating_add(panel)
    }
}

/// Scratch of a convolution, in f32.
pub(in crate::kernel) fn scratch(input: Shape, output: Shape, window: &Window, form: Form) -> usize {
    let geometry = Geometry::new(input, output, window);
    of_either_form((input, output), window, form, |form| {
        Tile::fit(&geometry, form, BUDGET).scratch(&geometry, form)
    })
}
