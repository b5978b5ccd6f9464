//! Models as the export makes them, tolerances of the self-check included, on every emulated board: sound ones pass, broken
//! ones do not.

#[path = "support/fresh.rs"]
mod fresh;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use lrpet_network::export::{checked, schedule::with_schedule};
use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::Shape;
use lrpet_runtime::plan::curve;
use lrpet_tests::programs::root;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;

/// Bytes of memory for a network. They are read from the board's region: its firmware is built once for all of them.
const MEMORY: &str = "131072";

/// A new file for the tests of `board`.
fn file(board: &str, name: &str) -> PathBuf {
    let folder = root().join("target/test-models");
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(format!("{board}-{name}.safetensors"))
}

fn board(board: &str, model: &Path) -> Output {
    Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["xtask", "board", board])
        .arg(model)
        .args(["--iterations", "1", "--warm-up", "0", "--region-memory", MEMORY, "--json"])
        .output()
        .unwrap()
}

/// `model` with what `change` makes of the bytes of tensor `name`.
fn changed(model: &[u8], name: &str, change: impl Fn(&mut [u8])) -> Vec<u8> {
    let model = SafeTensors::deserialize(model).unwrap();
    let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = model
        .tensors()
        .into_iter()
        .map(|(name, tensor)| (name, tensor.dtype(), tensor.shape().to_vec(), tensor.data().to_vec()))
        .collect();
    change(&mut tensors.iter_mut().find(|tensor| tensor.0 == name).unwrap().3);
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, data)| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

/// The sound models, made once for all boards: name, file. Those called streams run row by row.
static SOUND: LazyLock<Vec<(&str, Vec<u8>)>> = LazyLock::new(|| {
    let mut models = [
        ("resnet8", Shape::new(1, 28, 28), 0.0),
        ("resnet8-0.6", Shape::new(3, 20, 20), 0.6),
        ("ds_cnn", Shape::new(1, 49, 10), 0.0),
    ]
    .map(|(name, input, g)| {
        let network = name.split('-').next().unwrap();
        (name, fresh::fresh_model(network, input, 10, g, 1).unwrap())
    })
    .to_vec();
    for (network, name) in [(1, "resnet8-0.6-streams"), (2, "ds_cnn-streams")] {
        let bytes = AlignedBytes::copy_of(&models[network].1);
        let model = checked(bytes.as_slice(), name).unwrap();
        let choices = curve(model.program(), Isa::CortexM).unwrap();
        let least = choices.last().unwrap();
        assert!(least.plan.arena_bytes * 5 < choices[0].plan.arena_bytes * 4, "{name}: {least:?}");
        models.push((name, with_schedule(bytes.as_slice(), &least.bytes()).unwrap()));
    }
    models
});

/// Sound models pass on `name` within `share` of what they allow sums in f32, and two broken ones are found out.
fn check(name: &str, share: f64) {
    for (network, model) in &*SOUND {
        let path = file(name, network);
        std::fs::write(&path, model).unwrap();
        let output = board(name, &path);
        assert!(output.status.success(), "{name}, {network}: {}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let found = &report["self_check"];
        assert_eq!((&found["samples"], &found["passed"]), (&4.into(), &4.into()), "{name}, {network}");
        let model = SafeTensors::deserialize(model).unwrap();
        let tolerance = model.tensor("selfcheck.tolerance").unwrap().data().to_vec();
        let tolerances = tolerance.chunks_exact(4).map(|x| f32::from_le_bytes(x.try_into().unwrap()));
        let largest = found["largest_difference"].as_f64().unwrap();
        let of_it = largest / f64::from(tolerances.fold(0.0, f32::max));
        println!("{name}, {network}: {of_it:.3} of the tolerance");
        assert!(of_it < share, "{name}, {network}: {of_it} of the tolerance");
    }
    let (_, model) = &SOUND[0];
    // Two filters of a layer in the middle are taken for each other: 32 channels of 3×3 in f16.
    let swapped = changed(model, "layer2.0.conv2.weight", |weights| {
        let (first, rest) = weights.split_at_mut(32 * 9 * 2);
        first.swap_with_slice(&mut rest[..32 * 9 * 2]);
    });
    let lax = changed(model, "selfcheck.tolerance", |tolerances| {
        tolerances[..4].copy_from_slice(&1e9f32.to_le_bytes());
    });
    for (what, broken, said) in
        [("swapped", swapped, "self-check"), ("lax", lax, "selfcheck.tolerance: that of sample 0")]
    {
        let path = file(name, what);
        std::fs::write(&path, broken).unwrap();
        let output = board(name, &path);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains(said), "{name}, {what}: {errors}");
    }
}

#[test]
fn cortex_m4f() {
    check("qemu-mps2-an386", 1.0);
}

#[test]
fn cortex_m7() {
    check("qemu-mps2-an500", 1.0);
}

#[test]
fn cortex_m33() {
    check("qemu-mps2-an505", 1.0);
}

#[test]
fn cortex_m55() {
    check("qemu-mps3-an547", 1.0);
}

#[test]
fn cortex_m55_with_products_in_f16() {
    check("qemu-mps3-an547-f16", 2.0);
}
