//! Programs of random and of usual networks.

mod layers;
mod streams;

use std::vec::Vec;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::model::{
    Activation, Concat, Conv, FEW_INPUTS, Header, Inputs, Linear, Op, PadShortcut, Pool, PoolKind, Shape,
    Value, Weights, Window,
};

/// A program in the making; names are the indices.
struct Builder {
    ops: Vec<Op<String>>,
    shapes: Vec<Shape>,
    unread: Vec<Value>,
}

impl Builder {
    fn new(input: Shape) -> Self {
        Self { ops: Vec::new(), shapes: vec![input], unread: vec![0] }
    }

    fn push(&mut self, op: Op<String>) -> Value {
        let inputs = op.inputs();
        self.unread.retain(|value| !inputs.values().contains(value));
        self.shapes.push(op.output_shape(self.shape(inputs.first())).unwrap());
        self.ops.push(op);
        self.unread.push(self.ops.len() as Value);
        self.ops.len() as Value
    }

    fn shape(&self, value: Value) -> Shape {
        self.shapes[usize::from(value)]
    }

    fn conv(&mut self, input: Value, n: u32, window: Window, rank: u32, residual: Option<Value>) -> Value {
        let weights = if rank == 0 { Weights::Dense } else { Weights::Pair { rank } };
        let name = self.ops.len().to_string();
        let activation = Activation::Relu;
        self.push(Op::Conv(Conv { name, input, out_channels: n, window, weights, residual, activation }))
    }

    /// Joins what is unread, and adds a classifier.
    fn bytes(mut self) -> Vec<u8> {
        while self.unread.len() > 1 {
            let (a, b) = (self.unread[0], self.unread[1]);
            let a = self.push(Op::GlobalAveragePool { input: a });
            let b = self.push(Op::GlobalAveragePool { input: b });
            let a = self.conv(a, 8, Window::square(1, 1, 0), 0, None);
            let b = self.conv(b, 8, Window::square(1, 1, 0), 0, None);
            self.push(Op::Add { inputs: [a, b], activation: Activation::None });
        }
        let pooled = self.push(Op::GlobalAveragePool { input: self.unread[0] });
        let (weights, activation) = (Weights::Dense, Activation::None);
        self.push(Op::Linear(Linear {
            name: "fc".into(),
            input: pooled,
            out_features: 10,
            weights,
            activation,
        }));
        let header = Header::classifier(self.shapes[0], &[0.0], &[1.0], 10);
        let header = header.and_then(|header| header.of_ops(&self.ops)).expect("a few operations");
        let mut buffer = vec![0; 1 << 16];
        let mut at = postcard::to_slice(&header, &mut buffer).unwrap().len();
        for op in &self.ops {
            at += postcard::to_slice(op, &mut buffer[at..]).unwrap().len();
        }
        buffer.truncate(at);
        buffer
    }
}

fn random(seed: u64, ops: usize) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut net =
        Builder::new(Shape::new(rng.random_range(1..5), rng.random_range(1..30), rng.random_range(1..30)));
    for _ in 0..ops {
        let recent = net.shapes.len().saturating_sub(5)..net.shapes.len();
        let input = rng.random_range(recent) as Value;
        let shape = net.shape(input);
        match rng.random_range(0..10) {
            0 => net.push(Op::Pool(Pool { input, kind: PoolKind::Max, window: Window::square(1, 2, 0) })),
            1 => {
                net.push(Op::PadShortcut(PadShortcut { input, out_channels: shape.channels + 3, stride: 1 }))
            }
            2 | 3 => {
                let same =
                    (0..net.shapes.len()).rev().find(|&v| net.shapes[v] == shape && v != usize::from(input));
                let other = same.filter(|v| v + 6 > net.shapes.len()).unwrap_or(usize::from(input)) as Value;
                net.push(Op::Add { inputs: [input, other], activation: Activation::Relu })
            }
            4 => {
                let fits = |v: &usize| Shape { channels: shape.channels, ..net.shapes[*v] } == shape;
                let others = (0..net.shapes.len()).rev().filter(fits).map(|v| v as Value);
                let count = rng.random_range(0..FEW_INPUTS);
                let joined: Vec<Value> = [input].into_iter().chain(others.take(count)).collect();
                let out_channels = joined.iter().map(|&v| net.shape(v).channels).sum();
                net.push(Op::Concat(Concat { inputs: Inputs::new(&joined).unwrap(), out_channels }))
            }
            _ => {
                let (n, k) = (rng.random_range(1..40), rng.random_range(0..2));
                let window = Window::square(2 * k + 1, 1, k);
                let residual = (net.shapes.len().saturating_sub(6)..net.shapes.len())
                    .find(|&v| net.shapes[v] == Shape { channels: net.shapes[v].channels, ..shape });
                let residual = residual.filter(|_| rng.random()).map(|v| v as Value);
                let n = residual.map_or(n, |v| net.shape(v).channels);
                net.conv(input, n, window, rng.random_range(0..6), residual)
            }
        };
        if net.unread.len() > 8 {
            break;
        }
    }
    net.bytes()
}

/// Basic blocks with projections, all layers that pay pairs of a fraction of their rank where `low_rank`.
fn resnet(blocks: u32, low_rank: bool) -> Vec<u8> {
    let mut net = Builder::new(Shape::new(3, 32, 32));
    let rank = |c: u32, n: u32, k: u32| if low_rank { n.min(c * k * k) * 2 / 5 } else { 0 };
    let mut x = net.conv(0, 16, Window::square(3, 1, 1), rank(3, 16, 3), None);
    let mut c = 16;
    for (stage, n) in [16, 32, 64].into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let shortcut =
                if c == n { x } else { net.conv(x, n, Window::square(1, 2, 0), rank(c, n, 1), None) };
            let middle = net.conv(x, n, Window::square(3, stride, 1), rank(c, n, 3), None);
            x = net.conv(middle, n, Window::square(3, 1, 1), rank(n, n, 3), Some(shortcut));
            c = n;
        }
    }
    net.bytes()
}
