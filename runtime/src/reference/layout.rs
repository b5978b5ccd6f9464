//! Operations that move values, and where the pixels of a resized plane lie.

use std::vec::Vec;

use super::{Bounded, Map, at, fill};
use crate::model::{BlockOrder, Coordinates, Nearest, Op, Pad, PadMode, Resize, ResizeMode, Shape};

/// A place in a padded map; `None` where it holds the constant.
pub(super) fn padded(pad: &Pad, input: Map<'_>, place: [i64; 3]) -> Option<f64> {
    let sizes = input.1.axes().map(i64::from);
    let mut from = [0; 3];
    for axis in 0..3 {
        let (place, size) = (place[axis] - i64::from(pad.before[axis]), sizes[axis]);
        from[axis] = match pad.mode {
            PadMode::Constant(_) => place,
            PadMode::Edge => place.clamp(0, size - 1),
            PadMode::Reflect if place < 0 => -place,
            PadMode::Reflect if place >= size => 2 * (size - 1) - place,
            PadMode::Reflect => place,
        };
    }
    at(input, from)
}

/// Along one axis (0 down, 1 across) of `length` pixels, the two of which pixel `index` of the `resized` ones is made, and their
/// shares; `index` is below `resized`, and neither number 0.
pub fn sample(layer: &Resize, axis: usize, index: i64, [length, resized]: [u32; 2]) -> [(i64, f64); 2] {
    let (at, scale) = (index as f32, layer.scales[axis]);
    let place = match layer.coordinates {
        Coordinates::HalfPixel => (at + 0.5) / scale - 0.5,
        Coordinates::PytorchHalfPixel if resized > 1 => (at + 0.5) / scale - 0.5,
        Coordinates::AlignCorners if resized > 1 => at * (length - 1) as f32 / (resized - 1) as f32,
        Coordinates::Asymmetric => at / scale,
        _ => 0.0,
    };
    let last = i64::from(length) - 1;
    match layer.mode {
        ResizeMode::Nearest(rounding) => {
            let nearest = match rounding {
                Nearest::RoundDown => (place - 0.5).ceil(),
                Nearest::RoundUp => (place + 0.5).floor(),
                Nearest::Floor => place.floor(),
                Nearest::Ceil => place.ceil(),
            };
            [((nearest as i64).clamp(0, last), 1.0), (0, 0.0)]
        }
        ResizeMode::Linear => {
            let place = f64::from(place).clamp(0.0, last as f64);
            let below = place.floor();
            [(below as i64, 1.0 - (place - below)), ((below as i64 + 1).min(last), place - below)]
        }
    }
}

/// The values of an operation that computes nothing.
pub(super) fn moved(op: &Op<impl AsRef<str>>, inputs: &[Map<'_>], output: Shape) -> Vec<Bounded> {
    let input = inputs[0];
    let channels = i64::from(input.1.channels);
    let from = |place: [i64; 3]| Bounded::exact(at(input, place).unwrap_or(f64::NAN));
    match op {
        Op::Reshape(_) => input.0.iter().copied().map(Bounded::exact).collect(),
        Op::Slice(slice) => fill(output, |place| {
            from(
                [0, 1, 2]
                    .map(|axis| i64::from(slice.start[axis]) + place[axis] * i64::from(slice.step[axis])),
            )
        }),
        // [c] as [groups, each], transposed.
        Op::Shuffle(shuffle) => {
            let groups = i64::from(shuffle.groups);
            fill(output, |[c, y, x]| from([(c % groups) * (channels / groups) + c / groups, y, x]))
        }
        Op::DepthToSpace(blocks) => {
            let block = i64::from(blocks.block);
            let depth = channels / (block * block);
            fill(output, |[c, y, x]| {
                let (dy, dx) = (y % block, x % block);
                let channel = match blocks.order {
                    BlockOrder::BlockFirst => dy * block * depth + dx * depth + c,
                    BlockOrder::ChannelFirst => c * block * block + dy * block + dx,
                };
                from([channel, y / block, x / block])
            })
        }
        Op::SpaceToDepth(blocks) => {
            let block = i64::from(blocks.block);
            fill(output, |[c, y, x]| {
                let (dy, dx, channel) = match blocks.order {
                    BlockOrder::BlockFirst => (c / channels / block, c / channels % block, c % channels),
                    BlockOrder::ChannelFirst => (c / block % block, c % block, c / block / block),
                };
                from([channel, y * block + dy, x * block + dx])
            })
        }
        Op::Transpose(transpose) => fill(output, |place| {
            let mut own = [0; 3];
            for (to, axis) in transpose.axes.into_iter().enumerate() {
                own[axis.index()] = place[to];
            }
            from(own)
        }),
        Op::Join(join) => {
            let axis = join.axis.index();
            fill(output, |mut place| {
                for &part in inputs {
                    let size = i64::from(part.1.axes()[axis]);
                    if place[axis] < size {
                        return Bounded::exact(at(part, place).unwrap_or(f64::NAN));
                    }
                    place[axis] -= size;
                }
                Bounded::exact(f64::NAN)
            })
        }
        // One after another.
        Op::Outputs(_) => {
            inputs.iter().flat_map(|(values, _)| values.iter().copied().map(Bounded::exact)).collect()
        }
        _ => Vec::new(),
    }
}
