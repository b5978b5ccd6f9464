//! The input under a tile, placed in its patch.
//!
//! The patch is written in ascending order, eight elements at a time: what they cover beyond the end of a row is overwritten
//! by the row that follows, or lies behind the patch, which has room for it.
#![allow(unsafe_code)]

use core::arch::aarch64::*;
use std::vec::Vec;

use super::element::Element;
use super::geometry::{MAX_STRIDE, Patch};
use super::pack::Packed;
use crate::model::{Shape, Window};

/// Elements placed at a time.
const EIGHT: usize = 8;

/// Columns of one plane of the patch that lie in the image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    /// The first in the patch, their number, and the first in the input.
    to: usize,
    count: usize,
    from: usize,
}

/// The columns of each plane.
pub(super) fn columns(patch: &Patch, input: Shape, window: &Window) -> Vec<Columns> {
    let (width, stride) = (input.width as usize, usize::from(window.stride[1]));
    let (left, most) = (usize::from(window.padding[1]), patch.columns);
    let columns = |plane: usize| {
        let to = left.saturating_sub(plane).div_ceil(stride).min(most);
        let end = (width + left).saturating_sub(plane).div_ceil(stride).clamp(to, most);
        // Where there are none, any place in the image.
        let from = (to * stride + plane).saturating_sub(left).min(width - 1);
        Columns { to, count: end - to, from }
    };
    (0..patch.planes).map(columns).collect()
}

/// Rows of one row phase of the patch that lie in the image: from `first` up to `end`; `from` is where the first of them
/// begins in a channel of the input.
#[derive(Clone, Copy, Debug, Default)]
struct Phase {
    first: usize,
    end: usize,
    from: usize,
}

/// Places what the output rows from `y` on need of `input`: of all channels of the patch, from `channel` on. What lies
/// outside the image becomes zero.
///
/// # Safety
///
/// `input` has the elements of the convolution's input, `to` those of its patch; output rows y… y + rows exist.
pub(super) unsafe fn fill<E: Element>(
    conv: &Packed<E::Bits>,
    input: *const u16,
    to: *mut E::Bits,
    (y, rows, channel): (usize, usize, usize),
) {
    let patch = &conv.patch;
    let (height, width) = (conv.input.height as usize, conv.input.width as usize);
    let [sy, sx] = conv.window.stride.map(usize::from);
    let top = usize::from(conv.window.padding[0]);
    let rows = rows + (patch.phase_rows - patch.rows);
    let mut phases = [Phase::default(); MAX_STRIDE];
    for (i, phase) in phases.iter_mut().enumerate() {
        // Row j of the phase is input row (y + j)·stride + i − top.
        let at = y * sy + i;
        phase.first = top.saturating_sub(at).div_ceil(sy).min(rows);
        phase.end = (height + top).saturating_sub(at).div_ceil(sy).clamp(phase.first, rows);
        phase.from = (at + phase.first * sy).saturating_sub(top).min(height - 1) * width;
    }
    let plane = patch.phase_rows * patch.pitch;
    // SAFETY: rows first..end and the columns lie in the image; planes, rows and columns in the patch.
    unsafe {
        let end = input.add(conv.input.len());
        let mut to = to;
        for c in channel..channel + patch.channels {
            let input = input.add(c * height * width);
            for phase in phases.iter().take(patch.phases) {
                for columns in &conv.columns {
                    let lines = Lines {
                        from: input.add(phase.from + columns.from),
                        end,
                        from_step: sy * width,
                        pitch: patch.pitch,
                        columns: patch.columns,
                        rows,
                        phase,
                        inside: *columns,
                    };
                    match sx {
                        1 if patch.joined && columns.count == width && sy == 1 => lines.whole::<E>(to),
                        1 => lines.place::<E>(to, 1),
                        2 => lines.place::<E>(to, 2),
                        _ => lines.place::<E>(to, sx),
                    }
                    to = to.add(plane);
                }
            }
        }
    }
}

