//! A network for images of 224×224 on an emulated Cortex-M7 with the memory of a microcontroller.

use std::process::Command;

use lrpet_network::export::{checked, schedule::with_schedule};
use lrpet_network::lrpet::RankPlan;
use lrpet_network::network::Known;
use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::plan::curve;
use lrpet_tests::programs::root;
use lrpet_tests::random_model::{factor, random_model};
use serde_json::Value;

/// Of the arena, and of all RAM of an STM32H743 that lies together.
const ARENA: usize = 330 << 10;
const RAM: u64 = 512 << 10;
/// Of the 16 KB that boards keep for it.
const STACK: u64 = 12 << 10;

/// MobileNetV2 in full width with 3 MB of values, layer by layer, within 330 KB: logits are those of this machine.
#[test]
fn mobilenet_v2_runs_in_the_memory_of_an_stm32h743() {
    let known = Known::named("mobilenet_v2").unwrap();
    let network = known.network(known.input, 10).unwrap();
    let plan = RankPlan::uniform(&network, 0.8).unwrap();
    let ops = network.layers.into_iter().map(|layer| layer.op).collect();
    let file = random_model(known.input, 10, &factor(ops, |name| plan.rank(name)), 1).unwrap();

    let bytes = AlignedBytes::copy_of(&file);
    let model = checked(bytes.as_slice(), "mobilenet_v2").unwrap();
    let choices = curve(model.program(), Isa::CortexM).unwrap();
    assert!(choices[0].plan.arena_bytes > 8 * ARENA);
    let fits = choices.iter().filter(|choice| choice.plan.arena_bytes <= ARENA);
    let chosen = fits.min_by_key(|choice| choice.cost).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mobilenet_v2.safetensors");
    std::fs::write(&path, with_schedule(&file, &chosen.bytes()).unwrap()).unwrap();
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["xtask", "board", "qemu-mps2-an500", path.to_str().unwrap()])
        .args(["--iterations", "1", "--warm-up", "0", "--json"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (check, memory) = (&report["self_check"], &report["memory"]);
    assert!(check["samples"].as_u64() > Some(0) && check["samples"] == check["passed"], "{check}");
    assert_eq!(memory["arena_bytes"].as_u64(), Some(chosen.plan.arena_bytes as u64));
    // Arena, the image's bytes, all other variables and the stack.
    assert!(memory["ram_bytes"].as_u64().unwrap() <= RAM, "{memory}");
    assert!(memory["stack_bytes"].as_u64().unwrap() <= STACK, "{memory}");
}
