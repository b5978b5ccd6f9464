//! Firmware with a model in flash, on the emulated board, through `cargo xtask board`.

use std::path::Path;
use std::process::{Command, Output};

use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::Shape;
use lrpet_runtime::plan::Plan;
use lrpet_tests::programs::root;
use lrpet_tests::random_model::small_model;
use serde_json::Value;

const BOARD: &str = "qemu-mps2-an386";
const CLASSES: u32 = 4;

/// A model for images of `height` × 10.
fn model(height: u32, out_channels: u32) -> Vec<u8> {
    small_model(Shape::new(3, height, 10), out_channels, CLASSES).unwrap()
}

/// `cargo xtask board` with a model file of these bytes.
fn board(name: &str, bytes: &[u8], options: &[&str]) -> Output {
    let folder = root().join("target/test-models");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join(name);
    std::fs::write(&file, bytes).unwrap();
    run_board(&file, options)
}

fn run_board(file: &Path, options: &[&str]) -> Output {
    Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["xtask", "board", BOARD])
        .arg(file)
        .args(options)
        .output()
        .unwrap()
}

/// The one error of a run that failed as it must, with exit status 1.
fn error(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    let lines: Vec<&str> = errors.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(lines.len(), 1, "{errors}");
    lines[0].to_owned()
}

/// Offset of the data of a tensor in the file, and its length.
fn tensor(file: &[u8], name: &str) -> (usize, usize) {
    let header_bytes = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&file[8..8 + header_bytes]).unwrap();
    let [from, to] = [0, 1].map(|end| header[name]["data_offsets"][end].as_u64().unwrap() as usize);
    (8 + header_bytes + from, to - from)
}

#[test]
fn the_board_computes_the_logits_of_the_host_and_counts_exactly() {
    let file = model(9, 8);
    let output = board("good.safetensors", &file, &["--iterations", "3", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["self_check"]["samples"], &report["self_check"]["passed"]), (&3.into(), &3.into()));
    assert_eq!(report["counter"]["kind"], "instructions");
    let number = |pointer: &str| report.pointer(pointer).and_then(Value::as_u64).expect(pointer);

    // The counter's own test: a loop of known length, to a few instructions.
    assert!(number("/counter/calibration/counted").abs_diff(number("/counter/calibration/known")) < 10);
    // The emulator repeats itself, and a network takes little more than its layers.
    let (min, max) = (number("/total/min"), number("/total/max"));
    assert!(max - min <= 20, "{min} to {max}");
    let layers = report["layers"].as_array().unwrap();
    let sum: u64 = layers.iter().map(|layer| layer["mean"].as_u64().unwrap()).sum();
    assert!(sum > number("/macs") && sum < min && min - sum < 20_000, "{sum} in layers, {min} in all");

    let mut words = vec![0u128; file.len().div_ceil(16)];
    let aligned = &mut bytemuck::cast_slice_mut(&mut words)[..file.len()];
    aligned.copy_from_slice(&file);
    let checked = lrpet_runtime::model::Model::new_checked(aligned).unwrap();
    let plan = Plan::new(checked.program(), Isa::CortexM).unwrap();
    assert_eq!(number("/memory/arena_bytes"), plan.arena_bytes as u64);
    assert_eq!(number("/memory/model_bytes"), file.len() as u64);
    assert_eq!(number("/memory/flash_bytes"), number("/memory/code_bytes") + number("/memory/model_bytes"));
    assert!(number("/memory/runtime_bytes") <= 32 << 10, "the runtime's code takes more than 32 KiB");
    assert!(number("/memory/code_bytes") <= 64 << 10, "all of the code takes more than 64 KiB");
    let stack = number("/memory/stack_bytes");
    assert!((1024..16384).contains(&stack), "{stack} bytes of stack");
}

#[test]
fn wrong_answers_and_unusable_models_are_refused() {
    let file = model(9, 8);

    let mut wrong = file.clone();
    let (at, _) = tensor(&file, "selfcheck.logits");
    wrong[at..at + 4].copy_from_slice(&1e3f32.to_le_bytes());
    let output = board("wrong.safetensors", &wrong, &[]);
    assert!(error(&output).contains("1 sample of the self-check fails"));
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"samples_passed\":2"));

    let mut not_a_number = file.clone();
    let (at, _) = tensor(&file, "second.weight");
    not_a_number[at..at + 2].copy_from_slice(&0x7e00u16.to_le_bytes());
    let message = error(&board("nan.safetensors", &not_a_number, &[]));
    assert!(message.contains("nan.safetensors") && message.contains("second"), "{message}");

    let message = error(&board("cut.safetensors", &file[..file.len() / 2], &[]));
    assert!(message.contains("cut.safetensors"), "{message}");
    let message = error(&run_board(Path::new("target/test-models/nowhere.safetensors"), &[]));
    assert!(message.contains("nowhere.safetensors"), "{message}");
}

#[test]
fn a_model_that_does_not_fit_is_refused_with_the_numbers() {
    // Two feature maps of 48 × 5000 × 5 f16 values.
    let message = error(&board("large.safetensors", &model(10_000, 48), &[]));
    let numbers: Vec<u64> = message.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [needed, available, missing] = numbers[..] else { panic!("{message}") };
    assert!(message.contains("RAM") && !message.contains("flash"), "{message}");
    assert_eq!((available, needed - available), (4 << 20, missing));
    assert!(needed >= 2 * 48 * 5000 * 5 * 2, "{message}");
}
