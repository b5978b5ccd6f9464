//! Models written as ONNX and run by ONNX Runtime give the runtime's logits.

use std::num::NonZeroU32;
use std::path::Path;
use std::process::Command;

use lrpet_network::lrpet::RankPlan;
use lrpet_network::network::{KNOWN, Known};
use lrpet_network::onnx::{Batch, Input, Options, convert};
use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::model::{Model, Op, PadShortcut, Shape};
use lrpet_runtime::plan::Plan;
use lrpet_runtime::session::Session;
use lrpet_tests::every_operation::every_operation;
use lrpet_tests::programs::{self, root};
use lrpet_tests::random_model::{Values, factor, random_convolutions, random_model};
use serde_json::Value;

/// Largest difference of a logit, as a share of the largest one (at least 1): the runtime's values are f16.
const TOLERANCE: f64 = 1e-3;
/// The same where more roundings of f16 meet in a logit: blocks that end without an activation, whose sums grow, and twenty
/// trained layers, each with its values rounded (the furthest seen: 1.1e-3, ResNet-20 at g = 0.7).
const DEEP_TOLERANCE: f64 = 2e-3;

/// Most weights of a model that is run here.
const MOST_WEIGHTS: u64 = 15_000_000;

const IMAGE: Options = Options { input: Input::Image, batch: Batch::Of(NonZeroU32::MIN), f16_weights: false };

/// A folder of ONNX files with their inputs and the runtime's logits.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    /// Adds a model with the images of its self-check.
    fn add(&self, name: &str, file: &[u8], options: Options) {
        self.add_with(name, file, options, |model| convert(model, options).unwrap().bytes);
    }

    /// As `add`, with the bytes of the ONNX file by `write`.
    fn add_with(&self, name: &str, file: &[u8], options: Options, write: impl Fn(&Model<'_>) -> Vec<u8>) {
        let file = AlignedBytes::copy_of(file);
        let model = Model::new_checked(file.as_slice()).unwrap();
        let plan = Plan::new(model.program(), lrpet_runtime::kernel::Isa::detect()).unwrap();
        let mut arena = AlignedBytes::zeroed(plan.arena_bytes);
        let mut session = Session::new(&model, arena.as_mut_slice()).unwrap();
        let check = model.self_check().unwrap();
        assert!(check.samples() > 1);
        let (mut inputs, mut all) = (Vec::new(), Vec::new());
        let mut logits = vec![0.0; session.classes()];
        for image in (0..check.samples()).map(|sample| check.image(sample)) {
            if options.input == Input::Image {
                inputs.extend_from_slice(image);
                session.run_image(image, &mut logits, &mut ()).unwrap();
            } else {
                // Bytes of the image serve as values, any that f16 holds.
                let values: Vec<f32> = image.iter().map(|byte| f32::from(*byte) / 64.0 - 2.0).collect();
                inputs.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                session.run_values(&values, &mut logits, &mut ()).unwrap();
            }
            all.extend(logits.iter().flat_map(|logit| logit.to_le_bytes()));
        }
        let path = self.0.path().join(name);
        std::fs::write(path.with_added_extension("onnx"), write(&model)).unwrap();
        std::fs::write(path.with_added_extension("input"), inputs).unwrap();
        std::fs::write(path.with_added_extension("logits"), all).unwrap();
    }

    /// Runs all of them; what was found of each.
    fn run(&self) -> Vec<Value> {
        let python = root().join("target/venv/bin/python");
        assert!(python.exists(), "the Python of the tests is missing: run `cargo xtask setup`");
        let script = root().join("tests/python/run_onnx.py");
        let output = Command::new(python).arg(script).arg(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        document["models"].as_array().unwrap().clone()
    }

    /// Runs all of them, which must agree with the runtime.
    fn check(&self) -> Vec<Value> {
        let models = self.run();
        for model in &models {
            let share = share(model);
            let file = model["file"].as_str().unwrap();
            let deep = file.starts_with("mobilenet_v2") || file.starts_with("cifar10-resnet20");
            println!("{file} differs by {share:.1e} of {}", model["largest"]);
            let tolerance = if deep { DEEP_TOLERANCE } else { TOLERANCE };
            assert!(model["finite"] == true && share < tolerance, "{model}");
            // Logits that do not depend on the image would agree too easily.
            let between = model["between_images"].as_f64().unwrap() / model["largest"].as_f64().unwrap();
            assert!(between > 10.0 * TOLERANCE, "{model}");
        }
        models
    }
}

fn share(model: &Value) -> f64 {
    model["difference"].as_f64().unwrap() / model["largest"].as_f64().unwrap().max(1.0)
}

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
