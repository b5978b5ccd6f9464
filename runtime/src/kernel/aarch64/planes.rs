//! One channel of the input, placed in a patch of one channel.
//!
//! The patch is cleared once for a layer; then only what lies in the image is written, eight elements at a time. Of the last
//! eight of a row those that are not in the image are written as zeros: rows of the patch are so far apart that nothing else
//! lies there.
#![allow(unsafe_code)]

use core::arch::aarch64::*;

use super::element::Element;
use super::fill::{self, EIGHT, Frame};

/// The lanes that are in a row of `count` elements, of which the last register begins at element `at`.
#[inline(always)]
unsafe fn mask(count: usize, at: usize) -> uint16x8_t {
    const LANES: [u16; 16] = [
        u16::MAX,
        u16::MAX,
        u16::MAX,
        u16::MAX,
        u16::MAX,
        u16::MAX,
        u16::MAX,
        u16::MAX,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
    ];
    // SAFETY: eight lanes from one of the first nine on.
    unsafe { vld1q_u16(LANES.as_ptr().add(EIGHT - count.saturating_sub(at).min(EIGHT))) }
}

/// Rows of one phase of a channel, which begins at some element of the input.
struct Rows<B> {
    from: *const u16,
    /// Where the rows of one plane begin, or those of the even and of the odd columns.
    to: [*mut B; 2],
    rows: usize,
    /// Elements from one row to the next.
    from_step: usize,
    to_step: usize,
    /// Registers of eight that are whole, and the lanes of the one behind them.
    eights: usize,
    masks: [uint16x8_t; 2],
    tail: bool,
}

/// How channels of the input are placed, one after another, for output rows y… y + rows.
pub(super) struct Planes<'a, B> {
    frame: &'a Frame<'a>,
    input: *const u16,
    to: *mut B,
    y: usize,
    count: usize,
    /// The rows of each phase, in the first channel; none where they are placed by [`fill::fill`].
    phases: [Option<Rows<B>>; 2],
}

impl<'a, B> Planes<'a, B> {
    /// Clears rows outside of the image, which stay clear. Arguments and promises as for [`fill::fill`], of a patch of one
    /// channel with stride 1 or 2 that was cleared before rows from 0 on were placed.
    #[inline(always)]
    pub(super) unsafe fn new<E: Element<Bits = B>>(
        frame: &'a Frame<'a>,
        input: *const u16,
        to: *mut B,
        (y, count): (usize, usize),
    ) -> Planes<'a, B> {
        let mut all = Planes { frame, input, to, y, count, phases: [None, None] };
        let patch = frame.patch;
        let stride = usize::from(patch.window.stride[1]);
        let width = frame.input.width as usize;
        let columns = (frame.columns.first(), frame.columns.get(1));
        // The planes of the even and of the odd columns.
        let (even, odd, planes) = match (stride, columns) {
            (1, (Some(only), _)) => (*only, *only, [0, 0]),
            (2, (Some(a), Some(b))) if (a.from, b.from) == (0, 1) => (*a, *b, [0, 1]),
            (2, (Some(a), Some(b))) if (a.from, b.from) == (1, 0) => (*b, *a, [1, 0]),
            _ => return all,
        };
        let eights = even.count.min(odd.count) / EIGHT;
        let rest = even.count.max(odd.count) - eights * EIGHT;
        if rest > EIGHT || even.count == 0 || even.from != 0 {
            return all;
        }
        // SAFETY: rows and columns that are in the image lie in the patch.
        unsafe {
            let masks = [mask(even.count, eights * EIGHT), mask(odd.count, eights * EIGHT)];
            let plane = patch.phase_rows * patch.pitch;
            let phases = fill::phases(frame, y, count);
            for (i, phase) in phases.iter().take(patch.phases.min(2)).enumerate() {
                let base = planes.map(|side| to.add(patch.plane(i, 0) + side * plane));
                if y > 0 {
                    let end = count + (patch.phase_rows - patch.rows);
                    for outside in [0..phase.first, phase.end..end] {
                        for row in outside {
                            base[0].add(row * patch.pitch).write_bytes(0, patch.pitch);
                            base[1].add(row * patch.pitch).write_bytes(0, patch.pitch);
                        }
                    }
                }
                let to = [base[0].add(even.to), base[1].add(odd.to)];
                all.phases[i] = Some(Rows {
                    from: input.add(phase.from),
                    to: to.map(|to| to.add(phase.first * patch.pitch)),
                    rows: phase.end - phase.first,
                    from_step: stride * width,
                    to_step: patch.pitch,
                    eights,
                    masks,
                    tail: rest > 0,
                });
            }
        }
        all
    }

    /// Places a channel.
    #[inline(always)]
    pub(super) unsafe fn fill<E: Element<Bits = B>>(&self, channel: usize) {
        let frame = self.frame;
        let pixels = frame.input.pixels();
        // The last register of the last row reads up to 15 elements behind it.
        let ends = (channel + 1) * pixels + 2 * EIGHT > frame.input.len();
        // SAFETY: rows and columns that are in the image lie in the patch; behind the image nothing is read.
        unsafe {
            if ends || self.phases[0].is_none() {
                return fill::fill::<E>(frame, self.input, self.to, (self.y, self.count, channel));
            }
            for rows in self.phases.iter().flatten() {
                if frame.patch.window.stride[1] == 1 {
                    rows.place::<E, 1>(channel * pixels);
                } else {
                    rows.place::<E, 2>(channel * pixels);
                }
            }
        }
    }
}

