//! Tiles of output pixels and their scratch.
//!
//! Patches are those of the other Cortex-M ([`Geometry`]), in f32 or f16. Sums lie group by group: for each group of
//! pixels, 16 bytes of each output channel (32 where products are summed in f16 and carried in f32). As everywhere, the
//! scratch of a layer does not depend on whether it is stored dense or as a pair.

pub(super) use super::super::cortex_m::tile::Geometry;
use super::micro::Taps;
use crate::kernel::tiling::{Form, of_either_form};
use crate::model::{Shape, Window};

/// Scratch that tiles are fitted to, in f32; exceeded only where the smallest tile needs more.
const BUDGET: usize = 3072;

/// Groups in a tile, at most: beyond, nothing is gained.
const GROUPS: usize = 128;

/// Channels in a block, at most.
const BLOCK: usize = 16;

/// Columns below which a tile is not cut, where it fits.
const NARROW: usize = 16;

/// What of an arithmetic tiles depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lanes {
    /// Pixels of a group: those of one vector.
    pub pixels: usize,
    /// Output channels computed together, at most.
    pub outs: usize,
    /// Products that are summed without a carry, at most; channels are never split for it.
    pub interval: usize,
    /// Ranks that are expanded in one go, at most.
    pub ranks: usize,
}

impl Lanes {
    /// Elements of the patch that lie in an f32.
    fn packed(&self) -> usize {
        self.pixels / 4
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
    pub lanes: Lanes,
    pub form: Form,
}

impl Tile {
    /// The cheapest tiling that `budget` f32 of scratch allow; the smallest one where none fits.
    pub fn fit(lanes: Lanes, geometry: &Geometry, form: Form, budget: usize) -> Tile {
        let (height, width) = (geometry.output.height as usize, geometry.output.width as usize);
        let channels = geometry.input.channels as usize;
        let n = geometry.output.channels as usize;
        let (outs, ranks) = match form {
            Form::Dense => (n.min(lanes.outs), 0),
            Form::Pair { rank } => (rank, rank.min(lanes.ranks)),
            Form::Depthwise => (1, 0),
        };
        let most_outs = if form == Form::Dense { n } else { 0 };
        let most = match form {
            // Each has sums of its own.
            Form::Depthwise => BLOCK.min(channels),
            _ => (lanes.interval / geometry.taps().max(1)).clamp(1, BLOCK).min(channels),
        };
        let smallest = Tile { rows: 1, columns: width.min(lanes.pixels), block: 1, outs, ranks, lanes, form };
        let mut best = (u32::MAX, smallest);
        let mut columns = width;
        loop {
            // Tiles of like size instead of full ones and a rest.
            let widest = columns.div_ceil(lanes.pixels.max(1)).max(1);
            let mut tiles = height.div_ceil((GROUPS / widest).max(1)).max(1);
            while tiles <= height {
                let rows = height.div_ceil(tiles.max(1));
                // The next number of tiles that makes them lower.
                tiles = if rows > 1 { height.div_ceil(rows - 1) } else { height + 1 };
                let mut tile = Tile { rows, columns, ..smallest };
                let mut block = tile.most_channels(geometry, budget).min(most);
                while block > 0 {
                    tile.block = channels.div_ceil(channels.div_ceil(block).max(1));
                    if form == Form::Depthwise {
                        tile.outs = tile.block;
                    }
                    if form == Form::Dense {
                        let left = budget.saturating_sub(tile.scratch(geometry));
                        let more =
                            left / (tile.groups() * lanes.pixels).max(1) / lanes.outs.max(1) * lanes.outs;
                        tile.outs = (smallest.outs.saturating_add(more)).min(n);
                    }
                    let cost = tile.cost(geometry);
                    if cost < best.0 {
                        best = (cost, tile);
                    }
                    // Nothing is lost to what a smaller tile has more room for.
                    if block == most && tile.outs >= most_outs {
                        tiles = height + 1;
                    }
                    tile.outs = smallest.outs;
                    // More channels in a dense layer's block leave less room for sums.
                    block = if form == Form::Dense { block / 2 } else { 0 };
                }
            }
            // Narrow tiles widen more pixels around them.
            if columns <= lanes.pixels || (columns <= NARROW && best.0 < u32::MAX) {
                return best.1;
            }
            columns = (columns / 2).next_multiple_of(lanes.pixels.max(1));
        }
    }

    /// Channels of a block that `budget` has room for; 0 where it has none for one.
    fn most_channels(&self, geometry: &Geometry, budget: usize) -> usize {
        let one = self.scratch(geometry);
        if one > budget {
            return 0;
        }
        // What one channel more takes at most.
        let sums = if self.form == Form::Depthwise { self.sums() } else { 0 };
        let each = geometry.channel(self.rows, self.columns).div_ceil(self.lanes.packed().max(1))
            + geometry.taps().saturating_mul(self.lanes.outs + 1)
            + sums;
        1 + (budget - one) / each.max(1)
    }

    /// Groups of pixels in a full tile.
    fn groups(&self) -> usize {
        self.rows.saturating_mul(self.columns.div_ceil(self.lanes.pixels.max(1)))
    }

