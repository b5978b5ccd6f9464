//! The transforms of tiles of one row. Four tiles side by side are a group; a group's value of a channel or rank is four f32.

use super::super::forms::note;
use super::super::lines::Outputs;
use super::super::together;
use super::{Accumulate, OUTS, PIXELS, Taps, WidenRows, inner, of_outs};
use crate::kernel::{Operations, Set, WeightMatrix};

/// Weights of a row, and rows of a channel.
const TAPS: usize = 3;

const F32: usize = size_of::<f32>();

/// What [`line_pixels`]'s loops read; lengths in bytes. The assembler knows the order of the fields.
#[repr(C)]
pub(super) struct Pixels {
    pub x: *const f32,
    /// From a row of pixels to the next.
    pub pitch: usize,
    pub to: *mut f32,
    /// From a product to the next.
    pub product: usize,
    pub across: usize,
    /// From a group to the next.
    pub group: usize,
}

/// The rows of a plane under a strip, and where they lie in a patch of as many rows as the strip and two; lengths in elements.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Lines {
    /// Rows that are there, from one to the next, the columns of each, and the zeros before them.
    pub inside: usize,
    pub from_row: usize,
    pub columns: usize,
    pub before: usize,
    /// Rows of the patch above those.
    pub above: usize,
}

impl Lines {
    /// What widens the rows of one of `count` planes, which begin `plane` apart, to a patch of `rows` rows of `pitch`; `None` where a
    /// length does not fit.
    pub(super) fn widened(
        &self,
        (from, plane, count): (&[u16], usize, usize),
        [rows, pitch]: [usize; 2],
        patch: &mut [f32],
    ) -> Option<WidenRows> {
        let Lines { inside, from_row, columns, before, above } = *self;
        let there = inside == 0
            || (count.wrapping_sub(1) * plane + (inside - 1) * from_row + columns <= from.len()
                && before + columns <= pitch);
        if count == 0 || !there || above + inside > rows || rows * pitch > patch.len() {
            return None;
        }
        Some(WidenRows {
            to: patch.as_mut_ptr().wrapping_add(above * pitch),
            from: from.as_ptr(),
            pitch: from_row * size_of::<u16>(),
            rows: inside,
            before,
            inside: columns,
            behind: pitch.saturating_sub(before + columns),
            gap: 0,
        })
    }
}

/// Bᵀ·d of every tile of a strip of `rows` rows of `across` groups of tiles, of `count` channels that begin `plane` apart: each is
/// widened into `patch`, which has zeros in the rows that are not there. `to` holds for each product and group of tiles three rows of each
/// channel. Does nothing where a length does not fit.
pub(in super::super) fn line_pixels<U: Operations>(
    outputs: Outputs,
    (from, plane, count): (&[u16], usize, usize),
    (lines, [rows, across]): (Lines, [usize; 2]),
    patch: &mut [f32],
    to: &mut [f32],
) {
    let (pitch, groups, group) = (across * outputs.columns() + 2, rows * across, TAPS * count * PIXELS);
    if groups == 0 || outputs.products() * groups * group > to.len() || note(outputs.form()) {
        return;
    }
    let Some(mut widened) = lines.widened((from, plane, count), [rows + 2, pitch], patch) else { return };
    let mut channel = to.as_mut_ptr();
    for _ in 0..count {
        let mut arguments = Pixels {
            x: patch.as_ptr(),
            pitch: pitch * F32,
            to: channel,
            product: groups * group * F32,
            across,
            group: group * F32,
        };
        // SAFETY: the values, pixels and places that are met are there, checked above.
        unsafe {
            if widened.rows > 0 {
                inner::widen_rows(&widened);
            }
            for _ in 0..rows {
                inner::line_pixels::<U>(outputs, &arguments);
                arguments.x = arguments.x.wrapping_add(pitch);
                arguments.to = arguments.to.wrapping_add(across * group);
            }
        }
        widened.from = widened.from.wrapping_add(plane);
        channel = channel.wrapping_add(TAPS * PIXELS);
    }
}

/// What is read where three weights become the products'; lengths in bytes. The assembler knows the order of the fields.
#[repr(C)]
pub(super) struct Weights {
    /// f16, or 8 bits of a thin half.
    pub from: *const u8,
    /// From a rank to the next.
    pub pitch: usize,
    pub to: *mut f32,
    /// From a product to the next.
    pub product: usize,
    pub threes: usize,
}

