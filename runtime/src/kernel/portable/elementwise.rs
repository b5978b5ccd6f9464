//! Addition, copying and the parameter-free shortcut.

use super::{Buffers, FINISH, Output, Planes, Primitives, f16, finish};
use crate::model::{Activation, Shape};

#[cfg_attr(target_arch = "x86_64", inline(always))]
#[cfg_attr(not(target_arch = "x86_64"), inline(never))]
pub(super) fn add<P: Primitives<L>, const L: usize>(activation: Activation, buffers: &mut Buffers<'_>) {
    let mut sums = [0.0; FINISH];
    let mut start = 0;
    for input in buffers.input.chunks(FINISH) {
        let Some(sums) = sums.get_mut(..input.len()) else { return };
        P::widen(input, sums);
        finish::<P, L>(sums, start, activation, buffers.second, &mut buffers.output);
        start += sums.len();
    }
}

#[cfg_attr(target_arch = "x86_64", inline(always))]
#[cfg_attr(not(target_arch = "x86_64"), inline(never))]
pub(super) fn copy<P: Primitives<L>, const L: usize>(buffers: &mut Buffers<'_>) {
    match &mut buffers.output {
        Output::Half(values) => values.iter_mut().zip(buffers.input).for_each(|(to, from)| *to = *from),
        Output::Full(values) => P::widen(buffers.input, values),
    }
}

pub(super) fn pad_shortcut(input: Shape, output: Shape, stride: usize, buffers: &mut Buffers<'_>) {
    match &mut buffers.output {
        Output::Half(values) => {
            pad(input, output, stride, buffers.planes, buffers.input, values, |half| half)
        }
        Output::Full(values) => pad(input, output, stride, buffers.planes, buffers.input, values, f16::widen),
    }
}

fn pad<T: Copy + Default>(
    input: Shape,
    output: Shape,
    stride: usize,
    strides: Planes,
    from: &[u16],
    to: &mut [T],
    convert: impl Fn(u16) -> T,
) {
    let (width, height, stride) = (input.width as usize, input.height as usize, stride.max(1));
    let pixels = output.pixels();
    let before = output.channels.saturating_sub(input.channels) as usize / 2;
    let planes = to.chunks_mut(strides.output(output));
    let mut planes = planes.filter_map(|plane| plane.get_mut(..pixels));
    planes.by_ref().take(before).for_each(|plane| plane.fill(T::default()));
    let inputs = from.chunks(strides.input(input)).take(input.channels as usize);
    for (from, to) in inputs.zip(planes.by_ref()) {
        let rows = from.chunks_exact(width.max(1)).take(height).step_by(stride);
        for (from, to) in rows.zip(to.chunks_exact_mut((output.width as usize).max(1))) {
            from.iter().step_by(stride).zip(to).for_each(|(from, to)| *to = convert(*from));
        }
    }
    planes.for_each(|plane| plane.fill(T::default()));
}