impl<B> Rows<B> {
    #[inline(always)]
    unsafe fn place<E: Element<Bits = B>, const STRIDE: usize>(&self, channel: usize) {
        // SAFETY: as for `Planes`.
        unsafe {
            match (self.eights, self.tail) {
                (0, _) => self.unrolled::<E, STRIDE, 0, true>(channel),
                (1, true) => self.unrolled::<E, STRIDE, 1, true>(channel),
                (3, true) => self.unrolled::<E, STRIDE, 3, true>(channel),
                (7, false) => self.unrolled::<E, STRIDE, 7, false>(channel),
                (14, false) => self.unrolled::<E, STRIDE, 14, false>(channel),
                _ => self.any::<E, STRIDE>(channel),
            }
        }
    }

    #[inline(always)]
    unsafe fn unrolled<E: Element<Bits = B>, const STRIDE: usize, const EIGHTS: usize, const TAIL: bool>(
        &self,
        channel: usize,
    ) {
        let (mut from, mut to) = (self.from.wrapping_add(channel), self.to);
        for _ in 0..self.rows {
            // SAFETY: as for `Planes`.
            unsafe {
                if STRIDE == 1 && EIGHTS >= 7 {
                    for i in 0..EIGHTS / 7 {
                        E::place_all::<4>(from.add(56 * i), to[0].add(56 * i));
                        E::place_all::<2>(from.add(56 * i + 32), to[0].add(56 * i + 32));
                        eight::<E, 1>(from, to, 7 * i + 6, None);
                    }
                } else {
                    for i in 0..EIGHTS {
                        eight::<E, STRIDE>(from, to, i, None);
                    }
                }
                if TAIL {
                    eight::<E, STRIDE>(from, to, EIGHTS, Some(self.masks));
                }
            }
            from = from.wrapping_add(self.from_step);
            to = to.map(|to| to.wrapping_add(self.to_step));
        }
    }

    #[inline(always)]
    unsafe fn any<E: Element<Bits = B>, const STRIDE: usize>(&self, channel: usize) {
        let (mut from, mut to) = (self.from.wrapping_add(channel), self.to);
        for _ in 0..self.rows {
            // SAFETY: as for `Planes`.
            unsafe {
                for i in 0..self.eights {
                    eight::<E, STRIDE>(from, to, i, None);
                }
                if self.tail {
                    eight::<E, STRIDE>(from, to, self.eights, Some(self.masks));
                }
            }
            from = from.wrapping_add(self.from_step);
            to = to.map(|to| to.wrapping_add(self.to_step));
        }
    }
}

/// Eight elements of a row, or of its even and of its odd columns.
#[inline(always)]
unsafe fn eight<E: Element, const STRIDE: usize>(
    from: *const u16,
    to: [*mut E::Bits; 2],
    i: usize,
    masks: Option<[uint16x8_t; 2]>,
) {
    // SAFETY: as for `Planes`.
    unsafe {
        let masked = |halves, side: usize| masks.map_or(halves, |masks| vandq_u16(halves, masks[side]));
        if STRIDE == 1 {
            E::place(masked(vld1q_u16(from.add(EIGHT * i)), 0), to[0].add(EIGHT * i));
        } else {
            let uint16x8x2_t(even, odd) = vld2q_u16(from.add(2 * EIGHT * i));
            E::place(masked(even, 0), to[0].add(EIGHT * i));
            E::place(masked(odd, 1), to[1].add(EIGHT * i));
        }
    }
}
