//! The whole of export: folding, factoring, the file, and two ways to compute its logits.

use std::collections::BTreeMap;

use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::model::{Activation, Op, Shape};
use proptest::prelude::*;

use super::evaluate::check_data;
use super::file::serialize;
use super::reference::{Interpreter, Storage, logits, values};
use super::*;
use crate::checkpoint::Array;
use crate::lrpet::{LayerWeight, Options, RankPlan, Scope, bn_scale, project};
use crate::support::{card, difference, every_operation, exported, exported_from, normalization};
use crate::{Checkpoint, Dataset, Network};

fn network() -> Network {
    Network::by_name("resnet8", Shape::new(1, 12, 10), 5).unwrap()
}

fn folded(network: &Network, checkpoint: &Checkpoint, plan: &RankPlan) -> Folded {
    let channels = network.input.channels as usize;
    Folded::new(network, checkpoint, plan, normalization(channels), false).unwrap().0
}

/// Batch normalisation written out after the raw convolution is what the folded layer computes.
#[test]
fn folding_is_convolution_and_then_normalisation() {
    let mut means = Vec::new();
    for epsilon in [1e-5, 1e-3] {
        means.push(check_folding(epsilon));
    }
    assert!((means[0] / means[1] - 1.0).abs() > 0.1, "ε matters: {means:?}");
}

/// Returns the mean magnitude of the normalised values.
fn check_folding(epsilon: f64) -> f64 {
    let net = network().with_epsilon(epsilon);
    let mut checkpoint = Checkpoint::random(&net, 5);
    let variance = checkpoint.tensors.get_mut("bn1.running_var").unwrap();
    variance.values.iter_mut().for_each(|value| *value *= 1e-3);
    checkpoint.tensors.insert("conv1.bias".into(), Array { shape: vec![16], values: vec![0.7; 16] });
    let mut merged = folded(&net, &checkpoint, &RankPlan::dense(&net));
    let mut raw = merged.clone();
    for network in [&mut raw, &mut merged] {
        let Op::Conv(conv) = &mut network.ops[0] else { panic!("conv1 comes first") };
        conv.activation = Activation::None;
    }
    let own = LayerWeights::new(checkpoint.values("conv1.weight").unwrap().to_vec(), None, vec![0.7; 16]);
    raw.weights.insert("conv1".into(), own);
    let image = merged.input_values(Dataset::noise(1, net.input, 5, 2).image(0));
    let (raw, merged) = (values(&raw, &image, Storage::F64), values(&merged, &image, Storage::F64));
    let part =
        |part: &str, channel: usize| f64::from(checkpoint.values(&format!("bn1.{part}")).unwrap()[channel]);
    let pixels = net.input.pixels();
    let expected: Vec<f64> = raw[1]
        .iter()
        .enumerate()
        .map(|(at, x)| {
            let c = at / pixels;
            (x - part("running_mean", c)) / (part("running_var", c) + epsilon).sqrt() * part("weight", c)
                + part("bias", c)
        })
        .collect();
    assert!(difference(merged[1].iter().copied(), &expected) < 1e-6);
    expected.iter().map(|value| value.abs()).sum::<f64>() / expected.len() as f64
}

/// A pair of full rank is the dense layer; after a projection so is the pair of the projected rank.
#[test]
fn pairs_compute_what_their_dense_layers_do() {
    for name in ["resnet8", "resnet20"] {
        let net = Network::by_name(name, Shape::new(2, 9, 8), 5).unwrap();
        let mut checkpoint = Checkpoint::random(&net, 8);
        let data = Dataset::noise(3, net.input, 5, 1);
        let same = |checkpoint: &Checkpoint, plan: &RankPlan, bound: f64| {
            let (pair, dense) =
                (folded(&net, checkpoint, plan), folded(&net, checkpoint, &RankPlan::dense(&net)));
            assert!(pair.weights.values().any(|layer| layer.expand.is_some()));
            for index in 0..data.len() {
                let image = dense.input_values(data.image(index));
                let expected = logits(&dense, &image, Storage::F64);
                let off = difference(logits(&pair, &image, Storage::F64), &expected);
                assert!(off < bound, "{name}: {off}");
            }
        };
        let mut full = RankPlan::dense(&net);
        full.layers.iter_mut().for_each(|l| l.rank = Some(l.matrix.rows.min(l.matrix.columns)));
        same(&checkpoint, &full, 1e-5);

        let plan = RankPlan::uniform(&net, 0.6).unwrap();
        for (layer, rank) in plan.pairs() {
            let alpha = net.layers[layer.index].norm.as_ref().map(|norm| {
                let values = |part: &str| checkpoint.values(&format!("{}.{part}", norm.name)).unwrap();
                bn_scale(values("weight"), values("running_var"), norm.epsilon)
            });
            let weight = &mut checkpoint.tensors.get_mut(&format!("{}.weight", layer.name)).unwrap().values;
            let rows = layer.matrix.rows as usize;
            let mut weight = LayerWeight { name: &layer.name, weight, rows, alpha, rank: rank as usize };
            project(&mut weight, &Options::default()).unwrap();
        }
        same(&checkpoint, &plan, 1e-4);
        let (_, layers) = Folded::new(&net, &checkpoint, &plan, normalization(2), false).unwrap();
        assert!(layers.iter().all(|layer| layer.energy_kept > 1.0 - 1e-9));
        // What the projection left is what an energy threshold finds.
        let spectra = super::folded::spectra(&net, &checkpoint).unwrap();
        assert_eq!(RankPlan::energy(&net, 1.0 - 1e-9, Scope::All, &spectra).unwrap(), plan);
    }
}

