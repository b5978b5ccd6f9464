//! Networks of random operations that streams can have.

use lrpet_runtime::model::{Activation, Op, PadShortcut, Pool, PoolKind, Shape, Value, Weights, Window};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::{Network, concat, conv};

/// Up to 13 operations over a small picture, and the value of the last; some may be read by none.
pub fn layers(rng: &mut ChaCha8Rng) -> (Network, Value) {
    let input = Shape::new(rng.random_range(1..4), rng.random_range(1..24), rng.random_range(1..20));
    let mut net = Network::new(input, 4, rng.random());
    let mut x: Value = 0;
    for at in 0..rng.random_range(1..14) {
        let (name, shape) = (at.to_string(), net.shapes[usize::from(x)]);
        let stride = if rng.random_range(0..4) == 0 { 2 } else { 1 };
        let kernel = rng.random_range(1..=5u16.min(shape.height as u16).min(shape.width as u16));
        // Sides of their own, below the kernel.
        let padding = [0; 4].map(|_: u16| rng.random_range(0..kernel));
        let window = Window { kernel: [kernel; 2], stride: [stride; 2], padding };
        let channels = rng.random_range(1..12);
        // A value of the same shape as the result, made before.
        let same = |net: &Network, shape: Shape| net.shapes.iter().rposition(|other| *other == shape);
        x = match rng.random_range(0..10) {
            0 => {
                let kind = if rng.random() { PoolKind::Max } else { PoolKind::Average };
                net.push(Op::Pool(Pool { input: x, kind, window }))
            }
            1 => net.push(conv(&name, x, shape.channels, window, Weights::Depthwise, None)),
            2 => {
                net.push(Op::PadShortcut(PadShortcut { input: x, out_channels: shape.channels + 1, stride }))
            }
            3 => {
                let other = net.shapes[..usize::from(x)].iter().rposition(|other| *other == shape);
                let inputs = [x, other.map_or(x, |other| other as Value)];
                net.push(Op::Add { inputs, activation: Activation::Relu })
            }
            4 => {
                let fits = |other: &Shape| (other.height, other.width) == (shape.height, shape.width);
                let other = net.shapes.iter().position(fits).map_or(x, |other| other as Value);
                let op = concat(&net, &[x, other, x]);
                net.push(op)
            }
            5 | 6 => {
                let weights = Weights::Pair { rank: rng.random_range(1..5) };
                net.push(conv(&name, x, channels, window, weights, None))
            }
            7 | 8 => {
                // The block's sum: a result of the shape of an earlier value.
                let k = kernel / 2 * 2 + 1;
                let k = if k > shape.height.min(shape.width) as u16 { 1 } else { k };
                let n = net.shapes[usize::from(x.saturating_sub(1))].channels;
                let n = if rng.random() { n } else { shape.channels };
                let residual = same(&net, Shape { channels: n, ..shape }).map(|value| value as Value);
                let window = Window::square(k, 1, k / 2);
                net.push(conv(&name, x, n, window, Weights::Dense, residual))
            }
            _ => net.push(conv(&name, x, channels, window, Weights::Dense, None)),
        };
    }
    (net, x)
}
