//! Transformed weights, and how a map is cut up.

use std::vec::Vec;

use super::super::channels::{Blocks, TURN, like, together};
use super::{LINE, MOST_REGISTERS};
use crate::kernel::tiling::Form;
use crate::kernel::winograd::filter;
use crate::kernel::{LayerWeights, WinogradTile, f16};
use crate::model::{Activation, Shape, Window};

/// f32 of tiles and products that are fitted to a second-level cache of 1 MiB.
const BUDGET: usize = 200 << 10;

/// Bytes of that cache.
const CACHE: usize = 1 << 20;

/// f32 of scratch beyond which tiles are not used.
const LIMIT: usize = 1 << 20;

/// How a convolution is cut up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kernel::x86_64) struct Cut {
    /// f32 in a register.
    pub(in crate::kernel::x86_64) lanes: usize,
    pub(super) tile: WinogradTile,
    pub(super) input: Shape,
    pub(super) output: Shape,
    pub(super) window: Window,
    /// Tiles in a row, rows of tiles, and rows that are computed together.
    pub(super) across: usize,
    pub(super) down: usize,
    pub(super) rows: usize,
}

/// How a convolution is cut into these tiles; `None` where they do not serve it, or would take too much scratch.
pub(in crate::kernel::x86_64) fn fit(
    lanes: usize,
    (input, output): (Shape, Shape),
    window: &Window,
    tile: WinogradTile,
) -> Option<Cut> {
    let empty = [input.len(), output.len()].contains(&0);
    if empty || !WinogradTile::serves(window) {
        return None;
    }
    let [down, across] = [output.height, output.width].map(|size| (size as usize).div_ceil(tile.outputs()));
    let one = Cut { lanes, tile, input, output, window: *window, across, down, rows: 1 };
    let cut = |parts: usize| Cut { rows: down.div_ceil(parts), ..one };
    let fits = |cut: &Cut| cut.rows == 1 || cut.tiles_len() + cut.products_len() <= BUDGET;
    (1..=down).map(cut).find(fits).filter(|cut| cut.tiles_len() + cut.products_len() <= LIMIT)
}

impl Cut {
    /// Tiles that are computed together.
    pub(super) fn tiles(&self) -> usize {
        self.rows * self.across
    }

    /// Elements from one tile's channels to the next one's, so that those of several do not fall on the same lines of a cache.
    pub(super) fn pitch(&self) -> usize {
        (self.input.channels as usize).next_multiple_of(self.lanes) + LINE
    }

    /// Elements from one of a tile's values to the next.
    pub(super) fn step(&self) -> usize {
        self.tiles() * self.pitch() + LINE
    }

    /// Elements from the sums of one of a tile's products to the next, with `registers` registers of filters.
    pub(super) fn sums_step(&self, registers: usize) -> usize {
        self.tiles() * registers * self.lanes + LINE
    }

    /// f32 of the transformed tiles.
    pub(super) fn tiles_len(&self) -> usize {
        self.tile.products().saturating_mul(self.step())
    }

    /// f32 of the sums of products of a block of filters.
    pub(super) fn products_len(&self) -> usize {
        self.tile.products().saturating_mul(self.sums_step(MOST_REGISTERS))
    }

    /// Input rows of `rows` rows of tiles.
    pub(super) fn input_rows(&self, rows: usize) -> usize {
        rows * self.tile.outputs() + 2
    }

    /// f32 of the input rows of a register of channels, with a pixel of zeros before them.
    pub(super) fn spread_len(&self) -> usize {
        let rows = self.input_rows(self.rows).min(self.input.height as usize);
        (rows * self.input.width as usize + 1) * self.lanes
    }

    /// f32 of the columns of a row of tiles, while they are transformed.
    pub(super) fn columns_len(&self) -> usize {
        (self.across * self.tile.outputs() + 2) * self.tile.inputs() * self.lanes
    }

    /// Pixels of the output that are computed together.
    pub(super) fn pixels(&self) -> usize {
        (self.rows * self.tile.outputs()).min(self.output.height as usize) * self.output.width as usize
    }

    /// f32 of the buffer in which the sums of a block of filters are turned over.
    pub(super) fn turned_len(&self) -> usize {
        self.pixels().next_multiple_of(TURN) * MOST_REGISTERS * self.lanes
    }

