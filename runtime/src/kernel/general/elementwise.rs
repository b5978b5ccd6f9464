//! Value by value: arithmetic with broadcasting, scale and bias, activations.

use super::{Map, Operands, Output, each, finish, sizes};
use crate::kernel::f16;
use crate::model::{Activate, Activation, Binary, BinaryKind};

/// Where a value lies that is repeated along the axes where it has size 1.
struct Repeated<'a> {
    map: Map<'a>,
    /// From one index to the next along each axis; 0 where it is repeated.
    strides: [usize; 3],
}

impl<'a> Repeated<'a> {
    fn new(map: Map<'a>) -> Self {
        let [channels, height, width] = map.sizes();
        let stride = |size: usize, stride: usize| if size == 1 { 0 } else { stride };
        Self { map, strides: [stride(channels, height * width), stride(height, width), stride(width, 1)] }
    }

    /// A row's first value, and the distance of its values.
    fn row(&self, channel: usize, y: usize) -> (usize, usize) {
        (channel * self.strides[0] + y * self.strides[1], self.strides[2])
    }
}

/// Values of a row that are computed together.
const TOGETHER: usize = 32;

pub(super) fn binary(layer: &Binary, operands: &Operands<'_>, output: &mut Output<'_>) {
    let [channels, height, width] = sizes(operands.output);
    let a = Repeated::new(operands.input);
    let b = Repeated::new(operands.second.unwrap_or(operands.input));
    for channel in 0..channels {
        for y in 0..height {
            let ((from_a, step_a), (from_b, step_b)) = (a.row(channel, y), b.row(channel, y));
            for x in (0..width).step_by(TOGETHER) {
                let count = TOGETHER.min(width - x);
                let pair =
                    |i: usize| (a.map.get(from_a + (x + i) * step_a), b.map.get(from_b + (x + i) * step_b));
                let mut values = [0.0; TOGETHER];
                let some = values.get_mut(..count).unwrap_or_default();
                let all = some.iter_mut().enumerate();
                match layer.kind {
                    BinaryKind::Add => all.for_each(|(i, to)| *to = pair(i).0 + pair(i).1),
                    BinaryKind::Sub => all.for_each(|(i, to)| *to = pair(i).0 - pair(i).1),
                    BinaryKind::Mul => all.for_each(|(i, to)| *to = pair(i).0 * pair(i).1),
                    BinaryKind::Div => all.for_each(|(i, to)| *to = pair(i).0 / pair(i).1),
                }
                finish(output, (channel * height + y) * width + x, some, layer.activation);
            }
        }
    }
}

pub(super) fn affine(activation: Activation, operands: &Operands<'_>, output: &mut Output<'_>) {
    let pixels = operands.input.shape.pixels().max(1);
    let parameters = operands.scale.iter().zip(operands.bias);
    for ((channel, plane), (scale, bias)) in operands.input.values.chunks(pixels).enumerate().zip(parameters)
    {
        for (i, some) in plane.chunks(TOGETHER).enumerate() {
            let mut values = [0.0; TOGETHER];
            values.iter_mut().zip(some).for_each(|(to, half)| *to = f16::widen(*half) * scale + bias);
            let values = values.get_mut(..some.len()).unwrap_or_default();
            finish(output, channel * pixels + i * TOGETHER, values, activation);
        }
    }
}

pub(super) fn activation(layer: &Activate<&str>, operands: &Operands<'_>, output: &mut Output<'_>) {
    let input = operands.input;
    let pixels = input.shape.pixels().max(1);
    if layer.slope.is_none() {
        return each(output, input.values.len(), layer.activation, |i| input.get(i));
    }
    each(output, input.values.len(), Activation::None, |i| {
        let slope = operands.scale.get(i / pixels).copied().unwrap_or(1.0);
        let value = input.get(i);
        if value < 0.0 { value * slope } else { value }
    });
}
