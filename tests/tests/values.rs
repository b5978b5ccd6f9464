//! Data sets of values, from arrays to a model that is tested: signals of three channels in three classes.

use std::f32::consts::TAU;
use std::path::Path;

use half::f16;
use lrpet_data::values;
use lrpet_tests::programs::{json, number, refused, run};
use npyz::WriterBuilder;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::SafeTensors;

const NETWORK: &str = r#"
version = 1
name = "waves"

[input]
channels = 3
width = 48
kind = "values"

[output]
classes = 3

[[layer]]
op = "conv"
name = "stem"
out = 16
kernel = [1, 5]
padding = [0, 2]
norm = "stem_bn"
activation = "relu"

[[layer]]
op = "conv"
name = "down"
out = 16
kernel = [1, 5]
stride = [1, 2]
padding = [0, 2]
norm = "down_bn"
activation = "relu"

[[layer]]
op = "conv"
name = "block"
out = 16
kernel = [1, 5]
padding = [0, 2]
norm = "block_bn"
residual = "down"
activation = "relu"

[[layer]]
op = "global_average_pool"

[[layer]]
op = "linear"
name = "fc"
out = 3
"#;

const WIDTH: usize = 48;

fn write<T: npyz::AutoSerialize + Copy>(path: &Path, shape: &[u64], values: &[T]) {
    let mut bytes = Vec::new();
    let mut writer =
        npyz::WriteOptions::new().default_dtype().shape(shape).writer(&mut bytes).begin_nd().unwrap();
    writer.extend(values.iter().copied()).unwrap();
    writer.finish().unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// `count` waves of three channels, whose frequency is their class, with noise; classes in turn, labels from `first`. Their values.
fn waves(folder: &Path, part: &str, count: usize, seed: u64, first: i64) -> Vec<f32> {
    std::fs::create_dir_all(folder).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut values = Vec::new();
    for sample in 0..count {
        for _ in 0..3 {
            let phase: f32 = rng.random_range(0.0..TAU);
            let turns = (2 + 3 * (sample % 3)) as f32 / WIDTH as f32;
            let noise = (0..WIDTH).map(|_| rng.random_range(-1.6..1.6)).collect::<Vec<f32>>();
            let wave = noise.iter().enumerate();
            values.extend(wave.map(|(at, noise)| (TAU * turns * at as f32 + phase).sin() + noise));
        }
    }
    let labels: Vec<i64> = (0..count).map(|sample| first + sample as i64 % 3).collect();
    write(&folder.join(format!("{part}_x.npy")), &[count as u64, 3, WIDTH as u64], &values);
    write(&folder.join(format!("{part}_y.npy")), &[count as u64], &labels);
    values
}

/// Writes samples with their classes as the part of a folder.
fn put(folder: &Path, part: &str, values: &values::Values) {
    std::fs::create_dir_all(folder).unwrap();
    let samples = &values.samples;
    let count = samples.labels.len() as u64;
    write(&folder.join(format!("{part}_x.npy")), &[count, 3, WIDTH as u64], &samples.images);
    write(&folder.join(format!("{part}_y.npy")), &[count], &samples.labels);
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn train<'a>(net: &'a Path, data: &'a Path, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let words = ["train", "--batch", "16", "--epochs", "2", "--lr", "0.05", "--prune", "0.5"];
    let places = ["--net", text(net), "--data", text(data), "--out", text(out)];
    [&words[..], &places, more].concat()
}

#[test]
fn signals_are_learned_factorised_run_and_tested_alike() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (net, data, out, model) = (at("net.toml"), at("waves"), at("run"), at("model.safetensors"));
    std::fs::write(&net, NETWORK).unwrap();
    waves(&data, "train", 480, 1, 0);
    let tested = waves(&data, "test", 90, 2, 0);
    let info = json("lrpet", &["data", "info", text(&data)]).unwrap();
    assert_eq!((&info["train"], &info["test"]), (&480.into(), &90.into()), "{info}");
    assert_eq!(info["shape"], serde_json::json!([3, 1, WIDTH]));
    assert!(
        (number(&info, "channels.2.std").unwrap() - (0.5_f64 + 2.56 / 3.0).sqrt()).abs() < 0.02,
        "{info}"
    );

    let done = run("lrpet", &train(&net, &data, &out, &["--json"])).unwrap();
    assert!(done.status == 0 && done.errors.contains("neither normalised nor changed"), "{}", done.errors);
    let trained: serde_json::Value = serde_json::from_str(&done.output).unwrap();
    let learned = number(&trained, "test.accuracy").unwrap();
    // Chance is a third.
    assert!(learned > 0.6, "{learned}");

    let weights = out.join("final.safetensors");
    let words = ["factorize", text(&weights), "--data", text(&data), "--out", text(&model)];
    let made = json("lrpet", &words).unwrap();
    let accuracy = number(&made, "accuracy").unwrap();
    assert!((accuracy - learned).abs() < 0.03, "{accuracy} {learned}");
    assert_eq!(made["layers"].as_array().unwrap().len(), 3, "{made}");

    // Weights of 8 bits are fitted to the samples for training, not to those for testing.
    let eight = at("eight.safetensors");
    let words =
        ["factorize", text(&weights), "--data", text(&data), "--weights", "i8", "--out", text(&eight)];
    let rounded = json("lrpet", &words).unwrap();
    assert_eq!(rounded["calibration"], 480, "{rounded}");
    assert!((number(&rounded, "accuracy").unwrap() - accuracy).abs() < 0.03, "{rounded}");

    // The runtime's answers, counted here, are what eval says of both engines.
    let test = data.join("test_x.npy");
    let ran = json("lrpet", &["run", text(&model), text(&test)]).unwrap();
    let answers = ran["images"].as_array().unwrap().iter().map(|image| image["top"][0]["class"].as_u64());
    let right = answers.enumerate().filter(|(sample, class)| *class == Some(*sample as u64 % 3)).count();
    for engine in ["runtime", "candle"] {
        let words = ["eval", text(&model), "--data", text(&data), "--engine", engine];
        let tested = json("lrpet", &words).unwrap();
        assert_eq!(tested["images"], 90, "{tested}");
        let correct = number(&tested, "correct").unwrap();
        if engine == "runtime" {
            assert_eq!((correct, correct / 90.0), (right as f64, accuracy), "{tested}");
        } else {
            assert!((correct - right as f64).abs() <= 2.0, "{correct} {right}");
        }
    }
    // The self-check is made of the test set.
    let benched = json("lrpet", &["bench", text(&model), "--iterations", "2"]).unwrap();
    assert!(benched.to_string().contains("\"passed\":4"), "{benched}");
    let bytes = std::fs::read(&model).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let check = file.tensor("selfcheck.values").unwrap();
    assert_eq!(check.shape(), [4, 3, 1, WIDTH]);
    // The first sample of each class, class by class: of the first, the first of all.
    let first = tested[..3 * WIDTH].iter().flat_map(|&value| f16::from_f32(value).to_le_bytes());
    assert!(first.eq(check.data()[..6 * WIDTH].iter().copied()));
}

