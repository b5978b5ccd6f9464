//! The kernels of every emulated Cortex-M on random convolutions, against the host's portable ones.

use std::process::Command;

use lrpet_runtime::model::Shape;
use lrpet_tests::programs::root;
use lrpet_tests::random_model::random_convolutions;
use serde_json::Value;

/// `board` computes the logits of random networks: to the last bit where it rounds as the host does.
fn check(board: &str, exact: bool) {
    let folder = root().join("target/test-models");
    std::fs::create_dir_all(&folder).unwrap();
    let shapes = [Shape::new(3, 13, 11), Shape::new(1, 16, 33), Shape::new(4, 9, 20), Shape::new(2, 24, 7)];
    for (seed, input) in (0..).zip(shapes) {
        let file = folder.join(format!("{board}-{seed}.safetensors"));
        std::fs::write(&file, random_convolutions(input, 24, 6, seed).unwrap()).unwrap();
        let output = Command::new(env!("CARGO"))
            .current_dir(root())
            .args(["xtask", "board", board])
            .arg(&file)
            .args(["--iterations", "1", "--json"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{board}, {seed}: {}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let samples = report["samples"].as_array().unwrap();
        assert_eq!((samples.len(), &report["pass"]), (3, &Value::Bool(true)), "{board}, {seed}");
        for sample in samples {
            let difference = sample["max_abs_diff"].as_f64().unwrap();
            assert!(!exact || difference == 0.0, "{board}, {seed}: {sample}");
        }
    }
}

#[test]
fn cortex_m4f() {
    check("qemu-mps2-an386", true);
}

#[test]
fn cortex_m7() {
    check("qemu-mps2-an500", false);
}

#[test]
fn cortex_m33() {
    check("qemu-mps2-an505", false);
}
