//! How a convolution's pixels fall into registers of 4 f32 or 8 f16, and the scratch that this takes. Depends on shapes
//! alone.
// Elsewhere only what a plan for A64 needs is in use.
#![cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]

use crate::kernel::tile::{Form, largest_paying_rank};
use crate::kernel::{Arithmetic, Isa};
use crate::model::{Shape, Window};

/// Bytes that a patch is fitted to: most of a first-level cache of 32 KiB.
const PATCH: usize = 28 << 10;

/// Bytes beyond which a layer is left to the portable code: half of a second-level cache.
const PATCH_LIMIT: usize = 256 << 10;

/// f32 that a strip's sums are fitted to.
const STRIP: usize = 4096;

/// Bytes of a cache line, at which a patch begins.
pub(super) const CACHE_LINE: usize = 64;

/// Largest stride; the portable code has larger ones.
pub(super) const MAX_STRIDE: usize = 4;

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

/// The part of the input under a tile of whole output rows, in f32 or f16.
///
/// For each channel and each row phase of the stride there is a plane of `pitch` columns for each column phase: element
/// x of plane j is input column x·stride + j − left. The taps of a column phase are shifts. Rows begin with whole
/// registers; what lies behind their last pixels means nothing. A 1×1 kernel needs no shifts: there all rows are one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patch {
    pub(super) lanes: usize,
    /// True where the pixels of all rows are one run.
    pub(super) joined: bool,
    /// Output rows of a full tile, and output columns.
    pub(super) rows: usize,
    pub(super) width: usize,
    /// Row phases and rows of each.
    pub(super) phases: usize,
    pub(super) phase_rows: usize,
    pub(super) planes: usize,
    pub(super) pitch: usize,
    /// Columns that some tap meets.
    pub(super) columns: usize,
    pub(super) channels: usize,
    window: Window,
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

impl Patch {
    /// The patch of a convolution; `None` where it would be too large.
    pub(super) fn new(
        arithmetic: Arithmetic,
        input: Shape,
        output: Shape,
        window: &Window,
        form: Form,
    ) -> Option<Patch> {
        let lanes = lanes(arithmetic);
        let element = 16 / lanes;
        let [kh, kw] = window.kernel.map(usize::from);
        let [sy, sx] = window.stride.map(usize::from);
        let (height, width) = (output.height as usize, output.width as usize);
        let strides = 1..=MAX_STRIDE;
        let empty = [kh, kw, height, width, input.height as usize, input.width as usize].contains(&0);
        if empty || !strides.contains(&sy) || !strides.contains(&sx) {
            return None;
        }
        let joined = kh == 1 && kw == 1;
        let columns = width + (kw - 1) / sx;
        let patch = |rows: usize| Patch {
            lanes,
            joined,
            rows,
            width,
            phases: kh.min(sy),
            phase_rows: rows + (kh - 1) / sy,
            planes: kw.min(sx),
            pitch: if joined { width } else { width.next_multiple_of(lanes) + (kw - 1) / sx },
            columns,
            channels: if form == Form::Depthwise { 1 } else { input.channels as usize },
            window: *window,
        };
        let row = patch(1).channel().saturating_mul(patch(1).channels) / patch(1).phase_rows;
        let most = (PATCH / element).checked_div(row).unwrap_or(1).saturating_sub((kh - 1) / sy);
        let rows = like(height, most);
        Some(patch(rows)).filter(|patch| patch.len() * element <= PATCH_LIMIT)
    }

    /// Elements of one channel.
    pub(super) fn channel(&self) -> usize {
        self.phases.saturating_mul(self.planes).saturating_mul(self.phase_rows).saturating_mul(self.pitch)
    }

    /// Elements of the patch, with those that the last register may touch beyond it.
    pub(super) fn len(&self) -> usize {
        self.channels.saturating_mul(self.channel()).saturating_add(2 * self.lanes)
    }

    /// Where plane `plane` of a row phase begins in a channel.
    pub(super) fn plane(&self, phase: usize, plane: usize) -> usize {
        (phase * self.planes + plane) * self.phase_rows * self.pitch
    }

    /// Where each tap's pixels begin, in the order of the weights.
    pub(super) fn offsets(&self) -> std::vec::Vec<u32> {
        let [kh, kw] = self.window.kernel.map(usize::from);
        let [sy, sx] = self.window.stride.map(usize::from);
        let mut offsets = std::vec::Vec::with_capacity(self.channels * kh * kw);
        for channel in 0..self.channels {
            for ky in 0..kh {
                for kx in 0..kw {
                    let at = self.plane(ky % sy, kx % sx) + ky / sy * self.pitch + kx / sx;
                    offsets.push((channel * self.channel() + at) as u32);
                }
            }
        }
        offsets
    }

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
    let columns = (input.channels as usize).saturating_mul(window.taps() as usize);
    let paying = largest_paying_rank(output.channels as usize, columns);
    let most = match form {
        Form::Depthwise => 0,
        Form::Dense => paying,
        Form::Pair { rank } => rank.max(paying),
    };
    let one = |arithmetic| Some(Patch::new(arithmetic, input, output, window, form)?.scratch(most));
    let arithmetics: &[Arithmetic] = match isa {
        Isa::Neon => &[Arithmetic::F32],
        Isa::NeonF16 => &[Arithmetic::F32, Arithmetic::F16],
        _ => &[],
    };
    arithmetics.iter().filter_map(|arithmetic| one(*arithmetic)).max().unwrap_or(0)
}
