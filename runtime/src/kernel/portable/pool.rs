//! Pooling.

#[cfg(feature = "std")]
mod rows;

use super::{Buffers, Output, Primitives, f16};
use crate::model::{PoolKind, Shape, Window};

/// f16 bits as an integer in the order of their values, and such an integer back.
fn ordered(bits: u16) -> i16 {
    let bits = bits as i16;
    bits ^ ((bits >> 15) & 0x7fff)
}

fn set(output: &mut Output<'_>, i: usize, value: f32) {
    match output {
        Output::Half(values) => values.get_mut(i).into_iter().for_each(|to| *to = f16::narrow(value)),
        Output::Full(values) => values.get_mut(i).into_iter().for_each(|to| *to = value),
    }
}

/// Largest or mean value of a sliding window, of the part of it inside the image.
#[cfg_attr(target_arch = "x86_64", inline(always))]
pub(super) fn window(
    input: Shape,
    output: Shape,
    window: &Window,
    kind: PoolKind,
    buffers: &mut Buffers<'_>,
) {
    #[cfg(feature = "std")]
    if let Output::Half(values) = &mut buffers.output
        && rows::window(input, output, window, kind, buffers.planes, (buffers.input, values))
    {
        return;
    }
    let (height, width) = (input.height as usize, input.width as usize);
    let [kernel_height, kernel_width] = window.kernel.map(usize::from);
    let [sy, sx] = window.stride.map(usize::from);
    let [top, left, _, _] = window.padding.map(usize::from);
    // Begin and length of the window inside an axis.
    let inside = |at: usize, stride: usize, before: usize, kernel: usize, size: usize| {
        let from = (at * stride).saturating_sub(before).min(size);
        (from, (at * stride + kernel).saturating_sub(before).min(size) - from)
    };
    let (inputs, output_plane) = (buffers.planes.input(input), buffers.planes.output(output));
    for (channel, plane) in buffers.input.chunks(inputs).take(input.channels as usize).enumerate() {
        let mut i = channel * output_plane;
        for y in 0..output.height as usize {
            let (y, rows) = inside(y, sy, top, kernel_height, height);
            for x in 0..output.width as usize {
                let (x, columns) = inside(x, sx, left, kernel_width, width);
                let (mut largest, mut sum) = (i16::MIN, 0.0);
                for line in plane.chunks_exact(width.max(1)).skip(y).take(rows) {
                    for bits in line.get(x..x + columns).unwrap_or_default() {
                        match kind {
                            PoolKind::Max => largest = largest.max(ordered(*bits)),
                            PoolKind::Average => sum += f16::widen(*bits),
                        }
                    }
                }
                let value = match kind {
                    PoolKind::Max => f16::widen(ordered(largest as u16) as u16),
                    PoolKind::Average => sum / (rows * columns) as f32,
                };
                set(&mut buffers.output, i, value);
                i += 1;
            }
        }
    }
}

/// Mean of each plane.
#[cfg_attr(target_arch = "x86_64", inline(always))]
#[cfg_attr(not(target_arch = "x86_64"), inline(never))]
pub(super) fn global_average<P: Primitives<L>, const L: usize>(input: Shape, buffers: &mut Buffers<'_>) {
    for (i, plane) in buffers.input.chunks_exact(input.pixels().max(1)).enumerate() {
        let mut sum = 0.0;
        add_rows(plane, input.width as usize, &mut sum, sum_of_row::<P, L>);
        set(&mut buffers.output, i, sum / input.pixels() as f32);
    }
}

/// Adds the sums of some rows of a plane to `sum`, one after another: so a mean has the same bits however many rows come at a time.
#[cfg_attr(target_arch = "x86_64", inline(always))]
pub(in crate::kernel) fn add_rows(rows: &[u16], width: usize, sum: &mut f32, of_row: impl Fn(&[u16]) -> f32) {
    rows.chunks_exact(width.max(1)).for_each(|row| *sum += of_row(row));
}

/// The sum of a row, in `L` parts, of which halves are then added to halves.
#[cfg_attr(target_arch = "x86_64", inline(always))]
pub(in crate::kernel) fn sum_of_row<P: Primitives<L>, const L: usize>(row: &[u16]) -> f32 {
    if L == 4 {
        // Too few for a call.
        let one_by_one = |from: &[u16], to: &mut [f32]| {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = P::widen_one(*from));
        };
        return sum_of::<L>(row, one_by_one);
    }
    sum_of::<L>(row, P::widen)
}

/// As [`sum_of_row`] with another way to widen, which gives the same values.
#[cfg_attr(target_arch = "x86_64", inline(always))]
pub(in crate::kernel) fn sum_of<const L: usize>(row: &[u16], widen: impl Fn(&[u16], &mut [f32])) -> f32 {
    let mut sums = [0.0; L];
    for values in row.chunks(L) {
        let mut wide = [0.0; L];
        wide.get_mut(..values.len()).into_iter().for_each(|wide| widen(values, wide));
        sums.iter_mut().zip(&wide).for_each(|(sum, value)| *sum += *value);
    }
    halved(&mut sums)
}

/// The sum of some lanes, a power of two: halves on halves.
#[cfg_attr(target_arch = "x86_64", inline(always))]
pub(in crate::kernel) fn halved(lanes: &mut [f32]) -> f32 {
    let mut count = lanes.len() / 2;
    while count > 0 {
        let (low, high) = lanes.split_at_mut(count);
        low.iter_mut().zip(high).for_each(|(low, high)| *low += *high);
        count /= 2;
    }
    lanes.first().copied().unwrap_or(0.0)
}
