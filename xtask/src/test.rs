//! `cargo xtask test`: every check of the project, and one line at the end that counts them.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use lrpet_board::boards::{self, BOARDS, Board};
use lrpet_board::build::Options;

use crate::bench::peers;
use crate::board;
use crate::cluster;
use crate::fuzz;
use crate::setup::{self, Group};
use crate::tally::{FEATURES, LIMIT, Tally, cargo};
use crate::toolchain::{self, Source, Toolchain};

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only the steps whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Instead: training by several processes under MPI, and sweeps in a Slurm of one machine
    #[arg(long)]
    cluster: bool,
}

/// The targets for which the runtime and the firmware must build without `std`.
const BARE_METAL: [&str; 2] = [toolchain::THUMBV7EM, toolchain::THUMBV8M];

/// What is built and tested where something is trained: in every step, as the packages' dependencies switch features on,
/// and candle would be compiled anew for others.
const TRAINED: [&str; 15] = [
    "--release",
    "-p",
    "lrpet-network",
    "-p",
    "lrpet-data",
    "-p",
    "lrpet-kernels",
    "-p",
    "lrpet-train",
    "-p",
    "lrpet-study",
    "-p",
    "lrpet-trainer",
    "-p",
    "lrpet-tests",
];

/// How long each reader is fuzzed; `cargo xtask fuzz` takes any time.
const FUZZED: Duration = Duration::from_secs(30);

/// The model that is in flash where a board's code is checked.
const BOARD_MODEL: &str = "models/fashion-mnist-resnet8-g0.6.safetensors";

/// A model that exceeds the flash of the smallest board.
const LARGE_MODEL: &str = "models/cifar10-resnet20-dense.safetensors";

/// Runs `cargo xtask test`.
pub fn main(arguments: &Arguments, source: Source) -> Result<()> {
    let start = Instant::now();
    let mut tally = Tally { only: arguments.only.clone(), ..Tally::default() };
    if arguments.cluster {
        cluster::checks(&mut tally, source)?;
    } else {
        checks(&mut tally, source)?;
    }
    for failure in &tally.failures {
        println!("failed: {failure}");
    }
    println!("all checks took {} s", start.elapsed().as_secs());
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed > 0 {
        bail!("{} of {} checks failed", tally.failed, tally.passed + tally.failed);
    }
    Ok(())
}

