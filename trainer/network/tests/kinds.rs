//! One network in the forms that exporters give it: types of numbers, weights beside the file, quantised, channels last.

use std::path::Path;
use std::process::Command;

use lrpet_network::Normalization;
use lrpet_network::export::Folded;
use lrpet_network::export::reference::{Storage, logits};
use lrpet_network::import::{Imported, Options, import};
use lrpet_network::lrpet::RankPlan;

/// The result for an image of numbers that differ, in f64, and the names of the weights of layers.
fn result(file: &Path) -> (Vec<f64>, Vec<String>) {
    let Imported { network, checkpoint, .. } = import(file, &Options::default()).unwrap();
    let image: Vec<f32> = (0..network.input.len()).map(|at| (at * 37 % 101) as f32 / 50.0 - 1.0).collect();
    let plain = Normalization { mean: vec![0.0], std: vec![1.0] };
    let (folded, _) = Folded::new(&network, &checkpoint, &RankPlan::dense(&network), plain, false).unwrap();
    // Normalisations share a name where a file has their equal weights once.
    let weights = checkpoint.tensors.iter().filter(|(_, array)| array.shape.len() > 1);
    (logits(&folded, &image, Storage::F64), weights.map(|(name, _)| name.clone()).collect())
}

#[test]
fn every_form_of_a_file_is_the_same_network() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = root.join("target/venv/bin/python");
    assert!(python.exists(), "the Python of the tests is missing: run `cargo xtask setup`");
    let file = root.join("tests/networks/se_cnn.onnx");
    let folder = tempfile::tempdir().unwrap();
    let script = root.join("tests/python/onnx_kinds.py");
    let written = Command::new(python).arg(script).arg(&file).arg(folder.path()).output().unwrap();
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let (whole, names) = result(&file);
    assert!(whole.iter().all(|value| value.is_finite()), "{whole:?}");
    let largest = whole.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    // Weights with 53, 24, 11 and 8 bits, and quantised with 8 bits for each channel and for all: roundings of 2⁻¹², 2⁻⁹, and
    // 2⁻⁹ of a channel's or a tensor's largest.
    let forms = [
        ("f64", 0.0, 1e-6),
        ("external", 0.0, 1e-9),
        ("nhwc", 0.0, 1e-6),
        ("f16", 1e-6, 2e-3),
        ("bf16", 1e-5, 2e-2),
        ("int8", 1e-5, 3e-2),
        ("uint8", 1e-5, 3e-2),
    ];
    for (form, least, most) in forms {
        let (found, found_names) = result(&folder.path().join(format!("{form}.onnx")));
        assert!(found.iter().all(|value| value.is_finite()), "{form}: {found:?}");
        let off = found.iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / largest;
        println!("{form}: {off:.1e}");
        assert!(found.len() == whole.len() && off <= most && off >= least, "{form}: off by {off:.1e}");
        let missing: Vec<&String> = names.iter().filter(|name| !found_names.contains(name)).collect();
        assert!(missing.is_empty(), "{form}: no {missing:?} among {found_names:?}");
    }
}
