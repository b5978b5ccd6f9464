//! ONNX files through the program: to a model, to results of any shape, to a training, and held against ONNX Runtime.

use std::path::Path;
use std::process::Command;

use lrpet_tests::programs::{json, number, program, python, refused, root, run};
use serde_json::Value;

/// Squeeze-and-excite, hard swish and a grouped convolution, of 1×28×28 values; tests/python/se_cnn.py writes it.
const ONNX: &str = "tests/networks/se_cnn.onnx";
/// A network of Keras that tf2onnx exported, of 33×30×3 values; tests/python/keras_cnn.py says how it was made.
const KERAS: &str = "tests/networks/keras_cnn.onnx";
/// A value inside `ONNX`, of 32×7×7.
const INNER: &str = "/HardSwish_output_0";

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// An array in numpy's format 1.0, of numbers that differ.
fn array(folder: &Path, name: &str, shape: &[usize]) -> String {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape:?}, }}");
    header = header.replace('[', "(").replace(']', ")");
    while !(10 + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    for at in 0..shape.iter().product::<usize>() {
        bytes.extend(((at * 37 % 101) as f32 / 50.0 - 1.0).to_le_bytes());
    }
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    text(&path)
}

fn numbers(values: &Value) -> Vec<f64> {
    values.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

#[test]
fn a_network_of_values_becomes_a_model_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let made = |name: &str, prune: &str| {
        let out = text(&folder.join(name));
        (json("lrpet", &["factorize", "--net", ONNX, "--prune", prune, "--out", &out]).unwrap(), out)
    };
    let (low, model) = made("low.safetensors", "0.5");
    assert_eq!(number(&low, "held_on_values").unwrap(), 4.0);
    assert!(low["accuracy"].is_null() && low["not_measured"].as_str().unwrap().contains("values"));
    assert!(number(&low, "macs").unwrap() < 0.6 * number(&low, "macs_dense").unwrap());
    let bytes = std::fs::read(&model).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    // Grouped convolutions stay as they are.
    assert_eq!(tensors.tensor("grouped.0.weight").unwrap().shape(), [32, 4, 3, 3]);
    assert_eq!(tensors.tensor("conv1.0.thin.weight").unwrap().shape(), [16, 32, 3, 3]);
    assert_eq!(tensors.tensor("selfcheck.values").unwrap().shape(), [4, 1, 28, 28]);
    assert!(tensors.tensor("selfcheck.images").is_err());
    let checked = json("lrpet-run", &["check", &model]).unwrap();
    assert!(checked["passed"] == true && checked["samples"] == 4, "{checked}");
    let done = run("lrpet", &["factorize", "--net", ONNX, "--prune", "0.5", "--out", &model]).unwrap();
    assert!(done.output.contains("of which the self-check is made"), "{}", done.output);

    let one = array(folder, "one.npy", &[1, 28, 28]);
    let answer = |model: &str, input: &str| json("lrpet", &["run", model, "--input", input]).unwrap();
    let found = answer(&model, &one);
    assert_eq!(
        (&found["shape"], found["top"].as_array().unwrap().len()),
        (&serde_json::json!([10, 1, 1]), 5)
    );
    assert_eq!(found["logits"], answer(&model, &array(folder, "of_one.npy", &[1, 1, 28, 28]))["logits"]);
    // Pairs of half the cost compute nearly the same as the dense network, and not the same.
    let dense = numbers(&answer(&made("dense.safetensors", "0").1, &one)["logits"]);
    let low = numbers(&found["logits"]);
    let furthest = dense.iter().zip(&low).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(dense.len() == 10 && furthest > 1e-6 && furthest < 0.1, "{dense:?} {low:?}");

    let error =
        refused("lrpet", &["run", &model, "--input", &array(folder, "small.npy", &[1, 27, 28])]).unwrap();
    assert!(error.contains("small.npy") && error.contains("1×28×28"), "{error}");
    let picture = folder.join("a.png");
    image::GrayImage::new(28, 28).save(&picture).unwrap();
    let error = refused("lrpet", &["run", &model, "--input", &text(&picture)]).unwrap();
    assert!(error.contains("a.png") && error.contains("values as they are"), "{error}");
    for option in [["--size", "28"], ["--mean", "0.5"], ["--test-resize", "1"]] {
        let words = [&["factorize", "--net", ONNX, "--out", &model][..], &option].concat();
        let error = refused("lrpet", &words).unwrap();
        assert!(error.contains(option[0]) && error.contains("--mean and --std"), "{error}");
    }
    // Said to be of pictures it is one of pictures.
    let words = ["factorize", "--net", ONNX, "--mean", "0.5", "--std", "0.25", "--out", &model];
    assert!(json("lrpet", &words).unwrap()["tolerances"].as_array().unwrap().len() == 4);
    assert!(run("lrpet", &["run", &model, "--input", &text(&picture)]).unwrap().status == 0);
}

