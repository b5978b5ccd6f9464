//! Widening the input under a tile into its patch.
//!
//! The patch is written in ascending order, a register at a time: what a register writes beyond the end of a row, zeros or
//! values, is overwritten by the row that follows, or lies behind the patch, which has room for one register more.
#![allow(unsafe_code)]

use std::vec::Vec;

use super::Vector;
use super::pack::PackedConv;
use crate::kernel::f16;
use crate::kernel::patch::MAX_STRIDE;

/// Columns of one plane of the patch that lie in the image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    /// The first in the patch, their number, and the first in the input.
    to: usize,
    count: usize,
    from: usize,
}

/// The columns of each plane.
pub(super) fn columns(conv: &PackedConv) -> Vec<Columns> {
    let (width, stride) = (conv.input.width as usize, usize::from(conv.window.stride[1]));
    let (left, pitch) = (usize::from(conv.window.padding[1]), conv.patch.pitch);
    let columns = |plane: usize| {
        let to = left.saturating_sub(plane).div_ceil(stride).min(pitch);
        let end = (width + left).saturating_sub(plane).div_ceil(stride).clamp(to, pitch);
        // Where there are none, any place in the image.
        let from = (to * stride + plane).saturating_sub(left).min(width - 1);
        Columns { to, count: end - to, from }
    };
    (0..conv.patch.planes).map(columns).collect()
}

/// For each plane and register of its rows, the lanes that lie in the image, where a row of the patch is as long as one
/// of the input; else empty.
pub(super) fn masks(conv: &PackedConv) -> Vec<u32> {
    let (patch, width) = (&conv.patch, conv.patch.width);
    let left = usize::from(conv.window.padding[1]);
    if !patch.joined || conv.window.stride != [1, 1] || conv.input.width != conv.output.width {
        return Vec::new();
    }
    let inside = |plane: usize, at: usize| (left..left + width).contains(&(at % width + plane));
    let mask = |plane, register| {
        (0..patch.lanes)
            .filter(|lane| inside(plane, register * patch.lanes + lane))
            .map(|lane| 1 << lane)
            .sum()
    };
    let registers = registers(conv);
    (0..patch.planes).flat_map(|plane| (0..registers).map(move |register| mask(plane, register))).collect()
}

/// Registers of a plane.
fn registers(conv: &PackedConv) -> usize {
    (conv.patch.phase_rows * conv.patch.pitch).div_ceil(conv.patch.lanes)
}

/// Widens what the output rows from `y` on need of `input`: of all channels of the patch, from `channel` on. What lies
/// outside the image becomes zero.
///
/// # Safety
///
/// `input` has the elements of the convolution's input, `to` those of its patch; output rows y… y + rows exist. To be
/// inlined into a function that has the instruction set.
#[inline(always)]
pub(in crate::kernel) unsafe fn fill<V: Vector>(
    conv: &PackedConv,
    input: *const u16,
    to: *mut f32,
    (y, rows, channel): (usize, usize, usize),
) {
    let patch = &conv.patch;
    let (height, width) = (conv.input.height as usize, conv.input.width as usize);
    let [sy, sx] = conv.window.stride.map(usize::from);
    let [top, left, _, _] = conv.window.padding.map(usize::from);
    let rows = rows + (patch.phase_rows - patch.rows);
    let (pitch, plane_size) = (patch.pitch, patch.phase_rows * patch.pitch);
    let mut phases = [Phase::default(); MAX_STRIDE];
    for (i, phase) in phases.iter_mut().enumerate() {
        // Row j of the phase is input row (y + j)·stride + i − top.
        let at = y * sy + i;
        phase.first = top.saturating_sub(at).div_ceil(sy).min(rows);
        phase.end = (height + top).saturating_sub(at).div_ceil(sy).clamp(phase.first, rows);
        phase.from = (at + phase.first * sy).saturating_sub(top).min(height - 1) * width;
    }
    let masked = V::MASKS && !conv.masks.is_empty();
    let registers = registers(conv);
    // SAFETY: rows first..end and the columns lie in the image; planes, rows and columns in the patch.
    unsafe {
        // What a last register reads behind the patch is not stored, but should not be slow to multiply either.
        V::store(V::splat(0.0), to.add(patch.len() - V::LANES));
        let (mut input, mut to) = (input.add(channel * height * width), to);
        for _ in 0..patch.channels {
            for Phase { first, end, from } in phases.iter().take(patch.phases) {
                let from = input.add(*from);
                for (plane, columns) in conv.columns.iter().enumerate() {
                    let rows_to = to.add(first * pitch);
                    if masked {
                        zero::<V>(to, first * pitch);
                        let masks = conv.masks.as_ptr().add(plane * registers);
                        let from = from.wrapping_add(plane).wrapping_sub(left);
                        whole::<V>(from, rows_to, (end - first) * pitch, masks);
                    } else if first == end || columns.count == 0 {
                        zero::<V>(to, end * pitch);
                    } else {
                        zero::<V>(to, first * pitch + columns.to);
                        let (from, to) = (from.add(columns.from), rows_to.add(columns.to));
                        let steps = [sy * width, pitch, pitch - columns.to];
                        match sx {
                            1 => lines::<V, 1>(from, to, steps, end - first, columns.count),
                            2 => lines::<V, 2>(from, to, steps, end - first, columns.count),
                            _ => strided::<V>(from, sx, to, steps, end - first, columns.count),
                        }
                    }
                    zero::<V>(to.add(end * pitch), (rows - end) * pitch);
                    to = to.add(plane_size);
                }
            }
            input = input.add(height * width);
        }
    }
}

