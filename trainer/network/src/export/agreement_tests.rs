//! Broken kernels do not agree, wherever they break.

use std::collections::BTreeMap;

use half::f16;
use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::kernel::{Isa, Method, WinogradTile};
use lrpet_runtime::model::{Activation, Conv, Op, Shape, Weights};

use super::agreement::{Reference, Trace};
use super::file::serialize;
use super::reference::{activate, activation, sums};
use super::{ExportError, Folded, checked};
use crate::lrpet::RankPlan;
use crate::support::{every_operation, normalization};
use crate::{Checkpoint, Dataset, Network};

/// What is wrong with a filter of a layer.
#[derive(Clone, Copy, Debug)]
enum Defect {
    /// One weight is passed over.
    Tap,
    /// Two input channels, or those of two filters, are taken for each other.
    Channel,
    Bias,
}

/// The filter whose results say most, among those that are `heard`: most of its values are not cut by the activation.
fn liveliest(op: &Op<String>, values: &[f64], pixels: usize, heard: impl Fn(usize) -> bool) -> usize {
    let alive = |plane: &[f64]| match activation(op) {
        Activation::None => plane.len(),
        Activation::Relu => plane.iter().filter(|value| **value > 0.0).count(),
        _ => plane.iter().filter(|value| **value > 0.0 && **value < 6.0).count(),
    };
    let planes = values.chunks_exact(pixels).enumerate().filter(|(plane, _)| heard(*plane));
    planes.max_by_key(|(_, plane)| alive(plane)).map_or(0, |(plane, _)| plane)
}

/// `network` with a defect in one filter of operation `index`; `None` where it cannot have this one. `values` are the layers' on an
/// image, `sums` those of the layer before its activation.
fn broken(
    network: &Folded,
    index: usize,
    values: &[Vec<f64>],
    sums: &[f64],
    defect: Defect,
) -> Option<Folded> {
    let (op, shapes) = (&network.ops[index], network.value_shapes());
    let (input, output) = (shapes[usize::from(op.inputs().first())], shapes[index + 1]);
    let size = |channel: usize| -> f64 {
        let plane = &values[usize::from(op.inputs().first())][channel * input.pixels()..][..input.pixels()];
        plane.iter().map(|value| value.abs()).sum()
    };
    let mut broken = network.clone();
    let layer = broken.weights.get_mut(op.name())?;
    let (rows, depthwise, taps) = match op {
        Op::Conv(conv) => match conv.weights {
            Weights::Pair { rank } => (rank as usize, false, conv.window.taps() as usize),
            weights => (output.channels as usize, weights == Weights::Depthwise, conv.window.taps() as usize),
        },
        Op::Linear(linear) => match linear.weights {
            Weights::Pair { rank } => (rank as usize, false, 1),
            _ => (output.channels as usize, false, 1),
        },
        _ => return None,
    };
    // All results of a pair have the first of its thin filters; a depthwise filter has one channel to hear.
    let row = match layer.expand {
        Some(_) => 0,
        None => liveliest(op, sums, output.pixels(), |row| !depthwise || size(row) > 0.0),
    };
    let columns = layer.weight.len() / rows;
    let filter = row * columns;
    // The input channels that say something, the loudest first.
    let mut channels: Vec<usize> = (0..if depthwise { 1 } else { input.channels as usize }).collect();
    channels.sort_by(|a, b| size(*b).total_cmp(&size(*a)));
    let loud = channels.iter().filter(|channel| size(**channel) > 0.0).count();
    match defect {
        Defect::Tap => {
            // The centre, which the smallest images have too; of a channel of middling size.
            let channel = channels[loud / 4];
            layer.weight[filter + channel * taps + taps / 2] = 0.0;
        }
        Defect::Channel if depthwise && rows > 1 => {
            let other = (row + 1) % rows * columns;
            let taken = layer.weight[other..other + columns].to_vec();
            layer.weight[filter..filter + columns].copy_from_slice(&taken);
        }
        Defect::Channel if channels.len() > 1 => {
            // Channels that say the same can be exchanged.
            let [a, b] = [channels[0], channels[channels.len() - 1]].map(|channel| filter + channel * taps);
            (0..taps).for_each(|tap| layer.weight.swap(a + tap, b + tap));
        }
        Defect::Channel => return None,
        Defect::Bias => layer.bias[liveliest(op, sums, output.pixels(), |_| true)] = 0.0,
    }
    Some(broken)
}

/// What the runtime makes of the first image.
fn traced(network: &Folded, data: &Dataset, method: Method) -> Trace {
    let bytes = AlignedBytes::copy_of(&serialize(network, &BTreeMap::new(), None).unwrap());
    Trace::of(&checked(bytes.as_slice(), "model").unwrap(), data.image(0), method).unwrap()
}

/// The first image and what every layer stored of it, the logits last.
fn values(network: &Folded, data: &Dataset, trace: &Trace) -> Vec<Vec<f64>> {
    let input = network.input_values(data.image(0));
    let input = input.iter().map(|&value| f16::from_f32(value).to_f64()).collect();
    let stored = trace.stored.iter().map(|bits| bits.iter().map(|&x| f16::from_bits(x).to_f64()).collect());
    let logits = trace.logits.iter().map(|&logit| f64::from(logit)).collect();
    std::iter::once(input).chain(stored).chain([logits]).collect()
}

