//! The thin half of pairs with 3×3 windows and stride 1 by tiles of 2×2 output pixels: 16 products for 36 (see
//! `kernel/winograd`). Where it takes fewer instructions and the scratch has room for it.
//!
//! A strip is some rows of tiles over the whole width; four tiles side by side are a group, 8×2 output pixels. Of a block of
//! channels the transformed pixels lie product by product: for each of the 16, group and channel, four values. So the sums of
//! one product over the channels are those of a 1×1 convolution, made by the same loops, with transformed weights of its own.
//! These are made for a block of channels by up to four ranks at a time, in every strip anew, or once where they all fit: they
//! are 16/9 of the weights in f32, and stored nowhere else.

use super::conv::{Area, Conv};
use super::fill::Filler;
use super::forms::take;
use super::micro::{self, Offsets, Start, Sweep, Taps};
use super::parts::Parts;
use super::tile::{Geometry, RANKS};
use super::{OUTS, PIXELS, together};
use crate::kernel::portable::Epilogue;
use crate::kernel::{Buffers, Operations, Set, WeightMatrix};

/// Products of a tile.
pub(super) const PRODUCTS: usize = 16;

/// Output rows and columns of a group of tiles.
pub(super) const GROUP: [usize; 2] = [2, 2 * PIXELS];

/// Taps of a channel.
const TAPS: usize = 9;

/// Scratch that is made use of where there is room, in f32.
const MOST: usize = 13824;

/// How a layer is cut up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Strips {
    /// Rows of tiles in a full strip, and groups of tiles in a row.
    rows: usize,
    across: usize,
    channels: usize,
    /// Channels of a block.
    block: usize,
    rank: usize,
    /// Whether transformed weights are kept from strip to strip.
    kept: bool,
}

impl Strips {
    /// Those of so many rows of tiles, in blocks of so many channels.
    pub fn new(geometry: &Geometry, rank: usize, [rows, block]: [usize; 2], kept: bool) -> Strips {
        let across = (geometry.output.width as usize).div_ceil(GROUP[1]);
        Strips { rows, across, channels: geometry.input.channels as usize, block, rank, kept }
    }

    /// Rows of tiles, and channels of a block.
    pub fn size(&self) -> [usize; 2] {
        [self.rows, self.block]
    }

    /// Whether transformed weights are kept from strip to strip.
    pub fn kept(&self) -> bool {
        self.kept
    }

    /// The cheapest strips for a pair of this rank that fit `budget` f32 of scratch and take fewer instructions than
    /// `direct`; `None` where there are none.
    pub fn fit(geometry: &Geometry, rank: usize, budget: usize, direct: u32) -> Option<Strips> {
        if rank == 0 || geometry.kernel != [3, 3] || geometry.stride != [1, 1] {
            return None;
        }
        let (height, channels) = (geometry.output.height as usize, geometry.input.channels as usize);
        let mut best = (direct, None);
        let mut rows = height.div_ceil(GROUP[0]);
        while rows > 0 {
            for kept in [true, false] {
                let mut block = channels;
                loop {
                    let strips = Strips::new(geometry, rank, [rows, block], kept);
                    if strips.scratch() <= budget {
                        let cost = strips.cost(height, 46);
                        if cost < best.0 {
                            best = (cost, Some(strips));
                        }
                        break;
                    }
                    if block <= PIXELS {
                        break;
                    }
                    block = block.div_ceil(2);
                }
            }
            rows /= 2;
        }
        best.1
    }

    /// Groups of tiles in a full strip.
    fn groups(&self) -> usize {
        self.rows.saturating_mul(self.across)
    }

    /// Elements of the parts of the scratch, in the order of [`Parts`].
    fn parts(&self) -> [usize; 5] {
        let all = |factors: &[usize]| {
            factors.iter().fold(1usize, |product, factor| product.saturating_mul(*factor))
        };
        let groups = self.groups();
        // Expanded sums of up to four channels, two rows of two groups of pixels for a group of tiles.
        let expanded = all(&[groups, 4, PIXELS, OUTS]);
        let weights = if self.kept {
            all(&[self.channels, self.rank])
        } else {
            self.block.saturating_mul(self.rank.min(OUTS))
        };
        [
            all(&[groups, 4, PIXELS, self.rank]),
            all(&[PRODUCTS, groups, PIXELS, self.rank]).max(expanded),
            all(&[PRODUCTS, groups, PIXELS, self.block]).max(RANKS * OUTS),
            all(&[PRODUCTS, weights]),
            (GROUP[0].saturating_mul(self.rows) + 2).saturating_mul(GROUP[1].saturating_mul(self.across) + 2),
        ]
    }

    /// All scratch, in f32.
    pub fn scratch(&self) -> usize {
        self.parts().into_iter().fold(0, usize::saturating_add)
    }