/// Rows of a phase that lie in the image.
#[derive(Clone, Copy, Default)]
struct Phase {
    first: usize,
    end: usize,
    /// Element of the input's plane at which the first begins.
    from: usize,
}

/// Clears `count` elements, and less than a register behind them.
#[inline(always)]
unsafe fn zero<V: Vector>(to: *mut f32, count: usize) {
    let mut at = 0;
    while at < count {
        // SAFETY: as the head of this file says.
        unsafe {
            if count - at <= 4 {
                to.add(at).cast::<[f32; 4]>().write_unaligned([0.0; 4]);
                return;
            }
            V::store(V::splat(0.0), to.add(at));
        }
        at += V::LANES;
    }
}

/// Widens `count` elements, of each register those lanes that its mask has.
#[inline(always)]
unsafe fn whole<V: Vector>(from: *const u16, to: *mut f32, count: usize, masks: *const u32) {
    let full = count / V::LANES;
    // SAFETY: the elements of masked lanes lie in the image.
    unsafe {
        for i in 0..full {
            let values = V::widen_masked(from.wrapping_add(i * V::LANES), *masks.add(i));
            V::store(values, to.add(i * V::LANES));
        }
        if count > full * V::LANES {
            let mask = *masks.add(full) & ((1 << (count - full * V::LANES)) - 1);
            V::store(V::widen_masked(from.wrapping_add(full * V::LANES), mask), to.add(full * V::LANES));
        }
    }
}

/// Widens `rows` rows of `count` values, `STRIDE` (1 or 2) columns apart, and clears what is between them. Rows begin
/// `from_step` and `pitch` apart; of the last one `last` elements are left in the patch.
#[inline(always)]
unsafe fn lines<V: Vector, const STRIDE: usize>(
    from: *const u16,
    to: *mut f32,
    [from_step, pitch, last]: [usize; 3],
    rows: usize,
    count: usize,
) {
    let (full, rest) = (count / V::LANES, count % V::LANES);
    let end = count.next_multiple_of(V::LANES);
    let (gap, last) = (pitch.saturating_sub(end), last.saturating_sub(end));
    // SAFETY: as the caller promises; pointers behind the last row are not read.
    unsafe {
        let row = |mut from: *const u16, mut to: *mut f32, gap: usize| {
            for _ in 0..full {
                let values =
                    if STRIDE == 1 { V::widen(from, V::LANES) } else { V::widen_even(from, V::LANES) };
                V::store(values, to);
                (from, to) = (from.wrapping_add(V::LANES * STRIDE), to.add(V::LANES));
            }
            if rest > 0 {
                let values = if STRIDE == 1 { V::widen(from, rest) } else { V::widen_even(from, rest) };
                V::store(values, to);
                to = to.wrapping_add(V::LANES);
            }
            zero::<V>(to, gap);
        };
        let (mut from, mut to) = (from, to);
        for _ in 1..rows {
            row(from, to, gap);
            (from, to) = (from.add(from_step), to.add(pitch));
        }
        row(from, to, last);
    }
}

/// As `lines` for any stride.
#[inline(always)]
unsafe fn strided<V: Vector>(
    from: *const u16,
    stride: usize,
    to: *mut f32,
    [from_step, pitch, last]: [usize; 3],
    rows: usize,
    count: usize,
) {
    for row in 0..rows {
        // SAFETY: as for `lines`.
        unsafe {
            let (from, to) = (from.add(row * from_step), to.add(row * pitch));
            for x in 0..count {
                *to.add(x) = f16::widen(*from.add(x * stride));
            }
            let left = if row + 1 == rows { last } else { pitch };
            zero::<V>(to.add(count), left - count);
        }
    }
}
