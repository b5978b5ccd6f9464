//! Weights of 8 bits from the command line to the logits.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use lrpet_network::Dataset;
use lrpet_network::export::file::serialize;
use lrpet_network::export::{Folded, checked, runtime_logits};
use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::model::program::SCHEDULE_TENSOR;
use lrpet_runtime::plan::Plan;
use lrpet_runtime::session::Session;
use lrpet_tests::programs::{json, number, refused, root, run};

const MODEL: &str = "models/fashion-mnist-resnet8-g0.6.safetensors";

/// The model in 8 bits, without a measured accuracy; `more` are further arguments.
fn factorized(folder: &Path, name: &str, more: &[&str]) -> (String, serde_json::Value) {
    let out = folder.join(name).to_str().unwrap().to_owned();
    let arguments = ["factorize", MODEL, "--weights", "i8", "--no-accuracy", "--out", &out];
    let document = json("lrpet", &[&arguments[..], more].concat()).unwrap();
    (out, document)
}

fn read(file: &str) -> AlignedBytes {
    AlignedBytes::copy_of(&std::fs::read(file).unwrap())
}

#[test]
fn a_model_of_8_bits_runs_and_computes_what_its_weights_compute_as_f16() {
    let folder = tempfile::tempdir().unwrap();
    let (file, document) = factorized(folder.path(), "eight.safetensors", &[]);
    assert_eq!((document["weights"].as_str(), document["calibration"].as_u64()), (Some("i8"), Some(512)));
    let layers = document["quantised"].as_array().unwrap();
    assert_eq!(layers.len(), 10);
    let sum = |key: &str| layers.iter().map(|layer| number(layer, key).unwrap()).sum::<f64>();
    assert!(sum("bytes") <= 0.53 * sum("bytes_f16"), "{} of {}", sum("bytes"), sum("bytes_f16"));
    for layer in layers {
        // Roundings of 8 bits, of which the outputs keep all but a little.
        let error = number(layer, "error").unwrap();
        assert!(error > 0.0 && error < 0.01, "{layer}");
    }
    let inspected = json("lrpet", &["inspect", &file]).unwrap();
    assert_eq!(number(&inspected, "weight_bytes").unwrap(), sum("bytes"));
    assert_eq!(inspected["card"]["weight_bytes"].as_str().unwrap(), sum("bytes").to_string());
    assert_eq!(inspected["layers"][0]["bits"], 8);
    let text = run("lrpet", &["inspect", &file]).unwrap().output;
    assert!(text.contains("pair i8") && text.contains("linear i8"), "{text}");

    let bytes = read(&file);
    let model = checked(bytes.as_slice(), "of 8 bits").unwrap();
    let plan = Plan::new(model.program(), lrpet_runtime::kernel::Isa::detect()).unwrap();
    let mut arena = AlignedBytes::zeroed(plan.arena_bytes);
    let mut session = Session::new(&model, arena.as_mut_slice()).unwrap();
    let mut logits = vec![0.0; session.classes()];
    let check = model.self_check().unwrap();
    for sample in 0..check.samples() {
        session.run_image(check.image(sample), &mut logits, &mut ()).unwrap();
        for (found, expected) in logits.iter().zip(check.logits(sample)) {
            assert!((found - expected).abs() <= check.tolerance(sample), "{found} {expected}");
        }
    }
    let mut network = Folded::from_model(&model).unwrap();
    network.weights.values_mut().for_each(|layer| layer.scales = None);
    let twin = AlignedBytes::copy_of(&serialize(&network, &BTreeMap::new(), None).unwrap());
    let twin = checked(twin.as_slice(), "the same in f16").unwrap();
    let images = Dataset::noise(40, network.input, 10, 1);
    let [eight, half] = [&model, &twin].map(|model| runtime_logits(model, &images, |_| ()).unwrap());
    assert_eq!(eight, half);
    let original = read(root().join(MODEL).to_str().unwrap());
    let original = checked(original.as_slice(), "as it was").unwrap();
    assert_ne!(eight, runtime_logits(&original, &images, |_| ()).unwrap());
}

#[test]
fn the_second_reader_knows_weights_of_8_bits() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = factorized(folder.path(), "eight.safetensors", &[]);
    let python = |file: &str| {
        let program = root().join("target/venv/bin/python");
        let script = root().join("tests/python/read_model.py");
        Command::new(program).arg(script).arg(file).output().unwrap()
    };
    let output = python(&file);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(number(&document, "max_abs_diff").unwrap() < 0.05, "{document}");
    // A scale of five bits is refused by both readers.
    let mut bytes = std::fs::read(&file).unwrap();
    let at = {
        let model = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let biases = model.tensor("fc.bias").unwrap().data();
        biases.as_ptr().addr() - bytes.as_ptr().addr() + biases.len() / 2
    };
    bytes[at..at + 4].copy_from_slice(&0.53125_f32.to_le_bytes());
    let broken = folder.path().join("broken.safetensors").to_str().unwrap().to_owned();
    std::fs::write(&broken, bytes).unwrap();
    let output = python(&broken);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("fc.bias"));
    assert!(refused("lrpet", &["inspect", &broken]).unwrap().contains("layer fc"));
}

