//! How a convolution's pixels fall into registers of 4 f32 or 8 f16, and the scratch that this takes. Depends on shapes
//! alone.
// Elsewhere only what a plan for A64 needs is in use.
#![cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]

use crate::kernel::tiling::{CACHE_LINE, Patch};
use crate::kernel::tiling::{Form, of_either_form};
use crate::kernel::{Arithmetic, Isa};
use crate::model::{Shape, Window};

/// Bytes that a patch is fitted to: most of a first-level cache of 32 KiB.
const BUDGET: usize = 28 << 10;

/// Bytes beyond which a layer is left to the portable code: half of a second-level cache.
const LIMIT: usize = 256 << 10;

/// f32 that a strip's sums are fitted to.
const STRIP: usize = 4096;

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
/// all rows are one run.
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
    one.joined = window.kernel == [1, 1];
    if !one.joined {
        one.pitch += one.width.next_multiple_of(lanes) - one.width;
    }
    let row = one.channel().saturating_mul(one.channels) / one.phase_rows;
    let most = (BUDGET / element).checked_div(row).unwrap_or(1).saturating_sub(one.phase_rows - 1);
    let patch = one.with_rows(like(output.height as usize, most));
    Some(patch).filter(|patch| patch.len() * element <= LIMIT)
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
        like(self.rows, STRIP / self.area(1).saturating_mul(rank.saturating_add(MOST_ROWS)))
    }

    /// f32 that are enough for a strip's intermediate values and sums, no fewer for a larger rank.
    fn sums(&self, rank: usize) -> usize {
        let of = |rows| self.area(rows).saturating_mul(rank.saturating_add(MOST_ROWS));
        of(self.rows).min(STRIP).max(of(1))
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
        Some(of_either_form((input, output), window, form, |form| patch.scratch(form.rank())))
    };
    let arithmetics: &[Arithmetic] = match isa {
        Isa::Neon => &[Arithmetic::F32],
        Isa::NeonF16 => &[Arithmetic::F32, Arithmetic::F16],
        _ => &[],
    };
    arithmetics.iter().filter_map(|arithmetic| one(*arithmetic)).max().unwrap_or(0)
}
