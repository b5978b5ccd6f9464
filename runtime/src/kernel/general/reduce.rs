//! What is computed over many values of a map: reductions, softmax, normalisation.

use super::{Map, Operands, Output, set, sizes};
use crate::kernel::activation::exp;
use crate::model::{Normalise, NormaliseOver, Reduce, Reduction};

/// Values of a map some distances apart: along its three axes.
#[derive(Clone, Copy)]
struct Block {
    first: usize,
    counts: [usize; 3],
    strides: [usize; 3],
}

impl Block {
    fn len(&self) -> usize {
        self.counts.iter().product()
    }

    /// Their indices, and where each lies along the first axis.
    fn each(self) -> impl Iterator<Item = usize> {
        let Block { first, counts: [a, b, c], strides: [s, t, u] } = self;
        (0..a).flat_map(move |i| (0..b).flat_map(move |j| (0..c).map(move |k| first + i * s + j * t + k * u)))
    }

    /// Sum of a function of the values, in eight partial sums: short chains of roundings.
    fn sum(self, map: Map<'_>, f: impl Fn(f32) -> f32) -> f32 {
        let mut sums = [0.0f32; 8];
        for (slot, index) in self.each().enumerate() {
            sums.get_mut(slot & 7).into_iter().for_each(|sum| *sum += f(map.get(index)));
        }
        sums.iter().sum()
    }

    fn largest(self, map: Map<'_>) -> f32 {
        self.each().map(|index| map.get(index)).fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a })
    }
}

pub(super) fn reduce(reduce: &Reduce, operands: &Operands<'_>, output: &mut Output<'_>) {
    let counts = operands.input.sizes();
    let [_, height, width] = counts;
    let strides = [height * width, width, 1];
    let mut over = counts;
    over.iter_mut().zip(reduce.axes).filter(|(_, over)| !over).for_each(|(count, _)| *count = 1);
    let [channels, rows, columns] = sizes(operands.output);
    for i in 0..channels * rows * columns {
        let (pixel, channel) = (i % (rows * columns).max(1), i / (rows * columns).max(1));
        let (row, column) = (pixel / columns.max(1), pixel % columns.max(1));
        let first = channel * strides[0] + row * strides[1] + column;
        let block = Block { first, counts: over, strides };
        let value = match reduce.kind {
            Reduction::Max => block.largest(operands.input),
            Reduction::Sum => block.sum(operands.input, |x| x),
            Reduction::Mean => block.sum(operands.input, |x| x) / block.len().max(1) as f32,
        };
        set(output, i, value);
    }
}

pub(super) fn softmax(log: bool, input: Map<'_>, output: &mut Output<'_>) {
    let [channels, height, width] = input.sizes();
    let pixels = height * width;
    for pixel in 0..pixels {
        let block = Block { first: pixel, counts: [channels, 1, 1], strides: [pixels, 0, 0] };
        let largest = block.largest(input);
        let sum = block.sum(input, |x| exp(x - largest));
        let share = if log { libm::logf(sum) } else { 1.0 / sum };
        for index in block.each() {
            let x = input.get(index) - largest;
            set(output, index, if log { x - share } else { exp(x) * share });
        }
    }
}

pub(super) fn normalise(layer: &Normalise<&str>, operands: &Operands<'_>, output: &mut Output<'_>) {
    let input = operands.input;
    let [channels, height, width] = input.sizes();
    let pixels = (height * width).max(1);
    let groups = match layer.over {
        NormaliseOver::Channels => pixels,
        NormaliseOver::Plane => channels,
        NormaliseOver::All => 1,
        NormaliseOver::Groups(groups) => (groups as usize).max(1),
    };
    let each = channels.checked_div(groups).unwrap_or(1).max(1);
    for group in 0..groups {
        let block = match layer.over {
            NormaliseOver::Channels => {
                Block { first: group, counts: [channels, 1, 1], strides: [pixels, 0, 0] }
            }
            _ => Block { first: group * each * pixels, counts: [each, pixels, 1], strides: [pixels, 1, 0] },
        };
        let count = block.len().max(1) as f32;
        let mean = block.sum(input, |x| x) / count;
        let variance = block.sum(input, |x| (x - mean) * (x - mean)) / count;
        let factor = 1.0 / libm::sqrtf(variance + layer.epsilon);
        for index in block.each() {
            let channel = index / pixels;
            let [scale, bias] =
                [operands.scale, operands.bias].map(|values| values.get(channel).copied().unwrap_or(0.0));
            set(output, index, (input.get(index) - mean) * factor * scale + bias);
        }
    }
}
