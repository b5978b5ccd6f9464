//! Addition and the parameter-free shortcut.

use super::{Buffers, FINISH, Output, Primitives, finish};
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

pub(super) fn pad_shortcut(input: Shape, output: Shape, stride: usize, buffers: &mut Buffers<'_>) {
    let (width, height) = (input.width as usize, input.height as usize);
    let before = (output.channels - input.channels) as usize / 2;
    let pixels = output.pixels();
    let Output::Half(values) = &mut buffers.output else { return };
    let mut planes = values.chunks_exact_mut(pixels);
    planes.by_ref().take(before).for_each(|plane| plane.fill(0));
    for (from, to) in buffers.input.chunks_exact(width * height).zip(planes.by_ref()) {
        let rows = from.chunks_exact(width).step_by(stride);
        for (from, to) in rows.zip(to.chunks_exact_mut(output.width as usize)) {
            from.iter().step_by(stride).zip(to).for_each(|(from, to)| *to = *from);
        }
    }
    planes.for_each(|plane| plane.fill(0));
}
