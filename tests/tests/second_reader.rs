//! A reader in Python, written from docs/format.md alone, rebuilds the logits of model files.

use std::path::Path;
use std::process::{Command, Output};

use lrpet_runtime::model::{Concat, Inputs, Op, PadShortcut, Shape};
use lrpet_tests::every_operation::every_operation;
use lrpet_tests::general_operations::{general_operations, several_outputs};
use lrpet_tests::programs::{python, root};
use lrpet_tests::random_model::random_model;
use serde_json::Value;

fn read(model: &Path) -> Output {
    let script = root().join("tests/python/read_model.py");
    Command::new(python().unwrap()).arg(script).arg(model).output().unwrap()
}

/// Largest difference between the reader's logits and the file's, as a share of the largest logit (at least 1).
fn difference(model: &Path) -> f64 {
    let output = read(model);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(document["samples"].as_u64().unwrap() > 0);
    let logits = document["logits"].as_array().unwrap().iter().flat_map(|row| row.as_array().unwrap());
    let largest = logits.map(|x| x.as_f64().unwrap().abs()).fold(1.0, f64::max);
    document["max_abs_diff"].as_f64().unwrap() / largest
}

#[test]
fn logits_are_rebuilt_from_the_specification() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("every.safetensors");
    std::fs::write(&file, every_operation()).unwrap();
    assert!(difference(&file) < 5e-3);
    // Version 2, with long lists of values and without.
    for many in [false, true] {
        std::fs::write(&file, general_operations(many)).unwrap();
        assert!(difference(&file) < 5e-3, "{}", difference(&file));
    }
    std::fs::write(&file, several_outputs()).unwrap();
    assert!(difference(&file) < 5e-3, "{}", difference(&file));
    // An operation that moves values makes logits like any other.
    let moved = [Op::PadShortcut(PadShortcut { input: 0, out_channels: 4, stride: 12 })];
    std::fs::write(&file, random_model(Shape::new(1, 3, 3), 4, &moved, 1).unwrap()).unwrap();
    assert!(difference(&file) < 1e-6);
    let shortcut = |input| Op::PadShortcut(PadShortcut { input, out_channels: 2, stride: 12 });
    let joined = Op::Concat(Concat { inputs: Inputs::new(&[2, 1]).unwrap(), out_channels: 4 });
    let joined = [shortcut(0), shortcut(1), joined];
    std::fs::write(&file, random_model(Shape::new(1, 3, 3), 4, &joined, 1).unwrap()).unwrap();
    assert!(difference(&file) < 1e-6);
    let mut kept = 0;
    for entry in std::fs::read_dir(root().join("models")).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_some_and(|extension| extension == "safetensors") {
            kept += 1;
            // f16 activations against float64.
            assert!(difference(&file) < 1e-2, "{}", file.display());
        }
    }
    assert!(kept >= 2, "models/ holds {kept} models");
}

#[test]
fn damage_is_an_error_in_python_too() {
    let folder = tempfile::tempdir().unwrap();
    let good = every_operation();
    for length in [0, 7, 200, good.len() - 1] {
        let file = folder.path().join("cut.safetensors");
        std::fs::write(&file, &good[..length]).unwrap();
        let output = read(&file);
        assert_eq!(output.status.code(), Some(1), "{length}");
        assert!(output.stdout.is_empty());
        assert!(!String::from_utf8_lossy(&output.stderr).contains("Traceback"), "{length}");
    }
}

/// The rule of the format, in Python as in the runtime.
#[test]
fn a_tolerance_that_would_pass_anything_is_refused_in_python_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tolerance.safetensors");
    let good = every_operation();
    let model = safetensors::SafeTensors::deserialize(&good).unwrap();
    let samples = model.tensor("selfcheck.logits").unwrap().shape()[0];
    let write = |tolerance: f32| {
        let data = vec![tolerance; samples].iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        let dtype = safetensors::Dtype::F32;
        let added = safetensors::tensor::TensorView::new(dtype, vec![samples], &data).unwrap();
        let tensors = model.tensors().into_iter().chain([("selfcheck.tolerance".to_owned(), added)]);
        std::fs::write(&file, safetensors::serialize(tensors, None).unwrap()).unwrap();
        let said = read(&file);
        (said.status.success(), String::from_utf8_lossy(&said.stderr).into_owned())
    };
    assert!(write(0.01).0);
    for bad in [-1e-9, f32::NAN, f32::INFINITY, 1e6] {
        let (passed, said) = write(bad);
        assert!(!passed && said.contains("selfcheck.tolerance"), "{bad}: {said}");
    }
    let (passed, said) = write(0.0);
    assert!(!passed && said.contains("the logits differ"), "{said}");
}