#[test]
fn results_of_any_shape_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mine = text(&folder.join("mine"));
    json("lrpet", &["network", "import", ONNX, "--output", INNER, "--out", &mine]).unwrap();
    let (weights, model) = (format!("{mine}/weights.safetensors"), text(&folder.join("map.safetensors")));
    json("lrpet", &["factorize", &weights, "--prune", "0.5", "--out", &model]).unwrap();
    let input = array(folder, "x.npy", &[1, 28, 28]);
    let found = json("lrpet", &["run", &model, "--input", &input]).unwrap();
    assert_eq!(
        (&found["shape"], numbers(&found["logits"]).len()),
        (&serde_json::json!([32, 7, 7]), 32 * 7 * 7)
    );
    assert_eq!(found["top"], serde_json::json!([]));
    let done = run("lrpet", &["run", &model, "--input", &input]).unwrap();
    let first = format!("32×7×7: {:.6}, ", numbers(&found["logits"])[0]);
    assert!(done.output.starts_with(&first) && !done.output.contains('%'), "{}", done.output);
    let csv = text(&folder.join("x.csv"));
    let error = refused("lrpet", &["run", &model, "--input", &input, "--csv", &csv]).unwrap();
    assert!(error.contains("--csv") && error.contains("--json"), "{error}");
    let error = refused("lrpet", &["network", "import", ONNX, "--output", "no", "--out", &mine]).unwrap();
    assert!(error.contains("se_cnn.onnx") && error.contains("no"), "{error}");
}