    /// Estimate of the instructions up to the rank-r values of `height` rows, where four products take `tenths` / 10. With fused
    /// multiply-adds the gain is the smaller one.
    pub fn cost(&self, height: usize, tenths: u32) -> u32 {
        let count = |x: usize| x as u32;
        let (channels, rank, groups) = (count(self.channels), count(self.rank), count(self.groups()));
        let strips = count(height.div_ceil((self.rows * GROUP[0]).max(1)));
        let blocks = count(self.channels.div_ceil(self.block.max(1)));
        let calls = blocks.saturating_mul(rank.div_ceil(OUTS as u32));
        let [.., patch] = self.parts();
        let fill = count(patch) * 9 / 4 + 30 * count(self.rows * GROUP[0] + 2) + 80;
        let pixels = channels.saturating_mul(fill.saturating_add(groups.saturating_mul(155)));
        let products = (groups * (16 * tenths) / 10).saturating_mul(channels.saturating_mul(rank));
        let ends = calls.saturating_mul(250 + groups.saturating_mul(16 * 18));
        let weights = channels.saturating_mul(rank).saturating_mul(90);
        let results = rank.saturating_mul(groups).saturating_mul(145);
        let one = pixels.saturating_add(products).saturating_add(ends).saturating_add(results);
        let times = if self.kept { 1 } else { strips };
        one.saturating_mul(strips).saturating_add(weights.saturating_mul(times))
    }
}

/// Scratch beyond which a pair gains nothing, in f32; 0 where it is not for strips.
pub(super) fn most_scratch(geometry: &Geometry, rank: usize, direct: u32) -> usize {
    Strips::fit(geometry, rank, MOST, direct).map_or(0, |strips| strips.scratch())
}

impl Conv {
    /// A pair, strip by strip.
    pub(super) fn pair_in_strips<U: Operations>(
        &self,
        strips: &Strips,
        (thin, expand): (WeightMatrix<'_>, WeightMatrix<'_>),
        epilogue: Epilogue<'_>,
        buffers: &mut Buffers<'_>,
    ) {
        let Strips { channels, rank, across, .. } = *strips;
        let (height, width) = (self.geometry.output.height as usize, self.geometry.output.width as usize);
        let plane = self.geometry.planes[0].max(1);
        let block = strips.block.max(1);
        let Some(parts) = Parts::split(buffers.scratch, strips.parts()) else { return };
        let Parts { middle, sums, pixels, weights, patch } = parts;
        // What the ranks from `first` on and the channels from `from` on take of the kept weights begins here.
        let at = |first: usize, from: usize| {
            if strips.kept && U::USED.has(Set::SQUARES_KEPT) {
                PRODUCTS * (from * rank + first * block.min(channels - from))
            } else {
                0
            }
        };
        let transform = |(first, some): (usize, usize), from: usize, to: &mut [f32]| {
            let Some(rows) = thin.after(first, channels * TAPS, from * TAPS) else { return };
            micro::transform_weights::<U>(rows, channels * TAPS, some, block.min(channels - from), to)
        };
        if strips.kept && take::<U>(Set::SQUARES_KEPT) {
            for from in (0..channels).step_by(block) {
                for ranks in together(rank) {
                    transform(ranks, from, weights.get_mut(at(ranks.0, from)..).unwrap_or_default());
                }
            }
        }
        for y in (0..height).step_by((strips.rows * GROUP[0]).max(1)) {
            let rows = strips.rows.min((height - y).div_ceil(GROUP[0]));
            let groups = rows * across;
            let area =
                Area { y, x: 0, rows: rows * GROUP[0], columns: across * GROUP[1], groups: across * 2 };
            let filler = Filler::new(&self.geometry, &area);
            let shape = (filler.lines(), [rows, across]);
            // Rows above and below the map stay so for every channel.
            patch.fill(0.0);
            for (from, planes) in (0..).step_by(block).zip(buffers.input.chunks((block * plane).max(1))) {
                // Behind the last plane there may be less than between planes.
                let count = planes.len().div_ceil(plane);
                let planes = planes.get(filler.begins()..).unwrap_or_default();
                micro::transform_pixels((planes, plane, count), shape, patch, pixels);
                for (first, some) in together(rank) {
                    let Some(weights) = weights.get_mut(at(first, from)..) else { return };
                    if !strips.kept {
                        transform((first, some), from, weights);
                    }
                    let Some(weights) = weights.get(..PRODUCTS * count * some) else { return };
                    let Some(sums) = sums.get_mut(first * PIXELS..) else { return };
                    let sweep = Sweep {
                        rows: PRODUCTS,
                        groups,
                        x_group: count * PIXELS,
                        x_row: groups * count * PIXELS,
                        sums_group: rank * PIXELS,
                        phase: 0,
                        weights_row: count * some,
                    };
                    let start = if from == 0 { Start::Bias(&[]) } else { Start::Resume };
                    micro::accumulate::<U>(
                        Taps::Ranks,
                        some,
                        (pixels, Offsets::ranks(count)),
                        weights,
                        sums,
                        sweep,
                        start,
                    );
                }
            }
            let area = Area {
                y,
                x: 0,
                rows: (rows * GROUP[0]).min(height - y),
                columns: width,
                groups: width.div_ceil(PIXELS),
            };
            micro::transform_sums(sums, (rows, across, rank), middle, area.groups);
            self.expand::<U>(
                &area,
                (expand, rank),
                epilogue,
                middle,
                (sums, pixels),
                (&mut buffers.output, buffers.second),
            );
        }
    }
}
