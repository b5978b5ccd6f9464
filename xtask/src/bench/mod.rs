//! `cargo xtask bench`: what is measured rather than tested.

mod arm;
mod import;
mod kernels;
mod models;
pub mod peers;
mod side;
mod size;
mod train;

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::process;
use crate::tally::FEATURES;
use crate::toolchain::{self, Source};

/// What to measure.
#[derive(clap::Subcommand)]
pub enum Bench {
    /// Images a second and peak memory of training steps on 3×32×32 images, beside PyTorch on the CPU
    Train(train::Arguments),
    /// Executed instructions of whole models on emulated Arm cores: by layer, by function, by mnemonic
    Arm(arm::Arguments),
    /// Variants of single convolutions: time and share of the peak on this machine, inner loops on Arm cores
    Kernels(kernels::Arguments),
    /// torchvision's classification networks as ONNX files: imported, written as models, held against ONNX Runtime
    Import(import::Arguments),
    /// Code and RAM that a model takes on a Cortex-M4F, read from its file and built in, and the largest functions
    Size(size::Arguments),
    /// Latency of whole networks, one thread each, beside ONNX Runtime, OpenVINO and tract
    Peers(peers::Arguments),
}

pub fn main(bench: &Bench, source: Source) -> Result<()> {
    match bench {
        Bench::Train(arguments) => train::main(arguments),
        Bench::Arm(arguments) => arm::main(arguments, source),
        Bench::Kernels(arguments) => kernels::main(arguments, source),
        Bench::Import(arguments) => import::main(arguments),
        Bench::Size(arguments) => size::main(arguments, source),
        Bench::Peers(arguments) => peers::main(arguments),
    }
}

/// Builds optimised programs.
fn build(arguments: &[&str], label: &str) -> Result<()> {
    let log = crate::root().join("target/bench.log");
    let mut build = Command::new(toolchain::cargo());
    build.current_dir(crate::root()).args(["build", "--release"]).args(arguments);
    process::run_logged(&mut build, label, &log, "the build must succeed")
}

/// Builds `lrpet` and `lrpet-run`, as `cargo xtask test` does, or the trainer would be compiled anew; the file of `lrpet`.
fn build_trainer() -> Result<PathBuf> {
    let programs = ["-p", "lrpet-trainer", "-p", "lrpet-runtime", "--features", FEATURES];
    build(&programs, "building the trainer")?;
    Ok(crate::root().join("target/release/lrpet"))
}
