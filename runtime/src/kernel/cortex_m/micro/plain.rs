//! The inner loops in Rust, for machines that only test or simulate the device.
#![allow(clippy::extra_unused_type_parameters, reason = "here all loops are there")]

#[path = "plain_lines.rs"]
mod lines;

use core::array::from_fn;

use super::super::super::f16;
use super::super::fives::FIVE;
use super::super::{OUTS, PIXELS};
use super::depthwise::{self, Arguments};
use super::five::Five;
use super::winograd::{Pixels, Sums, Weights};
use super::{Accumulate, Finish, Taps, WidenGroups, WidenPhases, WidenRows};
use crate::kernel::{Operations, THIN_SCALE};
use crate::model::Activation;

pub(super) use lines::{line_pixels, line_sums, line_weights};

/// True where a value exceeded the range since the last call: not known here, so always.
pub(in super::super) fn overflow() -> bool {
    true
}

/// # Safety
/// As in [`super::accumulate`].
pub(super) unsafe fn accumulate<U: Operations>(taps: Taps, outs: usize, arguments: &mut Accumulate) {
    let Accumulate { mut x, mut sums, mut start, weights: mut row, .. } = *arguments;
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
                let mut weights = row;
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
        row = row.wrapping_byte_add(arguments.weights_row);
    }
}

/// # Safety
/// As in [`super::five::five`].
pub(super) unsafe fn five(arguments: &Five) {
    for out in 0..OUTS {
        let weights = arguments.weights.wrapping_byte_add(out * arguments.pitch);
        for pixel in 0..FIVE {
            // SAFETY: the caller's lengths.
            unsafe {
                let mut sum = *arguments.bias.add(out);
                for value in 0..2 * arguments.pairs + arguments.odd {
                    sum += f16::widen(*weights.add(value)) * *arguments.x.add(value * FIVE + pixel);
                }
                let group = pixel / PIXELS * OUTS * PIXELS;
                *arguments.sums.add(group + out * PIXELS + pixel % PIXELS) = sum;
            }
        }
    }
}

/// # Safety
/// As in [`super::finish`].
pub(super) unsafe fn finish<U: Operations>(activation: Activation, arguments: &mut Finish) {
    for channel in 0..arguments.channels {
        let at = channel * arguments.plane;
        let residual = arguments.residual;
        let residual = if residual.is_null() { residual } else { residual.wrapping_byte_add(at) };
        let sums = arguments.sums.wrapping_add(channel * PIXELS);
        let output = arguments.output.wrapping_byte_add(at);
        // SAFETY: the caller's lengths.
        unsafe { finish_channel(activation, &Finish { sums, output, residual, ..*arguments }) }
    }
}

