//! Whole networks with weights of 8 bits.

use half::f16;
use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::model::{Op, is_scale};
use std::collections::BTreeMap;

use super::{QuantisedLayer, may, quantise};
use crate::Dataset;
use crate::export::file::serialize;
use crate::export::reference::{Storage, logits};
use crate::export::{Folded, checked, runtime_logits};
use crate::support::every_operation;

/// Normalised noise images.
fn inputs(network: &Folded, count: usize, seed: u64) -> Vec<Vec<f32>> {
    let images = Dataset::noise(count, network.input, 5, seed);
    (0..count).map(|image| network.input_values(images.image(image))).collect()
}

fn quantised(network: &Folded, inputs: Option<&[Vec<f32>]>) -> (Folded, Vec<QuantisedLayer>) {
    let mut network = network.clone();
    let report = quantise(&mut network, None, inputs, &|| ()).unwrap();
    (network, report)
}

/// Mean square of the change of the logits, on images that were no calibration.
fn change(network: &Folded, other: &Folded) -> f64 {
    let images = inputs(network, 40, 77);
    let squares = images.iter().flat_map(|image| {
        let [a, b] = [network, other].map(|network| logits(network, image, Storage::F64));
        a.into_iter().zip(b).map(|(a, b)| (a - b) * (a - b)).collect::<Vec<_>>()
    });
    squares.sum()
}

/// What is written is read back, computes to the bit what these weights compute as f16, and every weight is one.
#[test]
fn a_file_of_8_bits_is_one_of_special_f16_weights() {
    let network = every_operation(3);
    let calibration = inputs(&network, 24, 1);
    let (eight, report) = quantised(&network, Some(&calibration));
    let named: Vec<&str> = report.iter().map(|layer| layer.name.as_str()).collect();
    // All but the depthwise one.
    assert_eq!(named, ["a", "c", "d", "e", "f", "g"]);
    let bytes = AlignedBytes::copy_of(&serialize(&eight, &BTreeMap::new(), None).unwrap());
    let model = checked(bytes.as_slice(), "of 8 bits").unwrap();
    assert_eq!(model.program().header().needs.0 & 16, 16);
    let read = Folded::from_model(&model).unwrap();
    for layer in &report {
        let weights = &eight.weights[&layer.name];
        assert_eq!(read.weights[&layer.name], *weights, "{}", layer.name);
        assert!(weights.scales.as_ref().unwrap().iter().all(|&scale| is_scale(scale)));
        let all = weights.weight.iter().chain(weights.expand.iter().flatten());
        assert!(all.clone().all(|&weight| f16::from_f32(weight).to_f32() == weight), "{}", layer.name);
        assert!(layer.bytes < layer.bytes_f16);
    }
    let mut twin = eight.clone();
    twin.weights.values_mut().for_each(|weights| weights.scales = None);
    let twin = AlignedBytes::copy_of(&serialize(&twin, &BTreeMap::new(), None).unwrap());
    let twin = checked(twin.as_slice(), "the same as f16").unwrap();
    let images = Dataset::noise(6, network.input, 5, 9);
    assert_eq!(
        runtime_logits(&model, &images, |_| ()).unwrap(),
        runtime_logits(&twin, &images, |_| ()).unwrap()
    );
    assert_eq!(quantised(&network, Some(&calibration)), (eight, report));
}

/// On other images than those of the calibration the logits move less than where each weight is rounded by itself.
#[test]
fn calibration_keeps_the_logits() {
    let (mut with, mut without) = (0.0, 0.0);
    for seed in 0..6 {
        let network = every_operation(seed);
        let calibration = inputs(&network, 64, 1);
        with += change(&network, &quantised(&network, Some(&calibration)).0);
        without += change(&network, &quantised(&network, None).0);
    }
    assert!(with < 0.7 * without, "{with} of {without}");
}

/// Rounded again, a network of bytes stays what it is.
#[test]
fn bytes_are_rounded_to_themselves() {
    let dense = |op: &Op<String>| may(op) && network_pairs(op).is_none();
    let network = every_operation(2);
    let (once, _) = quantised(&network, None);
    let (twice, report) = quantised(&once, None);
    for op in network.ops.iter().filter(|op| dense(op)) {
        assert_eq!(once.weights[op.name()].weight, twice.weights[op.name()].weight, "{}", op.name());
        let layer = report.iter().find(|layer| layer.name == op.name()).unwrap();
        assert_eq!(layer.error, 0.0, "{}", op.name());
    }
}

/// The rank of a pair.
fn network_pairs(op: &Op<String>) -> Option<u32> {
    match op.weights() {
        Some(lrpet_runtime::model::Weights::Pair { rank }) => Some(rank),
        _ => None,
    }
}

/// Weights that are no bytes times a scale are not written as such.
#[test]
fn only_exact_weights_are_written_as_bytes() {
    let (eight, _) = quantised(&every_operation(1), None);
    let written = |change: &dyn Fn(&mut crate::export::LayerWeights)| {
        let mut network = eight.clone();
        change(network.weights.get_mut("c").unwrap());
        serialize(&network, &BTreeMap::new(), None).map_err(|error| error.to_string())
    };
    assert!(written(&|_| ()).is_ok());
    for scale in [0.0, -0.5, f32::NAN, f32::INFINITY, 0.53125, 512.0, 2.0_f32.powi(-22)] {
        let error = written(&|layer| layer.scales.as_mut().unwrap()[1] = scale).unwrap_err();
        assert!(error.contains("c.expand.weight: row 1"), "{scale}: {error}");
    }
    let error = written(&|layer| layer.weight[0] += 1e-3).unwrap_err();
    assert!(error.contains("c.thin.weight: row 0"), "{error}");
    let error = written(&|layer| layer.weight[0] = 1.0).unwrap_err();
    assert!(error.contains("c.thin.weight: row 0"), "{error}");
}
