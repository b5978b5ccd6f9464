//! The thin half of pairs with 3×3 windows and stride 1 by tiles of one row: six products for four pixels and three taps, which are
//! twelve in the direct form, or four for two, which are six. A strip of one row has no tiles of 2×2; these need no row more, and less
//! scratch.
//!
//! Four tiles side by side are a group: 16 pixels, or 8. Of a block of channels the transformed pixels lie product by product: for
//! each group, channel and row of the window four values. So the sums of one product over channels and rows are those of a 1×1
//! convolution, made by the same loops. The points are 0, 1, −1, 2, −2, ∞ (0, 1, −1, ∞); what would divide transformed weights, which
//! are made for each strip, divides the sums of the few ranks instead.

use super::conv::{Area, Conv};
use super::fill::Filler;
use super::micro;
use super::parts::Parts;
use super::tile::{Geometry, Products, RANKS};
use super::{OUTS, PIXELS};
use crate::kernel::portable::Epilogue;
use crate::kernel::{Buffers, Operations, Set, WeightMatrix};

/// Rows of a window, and taps of each.
const ROWS: usize = 3;

/// Pixels that a tile makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outputs {
    Two,
    Four,
}

impl Outputs {
    /// Pixels of a group of tiles.
    pub fn columns(self) -> usize {
        match self {
            Outputs::Two => 2 * PIXELS,
            Outputs::Four => 4 * PIXELS,
        }
    }

    /// In [`Set::FORMS`].
    pub fn form(self) -> Set {
        match self {
            Outputs::Two => Set::LINES_TWO,
            Outputs::Four => Set::LINES_FOUR,
        }
    }

    /// Products of a tile.
    pub fn products(self) -> usize {
        match self {
            Outputs::Two => 4,
            Outputs::Four => 6,
        }
    }
}

/// How a layer is cut up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lines {
    outputs: Outputs,
    /// Output rows of a full strip, and groups of tiles in each.
    rows: usize,
    across: usize,
    /// Four pixels at a time in an output row.
    groups: usize,
    channels: usize,
    /// Channels of a block.
    block: usize,
    rank: usize,
}

impl Lines {
    /// Those of so many rows in blocks of so many channels.
    pub fn new(geometry: &Geometry, rank: usize, outputs: Outputs, [rows, block]: [usize; 2]) -> Lines {
        let width = geometry.output.width as usize;
        Lines {
            outputs,
            rows,
            across: width.div_ceil(outputs.columns()),
            groups: width.div_ceil(PIXELS),
            channels: geometry.input.channels as usize,
            block,
            rank,
        }
    }

    /// Pixels of a tile, rows, and channels of a block.
    pub fn size(&self) -> (Outputs, [usize; 2]) {
        (self.outputs, [self.rows, self.block])
    }

    /// The cheapest for a pair of this rank that fit `budget` f32 of scratch and take fewer instructions than `direct`; `None` where
    /// there are none.
    pub fn fit(
        geometry: &Geometry,
        rank: usize,
        budget: usize,
        (direct, products): (u32, Products),
    ) -> Option<Lines> {
        if rank == 0 || geometry.kernel != [3, 3] || geometry.stride != [1, 1] {
            return None;
        }
        let (height, channels) = (geometry.output.height as usize, geometry.input.channels as usize);
        let mut best = (direct, None);
        for outputs in [Outputs::Four, Outputs::Two] {
            let mut rows = height;
            while rows > 0 {
                let mut block = channels;
                loop {
                    let lines = Lines::new(geometry, rank, outputs, [rows, block]);
                    if lines.scratch() <= budget {
                        let cost = lines.cost(height, products);
                        if cost < best.0 {
                            best = (cost, Some(lines));
                        }
                        break;
                    }
                    if block <= 2 {
                        break;
                    }
                    block = block.div_ceil(2);
                }
                rows /= 2;
            }
        }
        best.1
    }

    /// Elements of the parts of the scratch, in the order of [`Parts`].
    fn parts(&self) -> [usize; 5] {
        let all = |factors: &[usize]| {
            factors.iter().fold(1usize, |product, factor| product.saturating_mul(*factor))
        };
        let (products, tiles) = (self.outputs.products(), self.rows.saturating_mul(self.across));
        // The last row's tiles may go beyond it.
        let wide = all(&[self.across, self.outputs.columns()]);
        let pixels = all(&[self.rows - 1, self.groups, PIXELS]).saturating_add(wide);
        [
            all(&[pixels, self.rank]),
            all(&[products, tiles, PIXELS, self.rank]).max(all(&[self.rows, self.groups, PIXELS, OUTS])),
            all(&[products, tiles, PIXELS, ROWS, self.block]).max(RANKS * OUTS),
            all(&[products, ROWS, self.block, self.rank.min(OUTS)]),
            all(&[self.rows.saturating_add(2), wide.saturating_add(2)]),
        ]
    }