/// # Safety
/// As in [`super::finish`], of one channel.
unsafe fn finish_channel(activation: Activation, arguments: &Finish) {
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
/// As in [`super::phases`].
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
pub(super) unsafe fn widen_panel<U: Operations>(
    from: *const u16,
    pitch: usize,
    rows: usize,
    count: usize,
    to: *mut f32,
) {
    for i in 0..count * rows {
        // SAFETY: the caller's lengths.
        unsafe { *to.add(i) = f16::widen(*from.add((i % rows) * pitch + i / rows)) };
    }
}

/// # Safety
/// As in [`super::widen_panel`].
pub(super) unsafe fn widen_eights<U: Operations>(
    from: *const i8,
    pitch: usize,
    rows: usize,
    count: usize,
    to: *mut f32,
    scales: Option<&[f32; 4]>,
) {
    for i in 0..count * rows {
        let scale = scales.map_or(THIN_SCALE, |scales| scales[i % rows]);
        // SAFETY: the caller's lengths.
        unsafe { *to.add(i) = f32::from(*from.add((i % rows) * pitch + i / rows)) * scale };
    }
}

/// # Safety
/// As in [`super::widen_rows`].
pub(super) unsafe fn widen_rows(arguments: &WidenRows) {
    let WidenRows { mut to, mut from, pitch, rows, before, inside, behind, gap } = *arguments;
    for _ in 0..rows {
        // SAFETY: the caller's lengths.
        unsafe {
            (0..before + inside + behind).for_each(|i| *to.add(i) = 0.0);
            widen(from, to.add(before), inside);
        }
        from = from.wrapping_byte_add(pitch);
        to = to.wrapping_add(before + inside + behind).wrapping_byte_add(gap);
    }
}

/// # Safety
/// As in [`super::widen_groups`].
pub(super) unsafe fn widen_groups(arguments: &WidenGroups) {
    let WidenGroups { from, to, plane, group, pixels, channels } = *arguments;
    for channel in 0..channels {
        let (from, to) = (from.wrapping_byte_add(channel * plane), to.wrapping_add(channel * PIXELS));
        for i in 0..pixels {
            let to = to.wrapping_byte_add(i / PIXELS * group).wrapping_add(i % PIXELS);
            // SAFETY: the caller's lengths.
            unsafe { *to = f16::widen(*from.add(i)) };
        }
    }
}

/// # Safety
/// As in [`super::depthwise::depthwise`].
pub(super) unsafe fn depthwise(stride: usize, arguments: &mut Arguments) {
    let Arguments { x, x_row, row, phase, rows, output, gap, plane, weights, bias, .. } = *arguments;
    let columns = arguments.groups * PIXELS + arguments.rest;
    for channel in 0..arguments.channels {
        // SAFETY: the caller's lengths.
        unsafe {
            match stride {
                1 => widen_rows(&*arguments.fill_rows()),
                _ => widen_phases(&*arguments.fill_phases()),
            }
            *arguments.from = (*arguments.from).wrapping_byte_add(arguments.from_plane);
            let mut output = output.wrapping_byte_add(channel * plane);
            for y in 0..rows {
                for column in 0..columns {
                    let mut value = [*bias.add(channel)];
                    for tap in 0..9 {
                        let shift = match (stride, tap % 3) {
                            (1, kx) => kx * 4,
                            (_, 1) => phase,
                            (_, kx) => kx / 2 * 4,
                        };
                        let x = x.byte_add(y * x_row + tap / 3 * row + shift).add(column);
                        value[0] += f16::widen(*weights.add(channel * 9 + tap)) * *x;
                    }
                    super::super::super::activate(arguments.activation(), &mut value);
                    *output = f16::narrow(value[0]);
                    output = output.wrapping_add(1);
                }
                output = output.wrapping_byte_add(gap);
            }
        }
    }
}

/// # Safety
/// As in [`super::depthwise::depthwise_five`].
pub(super) unsafe fn depthwise_five(arguments: &depthwise::Five) {
    for channel in 0..arguments.channels {
        let x = arguments.x.wrapping_byte_add(channel * arguments.plane);
        let output = arguments.output.wrapping_byte_add(channel * (FIVE * 2 + arguments.gap));
        // SAFETY: the caller's lengths.
        unsafe {
            let weights: [f32; 9] = from_fn(|tap| f16::widen(*arguments.weights.add(channel * 9 + tap)));
            for pixel in 0..FIVE {
                let mut sum = *arguments.bias.add(channel);
                for (tap, weight) in weights.into_iter().enumerate() {
                    let (row, column) = (tap / 3, (pixel + tap % 3).wrapping_sub(1));
                    let there = arguments.rows >> row & 1 == 1 && column < FIVE;
                    let value = if there {
                        f16::widen(*x.wrapping_byte_add(row * arguments.row).add(column))
                    } else {
                        0.0
                    };
                    sum += weight * value;
                }
                let mut value = [sum];
                super::super::super::activate(arguments.activation(), &mut value);
                *output.add(pixel) = f16::narrow(value[0]);
            }
        }
    }
}

/// Nothing that these loops need.
pub(super) fn fill(_stride: usize) -> usize {
    0
}

/// # Safety
/// As in [`super::winograd::transform_pixels`].
pub(super) unsafe fn transform_pixels(arguments: &Pixels) {
    let Pixels { x, pitch, to, product, rows, across, group, x_row } = *arguments;
    let side = |d: [f32; 4]| [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]];
    for tile in 0..rows * across * PIXELS {
        let (of_group, lane) = (tile / PIXELS, tile % PIXELS);
        let first = x
            .wrapping_byte_add(of_group / across * x_row)
            .wrapping_add((of_group % across * PIXELS + lane) * 2);
        // SAFETY: the caller's lengths.
        unsafe {
            let d: [[f32; 4]; 4] = from_fn(|i| from_fn(|j| *first.byte_add(i * pitch).add(j)));
            let columns: [[f32; 4]; 4] = from_fn(|j| side(d.map(|row| row[j])));
            for i in 0..4 {
                let products = side(columns.map(|column| column[i]));
                for (j, value) in products.into_iter().enumerate() {
                    *to.byte_add((i * 4 + j) * product + of_group * group).add(lane) = value;
                }
            }
        }
    }
}

