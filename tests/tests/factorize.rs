//! `lrpet factorize` and `lrpet eval`: ε of the batch normalisations, and values at the end of f16.

use std::collections::HashMap;
use std::path::Path;

use lrpet_network::network::Network;
use lrpet_runtime::model::{Activation, Conv, Linear, Op, Shape, Weights, Window};
use lrpet_tests::programs::{json, number, refused, run};
use lrpet_tests::random_model::random_model;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, TensorView};

const INPUT: Shape = Shape::new(1, 12, 10);

/// Random weights of ResNet-8 for grey images in three classes, whose running variances are so small that ε counts; `bias` is
/// that of one channel's normalisation in the middle.
fn checkpoint(folder: &Path, name: &str, metadata: &[(&str, &str)], bias: f32) -> String {
    let network = Network::by_name("resnet8", INPUT, 3).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut tensors: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
    for (index, layer, matrix) in network.matrices() {
        let [rows, columns] = [matrix.rows as usize, matrix.columns as usize];
        let bound = (3.0 / columns as f32).sqrt();
        let mut draw = |count: usize, low: f32, high: f32| -> Vec<f32> {
            (0..count).map(|_| rng.random_range(low..high)).collect()
        };
        let weight = draw(rows * columns, -bound, bound);
        let layer_of = &network.layers[index];
        let shape = match &layer_of.op {
            Op::Conv(conv) => {
                let [height, width] = conv.window.kernel.map(usize::from);
                vec![rows, columns / (height * width), height, width]
            }
            _ => vec![rows, columns],
        };
        tensors.push((format!("{layer}.weight"), shape, weight));
        match &layer_of.norm {
            None => tensors.push((format!("{layer}.bias"), vec![rows], draw(rows, -0.1, 0.1))),
            Some(norm) => {
                for (part, low, high) in
                    [("weight", 0.02, 0.04), ("bias", -0.2, 0.2), ("running_mean", -0.01, 0.01)]
                {
                    tensors.push((format!("{}.{part}", norm.name), vec![rows], draw(rows, low, high)));
                }
                tensors.push((format!("{}.running_var", norm.name), vec![rows], draw(rows, 5e-4, 2e-3)));
            }
        }
    }
    let values = |tensors: &mut Vec<(String, Vec<usize>, Vec<f32>)>, name: &str| {
        tensors.iter().position(|(tensor, ..)| tensor == name).unwrap()
    };
    if bias != 0.0 {
        let at = values(&mut tensors, "layer2.0.bn1.bias");
        tensors[at].2[2] = bias;
        // What reads that channel does not weigh it.
        let at = values(&mut tensors, "layer2.0.conv2.weight");
        tensors[at].2.chunks_exact_mut(9).skip(2).step_by(32).flatten().for_each(|weight| *weight = 0.0);
    }
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(.., values)| values.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let file = folder.join(name);
    std::fs::write(&file, safetensors::serialize(views, Some(metadata)).unwrap()).unwrap();
    file.to_str().unwrap().to_owned()
}

/// Arguments of a factorisation whose images nothing describes.
fn arguments<'a>(checkpoint: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let images = ["--net", "resnet8", "--input", "1x12x10", "--mean", "0.5", "--std", "0.25"];
    [&["factorize", checkpoint, "--out", out], &images[..], more].concat()
}

fn logits(model: &str) -> Vec<u8> {
    let bytes = std::fs::read(model).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    file.tensor("selfcheck.logits").unwrap().data().to_vec()
}

