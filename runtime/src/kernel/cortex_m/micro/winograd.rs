//! The transforms of tiles of 2×2 output pixels. Four tiles side by side are a group; a group's value of a channel or rank
//! is four f32.

use super::super::forms::note;
use super::super::winograd::{GROUP, PRODUCTS};
use super::lines::Lines;
use super::{OUTS, PIXELS, inner};
use crate::kernel::{Operations, Set, WeightMatrix};
use crate::model::EIGHTS;

/// Weights of a channel.
const TAPS: usize = 9;

const F32: usize = size_of::<f32>();

/// What [`transform_pixels`]'s loops read; lengths in bytes. The assembler knows the order of the fields.
#[repr(C)]
pub(super) struct Pixels {
    pub x: *const f32,
    /// From a row of pixels to the next.
    pub pitch: usize,
    pub to: *mut f32,
    /// From a product to the next.
    pub product: usize,
    pub rows: usize,
    pub across: usize,
    /// From a group to the next.
    pub group: usize,
    /// From a row of tiles to the next.
    pub x_row: usize,
}

/// Bᵀ·d·B of every tile of a strip of `rows` rows of `across` groups of tiles, of `count` channels that begin `plane` apart: each is
/// widened into `patch`, row by row with one column and row of padding on each side of the tiles, which has zeros in the rows that are not
/// there. `to` holds for each product and group the channels. Does nothing where a length does not fit.
pub(in super::super) fn transform_pixels(
    (from, plane, count): (&[u16], usize, usize),
    (lines, [rows, across]): (Lines, [usize; 2]),
    patch: &mut [f32],
    to: &mut [f32],
) {
    let (pitch, groups) = (across * GROUP[1] + 2, rows * across);
    if groups == 0 || PRODUCTS * groups * count * PIXELS > to.len() || note(Set::SQUARES) {
        return;
    }
    let size = [rows * GROUP[0] + 2, pitch];
    let Some(mut widened) = lines.widened((from, plane, count), size, patch) else { return };
    let mut arguments = Pixels {
        x: patch.as_ptr(),
        pitch: pitch * F32,
        to: to.as_mut_ptr(),
        product: groups * count * PIXELS * F32,
        rows,
        across,
        group: count * PIXELS * F32,
        x_row: GROUP[0] * pitch * F32,
    };
    for _ in 0..count {
        // SAFETY: the values, pixels and places that are met are there, checked above.
        unsafe {
            if widened.rows > 0 {
                inner::widen_rows(&widened);
            }
            inner::transform_pixels(&arguments);
        }
        widened.from = widened.from.wrapping_add(plane);
        arguments.to = arguments.to.wrapping_add(PIXELS);
    }
}

/// What [`transform_weights`]'s loops read; lengths in bytes. The assembler knows the order of the fields.
#[repr(C)]
pub(super) struct Weights {
    /// f16, or 8 bits of a thin half.
    pub from: *const u8,
    /// From a rank to the next.
    pub pitch: usize,
    pub to: *mut f32,
    /// From a product to the next.
    pub product: usize,
    pub channels: usize,
    pub outs: usize,
    /// From a channel to the next.
    pub step: usize,
}

/// G·g·Gᵀ of 3×3 weights: `channels` of each of `outs` (at most 4) ranks that begin `pitch` apart; for each product and channel
/// one value a rank. Does nothing where a length does not fit.
pub(in super::super) fn transform_weights<U: Operations>(
    from: WeightMatrix<'_>,
    pitch: usize,
    outs: usize,
    channels: usize,
    to: &mut [f32],
) {
    let fits = (1..=OUTS).contains(&outs)
        && channels > 0
        && (outs - 1) * pitch + channels * TAPS <= from.len()
        && PRODUCTS * channels * outs <= to.len();
    if !fits {
        return;
    }
    let (halves, (from, size)) = (matches!(from, WeightMatrix::Half(_)), from.bytes());
    if note(if halves { Set::HALVES } else { Set::THIN }) {
        return;
    }
    let arguments = Weights {
        from,
        pitch: pitch * size,
        to: to.as_mut_ptr(),
        product: channels * outs * F32,
        channels,
        outs,
        step: outs * F32,
    };
    // SAFETY: the weights and places that are met are there, checked above.
    unsafe {
        if halves && U::USED.has(Set::HALVES) {
            inner::transform_weights(&arguments);
        } else if EIGHTS && U::USED.has(Set::THIN) {
            inner::transform_eights(&arguments);
        }
    }
}

/// What [`transform_sums`]'s loops read and count down; lengths in bytes. The assembler knows the order of the fields.
#[repr(C)]
pub(super) struct Sums {
    pub from: *const f32,
    /// From a product to the next.
    pub product: usize,
    pub to: *mut f32,
    /// From a group of pixels to the next, for the last group of tiles of a row (which may have one alone: then 0).
    pub group: usize,
    pub last: usize,
    /// From a row of pixels to the next.
    pub to_row: usize,
    pub ranks: usize,
    pub across: usize,
    pub rows: usize,
}

/// Aᵀ·m·A of the sums of every product: `rows` rows of `across` groups of tiles, `ranks` of each. `to` has for each group
/// of four pixels, of which a row has `groups`, four values of each rank. Does nothing where a length does not fit.
pub(in super::super) fn transform_sums(
    from: &[f32],
    (rows, across, ranks): (usize, usize, usize),
    to: &mut [f32],
    groups: usize,
) {
    let tiles = rows * across;
    let fits = tiles > 0
        && ranks > 0
        && (2 * across - 1..=2 * across).contains(&groups)
        && PRODUCTS * tiles * ranks * PIXELS <= from.len()
        && GROUP[0] * rows * groups * ranks * PIXELS <= to.len();
    if !fits || note(Set::SQUARES) {
        return;
    }
    let group = ranks * PIXELS * F32;
    let mut arguments = Sums {
        from: from.as_ptr(),
        product: tiles * group,
        to: to.as_mut_ptr(),
        group,
        last: if groups == 2 * across { group } else { 0 },
        to_row: groups * group,
        ranks,
        across,
        rows,
    };
    // SAFETY: the sums and places that are met are there, checked above.
    unsafe { inner::transform_sums(&mut arguments) }
}
