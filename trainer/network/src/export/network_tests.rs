//! Every known network, exported and run.

use std::sync::Arc;

use candle_core::Device;
use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::model::Shape;

use super::reference::{Storage, logits};
use super::tests::{difference, exported};
use super::{Engine, Folded, checked};
use crate::data::dataset::tests::noise;
use crate::lrpet::RankPlan;
use crate::network::{KNOWN, Known};

/// A small image that the network takes.
fn small_input(known: &Known) -> Shape {
    match known.name {
        // Five poolings.
        "vgg16_bn" => Shape::new(3, 32, 33),
        "resnet18" | "resnet34" | "resnet50" | "mobilenet_v2" => Shape::new(3, 25, 33),
        "mobilenet_v1_025" | "ds_cnn" => known.input,
        _ => Shape::new(3, 7, 10),
    }
}

/// Exports the network with pairs at ratio `g`: the runtime computes the self-check, which export holds against the
/// reference with the runtime's roundings; candle's logits are held against the exact reference.
fn agree(known: &Known, g: f64) {
    let net = known.build(small_input(known), 5).unwrap();
    let data = noise(1, net.input, 5, 3);
    let plan = RankPlan::uniform(&net, g).unwrap();
    assert_eq!(plan.pairs().next().is_some(), g > 0.0);
    let model = exported(&net, &plan, &data);
    assert_eq!(model.self_check.as_ref().unwrap().logits.len(), 5);
    let bytes = AlignedBytes::copy_of(&model.to_bytes().unwrap());
    let network = Folded::from_model(&checked(bytes.as_slice(), known.name).unwrap()).unwrap();
    assert_eq!(network, model.folded.rounded());
    let candle = Engine::new(&network, &Device::Cpu).unwrap().logits(&Arc::new(data.clone())).unwrap();
    let exact = logits(&network, &network.input_values(data.image(0)), Storage::F64);
    let off = difference(candle.values.iter().map(|&x| f64::from(x)), &exact);
    assert!(off < 1e-4, "{} {g}: candle is off by {off}", known.name);
}

#[test]
fn dense_networks_run_as_the_reference_does() {
    KNOWN.iter().for_each(|known| agree(known, 0.0));
}

#[test]
fn networks_of_pairs_run_as_the_reference_does() {
    KNOWN.iter().for_each(|known| agree(known, 0.6));
}
