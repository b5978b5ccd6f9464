//! How a convolution's pixels fall into registers, and the scratch that this takes. Depends on shapes alone.

use std::vec::Vec;

use crate::kernel::Isa;
use crate::kernel::tile::{Form, largest_paying_rank};
use crate::model::{Shape, Window};

/// Registers whose sums are expanded together: the lines of a strip.
pub(super) const STRIP: usize = 8;

/// f32 that a patch is fitted to: about the first-level cache.
const BUDGET: usize = 20480;

/// f32 beyond which a layer is left to the portable code: half of a second-level cache.
const LIMIT: usize = 1 << 17;

/// Bytes of a cache line, at which a patch begins.
pub(super) const CACHE_LINE: usize = 64;

/// f32 of scratch that this may take.
pub(super) const ALIGNMENT: usize = CACHE_LINE / size_of::<f32>() - 1;

/// Largest stride; the portable code has larger ones.
pub(super) const MAX_STRIDE: usize = 4;

/// What the registers of an instruction set hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Registers {
    /// f32 in one.
    pub(super) lanes: usize,
    /// Most rows of a matrix whose sums are held together.
    pub(super) rows: usize,
}

/// Registers of `isa`, where it has kernels of this kind.
pub(super) fn registers(isa: Isa) -> Option<Registers> {
    match isa {
        Isa::Avx2 => Some(Registers { lanes: 8, rows: 6 }),
        Isa::Avx512 => Some(Registers { lanes: 16, rows: 6 }),
        Isa::Portable | Isa::CortexM | Isa::CortexM55 | Isa::CortexM55Half => None,
    }
}

/// The widened part of the input under a tile of whole output rows.
///
/// For each channel and each row phase of the stride there are `planes` planes of `pitch` columns: element x of plane j
/// is input column x·stride + j − left. A plane for each column phase serves several taps, one a shift; where the width
/// is no multiple of the lanes there is a plane for each tap column instead, as wide as the output, so that the pixels of
/// all rows are one run and no lane is idle.
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
    pub(super) channels: usize,
    window: Window,
}

/// The registers of a tile: `across` columns of `lines` registers, `step` elements of the patch apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lines {
    pub(super) across: usize,
    pub(super) lines: usize,
    /// Elements from one line to the next in the patch.
    pub(super) step: usize,
    /// Elements from one line to the next in the output.
    pub(super) out_step: usize,
    /// Pixels in the lines of the last column, and in the last line of it.
    pub(super) count: usize,
    pub(super) last: usize,
}

impl Patch {
    /// The patch of a convolution; `None` where it would be too large.
    pub(super) fn new(
        lanes: usize,
        input: Shape,
        output: Shape,
        window: &Window,
        form: Form,
    ) -> Option<Patch> {
        let [kh, kw] = window.kernel.map(usize::from);
        let [sy, sx] = window.stride.map(usize::from);
        let (height, width) = (output.height as usize, output.width as usize);
        let strides = 1..=MAX_STRIDE;
        let empty = [kh, kw, height, width, input.height as usize, input.width as usize].contains(&0);
        if empty || !strides.contains(&sy) || !strides.contains(&sx) {
            return None;
        }
        // One idle lane in nine costs less than further planes.
        let joined = kw == 1 || width.next_multiple_of(lanes) * 8 > width * 9;
        let patch = |rows: usize| Patch {
            lanes,
            joined,
            rows,
            width,
            phases: kh.min(sy),
            phase_rows: rows + (kh - 1) / sy,
            planes: if joined { kw } else { kw.min(sx) },
            pitch: if joined { width } else { width + (kw - 1) / sx },
            channels: if form == Form::Depthwise { 1 } else { input.channels as usize },
            window: *window,
        };
        // Rows that fill whole registers, or whole strips.
        let unit =
            if joined { (1..lanes).find(|rows| (rows * width).is_multiple_of(lanes)) } else { Some(STRIP) };
        let unit = unit.unwrap_or(lanes).min(height);
        let fitted = (1..=height.div_ceil(unit))
            .map(|tiles| height.div_ceil(tiles).next_multiple_of(unit).min(height));
        let smaller = (1..unit).rev();
        let rows = fitted.chain(smaller).find(|rows| patch(*rows).len() <= BUDGET).unwrap_or(1);
        Some(patch(rows)).filter(|patch| patch.len() <= LIMIT)
    }

