//! What tests share, in this crate and in those above it.

// Each takes a part of it.
#![allow(dead_code)]

use std::collections::BTreeMap;

use lrpet_network::export::{
    Card, Exported, Folded, LayerWeights, Machine, Precision, Request, Samples, export,
};
use lrpet_network::lrpet::{RankPlan, bn_scale};
use lrpet_network::{Checkpoint, Dataset, Network, Normalization};
use lrpet_runtime::model::{
    Activation, Concat, Conv, InputKind, Inputs, Linear, Op, OutputKind, PadShortcut, Pool, PoolKind, Shape,
    Weights, Window,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Means and deviations of up to three channels.
pub fn normalization(channels: usize) -> Normalization {
    Normalization {
        mean: vec![0.4, 0.5, 0.3][..channels].to_vec(),
        std: vec![0.3, 0.25, 0.2][..channels].to_vec(),
    }
}

/// A card.
pub fn card() -> Card {
    let classes = (0..5).map(|class| format!("class {class}")).collect();
    Card {
        dataset: "noise".into(),
        classes,
        prune: "0.6".into(),
        command: "lrpet \"test\"".into(),
        ..Card::default()
    }
}

/// The model of weights drawn by a seed.
pub fn exported(network: &Network, plan: &RankPlan, data: &Dataset, machine: &dyn Machine) -> Exported {
    exported_from(network, &Checkpoint::random(network, 3), plan, data, machine)
}

/// The model of a checkpoint.
pub fn exported_from(
    network: &Network,
    checkpoint: &Checkpoint,
    plan: &RankPlan,
    data: &Dataset,
    machine: &dyn Machine,
) -> Exported {
    let normalization = normalization(network.input.channels as usize);
    let request = Request {
        network,
        checkpoint,
        plan,
        energy_transfer: false,
        normalization: &normalization,
        card: &card(),
        precision: Precision::Half,
        samples: Some(Samples::Images { data, machine }),
    };
    export(&request).unwrap()
}

/// Largest difference as a share of the largest of `b` (at least 1).
pub fn difference(a: impl IntoIterator<Item = f64>, b: &[f64]) -> f64 {
    let scale = b.iter().fold(1.0_f64, |most, value| most.max(value.abs()));
    a.into_iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / scale
}

/// A network with every operation and every liberty of a window, weights drawn by `seed`.
pub fn every_operation(seed: u64) -> Folded {
    let window = |kernel, stride, padding| Window { kernel, stride, padding };
    let conv = |name: &str, input, out_channels, window, weights, residual, activation| {
        Op::Conv(Conv { name: name.into(), input, out_channels, window, weights, residual, activation })
    };
    let (pair, none) = (|rank| Weights::Pair { rank }, Activation::None);
    let ops = vec![
        // 3×11×9 → 6×6×9: another stride and padding on each axis.
        conv("a", 0, 6, window([3, 2], [2, 1], [1, 1, 2, 0]), Weights::Dense, None, Activation::Relu),
        conv("b", 1, 6, window([3, 3], [1, 1], [1; 4]), Weights::Depthwise, None, Activation::Relu6),
        conv("c", 2, 6, window([3, 3], [1, 1], [1; 4]), pair(2), Some(1), none),
        Op::Add { inputs: [3, 2], activation: Activation::Relu },
        // 6×6×9 → 6×3×4.
        Op::Pool(Pool { input: 4, kind: PoolKind::Max, window: window([3, 3], [2, 2], [1, 0, 0, 0]) }),
        Op::PadShortcut(PadShortcut { input: 4, out_channels: 9, stride: 2 }),
        Op::Pool(Pool { input: 6, kind: PoolKind::Average, window: window([3, 2], [2, 3], [1, 0, 1, 1]) }),
        conv("d", 5, 7, window([1, 1], [1, 1], [0; 4]), pair(3), None, none),
        conv("e", 8, 9, window([3, 3], [2, 3], [1, 1, 1, 1]), Weights::Dense, None, none),
        Op::Add { inputs: [9, 7], activation: none },
        Op::Concat(Concat { inputs: Inputs::new(&[10, 7, 9]).unwrap(), out_channels: 27 }),
        Op::GlobalAveragePool { input: 11 },
        Op::Linear(Linear {
            name: "f".into(),
            input: 12,
            out_features: 8,
            weights: pair(2),
            activation: Activation::Relu,
        }),
        Op::Linear(Linear {
            name: "g".into(),
            input: 13,
            out_features: 5,
            weights: Weights::Dense,
            activation: none,
        }),
    ];
    let input = Shape::new(3, 11, 9);
    let mut network = Folded {
        input,
        input_kind: InputKind::Picture,
        output_kind: OutputKind::Classes,
        classes: 5,
        normalization: normalization(3),
        ops,
        weights: BTreeMap::new(),
    };
    let shapes = network.value_shapes();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = |count: usize, fan: usize| -> Vec<f32> {
        let bound = (3.0 / fan as f32).sqrt();
        (0..count).map(|_| rng.random_range(-bound..bound)).collect()
    };
    for (op, output) in network.ops.iter().zip(&shapes[1..]) {
        let (weights, taps) = match op {
            Op::Conv(conv) => (conv.weights, conv.window.taps() as usize),
            Op::Linear(linear) => (linear.weights, 1),
            _ => continue,
        };
        let (n, c) = (output.channels as usize, shapes[usize::from(op.inputs().first())].channels as usize);
        let (rows, fan) = match weights {
            Weights::Dense => (n, c * taps),
            Weights::Depthwise => (n, taps),
            Weights::Pair { rank } => (rank as usize, c * taps),
        };
        let weight = draw(rows * fan, fan);
        let expand = matches!(weights, Weights::Pair { .. }).then(|| draw(n * rows, rows));
        let layer = LayerWeights::new(weight, expand, draw(n, 10));
        network.weights.insert(op.name().to_owned(), layer);
    }
    network
}

/// A weight (`rows` × `columns`) with a decaying spectrum, as trained ones have, and a scale of mixed sign.
pub fn decaying(rows: usize, columns: usize, seed: u64) -> (Vec<f32>, Vec<f64>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut normal = |scale: f32| scale * ((0..6).map(|_| rng.random::<f32>()).sum::<f32>() - 3.0);
    let mut weight = vec![0.0_f32; rows * columns];
    for direction in 0..rows.min(columns) {
        let scale = 0.8_f32.powi(direction as i32);
        let left: Vec<f32> = (0..rows).map(|_| normal(scale)).collect();
        let right: Vec<f32> = (0..columns).map(|_| normal(0.2)).collect();
        for (row, left) in weight.chunks_exact_mut(columns).zip(left) {
            row.iter_mut().zip(&right).for_each(|(value, right)| *value += left * right);
        }
    }
    let gamma: Vec<f32> = (0..rows).map(|_| normal(1.0)).collect();
    let gamma: Vec<f32> = gamma.iter().map(|g| if g.abs() < 0.3 { 0.5 } else { *g }).collect();
    let variance: Vec<f32> = (0..rows).map(|_| normal(1.0).abs() + 0.1).collect();
    (weight, bn_scale(&gamma, &variance, 1e-5))
}