/// Runs a network with a defect in the place of the sound one, which must be said of that very layer: for each layer with weights, or
/// each `every`-th of them. Returns how many of the layers that were broken are computed by tiles.
fn defects_are_found(name: &str, network: &Folded, every: usize, method: Method) -> usize {
    let data = Dataset::noise(1, network.input, network.classes as usize, 5);
    let traced = |network: &Folded| traced(network, &data, method);
    let reference = Reference::new(network);
    let sound = traced(network);
    reference.check(0, data.image(0), &sound).unwrap();
    let values = |trace: &Trace| values(network, &data, trace);
    let (shapes, inputs) = (network.value_shapes(), values(&sound));
    let weighted =
        (0..network.ops.len()).filter(|&index| network.weights.contains_key(network.ops[index].name()));
    let (mut planted, mut by_tiles, mut missed) = (0, 0, Vec::new());
    for index in weighted.step_by(every) {
        let sums = sums(network, &shapes, index, &inputs);
        by_tiles += usize::from(sound.tiles[index].is_some());
        for defect in [Defect::Tap, Defect::Channel, Defect::Bias] {
            let Some(broken) = broken(network, index, &inputs, &sums, defect) else { continue };
            planted += 1;
            let layer = network.ops[index].name();
            // The layers before compute what they did.
            let trace = traced(&broken);
            let (found, tile) = (values(&trace), trace.tiles[index]);
            match reference.layer(0, index, &inputs, &found[index + 1], tile) {
                Err(ExportError::Disagreement { layer: named, .. }) => assert_eq!(named, layer),
                _ => missed.push(format!("{layer}: {defect:?}")),
            }
        }
    }
    assert!(planted > 0 && missed.is_empty(), "{name}: {} of {planted} are missed: {missed:?}", missed.len());
    by_tiles
}

#[test]
fn a_defect_of_any_layer_is_found_there() {
    for seed in 1..4 {
        defects_are_found("every operation", &every_operation(seed).rounded(), 1, Method::Direct);
    }
    for (name, size, g, every) in
        [("resnet8", 12, 0.6, 1), ("mobilenet_v2_cifar", 16, 0.0, 3), ("resnet18", 32, 0.0, 6)]
    {
        let net = Network::by_name(name, Shape::new(3, size, size), 5).unwrap();
        let plan = RankPlan::uniform(&net, g).unwrap();
        let (folded, _) =
            Folded::new(&net, &Checkpoint::random(&net, 4), &plan, normalization(3), false).unwrap();
        let network = folded.rounded();
        defects_are_found(name, &network, every, Method::Direct);
        // With the bounds of Winograd's tiles too, where this machine has them.
        let tiles = [WinogradTile::Two, WinogradTile::Four].map(Method::Tiles);
        let by_tiles = tiles.map(|method| defects_are_found(name, &network, every, method));
        assert!(!matches!(Isa::detect(), Isa::Avx2 | Isa::Avx512) || by_tiles.iter().all(|count| *count > 0));
    }
}

/// A kernel that steps by another stride, and a layer that adds what another layer stored.
#[test]
fn a_wrong_stride_and_the_residual_of_another_layer_are_said_of_their_layer() {
    let (mut strides, mut residuals, mut run) = (0, 0, 0);
    let name = "resnet8";
    for g in [0.0, 0.6] {
        let net = Network::by_name(name, Shape::new(3, 12, 12), 5).unwrap();
        let plan = RankPlan::uniform(&net, g).unwrap();
        let (folded, _) =
            Folded::new(&net, &Checkpoint::random(&net, 4), &plan, normalization(3), false).unwrap();
        let network = folded.rounded();
        let data = Dataset::noise(1, network.input, network.classes as usize, 5);
        let reference = Reference::new(&network);
        let sound = traced(&network, &data, Method::Direct);
        reference.check(0, data.image(0), &sound).unwrap();
        let (shapes, values) = (network.value_shapes(), values(&network, &data, &sound));
        let is_named = |trace: &Trace, layer: &str| {
            let error = reference.check(0, data.image(0), trace).unwrap_err();
            assert!(
                matches!(&error, ExportError::Disagreement { layer: named, .. } if named == layer)
                    && error.to_string().contains(layer),
                "{name}, {layer}: {error}"
            );
        };
        for (index, op) in network.ops.iter().enumerate() {
            let Op::Conv(conv) = op else { continue };
            // As many values as there should be, of what a wrong kernel would sum.
            let planted = |wrong: &Folded| {
                let stored = |sum: f64| f16::from_f64(activate(sum, activation(op))).to_bits();
                let mut trace = sound.clone();
                trace.stored[index] = sums(wrong, &shapes, index, &values).into_iter().map(stored).collect();
                trace
            };
            let wrong = |change: &dyn Fn(&mut Conv<String>)| {
                let mut wrong = network.clone();
                if let Op::Conv(conv) = &mut wrong.ops[index] {
                    change(conv);
                }
                wrong
            };
            if shapes[usize::from(conv.input)].pixels() > 4 {
                let stride = conv.window.stride.map(|stride| if stride == 1 { 2 } else { 1 });
                is_named(&planted(&wrong(&|conv| conv.window.stride = stride)), op.name());
                strides += 1;
            }
            let Some(residual) = conv.residual else { continue };
            let another = |value: usize| {
                let right = usize::from(residual);
                value != right && shapes[value] == shapes[right] && values[value] != values[right]
            };
            let Some(other) = (0..=index).find(|&value| another(value)) else { continue };
            let wrong = wrong(&|conv| conv.residual = Some(other.try_into().unwrap()));
            is_named(&planted(&wrong), op.name());
            // By the runtime itself, where something else still reads the right one.
            let readers = |op: &Op<String>| op.inputs().values().contains(&residual);
            if wrong.ops.iter().any(readers) {
                is_named(&traced(&wrong, &data, Method::Direct), op.name());
                run += 1;
            }
            residuals += 1;
        }
    }
    let counts = (strides, residuals, run);
    assert!(strides > 15 && residuals == 6 && run >= 2, "strides, residuals, run by the runtime: {counts:?}");
}