    /// f32 from one pixel's intermediate values to the next one's.
    pub(super) fn middle(&self, rank: usize) -> usize {
        rank.next_multiple_of(self.lanes)
    }

    /// Scratch in f32, for a rank, 0 for a dense layer.
    pub(in crate::kernel::x86_64) fn scratch(&self, rank: usize) -> usize {
        let first = self.spread_len() + self.columns_len();
        let then = self.products_len() + self.turned_len();
        let middle = self.pixels().saturating_mul(self.middle(rank));
        self.tiles_len().saturating_add(first.max(then)).saturating_add(middle).saturating_add(LINE)
    }

    /// Estimate of the time, in multiply-adds of a register, as measured.
    pub(in crate::kernel::x86_64) fn cost(&self, form: Form) -> usize {
        let (channels, n) = (self.input.channels as usize, self.output.channels as usize);
        let (tiles, products) = (self.down * self.across, self.tile.products());
        let filters = if let Form::Pair { rank } = form { rank } else { n };
        let registers = filters.div_ceil(self.lanes);
        let block = |registers: usize| {
            // The share of the peak, and what each group of tiles begins and ends with.
            let (percent, together) = match (self.lanes, registers) {
                (16, 1) => (80, 12),
                (_, 1) => (65, 12),
                (16, 2) => (88, 12),
                (16, 3) => (93, 9),
                _ => (93, 6),
            };
            let sums = tiles.saturating_mul(registers * channels).saturating_mul(100) / percent;
            sums.saturating_add(tiles.div_ceil(together) * 30).saturating_mul(products)
        };
        let blocks = like(registers, together(self.lanes, registers));
        let sums = blocks.map(|(_, count)| block(count)).fold(0, usize::saturating_add);
        // Weights that a second-level cache does not keep come from memory at 22 GB/s, in part while sums are made.
        let bytes = (products * channels).saturating_mul(registers * self.lanes * size_of::<f32>());
        let weights = bytes.saturating_sub(CACHE) / 10 * 26 / self.lanes;
        let sums = sums.max(weights).saturating_add(sums.min(weights) / 4);
        // A tile's transforms, for each register of channels and of filters.
        let (to, from) = match self.tile {
            WinogradTile::Two => (60, 80),
            WinogradTile::Four if self.lanes == 8 => (250, 250),
            WinogradTile::Four => (190, 250),
        };
        let transforms = tiles.saturating_mul(channels.div_ceil(self.lanes) * to + registers * from);
        let pixels = self.output.pixels();
        let expand = match form {
            Form::Pair { rank } => pixels.saturating_mul(n.div_ceil(self.lanes) * (rank * 11 / 10 + 8)),
            _ => 0,
        };
        let finish = pixels.saturating_mul(n);
        sums.saturating_add(transforms).saturating_add(expand).saturating_add(finish)
    }
}

/// So much that loads of registers cross no line.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// Transformed filters in blocks of up to four registers, each product by product and channel by channel.
#[derive(Debug)]
pub(super) struct Filters {
    pub(super) rows: usize,
    channels: usize,
    lanes: usize,
    products: usize,
    weights: Vec<Line>,
    /// What is added for each row of the registers.
    bias: Vec<f32>,
}

/// One of the blocks.
#[derive(Clone, Copy)]
pub(super) struct FilterBlock<'a> {
    /// First row, and registers of rows.
    pub(super) first: usize,
    pub(super) registers: usize,
    pub(super) weights: &'a [f32],
    pub(super) bias: &'a [f32],
}

