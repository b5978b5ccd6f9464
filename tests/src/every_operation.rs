//! One model that holds every operation of the format.

use lrpet_runtime::model::{
    Activation, Concat, Conv, Inputs, Linear, Op, PadShortcut, Pool, PoolKind, Shape, Weights, Window,
};

use crate::random_model::random_model;

/// A model with every operation, rectangular windows, uneven padding, odd sizes, linear layers between maps.
pub fn every_operation() -> Vec<u8> {
    let conv = |name: &str, input, out_channels, window, weights, residual, activation| {
        Op::Conv(Conv { name: name.to_owned(), input, out_channels, window, weights, residual, activation })
    };
    let window = |kernel, stride, padding| Window { kernel, stride, padding };
    let linear = |name: &str, input, out_features, weights, activation| {
        Op::Linear(Linear { name: name.to_owned(), input, out_features, weights, activation })
    };
    let pool = |input, kind, window| Op::Pool(Pool { input, kind, window });
    let concat = |inputs: &[u16], out_channels| {
        Op::Concat(Concat { inputs: Inputs::new(inputs).unwrap(), out_channels })
    };
    let (dense, relu6) = (Weights::Dense, Activation::Relu6);
    let ops = [
        conv("stem", 0, 6, window([5, 3], [2, 1], [2, 0, 1, 2]), dense, None, Activation::Relu),
        conv("pair", 1, 6, Window::square(3, 1, 1), Weights::Pair { rank: 2 }, Some(1), relu6),
        conv(
            "uneven",
            2,
            6,
            window([2, 3], [1, 1], [1, 0, 0, 2]),
            Weights::Pair { rank: 1 },
            Some(2),
            Activation::None,
        ),
        conv("deep", 3, 6, window([3, 1], [1, 2], [1, 0, 1, 0]), Weights::Depthwise, None, Activation::None),
        pool(4, PoolKind::Max, window([3, 2], [2, 2], [1, 0, 0, 1])),
        pool(5, PoolKind::Average, window([3, 2], [1, 1], [2, 0, 0, 1])),
        Op::Add { inputs: [5, 6], activation: Activation::Relu },
        concat(&[7, 5, 6, 5], 24),
        Op::PadShortcut(PadShortcut { input: 8, out_channels: 27, stride: 2 }),
        Op::PadShortcut(PadShortcut { input: 9, out_channels: 27, stride: 1 }),
        Op::GlobalAveragePool { input: 10 },
        linear("hidden", 11, 7, Weights::Pair { rank: 3 }, relu6),
        linear("again", 12, 7, dense, Activation::Relu),
        Op::Add { inputs: [12, 13], activation: Activation::None },
        conv("", 14, 9, Window::square(3, 2, 1), dense, None, Activation::None),
        concat(&[15, 14], 16),
        linear("a layer: 1/2", 16, 5, dense, Activation::None),
    ];
    random_model(Shape::new(3, 15, 11), 5, &ops, 1).unwrap()
}