#[test]
fn several_outputs_go_the_whole_way() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (mine, model) = (text(&folder.join("mine")), text(&folder.join("two.safetensors")));
    let words = ["network", "import", ONNX, "--output", INNER, "--output", "logits", "--out", &mine];
    let made = json("lrpet", &words).unwrap();
    assert_eq!(made["outputs"][0], serde_json::json!({ "name": INNER, "shape": [32, 7, 7] }));
    assert_eq!(made["outputs"][1]["name"], "logits");
    let weights = format!("{mine}/weights.safetensors");
    json("lrpet", &["factorize", &weights, "--prune", "0", "--out", &model]).unwrap();
    // ONNX has both, and so has what is imported from it.
    let (onnx, again) = (text(&folder.join("two.onnx")), text(&folder.join("again")));
    let written = json("lrpet", &["export", &model, "--onnx", &onnx]).unwrap();
    assert_eq!(
        (&written["outputs"][0]["name"], &written["outputs"][1]["name"]),
        (&INNER.into(), &"logits".into())
    );
    json("lrpet", &["network", "import", &onnx, "--out", &again]).unwrap();
    let against =
        &json("lrpet", &["network", "check", &again, "--against", "onnxruntime"]).unwrap()["against"];
    assert!(against["same"] == true && against["outputs"].as_array().unwrap().len() == 2, "{against}");
    for output in against["outputs"].as_array().unwrap() {
        assert!(
            number(output, "difference").unwrap() < 1e-5 * number(output, "largest").unwrap(),
            "{output}"
        );
    }
    let input = array(folder, "x.npy", &[1, 28, 28]);
    let found = json("lrpet", &["run", &model, "--input", &input]).unwrap();
    assert_eq!((&found["shape"], &found["top"]), (&serde_json::json!([32, 7, 7]), &serde_json::json!([])));
    assert_eq!(
        (&found["outputs"][0]["name"], &found["outputs"][0]["values"]),
        (&INNER.into(), &found["logits"])
    );
    // Each as that of a network that has it alone, but for its rounding to f16.
    let whole = text(&folder.join("whole.safetensors"));
    json("lrpet", &["factorize", "--net", ONNX, "--prune", "0", "--out", &whole]).unwrap();
    let alone = numbers(&json("lrpet", &["run", &whole, "--input", &input]).unwrap()["logits"]);
    let both = numbers(&found["outputs"][1]["values"]);
    assert!(alone.len() == both.len() && alone.len() == 10);
    assert!(
        alone.iter().zip(&both).all(|(a, b)| (a - b).abs() <= a.abs() / 2048.0 + 1e-7),
        "{alone:?} {both:?}"
    );
    let said = run("lrpet", &["run", &model, "--input", &input]).unwrap().output;
    assert!(said.lines().count() == 2 && said.contains("\nlogits 10×1×1: "), "{said}");
    let device = json("lrpet-run", &["run", &model, "--input", &input]).unwrap();
    // One prints f32, the other the f64 that it is.
    let single = |values: &Value| numbers(values).into_iter().map(|value| value as f32).collect::<Vec<f32>>();
    for (ours, theirs) in [0, 1].map(|at| (&found["outputs"][at], &device["images"][0]["outputs"][at])) {
        assert_eq!((&ours["name"], &ours["shape"]), (&theirs["name"], &theirs["shape"]));
        assert!(single(&ours["values"]) == single(&theirs["values"]));
    }
    // No stream has the end of the program.
    let (layers, schedule) = (made["report"]["operations"].as_u64().unwrap(), folder.join("cut.safetensors"));
    let bytes = std::fs::read(&model).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let stretch = [layers as u8, 0, 1, 0];
    let added = safetensors::tensor::TensorView::new(safetensors::Dtype::U8, vec![4], &stretch).unwrap();
    let all = tensors.tensors().into_iter().chain([("lrpet.schedule".to_owned(), added)]);
    std::fs::write(&schedule, safetensors::serialize(all, None).unwrap()).unwrap();
    let error = refused("lrpet-run", &["info", &text(&schedule)]).unwrap();
    assert!(error.contains("in a stream, where it cannot be"), "{error}");
    // Training has no loss for them.
    let words = [
        "train",
        "--net",
        &format!("{mine}/network.toml"),
        "--data",
        "fashion-mnist",
        "--out",
        &text(&folder.join("run")),
    ];
    let error = refused("lrpet", &words).unwrap();
    assert!(error.contains("its output is values"), "{error}");
}

#[test]
fn a_network_of_values_is_trained_on_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (out, set) = (text(&folder.join("run")), folder.join("set"));
    for (part, count) in [("train", 4), ("test", 1)] {
        for class in 0..10 {
            let to = set.join(part).join(class.to_string());
            std::fs::create_dir_all(&to).unwrap();
            for number in 0..count {
                let light = |x: u32, y: u32| image::Luma([(x * 7 + y * 13 * class + number * 29) as u8]);
                image::GrayImage::from_fn(28, 28, light).save(to.join(format!("{number}.png"))).unwrap();
            }
        }
    }
    let set = text(&set);
    let plain =
        "train --size 28 --channels 1 --batch 20 --validation 0 --reestimate 1 --epochs 1 --prune 0.5";
    let mut words: Vec<&str> = plain.split(' ').collect();
    words.extend(["--data", &set, "--net", ONNX, "--out", &out]);
    let done = run("lrpet", &words).unwrap();
    assert_eq!(done.status, 0, "{}", done.errors);
    assert!(done.errors.contains("takes values as they are; it is trained on pictures"), "{}", done.errors);
    assert!(done.output.contains("start: all 7 layers"), "{}", done.output);
    let (weights, model) = (format!("{out}/final.safetensors"), text(&folder.join("model.safetensors")));
    let bytes = std::fs::read(&weights).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let network = header.metadata().clone().unwrap()["network_file"].clone();
    assert!(!network.contains("kind = \"values\""), "{network}");
    let made = json("lrpet", &["factorize", &weights, "--no-accuracy", "--out", &model]).unwrap();
    assert_eq!(made["tolerances"].as_array().unwrap().len(), 4);
    assert!(run("lrpet-run", &["check", &model]).unwrap().status == 0);
}