/// The rows of one plane.
struct Lines<'a> {
    /// The first element that lies in the image, and the end of the image.
    from: *const u16,
    end: *const u16,
    from_step: usize,
    pitch: usize,
    columns: usize,
    rows: usize,
    phase: &'a Phase,
    inside: Columns,
}

impl Lines<'_> {
    #[inline(always)]
    unsafe fn place<E: Element>(&self, to: *mut E::Bits, stride: usize) {
        let Columns { to: before, count, .. } = self.inside;
        let behind = self.columns - before - count;
        // SAFETY: as the caller promises; a pointer behind the last row is not read.
        unsafe {
            let (mut from, mut to) = (self.from, to);
            for _ in 0..self.phase.first {
                zero::<E>(to, self.columns);
                to = to.add(self.pitch);
            }
            for _ in self.phase.first..self.phase.end {
                zero::<E>(to, before);
                row::<E>(from, self.end, stride, to.add(before), count);
                zero::<E>(to.add(before + count), behind);
                (from, to) = (from.wrapping_add(self.from_step), to.add(self.pitch));
            }
            for _ in self.phase.end..self.rows {
                zero::<E>(to, self.columns);
                to = to.add(self.pitch);
            }
        }
    }

    /// Rows without padding beside them that follow one another in input and patch.
    #[inline(always)]
    unsafe fn whole<E: Element>(&self, to: *mut E::Bits) {
        let Phase { first, end, .. } = *self.phase;
        // SAFETY: as for `place`.
        unsafe {
            zero::<E>(to, first * self.pitch);
            row::<E>(self.from, self.end, 1, to.add(first * self.pitch), (end - first) * self.pitch);
            zero::<E>(to.add(end * self.pitch), (self.rows - end) * self.pitch);
        }
    }
}

/// Clears `count` elements, and up to seven behind them.
#[inline(always)]
unsafe fn zero<E: Element>(to: *mut E::Bits, count: usize) {
    for at in (0..count).step_by(EIGHT) {
        // SAFETY: as the caller promises.
        unsafe { E::clear(to.add(at)) };
    }
}

/// Places `count` elements that are `stride` apart, and may write up to seven behind them.
#[inline(always)]
unsafe fn row<E: Element>(
    from: *const u16,
    end: *const u16,
    stride: usize,
    to: *mut E::Bits,
    count: usize,
) {
    // SAFETY: elements of the row are in the image, and nothing else is read unless it is, too.
    unsafe {
        let mut at = 0;
        if stride == 1 {
            while at + 4 * EIGHT <= count {
                let uint16x8x4_t(a, b, c, d) = vld1q_u16_x4(from.add(at));
                for (i, eight) in [a, b, c, d].into_iter().enumerate() {
                    E::place(eight, to.add(at + i * EIGHT));
                }
                at += 4 * EIGHT;
            }
        }
        while at + EIGHT <= count {
            E::place(eight(from.add(at * stride), end, stride, EIGHT), to.add(at));
            at += EIGHT;
        }
        if at < count {
            // Some that are placed already, rather than fewer than eight.
            let at = at.min(count.saturating_sub(EIGHT));
            E::place(eight(from.add(at * stride), end, stride, (count - at).min(EIGHT)), to.add(at));
        }
    }
}

/// `count` ≤ 8 f16 that are `stride` apart.
#[inline(always)]
unsafe fn eight(from: *const u16, end: *const u16, stride: usize, count: usize) -> uint16x8_t {
    // SAFETY: as for `row`.
    unsafe {
        if count == EIGHT && stride == 1 {
            return vld1q_u16(from);
        }
        // The sixteenth is not needed, but read.
        if count == EIGHT && stride == 2 && from.wrapping_add(2 * EIGHT) <= end {
            return vld2q_u16(from).0;
        }
        let mut halves = [0; EIGHT];
        for (i, half) in halves.iter_mut().enumerate().take(count) {
            *half = *from.add(i * stride);
        }
        vld1q_u16(halves.as_ptr())
    }
}
