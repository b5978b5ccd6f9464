//! `cargo xtask bench`: what is measured rather than tested.

mod arm;
mod kernels;
mod models;
pub mod peers;
mod side;
mod train;

use anyhow::Result;

use crate::toolchain::Source;

/// What to measure.
#[derive(clap::Subcommand)]
pub enum Bench {
    /// Images a second and peak memory of training steps on 3×32×32 images, beside PyTorch on the CPU
    Train(train::Arguments),
    /// Executed instructions of whole models on emulated Arm cores: by layer, by function, by mnemonic
    Arm(arm::Arguments),
    /// Variants of single convolutions: time and share of the peak on this machine, inner loops on Arm cores
    Kernels(kernels::Arguments),
    /// Latency of whole networks, one thread each, beside ONNX Runtime, OpenVINO and tract
    Peers(peers::Arguments),
}

pub fn main(bench: &Bench, source: Source) -> Result<()> {
    match bench {
        Bench::Train(arguments) => train::main(arguments),
        Bench::Arm(arguments) => arm::main(arguments, source),
        Bench::Kernels(arguments) => kernels::main(arguments, source),
        Bench::Peers(arguments) => peers::main(arguments),
    }
}