    /// Rows of a tile where `threads` share the `height` rows of the output: no more than fit the patch, in whole registers
    /// where that leaves nobody idle.
    pub(super) fn shared_rows(&self, threads: usize, height: usize) -> usize {
        let share = height.div_ceil(threads.max(1)).clamp(1, self.rows.max(1));
        let whole = (share..=self.rows).find(|rows| (rows * self.width).is_multiple_of(self.lanes));
        whole.filter(|rows| self.joined && height.div_ceil(*rows) >= threads).unwrap_or(share)
    }

    /// Elements of one channel.
    pub(super) fn channel(&self) -> usize {
        self.phases.saturating_mul(self.planes).saturating_mul(self.phase_rows).saturating_mul(self.pitch)
    }

    /// Elements of the patch, with those that the last register may read beyond it.
    pub(super) fn len(&self) -> usize {
        self.channels.saturating_mul(self.channel()).saturating_add(self.lanes)
    }

    /// Where plane `plane` of a row phase begins in a channel.
    pub(super) fn plane(&self, phase: usize, plane: usize) -> usize {
        (phase * self.planes + plane) * self.phase_rows * self.pitch
    }

    /// Where each tap's pixels begin, in the order of the weights.
    pub(super) fn offsets(&self) -> Vec<u32> {
        let [kh, kw] = self.window.kernel.map(usize::from);
        let [sy, sx] = self.window.stride.map(usize::from);
        let mut offsets = Vec::with_capacity(self.channels * kh * kw);
        for channel in 0..self.channels {
            for ky in 0..kh {
                for kx in 0..kw {
                    let (plane, shift) = if self.joined { (kx, 0) } else { (kx % sx, kx / sx) };
                    let at = self.plane(ky % sy, plane) + ky / sy * self.pitch + shift;
                    offsets.push((channel * self.channel() + at) as u32);
                }
            }
        }
        offsets
    }

    /// The registers of a tile of `rows` rows.
    pub(super) fn lines(&self, rows: usize) -> Lines {
        let (lanes, pixels) = (self.lanes, rows * self.width);
        if self.joined {
            let lines = pixels.div_ceil(lanes);
            Lines {
                across: 1,
                lines,
                step: lanes,
                out_step: lanes,
                count: lanes,
                last: pixels - (lines - 1) * lanes,
            }
        } else {
            let across = self.width.div_ceil(lanes);
            let count = self.width - (across - 1) * lanes;
            Lines { across, lines: rows, step: self.pitch, out_step: self.width, count, last: count }
        }
    }

    /// f32 for the intermediate values of a pair, for a strip.
    pub(super) fn middle(&self, rank: usize) -> usize {
        rank.saturating_mul(self.lines(self.rows).lines.min(STRIP) * self.lanes)
    }
}

/// Scratch of a convolution in f32, no smaller for the dense layer than for the pairs that are cheaper than it; 0 where
/// the portable code runs it.
pub(in crate::kernel) fn scratch(
    isa: Isa,
    input: Shape,
    output: Shape,
    window: &Window,
    form: Form,
) -> usize {
    let patch =
        registers(isa).and_then(|Registers { lanes, .. }| Patch::new(lanes, input, output, window, form));
    let Some(patch) = patch else { return 0 };
    let columns = (input.channels as usize).saturating_mul(window.taps() as usize);
    let paying = largest_paying_rank(output.channels as usize, columns);
    let rank = match form {
        Form::Depthwise => 0,
        Form::Dense => paying,
        Form::Pair { rank } => rank.max(paying),
    };
    patch.len().saturating_add(patch.middle(rank)).saturating_add(ALIGNMENT)
}