    /// All scratch, in f32.
    pub fn scratch(&self) -> usize {
        self.parts().into_iter().fold(0, usize::saturating_add)
    }

    /// Estimate of the instructions up to the rank-r values of `height` rows.
    pub fn cost(&self, height: usize, of: Products) -> u32 {
        let count = |x: usize| x as u32;
        let (channels, rank, rows) = (count(self.channels), count(self.rank), count(self.rows));
        let (products, across) = (count(self.outputs.products()), count(self.across));
        let (pixels, weights, results) = match self.outputs {
            Outputs::Two => (50, 15, 55),
            Outputs::Four => (112, 19, 110),
        };
        let strips = count(height).div_ceil(rows.max(1));
        let calls = channels.div_ceil(count(self.block).max(1)).saturating_mul(rank.div_ceil(OUTS as u32));
        let [.., patch] = self.parts();
        let fill = count(patch) * 9 / 8 + 25 * (rows + 2) + 100;
        let pixels = channels.saturating_mul(fill.saturating_add(rows * (100 + 3 * (across * pixels + 6))));
        let tiles = rows.saturating_mul(across);
        let of_products =
            (tiles * products * of.forty() / 10).saturating_mul(3 * channels).saturating_mul(rank);
        let weights = (3 * weights * channels).saturating_mul(rank);
        let ends = calls.saturating_mul(300 + tiles.saturating_mul(products * 18));
        let results = rank.saturating_mul(tiles).saturating_mul(results);
        let one = pixels.saturating_add(of_products).saturating_add(weights);
        one.saturating_add(ends).saturating_add(results).saturating_mul(strips)
    }
}

impl Conv {
    /// A pair, strip by strip.
    pub(super) fn pair_in_lines<U: Operations>(
        &self,
        lines: &Lines,
        (thin, expand): (WeightMatrix<'_>, WeightMatrix<'_>),
        epilogue: Epilogue<'_>,
        buffers: &mut Buffers<'_>,
    ) {
        let Lines { outputs, channels, rank, across, .. } = *lines;
        let (height, width) = (self.geometry.output.height as usize, self.geometry.output.width as usize);
        let (plane, block) = (self.geometry.planes[0].max(1), lines.block.max(1));
        let pitch = across * outputs.columns() + 2;
        let Some(parts) = Parts::split(buffers.scratch, lines.parts()) else { return };
        let Parts { middle, sums, pixels, weights, patch } = parts;
        for y in (0..height).step_by(lines.rows.max(1)) {
            let rows = lines.rows.min(height - y);
            let groups = rows * across;
            let area = Area { y, x: 0, rows, columns: pitch - 2, groups: (pitch - 2) / PIXELS };
            let filler = Filler::new(&self.geometry, &area);
            let shape = (filler.lines(), [rows, across]);
            // Rows above and below the map stay so for every channel.
            patch.fill(0.0);
            for (from, planes) in (0..).step_by(block).zip(buffers.input.chunks((block * plane).max(1))) {
                // Behind the last plane there may be less than between planes.
                let count = planes.len().div_ceil(plane);
                let planes = planes.get(filler.begins()..).unwrap_or_default();
                micro::line_pixels::<U>(outputs, (planes, plane, count), shape, patch, pixels);
                let Some(weights_of) = thin.after(0, 0, from * ROWS * ROWS) else { return };
                micro::line_products::<U>(
                    outputs,
                    (groups, count, rank),
                    (weights_of, channels * ROWS * ROWS),
                    (pixels, weights),
                    sums,
                    from > 0,
                );
            }
            // What a row's last tiles have beyond it the next row's first ones overwrite.
            for row in 0..rows {
                let Some(to) = middle.get_mut(row * lines.groups * PIXELS * rank..) else { return };
                micro::line_sums::<U>(outputs, sums, (row * across, across, groups), rank, to);
            }
            let area = Area { y, x: 0, rows, columns: width, groups: lines.groups };
            let to = (&mut buffers.output, buffers.second);
            self.expand::<U>(&area, (expand, rank), epilogue, middle, (sums, pixels), to);
        }
    }
}
