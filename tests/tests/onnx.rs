//! Models written as ONNX and run by ONNX Runtime give the runtime's logits.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use folder::{Folder, IMAGE, TOLERANCE, share};
use lrpet_network::export::Folded;
use lrpet_network::export::file::serialize;
use lrpet_network::lrpet::RankPlan;
use lrpet_network::network::{KNOWN, Known};
use lrpet_network::onnx::{Batch, Input, Options, convert};
use lrpet_network::quantise::quantise;
use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::model::{Model, Op, PadShortcut, Shape};
use lrpet_tests::every_operation::every_operation;
use lrpet_tests::programs::{self, root};
use lrpet_tests::random_model::{Values, factor, random_convolutions, random_model};

#[path = "support/onnx.rs"]
mod folder;

/// Most weights of a model that is run here.
const MOST_WEIGHTS: u64 = 15_000_000;

/// Networks that are known by name, dense and low-rank, with random weights; those for large images on smaller ones.
fn check_known(wanted: impl Fn(&Known) -> bool) {
    let folder = Folder::new();
    let mut expected = 0;
    for known in KNOWN.iter().filter(|known| wanted(known)) {
        let input =
            Shape { height: known.input.height.min(96), width: known.input.width.min(96), ..known.input };
        let before = expected;
        for ratio in [0.0, 0.6] {
            let network = known.build(input, known.classes.min(100)).unwrap();
            let classes = network.classes;
            let plan = RankPlan::uniform(&network, ratio).unwrap();
            if plan.cost().params > MOST_WEIGHTS {
                continue;
            }
            let ops: Vec<_> = network.layers.into_iter().map(|layer| layer.op).collect();
            let ops = factor(ops, |name| plan.rank(name));
            let file = random_model(input, classes, &ops, 1).unwrap();
            folder.add(&format!("{}-g{ratio}", known.name), &file, IMAGE);
            expected += 1;
        }
        assert!(expected > before, "{} is not run", known.name);
    }
    assert_eq!(folder.check().len(), expected);
}

fn is_residual(known: &Known) -> bool {
    known.name.starts_with("resnet")
}

#[test]
fn residual_networks_give_the_runtimes_logits() {
    check_known(is_residual);
}

#[test]
fn other_networks_give_the_runtimes_logits() {
    check_known(|known| !is_residual(known));
}

#[test]
fn trained_models_give_the_runtimes_logits() {
    let folder = Folder::new();
    let mut expected = 0;
    for entry in std::fs::read_dir(root().join("models")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            let name = path.file_stem().unwrap().to_str().unwrap();
            let file = std::fs::read(&path).unwrap();
            // As a user writes it.
            let out = folder.0.path().join("written.onnx");
            let arguments = ["export", path.to_str().unwrap(), "--onnx", out.to_str().unwrap()];
            let document = programs::json("lrpet", &arguments).unwrap();
            assert_eq!(document["bytes"], std::fs::metadata(&out).unwrap().len());
            folder.add_with(&format!("{name}-image"), &file, IMAGE, |_| std::fs::read(&out).unwrap());
            std::fs::remove_file(&out).unwrap();
            let values = Options { input: Input::Values, ..IMAGE };
            folder.add(&format!("{name}-values"), &file, values);
            folder.add(&format!("{name}-half"), &file, Options { f16_weights: true, ..IMAGE });
            expected += 3;
        }
    }
    assert!(expected >= 6);
    let models = folder.check();
    assert_eq!(models.len(), expected);
    for model in &models {
        assert_eq!(model["output"]["name"], "logits");
        let image = model["input"]["name"] == "image";
        assert_eq!(model["input"]["type"], if image { "tensor(uint8)" } else { "tensor(float)" });
        assert_eq!(model["metadata"]["classes"].as_str().unwrap().split(',').count(), 10);
    }
}

#[test]
fn every_operation_is_written() {
    let folder = Folder::new();
    folder.add("every", &every_operation(), IMAGE);
    let values = Options { input: Input::Values, f16_weights: true, ..IMAGE };
    folder.add("every-values", &every_operation(), values);
    for seed in 0..4 {
        let odd = random_convolutions(Shape::new(3, 13, 17), 12, 6, Values::Real, seed).unwrap();
        folder.add(&format!("odd-{seed}"), &odd, IMAGE);
    }
    // The last operation need not be a linear layer, and may change nothing.
    for (name, ops) in [
        ("pooled", vec![Op::GlobalAveragePool::<String> { input: 0 }]),
        ("moved", vec![Op::PadShortcut(PadShortcut { input: 0, out_channels: 3, stride: 12 })]),
    ] {
        folder.add(name, &random_model(Shape::new(3, 3, 3), 3, &ops, 1).unwrap(), IMAGE);
    }
    assert_eq!(folder.check().len(), 8);
}

