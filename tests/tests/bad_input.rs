//! What the command line says of files and arguments that it cannot use: one clear error, exit status 1, nothing
//! damaged. Wrong usage is exit status 2.

use std::path::Path;

use lrpet_runtime::model::{Activation, Conv, Linear, Op, Shape, Weights, Window};
use lrpet_tests::programs::{json, refused, run};
use lrpet_tests::random_model::random_model;

/// A small valid model for 28×28 grey images in ten classes.
fn model() -> Vec<u8> {
    let ops = [
        Op::Conv(Conv {
            name: "stem".to_owned(),
            input: 0,
            out_channels: 8,
            window: Window::square(3, 2, 1),
            weights: Weights::Pair { rank: 2 },
            residual: None,
            activation: Activation::Relu,
        }),
        Op::GlobalAveragePool { input: 1 },
        Op::Linear(Linear {
            name: "fc".to_owned(),
            input: 2,
            out_features: 10,
            weights: Weights::Dense,
            activation: Activation::None,
        }),
    ];
    random_model(Shape::new(1, 28, 28), 10, &ops, 1).unwrap()
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let file = folder.join(name);
    std::fs::write(&file, bytes).unwrap();
    file.to_str().unwrap().to_owned()
}

/// `bytes` with the first occurrence of `from` replaced by `to`, of the same length.
fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).expect(from);
    let mut changed = bytes.to_vec();
    changed[at..at + to.len()].copy_from_slice(to.as_bytes());
    changed
}

/// Offset in the file of a tensor's data.
fn position(bytes: &[u8], tensor: &str) -> usize {
    let file = safetensors::SafeTensors::deserialize(bytes).unwrap();
    file.tensor(tensor).unwrap().data().as_ptr().addr() - bytes.as_ptr().addr()
}

#[test]
fn unusable_models_are_refused_by_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let good = model();
    let mut nan = good.clone();
    let at = position(&good, "fc.weight");
    nan[at..at + 2].copy_from_slice(&[0xff; 2]);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("short", good[..7].to_vec()),
        ("cut", good[..good.len() - 10].to_vec()),
        ("long", [&good[..], b"more"].concat()),
        ("foreign", b"\x89PNG\r\n\x1a\n and so on, no tensors at all".to_vec()),
        ("dtype", replaced(&good, "\"F16\"", "\"I16\"")),
        ("name", replaced(&good, "fc.weight", "fd.weight")),
        ("nan", nan),
    ];
    let picture = folder.path().join("grey.png");
    image::GrayImage::new(28, 28).save(&picture).unwrap();
    for (name, bytes) in cases {
        let file = write(folder.path(), &format!("{name}.safetensors"), &bytes);
        for arguments in [
            &["inspect", &file][..],
            &["bench", &file],
            &["eval", &file, "--data", "fashion-mnist"],
            &["run", &file, "--input", picture.to_str().unwrap()],
        ] {
            let error = refused("lrpet", arguments).unwrap();
            assert!(error.contains(&format!("{name}.safetensors")), "{arguments:?}: {error}");
        }
        let error = refused("lrpet-run", &["check", &file]).unwrap();
        assert!(error.contains(&format!("{name}.safetensors")), "{error}");
    }
    assert!(json("lrpet", &["inspect", &write(folder.path(), "good.safetensors", &good)]).is_ok());
}

#[test]
fn a_model_from_the_future_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut future = model();
    let at = position(&future, "lrpet.program");
    assert_eq!(future[at], 1, "the program begins with its version");
    future[at] = 9;
    let error = refused("lrpet", &["inspect", &write(folder.path(), "future.safetensors", &future)]).unwrap();
    assert!(error.contains("version 9"), "{error}");
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "good.safetensors", &model());
    let small = folder.path().join("small.png");
    image::GrayImage::new(20, 28).save(&small).unwrap();
    let error = refused("lrpet", &["run", &file, "--input", small.to_str().unwrap()]).unwrap();
    assert!(error.contains("28×20") && error.contains("1×28×28"), "{error}");
    let text = write(folder.path(), "text.png", b"not a picture");
    let error = refused("lrpet", &["run", &file, "--input", &text]).unwrap();
    assert!(error.contains("text.png"), "{error}");
    let array = write(folder.path(), "short.npy", b"\x93NUMPY\x01\x00");
    let error = refused("lrpet", &["run", &file, "--input", &array]).unwrap();
    assert!(error.contains("short.npy"), "{error}");
}

#[test]
fn missing_data_names_the_command_that_gets_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "good.safetensors", &model());
    let nowhere = folder.path().to_str().unwrap();
    let error = refused("lrpet", &["eval", &file, "--data", "fashion-mnist", "--data-dir", nowhere]).unwrap();
    assert!(error.contains("lrpet data get fashion-mnist"), "{error}");
    let error = refused("lrpet", &["eval", &file, "--data", "fashion"]).unwrap();
    assert!(error.contains("fashion-mnist"), "{error}");
    let out = folder.path().join("run");
    let train = ["train", "--net", "resnet8", "--out", out.to_str().unwrap()];
    refused("lrpet", &[&train[..], &["--data", "fashion-mnist", "--data-dir", nowhere]].concat()).unwrap();
    assert!(!out.exists(), "a refused training leaves no folder");
}