/// Every check that needs neither MPI nor Slurm.
fn checks(tally: &mut Tally, source: Source) -> Result<()> {
    setup::ensure(Group::ALL, source)?;
    tally.check("format of the code", cargo(&["fmt", "--all", "--check"]))?;
    tally.check(
        "lints",
        cargo(&[
            "clippy",
            "--release",
            "--workspace",
            "--all-targets",
            "--features",
            FEATURES,
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    let mut documentation = cargo(&["doc", "--release", "--workspace", "--no-deps", "--features", FEATURES]);
    documentation.env("RUSTDOCFLAGS", "-D warnings");
    tally.check("documentation", documentation)?;
    for manifest in manifests_outside()? {
        let manifest = manifest.strip_prefix(crate::root()).unwrap_or(&manifest).to_string_lossy();
        tally.check(
            &format!("format of {manifest}"),
            cargo(&["fmt", "--check", "--manifest-path", &manifest]),
        )?;
    }
    let manifest = format!("{}/Cargo.toml", peers::OURS);
    let mut lints = cargo(&["clippy", "--release", "--locked", "--manifest-path", &manifest]);
    // Tract takes minutes to compile, and is called in a few lines.
    lints.args(["--no-default-features", "--target-dir", "target/peers", "--", "-D", "warnings"]);
    tally.check("lints of the crate beside other engines", lints)?;
    for board in BOARDS {
        // Debian's Rust has no lints; the code is the same.
        if Toolchain::for_target(board.target, source)? == Toolchain::Rustup {
            tally.check(&format!("lints of {}", board.name), board_lints(board))?;
        }
    }
    for target in BARE_METAL {
        for package in ["lrpet-runtime", "lrpet-firmware"] {
            let mut build = Toolchain::for_target(target, source)?.cargo("build", target);
            build.args(["--release", "--package", package]);
            tally.check(&format!("{package} for {target}"), build)?;
        }
    }
    let mut build =
        Toolchain::for_target(toolchain::AARCH64_LINUX, source)?.cargo("build", toolchain::AARCH64_LINUX);
    build.args(["--release", "--package", "lrpet-runtime", "--features", "gpio"]);
    tally.check(&format!("lrpet-run for {}", toolchain::AARCH64_LINUX), build)?;
    for model in ["models/fashion-mnist-resnet8-dense.safetensors", BOARD_MODEL] {
        tally
            .check(&format!("lrpet-run on an emulated Cortex-A53: {model}"), on_cortex_a53(model, source)?)?;
    }

    // A53 and A72 run the same code, whose every shape the first has tried.
    for (core, tests) in [
        ("cortex-a53", &["--lib", "--test", "kernels", "--test", "session"][..]),
        ("cortex-a72", &["--test", "session"]),
        ("cortex-a76", &["--test", "kernels", "--test", "session"]),
    ] {
        tally.tests(&format!("tests of the runtime on an emulated {core}"), on_core(core, tests, source)?)?;
    }
    for (board, chip) in boards::real() {
        // A model that is larger than this board's flash.
        let too_large = (board.name == "nucleo-f446re").then_some(LARGE_MODEL);
        tally.verify(&format!("image of {} (compiled only)", board.name), || {
            let too_large = too_large.map(|model| crate::root().join(model));
            board::verify(
                board,
                chip,
                &crate::root().join(BOARD_MODEL),
                too_large.as_deref(),
                &Options { warm_up: 1, iterations: 2, timeout: LIMIT, toolchain: source },
            )
        });
    }

    // Debug assertions and overflow checks stay on where the code meets untrusted bytes.
    tally.tests(
        "tests of runtime, C interface, firmware, boards and xtask",
        cargo(&[
            "test",
            "--no-fail-fast",
            "-p",
            "lrpet-runtime",
            "-p",
            "lrpet-model",
            "-p",
            "lrpet-c",
            "-p",
            "lrpet-firmware",
            "-p",
            "lrpet-firmware-build",
            "-p",
            "lrpet-board",
            "-p",
            "lrpet-report",
            "-p",
            "xtask",
            "--features",
            FEATURES,
            "--features",
            "lrpet-board/serial",
        ]),
    )?;
    tally.tests(
        "tests of models and service on every emulated board",
        cargo(&["test", "--no-fail-fast", "-p", "lrpet-board", "--test", "emulated"]),
    )?;
    tally.check(
        "variants of kernels, as `bench kernels` times them",
        cargo(&[
            "run",
            "-p",
            "lrpet-runtime",
            "--features",
            FEATURES,
            "--example",
            "kernels",
            "--",
            "1",
            "odd",
        ]),
    )?;
    tally.verify("fuzzing of all that reads bytes of others", || fuzz::all(FUZZED));
    // Candle without optimisation is too slow to train even a little.
    let mut programs = cargo(&["build", "--bins", "--tests", "-p", "lrpet-runtime"]);
    programs.args(TRAINED).args(["--features", FEATURES]);
    tally.check("programs for the whole-path tests", programs)?;
    let mut tests = cargo(&["test", "--no-fail-fast"]);
    tests.args(TRAINED).args(["--features", FEATURES]);
    tally.tests("tests of the trainer, whole-path tests", tests)
}

/// The self-check of a model by the program for 64-bit Arm, with the C library of the cross-compiler.
fn on_cortex_a53(model: &str, source: Source) -> Result<Command> {
    let target = toolchain::AARCH64_LINUX;
    let folder = Toolchain::for_target(target, source)?.target_folder().join(target);
    let mut command = Command::new("qemu-aarch64");
    command
        .current_dir(crate::root())
        .args(["-cpu", "cortex-a53", "-L", "/usr/aarch64-linux-gnu"])
        .arg(folder.join("release/lrpet-run"))
        .args(["check", model]);
    Ok(command)
}

/// Tests of the runtime for 64-bit Arm on an emulated core. Optimised: the emulator is slow enough.
fn on_core(core: &str, tests: &[&str], source: Source) -> Result<Command> {
    let target = toolchain::AARCH64_LINUX;
    let mut command = Toolchain::for_target(target, source)?.cargo("test", target);
    command
        .current_dir(crate::root())
        .args([
            "--release",
            "--package",
            "lrpet-runtime",
            "--features",
            "gpio",
            "--target-dir",
            "target/pi",
            "--no-fail-fast",
        ])
        .args(tests)
        // QEMU 7.2 does not come back from the thread's start in Debian's shared C library.
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", format!("qemu-aarch64 -cpu {core}"));
    Ok(command)
}

fn board_lints(board: &Board) -> Command {
    let mut command = Toolchain::Rustup.cargo("clippy", board.target);
    command
        .current_dir(crate::root().join("firmware/boards").join(board.package))
        .args(["--release", "--locked", "--package", board.package, "--package", "lrpet-firmware-cortex-m"])
        .args(["--features", &format!("{} streams general activations many eights", board.features)])
        .arg("--target-dir")
        .arg(crate::root().join("target/boards"))
        .env("LRPET_MODEL", crate::root().join(BOARD_MODEL))
        .args(["--", "-D", "warnings"]);
    command
}

/// The manifests of the crates that are no members of the workspace.
fn manifests_outside() -> Result<Vec<PathBuf>> {
    let firmware = crate::root().join("firmware");
    let peers = crate::root().join(peers::OURS).join("Cargo.toml");
    let fuzz = crate::root().join(fuzz::FOLDER).join("Cargo.toml");
    let mut manifests = vec![firmware.join("cortex-m/Cargo.toml"), peers, fuzz];
    for entry in std::fs::read_dir(firmware.join("boards"))? {
        manifests.push(entry?.path().join("Cargo.toml"));
    }
    manifests.retain(|manifest| manifest.is_file());
    manifests.sort();
    Ok(manifests)
}