/// Adds the products of a strip of `groups` groups of tiles, of `count` channels, to sums of all ranks, or begins these: `pixels` are
/// those of [`line_pixels`], `from` has 9 weights of each of these channels for a rank, and so `pitch` behind for the next; `weights` is
/// scratch for four ranks. Does nothing where a length does not fit.
pub(in super::super) fn line_products<U: Operations>(
    outputs: Outputs,
    (groups, count, rank): (usize, usize, usize),
    (from, pitch): (WeightMatrix<'_>, usize),
    (pixels, weights): (&[f32], &mut [f32]),
    sums: &mut [f32],
    resume: bool,
) {
    static ZERO: [f32; OUTS * PIXELS] = [0.0; OUTS * PIXELS];
    let (products, threes) = (outputs.products(), TAPS * count);
    if groups == 0
        || count == 0
        || rank == 0
        || products * groups * threes * PIXELS > pixels.len()
        || products * threes * rank.min(OUTS) > weights.len()
        || products * groups * rank * PIXELS > sums.len()
        || (rank - 1) * pitch + threes * TAPS > from.len()
    {
        return;
    }
    let (weights, sums_group) = (weights.as_mut_ptr(), rank * PIXELS * F32);
    let (halves, (from, size)) = (matches!(from, WeightMatrix::Half(_)), from.bytes());
    let kind = if halves { Set::HALVES } else { Set::THIN };
    for (first, some) in together(rank) {
        let sums = sums.as_mut_ptr().wrapping_add(first * PIXELS);
        let weights_row = threes * some * F32;
        let transformed = Weights {
            from: from.wrapping_add(first * pitch * size),
            pitch: pitch * size,
            to: weights,
            product: weights_row,
            threes,
        };
        let mut arguments = Accumulate {
            x: pixels.as_ptr(),
            x_row: groups * threes * PIXELS * F32,
            rows: products,
            groups,
            offsets: core::ptr::null(),
            end: weights.wrapping_byte_add(weights_row).cast(),
            weights,
            sums,
            sums_group,
            start: if resume { sums } else { ZERO.as_ptr() },
            start_group: if resume { sums_group } else { 0 },
            x_group: threes * PIXELS * F32,
            phase: threes % 2 * F32,
            weights_row,
        };
        if note(of_outs(Set::LINE_WEIGHTS, some).and(of_outs(Set::RANKS, some)).and(kind)) {
            continue;
        }
        // SAFETY: weights, pixels and sums that are met are there, checked above, and four initial sums.
        unsafe {
            inner::line_weights::<U>((outputs, halves), some, &transformed);
            inner::accumulate::<U>(Taps::Ranks, some, &mut arguments);
        }
    }
}

/// What [`line_sums`]'s loops read; lengths in bytes. The assembler knows the order of the fields.
#[repr(C)]
pub(super) struct Sums {
    pub from: *const f32,
    /// From a product to the next.
    pub product: usize,
    pub to: *mut f32,
    /// From four pixels to the next.
    pub pixels: usize,
    pub ranks: usize,
    pub across: usize,
}

/// Aᵀ·m of the sums of every product of a row of `across` groups of tiles, which are those from `first` on of `groups` in a strip. `to`
/// has for each four pixels four values of each rank. Does nothing where a length does not fit.
pub(in super::super) fn line_sums<U: Operations>(
    outputs: Outputs,
    from: &[f32],
    (first, across, groups): (usize, usize, usize),
    ranks: usize,
    to: &mut [f32],
) {
    let fits = across > 0
        && ranks > 0
        && first + across <= groups
        && outputs.products() * groups * ranks * PIXELS <= from.len()
        && across * outputs.columns() * ranks <= to.len();
    if !fits || note(outputs.form()) {
        return;
    }
    let arguments = Sums {
        from: from.as_ptr().wrapping_add(first * ranks * PIXELS),
        product: groups * ranks * PIXELS * F32,
        to: to.as_mut_ptr(),
        pixels: ranks * PIXELS * F32,
        ranks,
        across,
    };
    // SAFETY: the sums and places that are met are there, checked above.
    unsafe { inner::line_sums::<U>(outputs, &arguments) }
}