#[test]
fn what_the_training_held_back_is_what_a_model_is_tested_on() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (net, data, out, model) = (at("net.toml"), at("waves"), at("run"), at("model.safetensors"));
    std::fs::write(&net, NETWORK).unwrap();
    waves(&data, "train", 120, 3, 0);
    let words = train(&net, &data, &out, &["--test-share", "0.25"]);
    let trained = json("lrpet", &words).unwrap();
    assert_eq!(trained["test"]["images"], 30, "{trained}");
    // A training on the rest, tested on the samples that are held back, both written down, is the same.
    let split = at("split");
    let parts = values::find(&values::Ask { folder: &data, classes: None, test_share: 0.25 }).unwrap();
    put(&split, "train", &parts.train.unwrap());
    put(&split, "test", &parts.test);
    let apart = json("lrpet", &train(&net, &split, &at("apart"), &[])).unwrap();
    assert_eq!(apart["test"], trained["test"]);
    let weights = out.join("final.safetensors");
    json("lrpet", &["factorize", text(&weights), "--out", text(&model)]).unwrap();
    let done = run("lrpet", &["eval", text(&model), "--data", text(&data), "--json"]).unwrap();
    assert!(done.errors.contains("0.25 of each class"), "{}", done.errors);
    let tested: serde_json::Value = serde_json::from_str(&done.output).unwrap();
    let [there, here] =
        [(&trained, "test.accuracy"), (&tested, "accuracy")].map(|(of, key)| number(of, key).unwrap());
    assert!(tested["images"] == 30 && (there - here).abs() < 0.1, "{tested}");
    let written = json("lrpet", &["eval", text(&model), "--data", text(&split)]).unwrap();
    for key in ["images", "correct", "confusion"] {
        assert_eq!(tested[key], written[key], "{key}");
    }

    // A training goes on with the same samples alone.
    let resumed = [&words[..], &["--resume"]].concat();
    json("lrpet", &resumed).unwrap();
    waves(&data, "train", 120, 4, 0);
    let error = refused("lrpet", &resumed).unwrap();
    assert!(error.contains("images"), "{error}");
}

#[test]
fn what_does_not_fit_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (net, data, out) = (at("net.toml"), at("waves"), at("run"));
    std::fs::write(&net, NETWORK).unwrap();
    waves(&data, "train", 30, 5, 0);
    let says = |arguments: &[&str], words: &[&str]| {
        let error = refused("lrpet", arguments).unwrap();
        words.iter().for_each(|word| assert!(error.contains(word), "{error}"));
        assert!(!out.exists());
    };
    for option in [&["--no-flip"][..], &["--crop-padding", "2"], &["--flat"], &["--size", "32"]] {
        says(&train(&net, &data, &out, option), &[option[0], "is about pictures", "waves"]);
    }
    says(&train(Path::new("resnet8"), &data, &out, &[]), &["resnet8", "kind = \"values\"", "network show"]);
    let other = at("other.toml");
    std::fs::write(&other, NETWORK.replace("width = 48", "width = 32")).unwrap();
    says(&train(&other, &data, &out, &[]), &["other.toml", "3×1×32", "3×1×48"]);
    let many = at("many");
    waves(&many, "train", 30, 5, 1);
    says(&train(&net, &many, &out, &[]), &["train_y.npy", "label 3 of sample 2", "3 classes"]);
    write(&many.join("train_y.npy"), &[29], &[0_u8; 29]);
    says(&train(&net, &many, &out, &[]), &["train_y.npy", "29 classes", "30 samples"]);
    says(&["data", "info", text(&many)], &["train_y.npy", "29 classes"]);
}
