//! How a convolution's pixels fall into registers of 4 f32 or 8 f16, and the scratch that this takes. Depends on shapes
//! alone.
// Elsewhere only what a plan for A64 needs is in use.
#![cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]

use crate::kernel::tiling::{CACHE_LINE, Patch};
use crate::kernel::tiling::{Form, of_either_form};
use crate::kernel::winograd::WinogradTile;
use crate::kernel::{Arithmetic, Isa};
use crate::model::{Shape, Window};

/// Bytes that the patch of a depthwise convolution is fitted to: most of a first-level cache of 32 KiB.
const BUDGET: usize = 28 << 10;

/// Bytes that other patches are fitted to: a part of a second-level cache. Each pixel is read once for up to 12 filters.
const SHARED: usize = 96 << 10;

/// Bytes beyond which a layer is left to the portable code: half of a second-level cache. Where all rows are one run, of
/// which more fill their registers better, patches are fitted to it.
const LIMIT: usize = 256 << 10;

/// f32 that a strip's sums are fitted to.
const STRIP: usize = 8192;

/// Most rows of weights whose sums are in registers at once.
pub(super) const MOST_ROWS: usize = 12;

/// f32 or f16 of a register of 128 bits.
pub(super) const fn lanes(arithmetic: Arithmetic) -> usize {
    match arithmetic {
        Arithmetic::F32 => 4,
        Arithmetic::F16 => 8,
    }
}

/// Registers of pixels whose sums with `rows` rows of weights fit the registers, a power of two.
pub(super) const fn registers(rows: usize) -> usize {
    match rows {
        0..=3 => 8,
        4..=6 => 4,
        _ => 2,
    }
}

/// Registers of pixels: `runs` runs of `registers`, which begin `pitch` elements apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Runs {
    pub(super) runs: usize,
    pub(super) registers: usize,
    pub(super) pitch: usize,
}

/// A block of `runs` × `registers` registers, `count` times one below the other (or beside, where there is one run).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// First run and register.
    pub(super) run: usize,
    pub(super) register: usize,
    pub(super) runs: usize,
    pub(super) registers: usize,
    pub(super) count: usize,
}

/// The largest power of two that is at most `x`, which is not 0.
fn power_of_two(x: usize) -> usize {
    1 << x.ilog2()
}

/// Cuts `rows` into parts of like size, each of at most `most` rows but at least one, whole blocks where there is a choice.
fn like(rows: usize, most: usize) -> usize {
    let most = if most > 4 { most / 4 * 4 } else { most.max(1) };
    let part = rows.div_ceil(rows.div_ceil(most).max(1));
    if part > 4 { part.next_multiple_of(4).min(most) } else { part }
}

impl Runs {
    /// The blocks that cover these registers, each of up to `most` (a power of two) registers.
    pub(super) fn blocks(self, most: usize, mut each: impl FnMut(Block)) {
        let mut register = 0;
        while register < self.registers {
            let registers = most.min(power_of_two(self.registers - register));
            if self.runs == 1 {
                let count = (self.registers - register) / registers;
                each(Block { run: 0, register, runs: 1, registers, count });
                register += registers * count;
                continue;
            }
            let mut run = 0;
            while run < self.runs {
                let runs = (most / registers).min(power_of_two(self.runs - run));
                let count = (self.runs - run) / runs;
                each(Block { run, register, runs, registers, count });
                run += runs * count;
            }
            register += registers;
        }
    }

    /// Instructions for a tap of `rows` rows of weights over all of these, in eighths of one.
    pub(super) fn cost(self, rows: usize, lanes: usize) -> usize {
        let mut cost = 0;
        self.blocks(registers(rows), |block| {
            // One load for up to four registers, of pixels as of weights; the steps from tap to tap, and the loop.
            let pixels = 8 * block.runs * block.registers.div_ceil(4);
            let weights = if rows <= lanes { 3 } else { 8 };
            let tap = 8 * rows * block.runs * block.registers + pixels + weights + 11;
            cost += block.count * tap;
        });
        cost
    }
}

