//! Weights with channels side by side, and how a map is cut up.

use std::vec::Vec;

use super::{MOST_REGISTERS, TURN, like, together};
use crate::kernel::LayerWeights;
use crate::kernel::tiling::{CACHE_LINE, Form, Patch};
use crate::kernel::x86_64::fill::Fill;
use crate::model::{Activation, Shape, Window};

/// f32 that a patch is fitted to: a quarter of a second-level cache of 1 MiB.
const BUDGET: usize = 1 << 16;

/// Pixels of a tile, so that their sums stay in that cache too.
const PIXELS: usize = 1024;

/// f32 of a cache line.
const LINE: usize = CACHE_LINE / size_of::<f32>();

/// How a convolution is cut up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kernel::x86_64) struct Tile {
    /// f32 in a register.
    pub(in crate::kernel::x86_64) lanes: usize,
    pub(super) patch: Patch,
    /// Elements of the patch from one pixel of a row to the next, and from one row to the next.
    steps: [usize; 2],
}

/// The tiles of a convolution; `None` where its patch would be too large.
pub(in crate::kernel::x86_64) fn fit(
    lanes: usize,
    (input, output): (Shape, Shape),
    window: &Window,
) -> Option<Tile> {
    let [sy, sx] = window.stride.map(usize::from);
    let [kh, kw] = window.kernel.map(usize::from);
    let one = Patch::one_row(lanes, (input, output), window, Form::Dense)?;
    let (height, width) = (output.height as usize, output.width as usize);
    let tile = |rows: usize| {
        if window.kernel == [1, 1] {
            // Only what the stride meets, row behind row.
            let patch = Patch { joined: true, planes: 1, pitch: width, beyond: lanes, ..one.with_rows(rows) };
            return Tile { lanes, patch, steps: [1, width] };
        }
        let pitch = (width - 1) * sx + kw;
        let dense = Window { stride: [1, 1], ..*window };
        let patch = Patch {
            joined: false,
            rows: (rows - 1) * sy + 1,
            width: (width - 1) * sx + 1,
            phases: 1,
            phase_rows: (rows - 1) * sy + kh,
            planes: 1,
            pitch,
            columns: pitch,
            beyond: lanes,
            window: dense,
            ..one
        };
        Tile { lanes, patch, steps: [sx, sy * pitch] }
    };
    (1..=height)
        .map(|tiles| height.div_ceil(tiles))
        .map(tile)
        .find(|tile| {
            let fits = tile.patch.len() <= BUDGET && tile.rows(sy) * width <= PIXELS;
            fits || tile.rows(sy) == 1
        })
        .filter(|tile| tile.patch.len() <= 2 * BUDGET)
}

/// Estimate of the time for a block of so many registers of channels, in multiply-adds of a register, as measured: the
/// share of the peak that its inner loop reaches, and what begins and ends it.
fn block(lanes: usize, registers: usize, columns: usize, pixels: usize) -> usize {
    let (percent, together) = match (lanes, registers) {
        (_, 1) => (70, 9),
        (16, 2) => (84, 9),
        (16, 3) => (93, 9),
        _ => (93, 6),
    };
    let products = pixels.saturating_mul(columns).saturating_mul(registers * 100) / percent;
    products.saturating_add(pixels.div_ceil(together) * 50)
}

impl Tile {
    /// True where the patch has the pixels of a window of 1×1 alone, and not all of the rows and columns that others meet.
    pub(super) fn is_point(&self) -> bool {
        self.patch.window.kernel == [1, 1]
    }

    /// Output rows of a full tile, for the stride of the convolution.
    pub(super) fn rows(&self, stride: usize) -> usize {
        if self.is_point() { self.patch.rows } else { (self.patch.rows - 1) / stride + 1 }
    }

    /// f32 of the patch, so that what follows begins a cache line.
    pub(super) fn patch_len(&self) -> usize {
        self.patch.len().next_multiple_of(LINE)
    }

