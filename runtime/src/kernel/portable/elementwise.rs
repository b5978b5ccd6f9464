//! Addition, copying and the parameter-free shortcut.

use super::{Buffers, FINISH, Output, Primitives, f16, finish};
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
    let (from, to) = (buffers.planes.input(input), buffers.planes.output(output));
    let (height, width, stride) = (output.height as usize, output.width as usize, stride.max(1));
    let before = output.channels.saturating_sub(input.channels) as usize / 2;
    for channel in 0..output.channels as usize {
        let source = channel.checked_sub(before).filter(|source| *source < input.channels as usize);
        let plane = source.and_then(|source| buffers.input.get(source * from..));
        for y in 0..height {
            let row = plane.and_then(|plane| plane.get(y * stride * input.width as usize..));
            let at = channel * to + y * width;
            match &mut buffers.output {
                Output::Half(values) => pad(row, values.get_mut(at..at + width), stride, |half| half),
                Output::Full(values) => pad(row, values.get_mut(at..at + width), stride, logit),
            }
        }
    }
}

/// A value as a logit: few are, so that one copy of the conversion will do.
#[inline(never)]
fn logit(half: u16) -> f32 {
    f16::widen(half)
}

/// Every `stride`-th value of a row, or zeros where there is none.
#[inline(never)]
fn pad<T: Copy + Default>(
    from: Option<&[u16]>,
    to: Option<&mut [T]>,
    stride: usize,
    convert: impl Fn(u16) -> T,
) {
    let to = to.unwrap_or_default();
    match from {
        Some(from) => to.iter_mut().zip(from.iter().step_by(stride)).for_each(|(to, x)| *to = convert(*x)),
        None => to.fill(T::default()),
    }
}
