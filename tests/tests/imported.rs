//! A network that PyTorch made, the whole way: from its ONNX file by a little training with LRPET to emulated devices.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use lrpet_tests::programs::{json, number, root};
use serde_json::Value;

/// Squeeze-and-excite, hard swish and a grouped convolution; made by tests/python/se_cnn.py.
const ONNX: &str = "tests/networks/se_cnn.onnx";
const DATA: &str = "fashion-mnist";

fn text(path: &Path) -> String {
    path.to_str().expect("paths of tests are text").to_owned()
}

/// The model of half the multiply-adds, trained from the file's weights, once for all devices.
fn model() -> &'static (PathBuf, Value) {
    static MODEL: OnceLock<(PathBuf, Value)> = OnceLock::new();
    MODEL.get_or_init(|| {
        let folder = root().join("target/test-models/imported");
        let _ = std::fs::remove_dir_all(&folder);
        let (network, run) = (text(&folder.join("network")), text(&folder.join("run")));
        let import = ["network", "import", ONNX, "--out", &network, "--mean", "0.286", "--std", "0.353"];
        json("lrpet", &import).unwrap();
        let file = text(&folder.join("network/network.toml"));
        let weights = text(&folder.join("network/weights.safetensors"));
        let source = ["train", "--net", &file, "--init", &weights, "--data", DATA, "--prune", "0.5"];
        let length = ["--limit", "2560", "--validation", "500", "--epochs", "2", "--out", &run];
        let training = json("lrpet", &[&source[..], &length].concat()).unwrap();
        let model = folder.join("low.safetensors");
        let checkpoint = text(&folder.join("run/final.safetensors"));
        let low = text(&model);
        let factorize = ["factorize", &checkpoint, "--data", DATA, "--prune", "0.5", "--out", &low];
        json("lrpet", &[&factorize[..], &["--net", &file, "--no-accuracy"]].concat()).unwrap();
        (model, training)
    })
}

/// One inference on `board`, whose self-check compares its logits with the trainer's.
fn on(board: &str) {
    let (model, _) = model();
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["xtask", "board", board])
        .arg(model)
        .args(["--iterations", "1", "--warm-up", "0", "--json"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{board}: {}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let check = &report["self_check"];
    assert!(
        check["samples"].as_u64().unwrap() > 0 && check["samples"] == check["passed"],
        "{board}: {check}"
    );
}

#[test]
fn an_imported_network_learns() {
    let (model, training) = model();
    let epochs = training["epochs"].as_array().unwrap();
    let loss = |epoch: &Value| number(epoch, "loss").unwrap();
    assert_eq!(epochs.len(), 2);
    assert!(loss(&epochs[1]) < 0.9 * loss(&epochs[0]), "{epochs:?}");
    let accuracy = number(
        &json("lrpet", &["eval", &text(model), "--data", DATA, "--limit", "1000"]).unwrap(),
        "accuracy",
    );
    // Chance is a tenth.
    let accuracy = accuracy.unwrap();
    assert!(accuracy > 0.25, "{accuracy}");
}

#[test]
fn it_runs_on_a_cortex_m4f() {
    on("qemu-mps2-an386");
}

#[test]
fn it_runs_on_a_cortex_m55() {
    on("qemu-mps3-an547");
}

#[test]
fn it_runs_on_a_cortex_a53() {
    let (model, _) = model();
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["xtask", "pi"])
        .arg(model)
        .args(["--cpu", "cortex-a53"])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains("cortex-a53 (emulated)"), "{printed}");
}
