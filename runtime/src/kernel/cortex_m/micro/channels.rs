//! The part of several planes under a tile, widened plane by plane: what is the same for all of them is checked and laid out once.

use super::super::forms::note;
use super::{WidenRows, inner, phases};
use crate::kernel::{Operations, Set};

/// Where the rows of planes lie, and where they go; lengths in elements.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Channels {
    pub count: usize,
    /// From a plane to the next, and from its part of the patch to the next one's.
    pub from_plane: usize,
    pub to_plane: usize,
    /// Rows, and from one to the next in a plane.
    pub rows: usize,
    pub from_row: usize,
    /// Elements of a row of the patch, of one phase, and phases.
    pub pitch: usize,
    pub phases: usize,
    /// 1, or 2: then even elements of a row come before odd ones, if there are two phases.
    pub stride: usize,
    /// Elements of a row, in the image's order, from which on and up to which they lie in it. All others become zero.
    pub begin: usize,
    pub end: usize,
}

/// Widens the rows. Does nothing where a length does not fit.
pub(in super::super) fn widen_channels<U: Operations>(from: &[u16], of: &Channels, to: &mut [f32]) {
    let Channels { count, from_plane, to_plane, rows, from_row, pitch, begin, end, .. } = *of;
    if count == 0 || rows == 0 || begin >= end {
        return;
    }
    let read = (count - 1) * from_plane + (rows - 1) * from_row + (end - begin);
    let written = (count - 1) * to_plane + rows * pitch * of.phases;
    if read > from.len() || written > to.len() {
        return;
    }
    let [ones, twos] = Set::PATCHES;
    if note(if of.stride == 2 { twos } else { ones }) {
        return;
    }
    if of.stride == 2 && U::USED.has(twos) {
        let Some(mut arguments) = phases((from, from_row), rows, to, (pitch, of.phases == 2), [begin, end])
        else {
            return;
        };
        for _ in 0..count {
            // SAFETY: the values of every plane are there, checked above and for the first one.
            unsafe { inner::widen_phases(&arguments) }
            arguments.from = arguments.from.wrapping_add(from_plane);
            arguments.even = arguments.even.wrapping_add(to_plane);
            arguments.odd = arguments.odd.wrapping_add(to_plane);
        }
        return;
    }
    if end > pitch || !U::USED.has(ones) {
        return;
    }
    let mut arguments = WidenRows {
        to: to.as_mut_ptr(),
        from: from.as_ptr(),
        pitch: from_row * size_of::<u16>(),
        rows,
        before: begin,
        inside: end - begin,
        behind: pitch - end,
        gap: 0,
    };
    for _ in 0..count {
        // SAFETY: the values of every plane are there, checked above.
        unsafe { inner::widen_rows(&arguments) }
        arguments.from = arguments.from.wrapping_add(from_plane);
        arguments.to = arguments.to.wrapping_add(to_plane);
    }
}