#[test]
fn epsilon_comes_from_the_option_or_from_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let silent = checkpoint(folder.path(), "silent.safetensors", &[], 0.0);
    let named = checkpoint(folder.path(), "named.safetensors", &[("bn_epsilon", "0.001")], 0.0);
    let made = |file: &str, more: &[&str]| {
        let out = at("model.safetensors");
        json("lrpet", &arguments(file, &out, more)).unwrap();
        logits(&out)
    };
    let kerass = made(&silent, &["--bn-epsilon", "1e-3"]);
    assert_eq!(made(&named, &[]), kerass);
    assert_ne!(made(&silent, &[]), kerass);
    assert_eq!(made(&silent, &[]), made(&silent, &["--bn-epsilon", "1e-5"]));
    let out = at("none.safetensors");
    let error = refused("lrpet", &arguments(&named, &out, &["--bn-epsilon", "1e-5"])).unwrap();
    assert!(error.contains("named.safetensors") && error.contains("--bn-epsilon"), "{error}");
    assert!(!Path::new(&out).exists());
    assert_eq!(run("lrpet", &arguments(&silent, &out, &["--bn-epsilon", "-1"])).unwrap().status, 2);
}

/// Ranks by whatever rule, and the schedule that fits; where none does, the least is named before anything is written or trained.
#[test]
fn a_budget_of_ram_chooses_the_schedule() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let weights = checkpoint(folder.path(), "weights.safetensors", &[], 0.0);
    let (out, same) = (at("model.safetensors"), at("same.safetensors"));
    let layers = json("lrpet", &arguments(&weights, &out, &["--ram", "fastest"])).unwrap();
    let of = |document: &serde_json::Value| document["arena"]["arena_bytes"].as_u64().unwrap();
    for rule in [&[][..], &["--prune", "0.5"], &["--budget", "macs=0.5x"]] {
        let ram = [rule, &["--budget", "ram=9KB"]].concat();
        let made = json("lrpet", &arguments(&weights, &out, &ram)).unwrap();
        assert!(of(&made) <= 9 << 10 && of(&layers) > 9 << 10, "{rule:?}: {} of {}", of(&made), of(&layers));
        let wanted = [rule, &["--ram", "9KB"]].concat();
        json("lrpet", &arguments(&weights, &same, &wanted)).unwrap();
        let schedule = |file: &str| {
            let bytes = std::fs::read(file).unwrap();
            let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            file.tensor("lrpet.schedule").unwrap().data().to_vec()
        };
        assert_eq!(schedule(&out), schedule(&same), "{rule:?}");
    }
    let none = at("none.safetensors");
    let error = refused("lrpet", &arguments(&weights, &none, &["--budget", "ram=2KB"])).unwrap();
    assert!(
        error.contains("weights.safetensors: no schedule") && error.contains("2048 were given"),
        "{error}"
    );
    let twice = ["--budget", "ram=9KB", "--ram", "9KB"];
    assert!(refused("lrpet", &arguments(&weights, &none, &twice)).unwrap().contains("give one of them"));
    assert!(!Path::new(&none).exists());
    let run = at("run");
    for rule in [&[][..], &["--prune", "0.5"], &["--budget", "macs=0.5x", "--epochs", "2"]] {
        let train =
            ["train", "--net", "resnet8", "--data", "fashion-mnist", "--out", &run, "--budget", "ram=2KB"];
        let error = refused("lrpet", &[&train[..], rule].concat()).unwrap();
        assert!(error.contains("resnet8: no schedule") && error.contains("2048 were given"), "{error}");
    }
    assert!(!Path::new(&run).exists());
}

/// A checkpoint in 8 bits: without training images each weight is rounded by itself, which is said.
#[test]
fn weights_of_8_bits_take_half_of_the_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let weights = checkpoint(folder.path(), "weights.safetensors", &[], 0.0);
    let (half, eight) = (at("half.safetensors"), at("eight.safetensors"));
    json("lrpet", &arguments(&weights, &half, &["--prune", "0.5"])).unwrap();
    let made = json("lrpet", &arguments(&weights, &eight, &["--prune", "0.5", "--weights", "i8"])).unwrap();
    assert!(made.get("calibration").is_none() && made["layers"].as_array().unwrap().len() > 5, "{made}");
    let bytes = |file: &str| number(&json("lrpet", &["inspect", file]).unwrap(), "weight_bytes").unwrap();
    assert!(bytes(&eight) < 0.54 * bytes(&half), "{} of {}", bytes(&eight), bytes(&half));
    let text = run("lrpet", &arguments(&weights, &eight, &["--weights", "i8"])).unwrap().output;
    assert!(text.contains("each rounded by itself"), "{text}");
}