#[test]
fn the_file_holds_the_rounded_network_and_is_the_same_every_time() {
    let net = network();
    // The uniform rule leaves the classifier dense; a list need not.
    let list = format!("{},fc=2", RankPlan::uniform(&net, 0.6).unwrap());
    let plan = RankPlan::listed(&net, &list.parse().unwrap()).unwrap();
    let data = Dataset::noise(20, net.input, 5, 1);
    let model = exported(&net, &plan, &data, &Interpreter);
    let bytes = AlignedBytes::copy_of(&model.to_bytes().unwrap());
    assert_eq!(exported(&net, &plan, &data, &Interpreter).to_bytes().unwrap(), bytes.as_slice());

    // Any reader opens it.
    let (length, header) = safetensors::SafeTensors::read_metadata(bytes.as_slice()).unwrap();
    assert_eq!((8 + length) % 8, 0);
    let metadata = header.metadata().as_ref().unwrap();
    assert_eq!(metadata["ranks"], plan.to_string());
    assert_eq!(metadata["command"], "lrpet \"test\"");
    assert_eq!((metadata["input"].as_str(), metadata["mean"].as_str()), ("1x12x10", "0.4"));
    assert_eq!(metadata["macs"], plan.cost().macs.to_string());
    assert!(!metadata.contains_key("accuracy"));
    let file = safetensors::SafeTensors::deserialize(bytes.as_slice()).unwrap();
    let shape = |name: &str| file.tensor(name).unwrap().shape().to_vec();
    assert_eq!(shape("layer1.0.conv1.thin.weight"), [6, 16, 3, 3]);
    assert_eq!(shape("layer1.0.conv1.expand.weight"), [16, 6, 1, 1]);
    assert_eq!(shape("fc.expand.weight"), [5, 2]);
    assert_eq!(shape("selfcheck.images"), [4, 12, 10, 1]);
    let weights: usize = file
        .iter()
        .filter(|(name, _)| name.ends_with(".weight") || name.ends_with(".bias"))
        .map(|(_, view)| view.data().len())
        .sum();
    assert_eq!(weights as u64, plan.cost().weight_bytes);

    // The runtime takes it, and it holds what was put in.
    let read = checked(bytes.as_slice(), "model").unwrap();
    assert_eq!(Folded::from_model(&read).unwrap(), model.folded.rounded());
    let check = read.self_check().unwrap();
    assert_eq!(check.samples(), 4);
    let samples = data.spread(4);
    for (i, &sample) in samples.iter().enumerate() {
        assert_eq!(check.image(i), data.image(sample));
    }
    let labels: std::collections::BTreeSet<u32> = samples.iter().map(|&sample| data.labels[sample]).collect();
    assert_eq!(labels.len(), 4, "one image a class");
}

