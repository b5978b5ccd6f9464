//! The kernels of every emulated Cortex-M on random convolutions, against the host's portable ones.

use std::process::Command;

use lrpet_runtime::model::Shape;
use lrpet_tests::programs::root;
use lrpet_tests::random_model::{Values, random_convolutions, random_pairs};
use serde_json::Value;

/// Images of the networks.
const SHAPES: [Shape; 4] =
    [Shape::new(3, 13, 11), Shape::new(1, 16, 33), Shape::new(4, 9, 20), Shape::new(2, 24, 7)];

/// Images of the networks of pairs.
const PAIRS: [Shape; 2] = [Shape::new(2, 13, 19), Shape::new(3, 16, 16)];

/// Bytes of memory for a network. They are read from the board's region: its firmware is built once for all of them.
const MEMORY: &str = "131072";

/// `board` computes the logits of random networks of `branches` branches: to the last bit where `exact`.
fn check(board: &str, branches: usize, values: Values, exact: bool) {
    let folder = root().join("target/test-models");
    std::fs::create_dir_all(&folder).unwrap();
    let convolutions = SHAPES.map(|input| (input, branches));
    for (seed, (input, branches)) in (0..).zip(convolutions.into_iter().chain(PAIRS.map(|input| (input, 0))))
    {
        // Sums of products by tiles are rounded in another way.
        let exact = exact && (branches > 0 || values == Values::Whole);
        let file = folder.join(format!("{board}-{values:?}-{seed}.safetensors"));
        let model = match branches {
            0 => random_pairs(input, 6, values, seed),
            _ => random_convolutions(input, branches, 6, values, seed),
        };
        std::fs::write(&file, model.unwrap()).unwrap();
        let output = Command::new(env!("CARGO"))
            .current_dir(root())
            .args(["xtask", "board", board])
            .arg(&file)
            .args(["--iterations", "1", "--warm-up", "0", "--region-memory", MEMORY, "--json"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{board}, {seed}: {}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let check = &report["self_check"];
        assert_eq!((&check["samples"], &check["passed"]), (&3.into(), &3.into()), "{board}, {seed}");
        let difference = check["largest_difference"].as_f64().unwrap();
        assert!(!exact || difference == 0.0, "{board}, {seed}: {check}");
    }
}

#[test]
fn cortex_m4f() {
    check("qemu-mps2-an386", 24, Values::Real, true);
    check("qemu-mps2-an386", 24, Values::Whole, true);
}

#[test]
fn cortex_m7() {
    check("qemu-mps2-an500", 24, Values::Real, false);
}

#[test]
fn cortex_m33() {
    check("qemu-mps2-an505", 24, Values::Real, false);
}

/// Branches that fit the 512 KiB of the Cortex-M55's board.
const FEWER: usize = 8;

#[test]
fn cortex_m55() {
    check("qemu-mps3-an547", FEWER, Values::Whole, true);
    check("qemu-mps3-an547", FEWER, Values::Real, false);
}

/// Sums in f16 are exact where they are small whole numbers, and near those in f32 elsewhere.
#[test]
fn cortex_m55_with_products_in_f16() {
    check("qemu-mps3-an547-f16", FEWER, Values::Whole, true);
    check("qemu-mps3-an547-f16", FEWER, Values::Real, false);
}