/// A budget of flash holds for the file, and bits are chosen together with ranks: where f16 needs low ranks, 8 bits need none.
#[test]
fn a_budget_of_flash_chooses_bits_and_ranks() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("fit.safetensors").to_str().unwrap().to_owned();
    let made = |more: &[&str]| {
        let arguments = ["factorize", "--net", "tests/networks/se_cnn.onnx", "--out", &out];
        let document = json("lrpet", &[&arguments[..], more].concat()).unwrap();
        assert_eq!(document["bytes"].as_u64(), Some(std::fs::metadata(&out).unwrap().len()));
        let names = |key: &str| document[key].as_array().map_or(0, Vec::len);
        (document["bytes"].as_u64().unwrap(), names("layers"), names("quantised"))
    };
    // All layers that may have 8 bits.
    const ALL: usize = 6;
    let (whole, ..) = made(&[]);
    for (budget, pairs, eights) in [
        ("60KB", 0..=0, 0..=0),
        ("48KB", 0..=0, 1..=ALL - 1),
        ("33KB", 0..=0, 2..=ALL - 1),
        ("28KB", 1..=2, 2..=ALL),
    ] {
        let limit = budget.strip_suffix("KB").unwrap().parse::<u64>().unwrap() << 10;
        let (bytes, low, eight) = made(&["--budget", &format!("flash={budget}")]);
        assert!(
            bytes <= limit && pairs.contains(&low) && eights.contains(&eight),
            "{budget}: {bytes} {low} {eight}"
        );
        let (bytes, low, eight) = made(&["--weights", "f16", "--budget", &format!("flash={budget}")]);
        assert!(
            bytes <= limit && (low > 0) == (limit < whole) && eight == 0,
            "{budget}: {bytes} {low} {eight}"
        );
        let (bytes, _, eight) = made(&["--weights", "i8", "--budget", &format!("flash={budget}")]);
        assert!(bytes <= limit && eight == ALL, "{budget}: {bytes} {eight}");
    }
    let arguments = ["factorize", "--net", "tests/networks/se_cnn.onnx", "--out", &out];
    let refuse = |more: &[&str]| refused("lrpet", &[&arguments[..], more].concat()).unwrap();
    // A schedule counts too, and so do its bytes in the ranks.
    let (_, model) = (made(&["--budget", "flash=28KB", "--ram", "least"]), read(&out));
    assert!(
        checked(model.as_slice(), "with a schedule").unwrap().container().tensor(SCHEDULE_TENSOR).is_some()
    );
    assert!(model.as_slice().len() <= 28 << 10);
    // A share is one of the dense model's file.
    let (half, ..) = made(&["--budget", "flash=0.5x"]);
    assert!(half <= whole / 2 + 64 && half > whole * 45 / 100, "{half} of {whole}");
    assert!(refuse(&["--weights", "fit", "--prune", "0.5"]).contains("--budget flash=…"));
    assert!(refuse(&["--budget", "flash=8KB"]).contains("the lowest ranks still take"));
}

/// Without images the bytes are the nearest, which is said; what is for checkpoints is refused.
#[test]
fn what_a_model_file_does_not_take_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (_, document) = factorized(folder.path(), "plain.safetensors", &["--data-dir", &at("nothing")]);
    assert!(document.get("calibration").is_none());
    let out = at("none.safetensors");
    for (more, said) in [
        (&["--prune", "0.5"][..], "a rule for the ranks"),
        (&["--budget", "flash=40KB"], "a rule for the ranks"),
        (&["--factor-linear"], "--factor-linear"),
        (&["--net", "resnet8"], "--net"),
        (&["--mean", "0.5"], "--mean"),
        (&["--energy-transfer"], "--energy-transfer"),
    ] {
        let arguments = ["factorize", MODEL, "--weights", "i8", "--out", &out];
        let error = refused("lrpet", &[&arguments[..], more].concat()).unwrap();
        assert!(error.contains(said), "{more:?}: {error}");
    }
    // A model that is not what its self-check says gets no new one.
    let mut bytes = std::fs::read(root().join(MODEL)).unwrap();
    let place = {
        let model = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let biases = model.tensor("fc.bias").unwrap().data();
        biases.as_ptr().addr() - bytes.as_ptr().addr()
    };
    bytes[place..place + 4].copy_from_slice(&9.0_f32.to_le_bytes());
    let broken = at("broken.safetensors");
    std::fs::write(&broken, bytes).unwrap();
    let error = refused("lrpet", &["factorize", &broken, "--weights", "i8", "--out", &out]).unwrap();
    assert!(error.contains("broken.safetensors") && error.contains("own self-check"), "{error}");
    let error = refused("lrpet", &["factorize", MODEL, "--out", &out]).unwrap();
    assert!(error.contains("model file already"), "{error}");
    assert!(!Path::new(&out).exists());
}