/// The patch of a convolution, in f32 or f16; `None` where it would be too large.
///
/// Rows begin with whole registers; what lies behind their last pixels means nothing. A 1×1 kernel needs no shifts: there
/// all rows are one run, and so they are, with a plane for each tap column, where more than one lane in nine would be idle.
pub(super) fn fit(
    arithmetic: Arithmetic,
    (input, output): (Shape, Shape),
    window: &Window,
    form: Form,
) -> Option<Patch> {
    let lanes = lanes(arithmetic);
    let element = 16 / lanes;
    let mut one = Patch::one_row(lanes, (input, output), window, form)?;
    one.beyond = 2 * lanes;
    let idle = one.width.next_multiple_of(lanes) * 8 > one.width * 9;
    one.joined = window.kernel == [1, 1] || (idle && form != Form::Depthwise);
    if one.joined {
        (one.planes, one.pitch, one.columns) = (usize::from(window.kernel[1]), one.width, one.width);
    } else {
        one.pitch += one.width.next_multiple_of(lanes) - one.width;
    }
    if form == Form::Depthwise && !one.joined {
        // Rows are filled eight elements at a time.
        one.pitch = one.pitch.max(one.columns + 7);
        one.beyond = one.beyond.max(16);
    }
    let row = one.channel().saturating_mul(one.channels) / one.phase_rows;
    let budget = match (form, one.joined) {
        (Form::Depthwise, _) => BUDGET,
        (_, true) => LIMIT - CACHE_LINE,
        _ => SHARED,
    };
    let most = (budget / element).checked_div(row).unwrap_or(1).saturating_sub(one.phase_rows - 1);
    let height = output.height as usize;
    // Of a run rows of like size, which fill their registers but for the last.
    let rows = if one.joined { height.div_ceil(height.div_ceil(most.max(1))) } else { like(height, most) };
    let patch = one.with_rows(rows);
    Some(patch).filter(|patch| patch.len() * element <= LIMIT)
}

/// The tiles of an arithmetic: those of 4×4 outputs would lose too much in f16.
pub(super) const fn tile(arithmetic: Arithmetic) -> WinogradTile {
    match arithmetic {
        Arithmetic::F32 => WinogradTile::Four,
        Arithmetic::F16 => WinogradTile::Two,
    }
}

/// How Winograd's tiles ([`crate::kernel::winograd`]) cover a map: strips of whole rows of tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Squares {
    tile: WinogradTile,
    /// Tiles of the map, down and across.
    pub(super) down: usize,
    pub(super) across: usize,
    /// Rows of tiles in a strip.
    pub(super) rows: usize,
    /// Elements from the values of one channel to those of the next: one for each tile of a strip, in whole registers.
    pub(super) pitch: usize,
    /// The patch of one channel.
    pub(super) patch: Patch,
}

/// Bytes that the transformed inputs of a strip are fitted to: more than half of a second-level cache of 512 KiB.
const SQUARES: usize = 300 << 10;

/// Elements that may be read or written behind the last tile of a strip.
const BEHIND: usize = 16;

impl Squares {
    /// For a convolution; `None` of windows that have no tiles, or where these take too much.
    pub(super) fn fit(
        arithmetic: Arithmetic,
        (input, output): (Shape, Shape),
        window: &Window,
        form: Form,
    ) -> Option<Squares> {
        if !WinogradTile::serves(window) || form == Form::Depthwise {
            return None;
        }
        let (lanes, tile) = (lanes(arithmetic), tile(arithmetic));
        let side = tile.outputs();
        let (down, across) =
            ((output.height as usize).div_ceil(side), (output.width as usize).div_ceil(side));
        let mut one = Patch::one_row(lanes, (input, output), window, Form::Depthwise)?;
        // As many tiles as lanes are loaded at once, and rows are filled eight elements at a time.
        let whole = across.next_multiple_of(lanes);
        one.pitch = (whole * side + 8).max(one.columns + 7);
        one.beyond = 2 * BEHIND;
        let of = |rows: usize| Squares {
            tile,
            down,
            across,
            rows,
            pitch: (rows * across).next_multiple_of(lanes),
            patch: one.with_rows(rows * side),
        };
        let bytes = |squares: &Squares| 4 * squares.parts(input.channels as usize)[1];
        let rows = (1..=down).map(|strips| down.div_ceil(strips));
        let fitted = rows.map(of).find(|squares| bytes(squares) <= SQUARES).unwrap_or(of(1));
        Some(fitted).filter(|squares| bytes(squares) <= 4 * SQUARES)
    }

    /// f32 of the patch, of the transformed inputs of a strip, and of the sums of [`MOST_ROWS`] filters, which are large enough
    /// for those of a pair's results too.
    pub(super) fn parts(&self, channels: usize) -> [usize; 3] {
        let element = self.patch.lanes / 4;
        let (products, pitch) = (self.tile.products(), self.pitch);
        let values = products.saturating_mul(self.product(channels)) + BEHIND;
        let sums = MOST_ROWS * (products * pitch).max(self.area().next_multiple_of(8)) + BEHIND;
        [self.patch.len().div_ceil(element), values.div_ceil(element), sums]
    }

    /// Elements from the values of one product to those of the next, with room for the tiles that are written behind the last
    /// ones of a row.
    pub(super) fn product(&self, channels: usize) -> usize {
        channels.saturating_mul(self.pitch).saturating_add(self.patch.lanes)
    }

    /// Outputs of a row of tiles.
    pub(super) fn width(&self) -> usize {
        self.across * self.tile.outputs()
    }

    /// Outputs of a strip.
    pub(super) fn area(&self) -> usize {
        self.rows * self.tile.outputs() * self.width()
    }

