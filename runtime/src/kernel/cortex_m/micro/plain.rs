//! The inner loops in Rust, for machines that only test or simulate the device.

use super::super::super::f16;
use super::super::PIXELS;
use super::{Accumulate, Finish, Taps, WidenPhases, WidenRows};
use crate::model::Activation;

/// True where a value exceeded the range since the last call: not known here, so always.
pub(in super::super) fn overflow() -> bool {
    true
}

pub(in super::super) fn widen_one(half: u16) -> f32 {
    f16::widen(half)
}

/// # Safety
/// As in [`super::accumulate`].
pub(super) unsafe fn accumulate(taps: Taps, outs: usize, arguments: &mut Accumulate) {
    let Accumulate { mut x, mut sums, mut start, .. } = *arguments;
    let count = match taps {
        Taps::Ranks => (arguments.end as usize - arguments.weights as usize) / (outs * size_of::<f32>()),
        _ => (arguments.end as usize - arguments.offsets as usize) / size_of::<u32>(),
    };
    let shifts: &[usize] = match taps {
        Taps::Single | Taps::Ranks => &[0],
        Taps::Row => &[0, 4, 8],
        Taps::Stride2 => &[0, arguments.phase, 4],
    };
    for _ in 0..arguments.rows {
        let mut pixels = x;
        for _ in 0..arguments.groups {
            // SAFETY: the caller's lengths.
            unsafe {
                let mut block = [0.0; 16];
                (0..outs * PIXELS).for_each(|i| block[i] = *start.add(i));
                let mut weights = arguments.weights;
                for tap in 0..count {
                    let offset = match taps {
                        Taps::Ranks => tap * PIXELS * size_of::<f32>(),
                        _ => *arguments.offsets.add(tap) as usize,
                    };
                    let pixels = pixels.byte_add(offset);
                    for shift in shifts {
                        for (out, block) in block.chunks_exact_mut(PIXELS).take(outs).enumerate() {
                            let weight = *weights.add(out);
                            let pixels = pixels.byte_add(*shift);
                            block.iter_mut().enumerate().for_each(|(i, sum)| *sum += weight * *pixels.add(i));
                        }
                        weights = weights.add(outs);
                    }
                }
                (0..outs * PIXELS).for_each(|i| *sums.add(i) = block[i]);
            }
            start = start.wrapping_byte_add(arguments.start_group);
            sums = sums.wrapping_byte_add(arguments.sums_group);
            pixels = pixels.wrapping_byte_add(arguments.x_group);
        }
        x = x.wrapping_byte_add(arguments.x_row);
    }
}

/// # Safety
/// As in [`super::finish`].
pub(super) unsafe fn finish(activation: Activation, arguments: &Finish) {
    let Finish { mut sums, mut output, mut residual, .. } = *arguments;
    for _ in 0..arguments.rows {
        let rest = (arguments.rest > 0).then_some(arguments.rest);
        for pixels in core::iter::repeat_n(PIXELS, arguments.groups).chain(rest) {
            for i in 0..pixels {
                // SAFETY: the caller's lengths.
                unsafe {
                    let added = if residual.is_null() { 0.0 } else { f16::widen(*residual.add(i)) };
                    let mut value = [*sums.add(i) + added];
                    super::super::super::activate(activation, &mut value);
                    *output.add(i) = f16::narrow(value[0]);
                }
            }
            sums = sums.wrapping_byte_add(arguments.sums_group);
            output = output.wrapping_add(pixels);
            residual = if residual.is_null() { residual } else { residual.wrapping_add(pixels) };
        }
        output = output.wrapping_byte_add(arguments.gap);
        residual = if residual.is_null() { residual } else { residual.wrapping_byte_add(arguments.gap) };
    }
}

/// # Safety
/// `count` elements in both.
pub(super) unsafe fn widen(from: *const u16, to: *mut f32, count: usize) {
    // SAFETY: the caller's lengths.
    (0..count).for_each(|i| unsafe { *to.add(i) = f16::widen(*from.add(i)) });
}

/// # Safety
/// As in [`super::widen_phases`].
pub(super) unsafe fn widen_phases(arguments: &WidenPhases) {
    let WidenPhases { even, odd, from, from_row, to_row, before, behind, .. } = *arguments;
    for row in 0..arguments.rows {
        let mut to = [even.wrapping_byte_add(row * to_row), odd.wrapping_byte_add(row * to_row)];
        let mut from = from.wrapping_byte_add(row * from_row);
        // SAFETY: the caller's lengths.
        unsafe {
            let put = |to: &mut *mut f32, value| {
                **to = value;
                *to = to.add(1);
            };
            let mut next = || {
                let value = f16::widen(*from);
                from = from.add(1);
                value
            };
            (0..before[0]).for_each(|_| put(&mut to[0], 0.0));
            (0..before[1]).for_each(|_| put(&mut to[1], 0.0));
            (0..arguments.first).for_each(|_| put(&mut to[1], next()));
            for _ in 0..arguments.pairs {
                let [a, b] = [next(), next()];
                put(&mut to[1], b);
                put(&mut to[0], a);
            }
            (0..arguments.last).for_each(|_| put(&mut to[0], next()));
            (0..behind[0]).for_each(|_| put(&mut to[0], 0.0));
            (0..behind[1]).for_each(|_| put(&mut to[1], 0.0));
        }
    }
}

/// # Safety
/// As in [`super::widen_panel`].
pub(super) unsafe fn widen_panel(from: *const u16, pitch: usize, rows: usize, count: usize, to: *mut f32) {
    for i in 0..count * rows {
        // SAFETY: the caller's lengths.
        unsafe { *to.add(i) = f16::widen(*from.add((i % rows) * pitch + i / rows)) };
    }
}

/// # Safety
/// As in [`super::widen_rows`].
pub(super) unsafe fn widen_rows(arguments: &WidenRows) {
    let WidenRows { mut to, mut from, pitch, rows, before, inside, behind } = *arguments;
    for _ in 0..rows {
        // SAFETY: the caller's lengths.
        unsafe {
            (0..before + inside + behind).for_each(|i| *to.add(i) = 0.0);
            widen(from, to.add(before), inside);
        }
        from = from.wrapping_byte_add(pitch);
        to = to.wrapping_add(before + inside + behind);
    }
}