#[test]
fn a_free_first_axis_takes_any_number_of_images() {
    let folder = Folder::new();
    let free = Options { batch: Batch::Dynamic, ..IMAGE };
    folder.add("every", &every_operation(), free);
    folder.add("every-values", &every_operation(), Options { input: Input::Values, ..free });
    let odd = random_convolutions(Shape::new(3, 13, 17), 12, 6, Values::Real, 5).unwrap();
    folder.add("odd", &odd, Options { f16_weights: true, ..free });
    // A program that ends in a map, whose vector of logits is made at the end.
    let pooled = [Op::GlobalAveragePool::<String> { input: 0 }];
    folder.add("pooled", &random_model(Shape::new(3, 3, 3), 3, &pooled, 1).unwrap(), free);
    // As a user writes it.
    let model = root().join("models/fashion-mnist-resnet8-g0.6.safetensors");
    let out = folder.0.path().join("written.part");
    let arguments =
        ["export", model.to_str().unwrap(), "--onnx", out.to_str().unwrap(), "--batch", "dynamic"];
    let document = programs::json("lrpet", &arguments).unwrap();
    assert_eq!(document["input"]["shape"], serde_json::json!(["batch", 28, 28, 1]));
    assert_eq!(document["output"]["shape"], serde_json::json!(["batch", 10]));
    let file = std::fs::read(&model).unwrap();
    folder.add_with("written", &file, free, |_| std::fs::read(&out).unwrap());
    let models = folder.check();
    assert_eq!(models.len(), 5);
    for model in &models {
        assert_eq!(model["batches"], serde_json::json!([1, 3, 8]), "{model}");
        for side in ["input", "output"] {
            assert_eq!(model[side]["shape"][0], "batch", "{model}");
        }
    }
}

/// Bytes and scales stay what they are, and the graph makes f32 of them.
#[test]
fn weights_of_8_bits_are_widened_in_the_graph() {
    let folder = Folder::new();
    let sizes = RefCell::new(Vec::new());
    let whole = std::fs::read(root().join("models/fashion-mnist-resnet8-g0.6.safetensors")).unwrap();
    let files = [whole, every_operation()];
    for (at, file) in files.iter().enumerate() {
        let file = AlignedBytes::copy_of(file);
        let mut network = Folded::from_model(&Model::new_checked(file.as_slice()).unwrap()).unwrap();
        let layers = quantise(&mut network, None, None, &|| ()).unwrap();
        let eight = serialize(&network, &BTreeMap::new(), None).unwrap();
        folder.add_with(&format!("eight-{at}"), &eight, IMAGE, |model| {
            let converted = convert(model, IMAGE).unwrap();
            let bytes = converted.bytes;
            let name = b"DequantizeLinear";
            let nodes = bytes.windows(name.len()).filter(|part| part == name).count();
            let pairs = network.weights.values();
            let pairs = pairs.filter(|layer| layer.scales.is_some() && layer.expand.is_some()).count();
            assert_eq!((nodes, converted.eights), (layers.len() + pairs, nodes));
            sizes.borrow_mut().push(bytes.len());
            bytes
        });
    }
    assert_eq!(folder.check().len(), files.len());
    assert!(sizes.borrow()[0] < files[0].len(), "{sizes:?}");
}

#[test]
fn several_images_at_once_are_as_good_as_one() {
    let folder = Folder::new();
    let four = Options { batch: "4".parse().unwrap(), ..IMAGE };
    folder.add("four", &every_operation(), four);
    let models = folder.check();
    assert_eq!(models[0]["batches"], serde_json::json!([4]));
    assert_eq!(models[0]["input"]["shape"][0], 4);
}

#[test]
fn a_wrong_bias_is_noticed() {
    let folder = Folder::new();
    let file = random_convolutions(Shape::new(3, 13, 17), 2, 6, Values::Real, 9).unwrap();
    folder.add_with("shifted", &file, IMAGE, |model| {
        let mut bytes = convert(model, IMAGE).unwrap().bytes;
        let bias = model.container().tensor("fc.bias").unwrap().data;
        let place = bytes.windows(bias.len()).position(|part| part == bias).unwrap();
        let first = f32::from_le_bytes(bias[..4].try_into().unwrap());
        bytes[place..place + 4].copy_from_slice(&(first + 0.5).to_le_bytes());
        bytes
    });
    assert!(share(&folder.run()[0]) > TOLERANCE);
}

#[test]
fn what_cannot_be_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let model = "models/fashion-mnist-resnet8-g0.6.safetensors";
    let whole = std::fs::read(root().join(model)).unwrap();
    std::fs::write(at("cut.safetensors"), &whole[..whole.len() - 1]).unwrap();
    let error = programs::refused("lrpet", &["export", &at("cut.safetensors"), "--onnx", &at("out.onnx")]);
    assert!(error.unwrap().contains("cut.safetensors"));
    let error = programs::refused("lrpet", &["export", &at("none"), "--onnx", &at("out.onnx")]).unwrap();
    assert!(error.contains("none"), "{error}");
    let error = programs::refused("lrpet", &["export", model, "--onnx", &at("no/out.onnx")]).unwrap();
    assert!(error.contains("cannot write") && error.contains("out.onnx"), "{error}");
    assert!(!Path::new(&at("out.onnx")).exists());
    assert_eq!(programs::run("lrpet", &["export", model]).unwrap().status, 2);
    let none = ["export", model, "--onnx", &at("out.onnx"), "--batch", "0"];
    assert_eq!(programs::run("lrpet", &none).unwrap().status, 2);
}