#[test]
fn a_layer_near_the_end_of_f16_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model.safetensors").to_str().unwrap().to_owned();
    let near = checkpoint(folder.path(), "near.safetensors", &[], 63_000.0);
    let document = json("lrpet", &arguments(&near, &out, &[])).unwrap();
    let ranges = document["ranges"].as_array().unwrap();
    let layer = ranges.iter().find(|range| range["layer"] == "layer2.0.conv1").unwrap();
    assert!((number(layer, "headroom").unwrap() - 1.04).abs() < 0.01, "{layer}");
    let text = run("lrpet", &arguments(&near, &out, &[])).unwrap().output;
    assert!(text.contains("warning: layer layer2.0.conv1: values up to 63"), "{text}");
    assert_eq!(text.matches("warning").count(), 1, "{text}");
}

/// A convolution with a bias of 1e5 saturates at each pixel of each image.
#[test]
fn eval_counts_what_is_cut_off() {
    let stem = Op::Conv(Conv {
        name: "stem".to_owned(),
        input: 0,
        out_channels: 8,
        window: Window::square(3, 2, 1),
        weights: Weights::Dense,
        residual: None,
        activation: Activation::Relu,
    });
    let linear = Op::Linear(Linear {
        name: "fc".to_owned(),
        input: 2,
        out_features: 10,
        weights: Weights::Dense,
        activation: Activation::None,
    });
    let ops = [stem, Op::GlobalAveragePool { input: 1 }, linear];
    let mut bytes = random_model(Shape::new(1, 28, 28), 10, &ops, 1).unwrap();
    let at = {
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        file.tensor("stem.bias").unwrap().data().as_ptr().addr() - bytes.as_ptr().addr()
    };
    bytes[at..at + 4].copy_from_slice(&1e5_f32.to_le_bytes());
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.safetensors").to_str().unwrap().to_owned();
    std::fs::write(&model, bytes).unwrap();
    let eval = ["eval", model.as_str(), "--data", "fashion-mnist", "--limit", "10"];
    let document = json("lrpet", &eval).unwrap();
    assert_eq!(number(&document["ranges"][0], "saturated").unwrap(), f64::from(10 * 14 * 14));
    let text = run("lrpet", &eval).unwrap().output;
    assert!(text.contains("warning: layer stem: 1960 values are cut off at 65504"), "{text}");
    let candle = json("lrpet", &[&eval[..], &["--engine", "candle"]].concat()).unwrap();
    assert!(candle["ranges"].as_array().unwrap().is_empty());
}

/// Options about a folder of test images say nothing where no such folder is: no file is written as if they had been heard.
#[test]
fn options_about_test_images_that_are_not_there_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = checkpoint(folder.path(), "weights.safetensors", &[], 0.0);
    let out = folder.path().join("model.safetensors");
    let photos = folder.path().join("photos").to_str().unwrap().to_owned();
    for option in [
        &["--test-data", &photos][..],
        &["--flat"],
        &["--bad-images", "skip"],
        &["--other-classes"],
        &["--allow-partial"],
        &["--data-dir", &photos],
    ] {
        let error = refused("lrpet", &arguments(&checkpoint, out.to_str().unwrap(), option)).unwrap();
        assert!(error.contains(option[0]) && error.contains("--data"), "{option:?}: {error}");
        // A known set has its own test images.
        if option.len() == 1 && option[0] == "--flat" {
            let known =
                [&["factorize", &checkpoint, "--out", out.to_str().unwrap(), "--net", "resnet8"], option]
                    .concat();
            let known = [&known[..], &["--data", "cifar10"]].concat();
            let error = refused("lrpet", &known).unwrap();
            assert!(error.contains("--flat is for a folder of images"), "{error}");
        }
        assert!(!out.exists(), "{option:?}");
    }
}