    /// f32 of the buffer in which the sums of `pixels` pixels are turned over.
    pub(super) fn turned(&self, pixels: usize) -> usize {
        pixels.next_multiple_of(TURN).saturating_mul(MOST_REGISTERS * self.lanes)
    }

    /// f32 from one pixel's intermediate values to the next one's.
    pub(super) fn middle(&self, rank: usize) -> usize {
        rank.next_multiple_of(self.lanes)
    }

    /// Estimate of the time, in multiply-adds of a register.
    pub(in crate::kernel::x86_64) fn cost(
        &self,
        (input, output): (Shape, Shape),
        window: &Window,
        form: Form,
    ) -> usize {
        let columns = (input.channels as usize).saturating_mul(window.taps() as usize);
        let (n, pixels) = (output.channels as usize, output.pixels());
        let product = |rows: usize, columns: usize| -> usize {
            let registers = rows.div_ceil(self.lanes);
            let blocks = like(registers, together(self.lanes, registers));
            blocks.map(|(_, count)| block(self.lanes, count, columns, pixels)).fold(0, usize::saturating_add)
        };
        let products = match form {
            Form::Pair { rank } => product(rank, columns).saturating_add(product(n, rank)),
            _ => product(n, columns),
        };
        let tiles = (output.height as usize).div_ceil(self.rows(usize::from(window.stride[0])).max(1));
        let fill = (self.patch.len() / self.lanes * 2).saturating_mul(tiles);
        // Sums are written, turned over and read again.
        let finish = n.saturating_mul(pixels) * 12 / 10;
        products.saturating_add(fill).saturating_add(finish)
    }

    /// Scratch in f32 of a convolution with this output and a rank, 0 for a dense layer.
    pub(in crate::kernel::x86_64) fn scratch(&self, output: Shape, window: &Window, rank: usize) -> usize {
        let pixels = self.rows(usize::from(window.stride[0])).saturating_mul(output.width as usize);
        self.patch_len()
            .saturating_add(self.turned(pixels))
            .saturating_add(pixels.saturating_mul(self.middle(rank)))
            .saturating_add(LINE - 1)
    }
}

/// A matrix in blocks of up to four registers of rows, each stored column by column; f16 bits, with zeros for the rows
/// that are none.
#[derive(Debug)]
pub(in crate::kernel::x86_64) struct Blocks {
    pub(super) rows: usize,
    pub(super) columns: usize,
    lanes: usize,
    weights: Vec<u16>,
    /// What the sums begin with, for each row of the registers.
    bias: Vec<f32>,
}

/// One of them.
#[derive(Clone, Copy)]
pub(in crate::kernel::x86_64) struct Block<'a> {
    /// First row, and registers of rows.
    pub(in crate::kernel::x86_64) first: usize,
    pub(in crate::kernel::x86_64) registers: usize,
    pub(super) weights: &'a [u16],
    pub(super) bias: &'a [f32],
}

impl Blocks {
    /// From f16 bits in row-major order.
    pub(in crate::kernel::x86_64) fn new(bits: &[u16], rows: usize, bias: &[f32], lanes: usize) -> Blocks {
        let columns = bits.len() / rows.max(1);
        let padded = rows.next_multiple_of(lanes);
        let mut weights = Vec::with_capacity(padded * columns);
        for (first, registers) in like(padded / lanes, together(lanes, padded / lanes)) {
            for column in 0..columns {
                let rows = first * lanes..(first + registers) * lanes;
                weights.extend(rows.map(|row| bits.get(row * columns + column).copied().unwrap_or(0)));
            }
        }
        let mut bias = bias.to_vec();
        bias.resize(padded, 0.0);
        Blocks { rows, columns, lanes, weights, bias }
    }

    /// Their number.
    pub(super) fn count(&self) -> usize {
        let registers = self.rows.div_ceil(self.lanes);
        registers.div_ceil(together(self.lanes, registers)).max(1)
    }

