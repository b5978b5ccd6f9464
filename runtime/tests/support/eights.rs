//! Networks whose layers have weights of 8 bits, and the same with these weights as f16.

use half::f16;
use lrpet_runtime::kernel::THIN_SCALE;
use lrpet_runtime::model::{Needs, Op, Weights};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use safetensors::Dtype;

use super::Network;

/// A scale that weights of 8 bits may have, near the one given.
fn legal(scale: f32) -> f32 {
    let exponent = scale.log2().floor();
    ((scale / exponent.exp2() * 8.0).round() / 8.0 * exponent.exp2()).clamp(1.0 / 2_097_152.0, 480.0)
}

/// Gives about three of four layers that may have them weights of 8 bits: in `net` itself, and as f16 in what it returns.
pub fn eights(net: &mut Network, rng: &mut ChaCha8Rng) -> Network {
    let mut twin = Network::new(net.header.input, net.header.classes, 0);
    (twin.header, twin.ops, twin.shapes) = (net.header, net.ops.clone(), net.shapes.clone());
    twin.weights = net.weights.clone();
    for op in twin.ops.clone() {
        let (name, weights) = match &op {
            Op::Conv(conv) if conv.weights != Weights::Depthwise => (&conv.name, conv.weights),
            Op::Linear(linear) => (&linear.name, linear.weights),
            _ => continue,
        };
        if rng.random_range(0..4) == 0 {
            continue;
        }
        net.header.needs = net.header.needs.and(Needs::EIGHTS);
        let (first, last, bias) = match weights {
            Weights::Pair { .. } => (Some("thin.weight"), "expand.weight", "expand.bias"),
            _ => (None, "weight", "bias"),
        };
        let mut replace = |net: &mut Network, suffix: &str, scales: Option<&[f32]>| {
            let key = format!("{name}.{suffix}");
            let (dtype, shape, data) = net.weights.get_mut(&key).unwrap();
            let (rows, count) = (shape[0], data.len() / 2);
            let values: Vec<i8> = (0..count).map(|_| rng.random_range(-127..=127)).collect();
            let scale = |i: usize| scales.map_or(THIN_SCALE, |scales| scales[i / (count / rows)]);
            let halves =
                values.iter().enumerate().map(|(i, value)| f16::from_f32(f32::from(*value) * scale(i)));
            twin.weights.get_mut(&key).unwrap().2 = halves.flat_map(f16::to_le_bytes).collect();
            (*dtype, *data) = (Dtype::I8, values.iter().map(|value| *value as u8).collect());
        };
        if let Some(first) = first {
            replace(net, first, None);
        }
        let key = format!("{name}.{bias}");
        let (_, shape, data) = net.weights.get_mut(&key).unwrap();
        let scales: Vec<f32> = (0..shape[0]).map(|row| legal(2e-4 * (1.0 + row as f32 / 3.0))).collect();
        data.extend(scales.iter().flat_map(|scale| scale.to_le_bytes()));
        shape.insert(0, 2);
        replace(net, last, Some(&scales));
    }
    twin
}
