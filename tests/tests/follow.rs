//! What a training leaves for those who follow it.

use lrpet_tests::events;
use lrpet_tests::programs::{number, refused, run};

const TRAIN: [&str; 9] =
    ["train", "--net", "resnet8", "--data", "fashion-mnist", "--batch", "64", "--validation", "200"];

#[test]
fn a_run_leaves_events_curves_and_a_summary() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let more = ["--prune", "0.5", "--limit", "640", "--epochs", "2", "--seed", "7", "--out", out];
    let done = run("lrpet", &[&TRAIN[..], &more, &["--json"]].concat()).unwrap();
    assert_eq!(done.status, 0, "{}", done.errors);
    let document: serde_json::Value = serde_json::from_str(&done.output).unwrap();

    // What the run is about to do stands before its first epoch, on standard error and in the document.
    let before = &done.errors[..done.errors.find("epoch 1/2: loss").unwrap()];
    for line in [
        "network        resnet8, input 1×28×28, 10 classes",
        "images         fashion-mnist: 640 training, 200 validation, 10\u{a0}000 test; ",
        "steps          2 epochs of 10 batches of 64 images",
        "ranks          pruning ratio 0.5, in 9 layers; projected every epoch",
        "multiply-adds  9.35 M dense → ",
        "weights        fresh, seed 7",
        "device         cpu, ",
        &format!("output         {out}"),
    ] {
        assert!(before.lines().any(|found| found.starts_with(line)), "{line}\n{before}");
    }
    assert!(!before.contains("hint: "), "{before}");
    assert!(done.errors.contains("epoch 2/2: loss"), "{}", done.errors);
    let setup = |key: &str| number(&document, &format!("setup.{key}")).unwrap();
    assert_eq!(["batches", "epochs", "images.train", "classes"].map(setup), [10.0, 2.0, 640.0, 10.0]);
    assert!(setup("macs") < 0.7 * setup("macs_dense"), "{document}");

    let curves = events::curves(folder.path()).unwrap();
    let metrics = std::fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
    let records: Vec<serde_json::Value> =
        metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 2);
    for (curve, key) in [
        ("loss/train", "train_loss"),
        ("accuracy/train", "train_accuracy"),
        ("learning_rate", "rate"),
        ("loss/validation", "validation.loss"),
        ("projection/energy_kept", "projection.energy_kept"),
        ("speed/images_per_second", "images_per_second"),
    ] {
        // Events hold f32, whose text may be read as a neighbour of it in f64.
        let values = records.iter().map(|record| number(record, key).unwrap() as f32);
        let expected: Vec<(u64, f32)> = (1..).zip(values).collect();
        let found: Vec<(u64, f32)> =
            curves[curve].iter().map(|&(step, value)| (step, value as f32)).collect();
        assert_eq!(found, expected, "{curve}");
    }
    assert_eq!(curves["batch/loss"].iter().map(|(step, _)| *step).collect::<Vec<_>>(), [10, 20]);

    let picture = std::fs::read_to_string(folder.path().join("curves.svg")).unwrap();
    assert!(picture.starts_with("<svg xmlns=") && picture.ends_with("</svg>"));
    let summary = std::fs::read_to_string(document["summary"].as_str().unwrap()).unwrap();
    let accuracy = 100.0 * number(&document, "test.accuracy").unwrap();
    for text in [
        format!("| Test accuracy | {accuracy:.2} % of 10\u{a0}000 images"),
        format!("lrpet {} {} --json\n", TRAIN.join(" "), more.join(" ")),
        "| Multiply-adds | 9.35 M (9\u{a0}345\u{a0}920) → ".to_owned(),
        "| Images | 640 training, 200 validation, 10\u{a0}000 test |".to_owned(),
        "| Steps of an epoch | 10 of at most 64 images |".to_owned(),
        "| seed | 7 |".to_owned(),
    ] {
        assert!(summary.contains(&text), "{text}\n{summary}");
    }
}

#[test]
fn a_loss_that_is_no_number_names_epoch_batch_and_a_sound_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    // One batch an epoch, and the first at rate 0: there are checkpoints before the loss is no number.
    let more = ["--limit", "64", "--lr", "1e6", "--warm-up", "40", "--epochs", "40"];
    let arguments = [&TRAIN[..], &more, &["--out", out.to_str().unwrap()]].concat();
    let first = refused("lrpet", &arguments).unwrap();
    assert!(first.contains("epoch ") && first.contains(", batch 1; "), "{first}");
    assert!(first.contains("NaN"), "{first}");
    let checkpoint = first.rsplit("last good checkpoint: ").next().unwrap();
    let bytes = std::fs::read(checkpoint).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for (name, tensor) in file.iter() {
        let values = tensor.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
        assert!(values.into_iter().all(f32::is_finite), "{name}");
    }
    // Going on from it ends the same way, and the checkpoint stays.
    let second = refused("lrpet", &[&arguments[..], &["--resume"]].concat()).unwrap();
    assert_eq!(second, first);
    assert!(std::fs::read(checkpoint).unwrap() == bytes);
}