    /// All of them.
    pub(in crate::kernel::x86_64) fn all(&self) -> impl Iterator<Item = Block<'_>> {
        let (lanes, columns) = (self.lanes, self.columns);
        let registers = self.rows.div_ceil(lanes);
        like(registers, together(lanes, registers)).filter_map(move |(first, registers)| {
            let rows = first * lanes..(first + registers) * lanes;
            let weights = self.weights.get(rows.start * columns..rows.end * columns)?;
            Some(Block { first: rows.start, registers, weights, bias: self.bias.get(rows)? })
        })
    }

    pub(in crate::kernel::x86_64) fn bytes(&self) -> usize {
        size_of_val(self.weights.as_slice()) + size_of_val(self.bias.as_slice())
    }
}

/// A convolution ready to run. Its fields fit each other by construction; the kernels rely on that.
#[derive(Debug)]
pub(in crate::kernel::x86_64) struct Channels {
    pub(super) output: Shape,
    pub(super) tile: Tile,
    /// Output rows of a tile.
    pub(super) rows: usize,
    pub(super) window: Window,
    pub(super) fill: Fill,
    /// Where each pixel of a tile, and from there each tap, lies in the patch.
    pub(super) pixels: Vec<u32>,
    pub(super) offsets: Vec<u32>,
    /// The dense weights, or a pair's thin half.
    pub(super) first: Blocks,
    /// A pair's expanding half, and where each pixel's intermediate values, and of these each rank's, lie.
    pub(super) expand: Option<(Blocks, Vec<u32>, Vec<u32>)>,
    pub(super) activation: Activation,
}

impl Channels {
    /// Packs a convolution whose shapes, weights and bias fit each other.
    pub(in crate::kernel::x86_64) fn new(
        tile: Tile,
        (input, output): (Shape, Shape),
        window: &Window,
        weights: &LayerWeights<'_>,
        bias: &[f32],
        activation: Activation,
    ) -> Channels {
        let stride = usize::from(window.stride[0]);
        let (rows, width) = (tile.rows(stride), output.width as usize);
        let [step, row_step] = tile.steps;
        let pixels: Vec<u32> =
            (0..rows * width).map(|pixel| (pixel / width * row_step + pixel % width * step) as u32).collect();
        let (matrix, count) = weights.first(output.channels as usize);
        let (first, expand) = match weights {
            LayerWeights::Pair { expand, rank, .. } => {
                let step = tile.middle(*rank);
                let places = (0..pixels.len()).map(|pixel| (pixel * step) as u32).collect();
                let ranks = (0..*rank as u32).collect();
                let expand = (Blocks::new(expand.halves(), bias.len(), bias, tile.lanes), places, ranks);
                (Blocks::new(matrix, count, &[], tile.lanes), Some(expand))
            }
            _ => (Blocks::new(matrix, count, bias, tile.lanes), None),
        };
        let (offsets, fill) = (tile.patch.offsets(), Fill::new(tile.patch, input));
        Channels { output, tile, rows, window: *window, fill, pixels, offsets, first, expand, activation }
    }

    pub(in crate::kernel::x86_64) fn input(&self) -> Shape {
        self.fill.input()
    }

    pub(in crate::kernel::x86_64) fn output(&self) -> Shape {
        self.output
    }

    /// f32 of the registers that it was packed for.
    pub(in crate::kernel::x86_64) fn lanes(&self) -> usize {
        self.tile.lanes
    }

    /// f32 of scratch that it uses.
    pub(in crate::kernel::x86_64) fn scratch(&self) -> usize {
        let rank = if self.expand.is_some() { self.first.rows } else { 0 };
        self.tile.scratch(self.output, &self.window, rank)
    }

    /// Bytes on the heap.
    pub(in crate::kernel::x86_64) fn bytes(&self) -> usize {
        let expand = self.expand.as_ref().map_or(0, |(blocks, places, ranks)| {
            blocks.bytes() + size_of_val(places.as_slice()) + size_of_val(ranks.as_slice())
        });
        self.first.bytes()
            + expand
            + size_of_val(self.pixels.as_slice())
            + size_of_val(self.offsets.as_slice())
            + self.fill.bytes()
    }
}
