//! Operations that move values and compute nothing.

use super::{Map, Operands, Output, set, sizes};
use crate::kernel::f16;
use crate::model::{Axis, BlockOrder, Blocks, Op, Pad, PadMode, Shape};

/// Stores a value as it is.
#[inline(always)]
fn copy(output: &mut Output<'_>, index: usize, half: u16) {
    match output {
        Output::Half(values) => values.get_mut(index).into_iter().for_each(|to| *to = half),
        Output::Full(values) => values.get_mut(index).into_iter().for_each(|to| *to = f16::widen(half)),
    }
}

/// Moves every value of the result from where `op` says that it lies.
pub(super) fn run(op: &Op<&str>, operands: &Operands<'_>, output: &mut Output<'_>) {
    let [channels, height, width] = sizes(operands.output);
    let input = operands.input;
    let [_, rows, columns] = input.sizes();
    let constant = match op {
        Op::Pad(Pad { mode: PadMode::Constant(value), .. }) => *value,
        _ => 0.0,
    };
    let mut to = 0;
    for c in 0..channels {
        for y in 0..height {
            for x in 0..width {
                // The values of a reshaped map stay where they are.
                let from = match (op, source(op, input.sizes(), [c, y, x])) {
                    (Op::Reshape(_), _) => Some(to),
                    (_, Some([c, y, x])) => Some((c * rows + y) * columns + x),
                    (_, None) => None,
                };
                match from.and_then(|from| input.values.get(from)) {
                    Some(half) => copy(output, to, *half),
                    None => set(output, to, f32_of(constant)),
                }
                to += 1;
            }
        }
    }
}

/// A constant as it is stored.
fn f32_of(constant: f32) -> f32 {
    f16::widen(f16::narrow(constant))
}

/// Where a value of the result lies in the input, whose sizes are `sizes`; `None` where it is a constant.
#[inline(always)]
fn source(op: &Op<&str>, sizes: [usize; 3], at: [usize; 3]) -> Option<[usize; 3]> {
    let [c, y, x] = at;
    match op {
        Op::Slice(slice) => {
            let along = |axis: usize, at: usize| {
                let of = |values: [u32; 3]| values.get(axis).copied().unwrap_or(0) as usize;
                of(slice.start) + at * of(slice.step)
            };
            Some([along(0, c), along(1, y), along(2, x)])
        }
        Op::Shuffle(shuffle) => {
            let groups = (shuffle.groups as usize).max(1);
            let each = (sizes[0] / groups).max(1);
            Some([(c % groups) * each + c / groups, y, x])
        }
        Op::Pad(pad) => {
            let along = |axis: usize, at: usize, size: usize| {
                padded(at, pad.before.get(axis).copied().unwrap_or(0) as usize, size, pad.mode)
            };
            Some([along(0, c, sizes[0])?, along(1, y, sizes[1])?, along(2, x, sizes[2])?])
        }
        Op::DepthToSpace(blocks) => {
            let block = usize::from(blocks.block).max(1);
            let depth = (sizes[0] / (block * block).max(1)).max(1);
            let channel = channel(blocks, depth, c, y % block, x % block);
            Some([channel, y / block, x / block])
        }
        Op::SpaceToDepth(blocks) => {
            let block = usize::from(blocks.block).max(1);
            let (place, channel) = match blocks.order {
                BlockOrder::BlockFirst => (c / sizes[0].max(1), c % sizes[0].max(1)),
                BlockOrder::ChannelFirst => (c % (block * block).max(1), c / (block * block).max(1)),
            };
            Some([channel, y * block + place / block, x * block + place % block])
        }
        Op::Transpose(transpose) => {
            let mut from = [0; 3];
            for (axis, at) in transpose.axes.into_iter().zip(at) {
                from.get_mut(axis.index()).into_iter().for_each(|from| *from = at);
            }
            Some(from)
        }
        _ => Some(at),
    }
}

/// The channel of a block's pixel among all that hold blocks.
fn channel(blocks: &Blocks, depth: usize, c: usize, dy: usize, dx: usize) -> usize {
    let block = usize::from(blocks.block);
    match blocks.order {
        BlockOrder::BlockFirst => (dy * block + dx) * depth + c,
        BlockOrder::ChannelFirst => (c * block + dy) * block + dx,
    }
}

/// The index in an axis of `size` that stands at `at` behind `before` padding.
fn padded(at: usize, before: usize, size: usize, mode: PadMode) -> Option<usize> {
    match (at.checked_sub(before), mode) {
        (Some(inside), _) if inside < size => Some(inside),
        (_, PadMode::Constant(_)) => None,
        (None, PadMode::Reflect) => Some((before - at).min(size - 1)),
        (Some(beyond), PadMode::Reflect) => Some((2 * size).saturating_sub(2 + beyond)),
        (None, PadMode::Edge) => Some(0),
        (Some(_), PadMode::Edge) => Some(size - 1),
    }
}

/// Copies a part of a join to where it lies in the result, of shape `whole`: its indices along the axis begin at `first`.
pub(crate) fn join(axis: Axis, part: Map<'_>, first: usize, whole: Shape, output: &mut Output<'_>) {
    let ([_, height, width], [part_channels, part_height, part_width]) = (sizes(whole), part.sizes());
    let [c0, y0, x0] = match axis {
        Axis::Channel => [first, 0, 0],
        Axis::Height => [0, first, 0],
        Axis::Width => [0, 0, first],
    };
    let mut rows = part.values.chunks_exact(part_width.max(1));
    for c in 0..part_channels {
        for y in 0..part_height {
            let to = ((c0 + c) * height + y0 + y) * width + x0;
            let row = rows.next().unwrap_or_default();
            row.iter().enumerate().for_each(|(x, half)| copy(output, to + x, *half));
        }
    }
}