/// # Safety
/// As in [`super::winograd::transform_weights`].
pub(super) unsafe fn transform_weights(arguments: &Weights) {
    // SAFETY: the caller's lengths.
    unsafe { transform(arguments, |from, at| f16::widen(*from.cast::<u16>().add(at)), 2) }
}

/// # Safety
/// As in [`super::winograd::transform_weights`].
pub(super) unsafe fn transform_eights(arguments: &Weights) {
    // SAFETY: the caller's lengths.
    unsafe { transform(arguments, |from, at| f32::from(*from.cast::<i8>().add(at)) * THIN_SCALE, 1) }
}

/// Weights of so many bytes, which `weight` reads.
unsafe fn transform(arguments: &Weights, weight: impl Fn(*const u8, usize) -> f32, size: usize) {
    let Weights { from, pitch, to, product, channels, outs, step } = *arguments;
    let side = |g: [f32; 3]| [g[0], g[0] + g[2] + g[1], g[0] + g[2] - g[1], g[2]];
    let scale = [1.0, 0.5, 0.5, 1.0];
    for out in 0..outs {
        for channel in 0..channels {
            // SAFETY: the caller's lengths.
            unsafe {
                let from = from.add(out * pitch + channel * 9 * size);
                let columns: [[f32; 4]; 3] = from_fn(|j| side(from_fn(|i| weight(from, i * 3 + j))));
                for i in 0..4 {
                    let products = side(columns.map(|column| column[i]));
                    for (j, value) in products.into_iter().enumerate() {
                        let to = to.byte_add((i * 4 + j) * product + channel * step).add(out);
                        *to = value * (scale[i] * scale[j]);
                    }
                }
            }
        }
    }
}

/// # Safety
/// As in [`super::winograd::transform_sums`].
pub(super) unsafe fn transform_sums(arguments: &mut Sums) {
    let Sums { from, product, to, group, last, to_row, ranks, across, rows } = *arguments;
    let side = |m: [f32; 4]| [m[0] + m[1] + m[2], m[1] - m[2] - m[3]];
    for at in 0..rows * across * ranks * PIXELS {
        let (lane, rank, of_group) = (at % PIXELS, at / PIXELS % ranks, at / PIXELS / ranks);
        // SAFETY: the caller's lengths.
        unsafe {
            let m: [[f32; 4]; 4] = from_fn(|i| from_fn(|j| *from.byte_add((i * 4 + j) * product).add(at)));
            let columns: [[f32; 2]; 4] = from_fn(|j| side(m.map(|row| row[j])));
            let second = if of_group % across + 1 == across { last } else { group };
            if lane >= 2 && second == 0 {
                continue;
            }
            for i in 0..2 {
                let row = to.byte_add((of_group / across * 2 + i) * to_row + of_group % across * 2 * group);
                let row = row.byte_add(lane / 2 * second).add(rank * PIXELS + lane % 2 * 2);
                let pixels = side(columns.map(|column| column[i]));
                (*row, *row.add(1)) = (pixels[0], pixels[1]);
            }
        }
    }
}