#[test]
fn an_imported_network_is_held_against_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (file, mine) = (text(&folder.join("net.onnx")), text(&folder.join("mine")));
    std::fs::copy(root().join(ONNX), &file).unwrap();
    json("lrpet", &["network", "import", &file, "--out", &mine]).unwrap();
    let check = ["network", "check", &mine, "--against", "onnxruntime"];
    for of in [&mine, &file] {
        let found = json("lrpet", &["network", "check", of, "--against", "onnxruntime"]).unwrap();
        let against = &found["against"];
        assert!(against["same"] == true && against["onnxruntime"].is_string(), "{against}");
        let difference = number(against, "difference").unwrap();
        assert!(difference < 1e-5 * number(against, "largest").unwrap(), "{against}");
        assert!(number(against, "runtime_difference").unwrap() > difference, "{against}");
    }
    // Without Python our own engines remain.
    let mut alone = Command::new(program("lrpet"));
    let done = alone.args(check).arg("--json").env("PATH", "").current_dir(folder).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let found: Value = serde_json::from_slice(&done.stdout).unwrap();
    let against = &found["against"];
    assert!(
        against["same"].is_null() && against["notes"][0].as_str().unwrap().contains("no Python"),
        "{against}"
    );
    assert!(number(against, "runtime_difference").unwrap() > 0.0);

    // The network is another one.
    let network = format!("{mine}/network.toml");
    let whole = std::fs::read_to_string(&network).unwrap();
    let other = whole.replacen("activation = \"hard_swish\"", "activation = \"relu\"", 1);
    assert_ne!(whole, other);
    std::fs::write(&network, other).unwrap();
    let done = run("lrpet", &check).unwrap();
    assert!(done.status == 1 && done.errors.contains("computes something else"), "{}", done.errors);
    std::fs::write(&network, whole).unwrap();
    // The file is another one, or gone.
    std::fs::write(&file, b"other").unwrap();
    let error = refused("lrpet", &check).unwrap();
    assert!(error.contains("net.onnx") && error.contains("has changed"), "{error}");
    std::fs::remove_file(&file).unwrap();
    assert!(refused("lrpet", &check).unwrap().contains("--onnx"));
    assert!(json("lrpet", &[&check[..], &["--onnx", ONNX]].concat()).unwrap()["against"]["same"] == true);
    let error = refused("lrpet", &["network", "check", "resnet8", "--against", "onnxruntime"]).unwrap();
    assert!(error.contains("resnet8") && error.contains("lrpet network import"), "{error}");
}

#[test]
fn maps_with_channels_last_are_held_against_their_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = text(&folder.path().join("last.onnx"));
    let script = root().join("tests/python/channels_last_map.py");
    assert!(Command::new(python().unwrap()).arg(script).arg(&file).status().unwrap().success());
    let found = json("lrpet", &["network", "check", &file, "--against", "onnxruntime"]).unwrap();
    let against = &found["against"];
    assert!(against["same"] == true && against["onnxruntime"].is_string(), "{against}");
    assert_eq!(against["outputs"].as_array().unwrap().len(), 2, "{against}");
}

#[test]
fn a_network_of_keras_is_held_against_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mine = text(&folder.join("mine"));
    let import = json("lrpet", &["network", "import", KERAS, "--out", &mine]).unwrap();
    let report = &import["report"];
    assert!(report["producer"] == "tf2onnx" && report["channels_last"] == true, "{report}");
    // Transposing, and padding on one side, are no operations of their own.
    assert_eq!((number(report, "nodes").unwrap(), number(report, "operations").unwrap()), (25.0, 8.0));
    let found = json("lrpet", &["network", "check", &mine, "--against", "onnxruntime"]).unwrap();
    let against = &found["against"];
    assert!(against["same"] == true && against["onnxruntime"].is_string(), "{against}");
    let difference = number(against, "difference").unwrap();
    assert!(difference < 1e-5 * number(against, "largest").unwrap(), "{against}");
    let model = text(&folder.join("low.safetensors"));
    let low = json("lrpet", &["factorize", "--net", KERAS, "--prune", "0.5", "--out", &model]).unwrap();
    assert!(number(&low, "macs").unwrap() < number(&low, "macs_dense").unwrap(), "{low}");
    let checked = json("lrpet-run", &["check", &model]).unwrap();
    assert!(checked["passed"] == true && checked["samples"] == 4, "{checked}");
}
