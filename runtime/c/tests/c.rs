//! The examples in C, built with C compilers and run on this machine and on an emulated Cortex-M4F.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::model::{Model, Shape};
use lrpet_tests::random_model::small_model;

const THUMB: &str = "thumbv7em-none-eabihf";

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs `command`, which must be installed.
fn output(command: &mut Command) -> Output {
    let program = command.get_program().to_owned();
    command.output().unwrap_or_else(|error| panic!("{program:?}: {error}; cargo xtask setup installs it"))
}

fn succeed(command: &mut Command) -> String {
    let output = output(command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// The static library for `target`, or for this machine where there is none.
fn library(target: Option<&str>) -> PathBuf {
    let mut libraries = Path::new(env!("CARGO_TARGET_TMPDIR")).join("..");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "build",
        "--offline",
        "--quiet",
        "--release",
        "--package",
        "lrpet-c",
        "--lib",
        "--target-dir",
    ]);
    cargo.arg(&libraries).current_dir(folder());
    if let Some(target) = target {
        cargo.args(["--no-default-features", "--target", target]);
        libraries.push(target);
    }
    succeed(&mut cargo);
    libraries.join("release/liblrpet.a")
}

fn write_model(folder: &Path) -> (PathBuf, Vec<u8>) {
    let bytes = small_model(Shape::new(3, 9, 7), 8, 4).unwrap();
    let path = folder.join("model.safetensors");
    std::fs::write(&path, &bytes).unwrap();
    (path, bytes)
}

#[test]
fn a_program_on_this_machine() {
    let place = tempfile::tempdir().unwrap();
    let (model, bytes) = write_model(place.path());
    let program = place.path().join("classify");
    let mut compiler = Command::new("cc");
    compiler.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-I"]).arg(folder().join("include"));
    compiler.arg(folder().join("examples/classify.c")).arg(library(None));
    succeed(compiler.args(["-lm", "-lpthread", "-ldl", "-o"]).arg(&program));

    let copy = AlignedBytes::copy_of(&bytes);
    let checked = Model::new_checked(copy.as_slice()).unwrap();
    let check = checked.self_check().unwrap();
    let image = place.path().join("image");
    std::fs::write(&image, check.image(1)).unwrap();
    let text = succeed(Command::new(&program).args([&model, &image]));
    let mut lines = text.lines();
    assert!(
        lines.next().unwrap().starts_with(&format!("{} samples agree, arena ", check.samples())),
        "{text}"
    );
    for (i, (line, expected)) in lines.by_ref().zip(check.logits(1)).enumerate() {
        let (class, logit) = line.split_once(' ').unwrap();
        assert_eq!(class, i.to_string());
        assert!((logit.parse::<f32>().unwrap() - expected).abs() < 1e-2, "{line} and not {expected}");
    }
    assert_eq!(lines.next(), None);
    assert_eq!(text.lines().count(), 1 + 4);

    // What is wrong is said in the library's words.
    let failing = |arguments: &[&Path], expected: &str| {
        let output = output(Command::new(&program).args(arguments));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1));
        assert!(error.contains(expected), "{error}");
    };
    std::fs::write(&image, &check.image(1)[1..]).unwrap();
    failing(&[&model, &image], "image: the image has 188 values and the model takes 189");
    let cut = place.path().join("cut.safetensors");
    std::fs::write(&cut, &bytes[..bytes.len() - 1]).unwrap();
    failing(&[&cut], "cut.safetensors: ");
}

#[test]
fn a_program_on_an_emulated_board() {
    let place = tempfile::tempdir().unwrap();
    let (model, mut bytes) = write_model(place.path());
    let library = library(Some(THUMB));
    let board = folder().join("examples/mps2-an386");
    let run = |arena: usize| {
        let program = place.path().join("check.elf");
        let mut compiler = Command::new("arm-none-eabi-gcc");
        compiler.args(["-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16", "-O2", "-nostdlib"]);
        compiler.args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-I"]).arg(folder().join("include"));
        compiler.arg(format!("-DMODEL=\"{}\"", model.display())).arg(format!("-DARENA_BYTES={arena}"));
        compiler.arg("-T").arg(board.join("board.ld")).arg(board.join("main.c")).arg(&library);
        succeed(compiler.arg("-o").arg(&program));
        let mut qemu = Command::new("qemu-system-arm");
        qemu.args(["-machine", "mps2-an386", "-display", "none", "-monitor", "none", "-serial", "none"]);
        let output =
            output(qemu.args(["-semihosting-config", "enable=on,target=native", "-kernel"]).arg(&program));
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    };
    assert_eq!(run(1 << 16), (true, "every sample agrees\n".to_owned()));
    let (passed, text) = run(64);
    assert!(!passed && text.starts_with("the arena has 64 bytes and must have "), "{text}");
    // Other logits than those that the model gives: the samples' expected ones lie at the end of their tensor.
    let last = bytes.len() - 1;
    bytes.truncate(last);
    std::fs::write(&model, &bytes).unwrap();
    let (passed, text) = run(1 << 16);
    assert!(!passed && !text.trim().is_empty() && !text.contains("fault"), "{text}");
}