/// The runtime is the reference with f16 activations, near the exact reference, near enough.
#[test]
fn runtime_and_reference_agree() {
    for (name, g) in [("resnet8", 0.0), ("resnet8", 0.6), ("resnet20", 0.7), ("resnet20b", 0.8)] {
        let net = Network::by_name(name, Shape::new(3, 11, 13), 5).unwrap();
        let data = Dataset::noise(24, net.input, 5, 7);
        let model = exported(&net, &RankPlan::uniform(&net, g).unwrap(), &data, &Interpreter);
        let bytes = AlignedBytes::copy_of(&model.to_bytes().unwrap());
        let read = checked(bytes.as_slice(), "model").unwrap();
        let network = Folded::from_model(&read).unwrap();
        let counted = std::sync::atomic::AtomicUsize::new(0);
        let count = |images| {
            counted.fetch_add(images, std::sync::atomic::Ordering::Relaxed);
        };
        let runtime = runtime_logits(&read, &data, count).unwrap();
        assert_eq!(counted.into_inner(), data.len());
        for (index, runtime) in runtime.rows().enumerate() {
            let image = network.input_values(data.image(index));
            let wide = |row: &[f32]| row.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
            let exact = logits(&network, &image, Storage::F64);
            let stored = logits(&network, &image, Storage::F16);
            assert!(difference(wide(runtime), &stored) < 2e-3, "{name} {g}");
            assert!(difference(wide(runtime), &exact) < 1e-2, "{name} {g}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Every operation, window and kind of weights: the runtime against the reference.
    #[test]
    fn every_operation_agrees(seed: u64) {
        let network = every_operation(seed).rounded();
        let data = Dataset::noise(3, network.input, 5, seed);
        let bytes = AlignedBytes::copy_of(&serialize(&network, &BTreeMap::new(), None).unwrap());
        let model = checked(bytes.as_slice(), "model").unwrap();
        prop_assert_eq!(&Folded::from_model(&model).unwrap(), &network);
        let runtime = runtime_logits(&model, &data, |_| ()).unwrap();
        for (index, runtime) in runtime.rows().enumerate() {
            let image = network.input_values(data.image(index));
            let stored = logits(&network, &image, Storage::F16);
            prop_assert!(difference(runtime.iter().map(|&x| f64::from(x)), &stored) < 2e-3);
        }
    }
}

/// A normalisation without γ is one with γ = 1, one without β one with β = 0, and a bias in front of it is merged.
#[test]
fn missing_parts_of_a_normalisation_fold_as_ones_and_zeros() {
    let whole = Network::by_name("resnet8", Shape::new(1, 12, 10), 5).unwrap();
    let mut bare = whole.clone();
    let mut checkpoint = Checkpoint::random(&whole, 4);
    for norm in bare.layers.iter_mut().filter_map(|layer| layer.norm.as_mut()) {
        (norm.scale, norm.shift) = (norm.name.ends_with("bn1"), false);
        let gamma = format!("{}.weight", norm.name);
        if !norm.scale {
            checkpoint.tensors.get_mut(&gamma).unwrap().values.fill(1.0);
        }
        checkpoint.tensors.get_mut(&format!("{}.bias", norm.name)).unwrap().values.fill(0.0);
    }
    let mut less = checkpoint.clone();
    for norm in bare.layers.iter().filter_map(|layer| layer.norm.as_ref()) {
        less.tensors.remove(&format!("{}.bias", norm.name));
        if !norm.scale {
            less.tensors.remove(&format!("{}.weight", norm.name));
        }
    }
    let plan = RankPlan::dense(&whole);
    let folded = |network: &Network, checkpoint: &Checkpoint| {
        Folded::new(network, checkpoint, &plan, normalization(1), false).unwrap().0
    };
    assert_eq!(folded(&bare, &less), folded(&whole, &checkpoint));
    // γ that the network has not is a tensor of another one.
    assert!(Folded::new(&bare, &checkpoint, &plan, normalization(1), false).is_err());
}

#[test]
fn weights_beyond_f16_are_refused_by_name() {
    let net = network();
    let mut checkpoint = Checkpoint::random(&net, 1);
    checkpoint.tensors.get_mut("layer2.0.bn1.weight").unwrap().values[2] = 1e7;
    let network = folded(&net, &checkpoint, &RankPlan::dense(&net));
    let error = serialize(&network, &BTreeMap::new(), None).unwrap_err().to_string();
    assert!(error.contains("layer2.0.conv1.weight") && error.contains("65504"), "{error}");
    let mut network = every_operation(1);
    network.weights.get_mut("c").unwrap().bias[1] = f32::NAN;
    let error = serialize(&network, &BTreeMap::new(), None).unwrap_err().to_string();
    assert!(error.contains("c.expand.bias"), "{error}");
}

#[test]
fn activations_beyond_f16_and_foreign_samples_are_refused() {
    let net = network();
    let mut checkpoint = Checkpoint::random(&net, 1);
    checkpoint.tensors.get_mut("layer2.0.bn1.bias").unwrap().values[2] = 1e5;
    let (plan, normalization) = (RankPlan::dense(&net), normalization(1));
    let data = Dataset::noise(8, net.input, 5, 1);
    let card = card();
    let request = Request {
        network: &net,
        checkpoint: &checkpoint,
        plan: &plan,
        energy_transfer: false,
        normalization: &normalization,
        card: &card,
        precision: Precision::Half,
        samples: Some(Samples::Images { data: &data, machine: &Interpreter }),
    };
    let error = export(&request).unwrap_err().to_string();
    assert!(error.contains("layer2.0.conv1") && error.contains("beyond f16"), "{error}");
    let foreign = Dataset::noise(8, Shape::new(1, 10, 12), 5, 1);
    let error = export(&Request {
        samples: Some(Samples::Images { data: &foreign, machine: &Interpreter }),
        ..request
    })
    .unwrap_err()
    .to_string();
    assert!(error.contains("1×12×10") && error.contains("1×10×12"), "{error}");

    let bytes =
        AlignedBytes::copy_of(&export(&Request { samples: None, ..request }).unwrap().to_bytes().unwrap());
    let model = checked(bytes.as_slice(), "model").unwrap();
    assert!(model.self_check().is_none());
    check_data(&model, &data).unwrap();
    let more = Dataset::noise(8, net.input, 6, 1);
    assert!(check_data(&model, &more).unwrap_err().to_string().contains("5 classes"));
    assert!(
        checked(&bytes.as_slice()[..100], "cut.safetensors")
            .unwrap_err()
            .to_string()
            .contains("cut.safetensors")
    );
}

/// The furthest value of a layer is told with its headroom; values that are cut off are counted.
#[test]
fn values_near_the_end_of_f16_are_told() {
    let net = network();
    let mut checkpoint = Checkpoint::random(&net, 1);
    let shift = |checkpoint: &mut Checkpoint, bias: f32| {
        checkpoint.tensors.get_mut("layer2.0.bn1.bias").unwrap().values[2] = bias;
    };
    // What reads that channel weighs it little.
    let reader = checkpoint.tensors.get_mut("layer2.0.conv2.weight").unwrap();
    reader.values.chunks_exact_mut(9).skip(2).step_by(32).flatten().for_each(|weight| *weight *= 1e-5);
    let data = Dataset::noise(6, net.input, 5, 1);
    shift(&mut checkpoint, 63_000.0);
    let near = exported_from(&net, &checkpoint, &RankPlan::dense(&net), &data, &Interpreter);
    let bytes = AlignedBytes::copy_of(&near.to_bytes().unwrap());
    let model = checked(bytes.as_slice(), "near").unwrap();
    let layers = near.ranges.of(&model);
    assert_eq!(layers.len(), net.layers.len() - 1);
    let layer = layers.iter().find(|range| range.layer == "layer2.0.conv1").unwrap();
    assert!((layer.peak - 63_000.0).abs() < 100.0 && layer.saturated == 0, "{layer:?}");
    assert!((layer.headroom.unwrap() - 65_504.0 / layer.peak).abs() < 1e-9);
    let warnings = range::warnings(&layers);
    let line = warnings.lines().find(|line| line.contains("layer2.0.conv1")).unwrap();
    assert!(line.contains("headroom 1.04"), "{line}");
    assert!(!warnings.contains("layer conv1:"), "{warnings}");
    assert_eq!(range::saturated(&layers).count(), 0);

    // Beyond the end a channel of 6×5 values is cut off in each image.
    shift(&mut checkpoint, 1e5);
    let folded = folded(&net, &checkpoint, &RankPlan::dense(&net));
    let bytes = AlignedBytes::copy_of(&serialize(&folded, &BTreeMap::new(), None).unwrap());
    let model = checked(bytes.as_slice(), "beyond").unwrap();
    let (logits, ranges) = ranged_logits(&model, &data, |_| ()).unwrap();
    assert_eq!(logits, runtime_logits(&model, &data, |_| ()).unwrap());
    let layers = ranges.of(&model);
    let cut: Vec<_> =
        range::saturated(&layers).map(|range| (range.layer.as_str(), range.saturated)).collect();
    assert_eq!(cut[0], ("layer2.0.conv1", 6 * 30));
    assert!(range::warnings(&layers).contains("layer layer2.0.conv1: 180 values are cut off at 65504"));
}