    /// Estimate of the instructions that a layer takes: see docs/decisions/cortex-m55-kernels.md. In u32, because
    /// every inference asks for it.
    pub fn cost(&self, geometry: &Geometry) -> u32 {
        let count = |x: usize| x as u32;
        let channels = geometry.input.channels;
        let (n, outs) = (geometry.output.channels, count(self.outs));
        let (groups, taps) = (count(self.groups()), count(geometry.taps()));
        let together = count(self.lanes.outs).max(1);
        let passes = if self.form == Form::Dense { n.div_ceil(outs.max(1)) } else { 1 };
        let blocks = channels.div_ceil(count(self.block).max(1));
        let rows = count(geometry.patch_rows(self.rows));
        let vectors =
            count(geometry.pitch(self.columns).div_ceil(self.lanes.pixels.max(1)) * geometry.phases());
        let fill = channels.saturating_mul(rows.saturating_mul(10 + 4 * vectors));
        let tiles = geometry.output.height.div_ceil(count(self.rows).max(1))
            * geometry.output.width.div_ceil(count(self.columns).max(1));
        if self.form == Form::Depthwise {
            // Of 3×3 in f32 without a detour by sums.
            let straight =
                self.lanes.packed() == 1 && matches!(Taps::of(geometry), Taps::Square | Taps::Square2);
            let each = match straight {
                true => groups.saturating_mul(24) + count(self.rows).saturating_mul(20) + 40,
                false => groups.saturating_mul(3 * taps + 44) + 150,
            };
            return fill
                .saturating_add(n.saturating_mul(each))
                .saturating_add(blocks * 700)
                .saturating_mul(tiles);
        }
        let chunks = outs.div_ceil(together);
        // For each vector of pixels: one load of them, one of the weights; and the start and end of a block.
        let weights = channels.saturating_mul(taps);
        let products = weights.saturating_mul(outs + 2 * chunks + outs / 8);
        let ends = blocks.saturating_mul(2 * outs + 18 * chunks);
        let thin = groups
            .saturating_mul(products.saturating_add(ends))
            .saturating_add(blocks.saturating_mul(chunks * 200))
            .saturating_add(weights.saturating_mul(outs * 5 / 4));
        let expand = match self.form {
            Form::Pair { .. } => {
                let chunks = n.div_ceil(together);
                let sums = outs.saturating_mul(n + 3 * chunks) + 9 * n + 16 * chunks;
                groups.saturating_mul(sums) + chunks * 250 + n.saturating_mul(outs) * 5 / 4
            }
            _ => n.saturating_mul(10 * groups + 40),
        };
        let one = fill.saturating_add(thin).saturating_mul(passes).saturating_add(expand).saturating_add(300);
        one.saturating_mul(tiles)
    }

    /// Pixels of a group.
    pub fn pixels(&self) -> usize {
        self.lanes.pixels
    }

    /// f32 of the sums.
    pub fn sums(&self) -> usize {
        self.groups().saturating_mul(self.lanes.pixels).saturating_mul(self.outs)
    }

    /// Elements of the patch, with the few that the last group may read beyond it.
    pub fn patch(&self, geometry: &Geometry) -> usize {
        self.block.saturating_mul(geometry.channel(self.rows, self.columns)).saturating_add(self.lanes.pixels)
    }

    /// f32 that the patch takes.
    pub fn patch_words(&self, geometry: &Geometry) -> usize {
        self.patch(geometry).div_ceil(self.lanes.packed().max(1))
    }

    /// Weights that are laid side by side at once, in f32.
    pub fn panel(&self, geometry: &Geometry) -> usize {
        let taps = self.block.saturating_mul(geometry.taps()).max(self.ranks);
        if self.form == Form::Depthwise { taps } else { taps.saturating_mul(self.lanes.outs) }
    }

    /// Offsets of the taps of a block, where loops need them.
    pub fn offsets(&self, geometry: &Geometry) -> usize {
        if Taps::of(geometry) == Taps::Single { self.block.saturating_mul(geometry.taps()) } else { 0 }
    }

    /// Expanded sums of a pair that is not expanded in registers.
    pub fn expanded(&self) -> usize {
        match self.form {
            Form::Pair { rank } if rank > self.lanes.ranks => {
                self.groups().saturating_mul(self.lanes.pixels * self.lanes.outs)
            }
            _ => 0,
        }
    }

    /// Scratch of the whole tiling, in f32.
    pub fn scratch(&self, geometry: &Geometry) -> usize {
        let input = self.patch_words(geometry).max(self.expanded());
        self.sums()
            .saturating_add(input)
            .saturating_add(self.panel(geometry))
            .saturating_add(self.offsets(geometry))
    }
}

/// Scratch of a convolution, in f32.
pub(super) fn scratch(lanes: Lanes, input: Shape, output: Shape, window: &Window, form: Form) -> usize {
    let geometry = Geometry::new(input, output, window);
    of_either_form((input, output), window, form, |form| {
        Tile::fit(lanes, &geometry, form, BUDGET).scratch(&geometry)
    })
}