#[test]
fn wrong_ranks_and_networks_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let train = ["train", "--data", "fashion-mnist", "--out", out.to_str().unwrap()];
    let with = |more: &[&str]| refused("lrpet", &[&train[..], more].concat()).unwrap();
    assert!(with(&["--net", "resnet9"]).contains("resnet8"));
    let error = with(&["--net", "resnet8", "--ranks", "layer9.conv=3"]);
    assert!(error.contains("layer9.conv"), "{error}");
    let error = with(&["--net", "resnet8", "--ranks", "layer1.0.conv1=99"]);
    assert!(error.contains("layer1.0.conv1") && error.contains("16"), "{error}");
    let error = with(&["--net", "resnet8", "--energy", "0.9", "--epochs", "2", "--choose-after", "2"]);
    assert!(error.contains("energy 0.9") && error.contains("2 epochs"), "{error}");
    let other = write(folder.path(), "other.safetensors", &model());
    let error = with(&["--net", "resnet8", "--init", &other]);
    assert!(error.contains("other.safetensors") && error.contains("a model file already"), "{error}");
    assert!(!out.exists(), "a refused training leaves no folder");
}

#[test]
fn a_file_that_cannot_be_written_leaves_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let report = write(folder.path(), "report.json", br#"{"models": [{"name": 7}]}"#);
    let page = write(folder.path(), "report.html", b"the old page");
    let error = refused("lrpet", &["report", &report]).unwrap();
    assert!(error.contains("models[0].name"), "{error}");
    assert_eq!(std::fs::read(&page).unwrap(), b"the old page");
    let good = write(folder.path(), "report.json", br#"{"models": []}"#);
    let nowhere = folder.path().join("nowhere/report.html");
    let error = refused("lrpet", &["report", &good, "--out", nowhere.to_str().unwrap()]).unwrap();
    assert!(error.contains("nowhere"), "{error}");
}

#[test]
fn numbers_that_make_no_sense_are_refused_before_any_image_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    // No data set has this name: an error about it would mean that it was looked for.
    let train = ["train", "--net", "resnet8", "--data", "no-such-data", "--out", out.to_str().unwrap()];
    let numbers = [
        "--epochs=0",
        "--batch=0",
        "--limit=0",
        "--threads=0",
        "--lr=nan",
        "--lr=-0.1",
        "--lr=inf",
        "--lr=0",
        "--momentum=1",
        "--momentum=nan",
        "--weight-decay=-1",
        "--weight-decay=inf",
        "--warm-up=-1",
        "--project-epochs=0",
        "--project-iterations=0",
        "--residual-factor=1",
        "--steps=0",
        "--prune=1.5",
        "--prune=nan",
        "--energy=0",
        "--energy=1.1",
    ];
    for wrong in numbers {
        let done = run("lrpet", &[&train[..], &[wrong]].concat()).unwrap();
        let (option, value) = wrong.split_once('=').unwrap();
        let words = format!("error: invalid value '{value}' for '{option} ");
        assert!(done.status == 2 && done.errors.starts_with(&words), "{wrong}: {}", done.errors);
    }
    let together: [(&[&str], &str); 12] = [
        (&["--epochs", "5", "--warm-up", "6"], "warm-up over 6 of the epochs: the run has 5"),
        (&["--steps", "10"], "--steps is for --schedule step"),
        (&["--schedule", "step", "--steps", "20,10"], "they must rise"),
        (&["--schedule", "step", "--steps", "10,30"], "a step after epoch 30: the run has 30"),
        (&["--project-iterations", "10"], "--project-iterations is for low-rank training"),
        (&["--project-epochs", "1"], "--project-epochs is for low-rank training"),
        (&["--residual-factor", "0.5"], "--residual-factor is for low-rank training"),
        (&["--prune", "0.5", "--choose-after", "3"], "--choose-after is for --energy and --budget"),
        (&["--prune", "0.5", "--reestimate", "0"], "--reestimate 0 is for dense training"),
        (&["--budget", "macs=0.5x", "--epochs", "1"], "give --epochs 2 or more"),
        (&["--energy", "0.9", "--epochs", "1"], "give --epochs 2 or more"),
        (&["--energy", "0.9", "--choose-after", "30"], "the run has 30 epochs"),
    ];
    for (more, words) in together {
        let error = refused("lrpet", &[&train[..], more].concat()).unwrap();
        assert!(error.contains(words), "{more:?}: {error}");
    }
    let sweep = ["sweep", "--net", "resnet8", "--data", "no-such-data", "--out", out.to_str().unwrap()];
    let together: [(&[&str], &str); 3] = [
        (&["--prune", "0,0.5", "--warm-up", "31"], "warm-up over 31 of the epochs"),
        (&["--prune", "0,0.5", "--reestimate", "0"], "--reestimate 0 is for dense training"),
        (
            &["--prune", "0.5", "--warm-start", "dense", "--warm-epochs", "2", "--warm-up", "3"],
            "warm-up over 3 of the epochs: the run has 2",
        ),
    ];
    for (more, words) in together {
        let error = refused("lrpet", &[&sweep[..], more].concat()).unwrap();
        assert!(error.contains(words), "{more:?}: {error}");
    }
    assert!(!out.exists());
}

#[test]
fn wrong_usage_is_another_exit_status() {
    for arguments in [
        &["eval"][..],
        &["nothing"],
        &["train", "--prune", "0.5", "--ranks", "a=1"],
        &["factorize", "x", "--out", "y", "--prune", "0.5", "--budget", "macs=0.5x"],
        &["factorize", "x", "--out", "y", "--budget", "ram=4"],
    ] {
        assert_eq!(run("lrpet", arguments).unwrap().status, 2, "{arguments:?}");
    }
    assert_eq!(run("lrpet", &["--help"]).unwrap().status, 0);
}
