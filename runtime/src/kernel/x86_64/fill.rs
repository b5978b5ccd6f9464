//! Widening the input under a tile into its patch.
//!
//! The patch is written in ascending order, a register at a time: what a register writes beyond the end of a row, zeros or
//! values, is overwritten by the row that follows, or lies behind the patch, which has room for one register more.
#![allow(unsafe_code)]

use std::vec::Vec;

use super::{Part, Vector};
use crate::kernel::f16;
use crate::kernel::tiling::{MAX_STRIDE, Patch};
use crate::model::Shape;

/// Columns of one plane of the patch that lie in the image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    /// The first in the patch, their number, and the first in the input.
    to: usize,
    count: usize,
    from: usize,
}

/// How a patch is filled.
#[derive(Debug)]
pub(super) struct Fill {
    pub(super) patch: Patch,
    input: Shape,
    columns: Vec<Columns>,
    /// For each plane and register of its rows, the lanes that lie in the image, where a row of the patch is as long as one
    /// of the input; else empty.
    masks: Vec<u32>,
}

impl Fill {
    /// For a patch over an input of this shape.
    pub(super) fn new(patch: Patch, input: Shape) -> Fill {
        let (width, stride) = (input.width as usize, usize::from(patch.window.stride[1]));
        let (left, pitch) = (usize::from(patch.window.padding[1]), patch.pitch);
        let columns = |plane: usize| {
            let to = left.saturating_sub(plane).div_ceil(stride).min(pitch);
            let end = (width + left).saturating_sub(plane).div_ceil(stride).clamp(to, pitch);
            // Where there are none, any place in the image.
            let from = (to * stride + plane).saturating_sub(left).min(width - 1);
            Columns { to, count: end - to, from }
        };
        let columns = (0..patch.planes).map(columns).collect();
        let mut fill = Fill { patch, input, columns, masks: Vec::new() };
        if patch.joined && patch.window.stride == [1, 1] && width == patch.width {
            let inside = |plane: usize, at: usize| (left..left + width).contains(&(at % width + plane));
            let mask = |plane, register| {
                let lanes = (0..patch.lanes).filter(|lane| inside(plane, register * patch.lanes + lane));
                lanes.map(|lane| 1 << lane).sum()
            };
            let registers = fill.registers();
            fill.masks = (0..patch.planes)
                .flat_map(|plane| (0..registers).map(move |register| mask(plane, register)))
                .collect();
        }
        fill
    }

    /// The shape of the input.
    pub(super) fn input(&self) -> Shape {
        self.input
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.columns.as_slice()) + size_of_val(self.masks.as_slice())
    }

    /// Registers of a plane.
    fn registers(&self) -> usize {
        (self.patch.phase_rows * self.patch.pitch).div_ceil(self.patch.lanes)
    }
}

/// Widens what a part of the output needs of `input`. What lies outside the image becomes zero.
///
/// # Safety
///
/// `input` has the elements of the fill's input, `to` those of its patch; the part exists and has no more channels
/// than the patch. To be inlined into a function that has the instruction set.
#[inline(always)]
pub(super) unsafe fn fill<V: Vector>(
    fill: &Fill,
    input: *const u16,
    to: *mut f32,
    Part { y, rows, channel, channels }: Part,
) {
    let patch = &fill.patch;
    let (height, width) = (fill.input.height as usize, fill.input.width as usize);
    let [sy, sx] = patch.window.stride.map(usize::from);
    let [top, left, _, _] = patch.window.padding.map(usize::from);
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
    let masked = V::MASKS && !fill.masks.is_empty();
    let registers = fill.registers();
    // SAFETY: rows first..end and the columns lie in the image; planes, rows and columns in the patch.
    unsafe {
        // What a last register reads behind the patch is not stored, but should not be slow to multiply either.
        V::store(V::splat(0.0), to.add(patch.len() - V::LANES));
        // Behind the last channel, rows may not be read beyond their end.
        let end_of_input = input.add(fill.input.len());
        let (mut input, mut to) = (input.add(channel * height * width), to);
        for _ in 0..channels {
            for Phase { first, end, from } in phases.iter().take(patch.phases) {
                let from = input.add(*from);
                for (plane, columns) in fill.columns.iter().enumerate() {
                    let rows_to = to.add(first * pitch);
                    if masked {
                        zero::<V>(to, first * pitch);
                        let masks = fill.masks.as_ptr().add(plane * registers);
                        let from = from.wrapping_add(plane).wrapping_sub(left);
                        whole::<V>(from, rows_to, (end - first) * pitch, masks);
                    } else if first == end || columns.count == 0 {
                        zero::<V>(to, end * pitch);
                    } else {
                        zero::<V>(to, first * pitch + columns.to);
                        let (from, to) = (from.add(columns.from), rows_to.add(columns.to));
                        let steps = [sy * width, pitch, pitch - columns.to];
                        match sx {
                            1 => lines::<V, 1>((from, end_of_input), to, steps, end - first, columns.count),
                            2 => lines::<V, 2>((from, end_of_input), to, steps, end - first, columns.count),
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
/// `from_step` and `pitch` apart; of the last one `last` elements are left in the patch. What lies before `end` may be read.
#[inline(always)]
unsafe fn lines<V: Vector, const STRIDE: usize>(
    (from, end): (*const u16, *const u16),
    to: *mut f32,
    [from_step, pitch, last]: [usize; 3],
    rows: usize,
    count: usize,
) {
    // SAFETY: as the caller promises; pointers behind the last row are not read.
    unsafe {
        let (mut from, mut to) = (from, to);
        for _ in 1..rows {
            line::<V, STRIDE>((from, end), to, count, pitch - count);
            (from, to) = (from.add(from_step), to.add(pitch));
        }
        line::<V, STRIDE>((from, end), to, count, last - count);
    }
}

/// One row of [`lines`], and `gap` zeros behind it.
#[inline(always)]
unsafe fn line<V: Vector, const STRIDE: usize>(
    (from, end): (*const u16, *const u16),
    to: *mut f32,
    count: usize,
    gap: usize,
) {
    let (full, rest) = (count / V::LANES, count % V::LANES);
    // SAFETY: as for `lines`.
    unsafe {
        for i in 0..full {
            let values = every::<V, STRIDE>(from.add(i * V::LANES * STRIDE), V::LANES);
            V::store(values, to.add(i * V::LANES));
        }
        if rest > 0 {
            let from = from.add(full * V::LANES * STRIDE);
            // A whole register where there is one: what follows the row is cleared.
            let whole = end as usize - from as usize >= STRIDE * V::LANES * size_of::<u16>();
            let values =
                if whole { every::<V, STRIDE>(from, V::LANES) } else { every::<V, STRIDE>(from, rest) };
            V::store(values, to.add(full * V::LANES));
        }
        zero::<V>(to.add(count), gap);
    }
}

/// `count` values, `STRIDE` (1 or 2) columns apart.
#[inline(always)]
unsafe fn every<V: Vector, const STRIDE: usize>(from: *const u16, count: usize) -> V::Register {
    // SAFETY: as for `lines`.
    unsafe { if STRIDE == 1 { V::widen(from, count) } else { V::widen_even(from, count) } }
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
