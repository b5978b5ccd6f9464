//! Windows of pooling, a row at a time: first over the rows of the window, then over its columns, in vectors.

use super::ordered;
use crate::kernel::{Planes, f16};
use crate::model::{PoolKind, Shape, Window};

/// Most columns of the image, with its padding, that a row of results may span.
const COLUMNS: usize = 512;

/// As [`super::window`]; false, and nothing done, where a row is too long.
#[cfg_attr(target_arch = "x86_64", inline(always))]
pub(super) fn window(
    input: Shape,
    output: Shape,
    window: &Window,
    kind: PoolKind,
    planes: Planes,
    (from, to): (&[u16], &mut [u16]),
) -> bool {
    let [stride, kernel] = [window.stride, window.kernel].map(|[_, columns]| usize::from(columns).max(1));
    let span = (output.width as usize).saturating_sub(1).saturating_mul(stride).saturating_add(kernel);
    if span > COLUMNS || output.pixels() == 0 || input.pixels() == 0 {
        return false;
    }
    let inputs = from.chunks(planes.input(input)).take(input.channels as usize);
    for (plane, to) in inputs.zip(to.chunks_mut(planes.output(output))) {
        let rows = to.chunks_exact_mut(output.width as usize).take(output.height as usize);
        for (y, to) in rows.enumerate() {
            match kind {
                PoolKind::Max => largest(input, window, (plane, y), span, to),
                PoolKind::Average => mean(input, window, (plane, y), span, to),
            }
        }
    }
    true
}

/// The rows of a plane that lie in the windows of output row `y`.
#[cfg_attr(target_arch = "x86_64", inline(always))]
fn lines<'a>(
    input: Shape,
    window: &Window,
    (plane, y): (&'a [u16], usize),
) -> impl ExactSizeIterator<Item = &'a [u16]> {
    let ([stride, _], [kernel, _]) = (window.stride.map(usize::from), window.kernel.map(usize::from));
    let top = usize::from(window.padding[0]);
    let first = (y * stride).saturating_sub(top).min(input.height as usize);
    let end = (y * stride + kernel).saturating_sub(top).min(input.height as usize);
    plane.chunks_exact(input.width as usize).skip(first).take(end - first)
}

#[cfg_attr(target_arch = "x86_64", inline(always))]
fn largest(input: Shape, window: &Window, row: (&[u16], usize), span: usize, to: &mut [u16]) {
    let (left, kernel) = (usize::from(window.padding[1]), usize::from(window.kernel[1]));
    let (mut line, mut found) = ([i16::MIN; COLUMNS], [i16::MIN; COLUMNS]);
    let inside = line.get_mut(left..span.min(left + input.width as usize)).unwrap_or_default();
    for values in lines(input, window, row) {
        inside.iter_mut().zip(values).for_each(|(largest, bits)| *largest = (*largest).max(ordered(*bits)));
    }
    let count = span + 1 - kernel.min(span);
    for column in 0..kernel {
        let line = line.get(column..).unwrap_or_default();
        let found = found.get_mut(..count).unwrap_or_default();
        found.iter_mut().zip(line).for_each(|(largest, value)| *largest = (*largest).max(*value));
    }
    let stored = |value: &i16| {
        let bits = ordered(*value as u16) as u16;
        // What is no finite number is stored as everywhere.
        if bits & 0x7c00 == 0x7c00 { f16::narrow(f16::widen(bits)) } else { bits }
    };
    match window.stride[1] {
        1 => to.iter_mut().zip(&found).for_each(|(to, value)| *to = stored(value)),
        2 => to.iter_mut().zip(found.chunks_exact(2)).for_each(|(to, pair)| *to = stored(&pair[0])),
        stride => {
            let found = found.iter().step_by(usize::from(stride).max(1));
            to.iter_mut().zip(found).for_each(|(to, value)| *to = stored(value));
        }
    }
}

#[cfg_attr(target_arch = "x86_64", inline(always))]
fn mean(input: Shape, window: &Window, row: (&[u16], usize), span: usize, to: &mut [u16]) {
    let (left, kernel) = (usize::from(window.padding[1]), usize::from(window.kernel[1]));
    let (stride, width) = (usize::from(window.stride[1]).max(1), input.width as usize);
    let (mut line, mut sums) = ([0.0f32; COLUMNS], [0.0f32; COLUMNS]);
    let inside = line.get_mut(left..span.min(left + width)).unwrap_or_default();
    let lines = lines(input, window, row);
    let rows = lines.len();
    for values in lines {
        inside.iter_mut().zip(values).for_each(|(sum, bits)| *sum += f16::widen(*bits));
    }
    let count = span + 1 - kernel.min(span);
    for column in 0..kernel {
        let line = line.get(column..).unwrap_or_default();
        sums.get_mut(..count)
            .unwrap_or_default()
            .iter_mut()
            .zip(line)
            .for_each(|(sum, value)| *sum += *value);
    }
    for (x, (to, sum)) in to.iter_mut().zip(sums.iter().step_by(stride)).enumerate() {
        let columns = (x * stride + kernel).saturating_sub(left).min(width)
            - (x * stride).saturating_sub(left).min(width);
        *to = f16::narrow(sum / (rows * columns) as f32);
    }
}
