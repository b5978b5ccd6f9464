//! The input under a tile, placed in its patch.
//!
//! The patch is cleared once for a layer; then only what lies in the image is written, and rows that have left it.
#![allow(unsafe_code)]

use core::arch::aarch64::*;
use std::vec::Vec;

use super::element::Element;
use crate::kernel::tiling::{MAX_STRIDE, Patch};
use crate::model::{Shape, Window};

/// Elements placed at a time.
pub(super) const EIGHT: usize = 8;

/// Columns of one plane of the patch that lie in the image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    /// The first in the patch, their number, and the first in the input.
    pub(super) to: usize,
    pub(super) count: usize,
    pub(super) from: usize,
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
pub(super) struct Phase {
    pub(super) first: usize,
    pub(super) end: usize,
    pub(super) from: usize,
}

/// A patch and what it is filled from.
#[derive(Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) patch: &'a Patch,
    pub(super) columns: &'a [Columns],
    pub(super) input: Shape,
}

/// The rows of each phase that output rows y… y + rows need.
#[inline(always)]
pub(super) fn phases(frame: &Frame<'_>, y: usize, rows: usize) -> [Phase; MAX_STRIDE] {
    let (height, width) = (frame.input.height as usize, frame.input.width as usize);
    let window = &frame.patch.window;
    let (sy, top) = (usize::from(window.stride[0]), usize::from(window.padding[0]));
    let rows = rows + (frame.patch.phase_rows - frame.patch.rows);
    let mut phases = [Phase::default(); MAX_STRIDE];
    for (i, phase) in phases.iter_mut().enumerate() {
        // Row j of the phase is input row (y + j)·stride + i − top.
        let at = y * sy + i;
        phase.first = top.saturating_sub(at).div_ceil(sy).min(rows);
        phase.end = (height + top).saturating_sub(at).div_ceil(sy).clamp(phase.first, rows);
        phase.from = (at + phase.first * sy).saturating_sub(top).min(height - 1) * width;
    }
    phases
}

/// Places what the output rows from `y` on need of `input`: of all channels of the patch, from `channel` on. Rows outside
/// the image become zero; columns outside of it are not written.
///
/// # Safety
///
/// `input` has the elements of the convolution's input, `to` those of its patch; output rows y… y + rows exist.
pub(super) unsafe fn fill<E: Element>(
    frame: &Frame<'_>,
    input: *const u16,
    to: *mut E::Bits,
    (y, rows, channel): (usize, usize, usize),
) {
    let patch = frame.patch;
    let (height, width) = (frame.input.height as usize, frame.input.width as usize);
    let [sy, sx] = patch.window.stride.map(usize::from);
    let phases = phases(frame, y, rows);
    let rows = rows + (patch.phase_rows - patch.rows);
    // SAFETY: rows first..end and the columns lie in the image; planes, rows and columns in the patch.
    unsafe {
        let end = input.add(frame.input.len());
        for (i, Phase { first, end: last, from }) in phases.iter().take(patch.phases).enumerate() {
            for (j, columns) in frame.columns.iter().enumerate() {
                let to = to.add(patch.plane(i, j) + columns.to);
                // The first tile finds them cleared.
                let outside = if y > 0 { [0..*first, *last..rows] } else { [0..0, 0..0] };
                for rows in outside.into_iter().filter(|rows| !rows.is_empty()) {
                    for c in 0..patch.channels {
                        for row in rows.clone() {
                            let at = c * patch.channel() + row * patch.pitch;
                            to.add(at).write_bytes(0, columns.count);
                        }
                    }
                }
                let mut lines = Lines::<E::Bits> {
                    from: input.add(channel * height * width + from + columns.from),
                    to: to.add(first * patch.pitch),
                    end,
                    channels: patch.channels,
                    rows: last - first,
                    count: columns.count,
                    from_step: [height * width, sy * width],
                    to_step: [patch.channel(), patch.pitch],
                };
                if sx == 1 && patch.pitch == columns.count && sy * width == columns.count {
                    // Rows that follow one another here and there are one.
                    (lines.rows, lines.count) = (1, lines.rows * lines.count);
                    if lines.from_step[0] == lines.count && lines.to_step[0] == lines.count {
                        // And so may channels be.
                        (lines.channels, lines.count) = (1, lines.channels * lines.count);
                    }
                }
                match (sx, lines.count) {
                    (1, 8) => lines.place::<E, 1, 1>(),
                    (1, 16) => lines.place::<E, 1, 2>(),
                    (1, 32) => lines.place::<E, 1, 4>(),
                    (2, 8) => lines.place::<E, 2, 1>(),
                    (2, 16) => lines.place::<E, 2, 2>(),
                    (1, _) => lines.place_any::<E>(1),
                    (stride, _) => lines.place_any::<E>(stride),
                }
            }
        }
    }
}