impl Filters {
    /// From f16 bits in row-major order, 9 for each channel.
    fn new(bits: &[u16], rows: usize, bias: &[f32], cut: &Cut) -> Filters {
        let (lanes, products, channels) = (cut.lanes, cut.tile.products(), cut.input.channels as usize);
        let padded = rows.next_multiple_of(lanes);
        let lines = (padded * products * channels).div_ceil(LINE);
        let mut filters = Filters {
            rows,
            channels,
            lanes,
            products,
            weights: std::vec![Line([0.0; LINE]); lines],
            bias: bias.to_vec(),
        };
        filters.bias.resize(padded, 0.0);
        let blocks: Vec<(usize, usize)> = filters.sizes().collect();
        let weights: &mut [f32] = bytemuck::cast_slice_mut(&mut filters.weights);
        for (first, registers) in blocks {
            let width = registers * lanes;
            let block = weights.get_mut(first * products * channels..).unwrap_or_default();
            // Channel by channel, so that lines are filled while they are in the cache.
            for channel in 0..channels {
                for row in first..rows.min(first + width) {
                    let from = bits.get(9 * (row * channels + channel)..).unwrap_or_default();
                    let weight = |i: usize| f64::from(f16::widen(from.get(i).copied().unwrap_or(0)));
                    let transformed = filter(cut.tile, core::array::from_fn(weight));
                    for (product, value) in transformed.iter().enumerate().take(products) {
                        let at = (product * channels + channel) * width + row - first;
                        if let Some(to) = block.get_mut(at) {
                            *to = *value as f32;
                        }
                    }
                }
            }
        }
        filters
    }

    /// First row and registers of each block.
    fn sizes(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let lanes = self.lanes;
        let registers = self.rows.div_ceil(lanes);
        like(registers, together(lanes, registers)).map(move |(first, count)| (first * lanes, count))
    }

    /// Their number.
    pub(super) fn count(&self) -> usize {
        let registers = self.rows.div_ceil(self.lanes);
        registers.div_ceil(together(self.lanes, registers)).max(1)
    }

    /// All blocks.
    pub(super) fn all(&self) -> impl Iterator<Item = FilterBlock<'_>> {
        let weights: &[f32] = bytemuck::cast_slice(&self.weights);
        let column = self.products * self.channels;
        self.sizes().filter_map(move |(first, registers)| {
            let end = first + registers * self.lanes;
            let weights = weights.get(first * column..end * column)?;
            Some(FilterBlock { first, registers, weights, bias: self.bias.get(first..end)? })
        })
    }

    fn bytes(&self) -> usize {
        size_of_val(self.weights.as_slice()) + size_of_val(self.bias.as_slice())
    }
}

/// A convolution ready to run. Its fields fit each other by construction; the kernels rely on that.
#[derive(Debug)]
pub(in crate::kernel::x86_64) struct Winograd {
    pub(in crate::kernel::x86_64) cut: Cut,
    /// The dense weights, or a pair's thin half.
    pub(super) first: Filters,
    /// A pair's expanding half, and where each pixel's intermediate values, and of these each rank's, lie.
    pub(super) expand: Option<(Blocks, Vec<u32>, Vec<u32>)>,
    pub(super) activation: Activation,
}

impl Winograd {
    /// Packs a convolution whose shapes, weights and bias fit each other.
    pub(in crate::kernel::x86_64) fn new(
        cut: Cut,
        weights: &LayerWeights<'_>,
        bias: &[f32],
        activation: Activation,
    ) -> Winograd {
        let (matrix, rows) = weights.first(cut.output.channels as usize);
        let (first, expand) = match weights {
            LayerWeights::Pair { expand, rank, .. } => {
                let step = cut.middle(*rank);
                let places = (0..cut.pixels()).map(|pixel| (pixel * step) as u32).collect();
                let ranks = (0..*rank as u32).collect();
                let expand = (Blocks::new(expand.halves(), bias.len(), bias, cut.lanes), places, ranks);
                (Filters::new(matrix, rows, &[], &cut), Some(expand))
            }
            _ => (Filters::new(matrix, rows, bias, &cut), None),
        };
        Winograd { cut, first, expand, activation }
    }

    pub(in crate::kernel::x86_64) fn shapes(&self) -> (Shape, Shape) {
        (self.cut.input, self.cut.output)
    }

    /// The tiles.
    pub(in crate::kernel::x86_64) fn tile(&self) -> WinogradTile {
        self.cut.tile
    }

    /// f32 of scratch that it uses.
    pub(in crate::kernel::x86_64) fn scratch(&self) -> usize {
        self.cut.scratch(if self.expand.is_some() { self.first.rows } else { 0 })
    }

    /// Bytes on the heap.
    pub(in crate::kernel::x86_64) fn bytes(&self) -> usize {
        let expand = self.expand.as_ref().map_or(0, |(blocks, places, ranks)| {
            blocks.bytes() + size_of_val(places.as_slice()) + size_of_val(ranks.as_slice())
        });
        self.first.bytes() + expand
    }
}