    /// f32 of scratch of a convolution.
    pub(super) fn scratch(&self, channels: usize, rank: usize) -> usize {
        let whole = |count: usize| count.saturating_add(CACHE_LINE / 4);
        let parts = self.parts(channels).into_iter().map(whole).fold(0, usize::saturating_add);
        parts.saturating_add(whole(rank.saturating_mul(self.area()) + BEHIND)).saturating_add(CACHE_LINE / 4)
    }

    /// True where tiles take clearly fewer instructions than the sums of products, as counted: for each product of a tile, for the
    /// transforms of a tile's inputs and of its sums, and for nine products of a pixel.
    pub(super) fn pays(
        &self,
        arithmetic: Arithmetic,
        (channels, rows): (usize, usize),
        patch: &Patch,
        output: Shape,
    ) -> bool {
        let [product, forth, back, direct] = match arithmetic {
            Arithmetic::F32 => [110, 900, 800, 26],
            Arithmetic::F16 => [24, 80, 240, 13],
        };
        let strips = self.down.div_ceil(self.rows);
        let tiles = strips * (self.rows * self.across).next_multiple_of(self.patch.lanes);
        let products = channels.saturating_mul(rows);
        let squares = products.saturating_mul(product) + forth * channels + back * rows;
        let direct = products.saturating_mul(direct).saturating_mul(patch.area(1) * output.height as usize);
        squares.saturating_mul(tiles) < direct / 8 * 7
    }
}

/// What the kernels for A64 make of a patch.
impl Patch {
    /// The registers of `rows` output rows.
    pub(super) fn runs(&self, rows: usize) -> Runs {
        if self.joined {
            Runs { runs: 1, registers: (rows * self.width).div_ceil(self.lanes), pitch: 0 }
        } else {
            Runs { runs: rows, registers: self.width.div_ceil(self.lanes), pitch: self.pitch }
        }
    }

    /// Sums of one channel for `rows` output rows.
    pub(super) fn area(&self, rows: usize) -> usize {
        let Runs { runs, registers, .. } = self.runs(rows);
        runs.saturating_mul(registers).saturating_mul(self.lanes)
    }

    /// Output rows whose `rank` intermediate values and sums are in scratch at once.
    pub(super) fn strip(&self, rank: usize) -> usize {
        // Of a run less than whole registers are idle in all.
        let one = if self.joined { self.width } else { self.area(1) };
        let most = STRIP / one.saturating_mul(rank.saturating_add(MOST_ROWS)).max(1);
        if self.joined {
            self.rows.div_ceil(self.rows.div_ceil(most.max(1)).max(1))
        } else {
            like(self.rows, most)
        }
    }

    /// f32 that are enough for a strip's intermediate values and sums, no fewer for a larger rank.
    fn sums(&self, rank: usize) -> usize {
        let of = |rows| self.area(rows).saturating_mul(rank.saturating_add(MOST_ROWS));
        // The last register of a run is idle in part.
        let most = STRIP + self.lanes * rank.saturating_add(MOST_ROWS);
        of(self.rows).min(most).max(of(1))
    }

    /// f32 of scratch of a convolution.
    pub(super) fn scratch(&self, rank: usize) -> usize {
        let patch = self.len().saturating_mul(16 / self.lanes).div_ceil(CACHE_LINE) * (CACHE_LINE / 4);
        patch.saturating_add(self.sums(rank)).saturating_add(CACHE_LINE / 4 - 1)
    }
}

/// Scratch of a convolution in f32 with any arithmetic that `isa` has, no smaller for the dense layer than for the pairs
/// that are cheaper than it; 0 where the portable code runs it.
pub(in crate::kernel) fn scratch(
    isa: Isa,
    input: Shape,
    output: Shape,
    window: &Window,
    form: Form,
) -> usize {
    let one = |arithmetic| {
        let patch = fit(arithmetic, (input, output), window, form)?;
        let squares = Squares::fit(arithmetic, (input, output), window, form);
        let channels = input.channels as usize;
        Some(of_either_form((input, output), window, form, |form| {
            let squares = squares.map_or(0, |squares| squares.scratch(channels, form.rank()));
            patch.scratch(form.rank()).max(squares)
        }))
    };
    let arithmetics: &[Arithmetic] = match isa {
        Isa::Neon => &[Arithmetic::F32],
        Isa::NeonF16 => &[Arithmetic::F32, Arithmetic::F16],
        _ => &[],
    };
    arithmetics.iter().filter_map(|arithmetic| one(*arithmetic)).max().unwrap_or(0)
}
/// Whether depthwise kernels have this window: 3×3 and 5×5, strides 1 and 2.
pub(super) fn sums_rows(window: &Window) -> bool {
    matches!(window.kernel, [3, 3] | [5, 5]) && matches!(window.stride, [1, 1] | [2, 2])
}