/// Rows of one plane of each channel that lie in the image.
struct Lines<B> {
    from: *const u16,
    to: *mut B,
    /// The end of the image.
    end: *const u16,
    channels: usize,
    rows: usize,
    count: usize,
    /// Elements from one channel, and from one row, to the next.
    from_step: [usize; 2],
    to_step: [usize; 2],
}

impl<B> Lines<B> {
    /// Places rows of 8·`EIGHTS` elements that are `STRIDE` (1 or 2) apart.
    #[inline(never)]
    unsafe fn place<E: Element<Bits = B>, const STRIDE: usize, const EIGHTS: usize>(&self) {
        let (mut from, mut to) = (self.from, self.to);
        for _ in 0..self.channels {
            let (mut line, mut line_to) = (from, to);
            for _ in 0..self.rows {
                if STRIDE == 1 {
                    // SAFETY: as the caller promises.
                    unsafe { E::place_all::<EIGHTS>(line, line_to) }
                }
                for i in 0..if STRIDE == 1 { 0 } else { EIGHTS } {
                    let at = i * EIGHT;
                    // SAFETY: as the caller promises; only behind the last eight of a row the image may end.
                    unsafe {
                        let values = if i + 1 < EIGHTS {
                            vld2q_u16(line.add(at * 2)).0
                        } else {
                            eight(line.add(at * 2), self.end, 2, EIGHT)
                        };
                        E::place(values, line_to.add(at));
                    }
                }
                (line, line_to) =
                    (line.wrapping_add(self.from_step[1]), line_to.wrapping_add(self.to_step[1]));
            }
            (from, to) = (from.wrapping_add(self.from_step[0]), to.wrapping_add(self.to_step[0]));
        }
    }

    /// Places rows of any number of elements that are `stride` apart.
    #[inline(always)]
    unsafe fn place_any<E: Element<Bits = B>>(&self, stride: usize) {
        for c in 0..self.channels {
            for y in 0..self.rows {
                // SAFETY: as the caller promises.
                unsafe {
                    let from = self.from.add(c * self.from_step[0] + y * self.from_step[1]);
                    let to = self.to.add(c * self.to_step[0] + y * self.to_step[1]);
                    row::<E>(from, self.end, stride, to, self.count);
                }
            }
        }
    }
}

/// Places `count` elements that are `stride` apart.
#[inline(always)]
unsafe fn row<E: Element>(from: *const u16, end: *const u16, stride: usize, to: *mut E::Bits, count: usize) {
    // SAFETY: elements of the row are in the image, and nothing else is read unless it is, too.
    unsafe {
        let mut at = 0;
        while stride == 1 && at + 4 * EIGHT <= count {
            E::place_all::<4>(from.add(at), to.add(at));
            at += 4 * EIGHT;
        }
        while at + EIGHT <= count {
            E::place(eight(from.add(at * stride), end, stride, EIGHT), to.add(at));
            at += EIGHT;
        }
        if at < count && count >= EIGHT {
            // Some that are placed already, rather than fewer than eight.
            let at = count - EIGHT;
            E::place(eight(from.add(at * stride), end, stride, EIGHT), to.add(at));
        } else if at < count {
            let mut elements = [E::Bits::default(); EIGHT];
            E::place(eight(from, end, stride, count), elements.as_mut_ptr());
            core::ptr::copy_nonoverlapping(elements.as_ptr(), to, count);
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
