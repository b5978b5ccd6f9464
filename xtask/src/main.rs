//! The one entry to every chore: `cargo xtask --help`.

mod bench;
mod board;
mod build_cuda;
mod cluster;
mod counts;
mod demo;
mod fuzz;
mod pi;
mod setup;
mod tally;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lrpet_board::sources::root;
use lrpet_board::{process, toolchain};

use bench::Bench;
use toolchain::Source;

/// Every chore of the project.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    /// Where the compilers for other targets come from
    #[arg(long, global = true, env = "LRPET_TOOLCHAIN", default_value = "auto", value_enum)]
    toolchain: Source,
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Install what is missing: compilers for the boards, emulators, data, Python; says what and why
    Setup(setup::Arguments),
    /// Build firmware with a model in flash; run it on an emulated board and show what it measured, or flash a real one
    Board(board::Arguments),
    /// From images to a measured board: train, export and measure a dense and a low-rank network
    Demo(demo::Arguments),
    /// Measure: beside other frameworks and engines, executed instructions on emulated cores
    #[command(subcommand)]
    Bench(Bench),
    /// Build lrpet-run for a Raspberry Pi (64-bit), check it under an emulator or measure it over ssh
    Pi(pi::Arguments),
    /// Build the trainer with CUDA; needs no GPU
    BuildCuda(build_cuda::Arguments),
    /// Hand damaged models, networks, weights, pictures and serial lines to their readers, guided by what code they reach
    Fuzz(fuzz::Arguments),
    /// Run every check; the last line counts them
    Test(test::Arguments),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.chore {
        Chore::Setup(arguments) => setup::main(arguments, cli.toolchain),
        Chore::Board(arguments) => board::main(arguments, cli.toolchain),
        Chore::Demo(arguments) => demo::main(arguments, cli.toolchain),
        Chore::Bench(what) => bench::main(what, cli.toolchain),
        Chore::Pi(arguments) => pi::main(arguments, cli.toolchain),
        Chore::BuildCuda(arguments) => build_cuda::main(arguments),
        Chore::Fuzz(arguments) => fuzz::main(arguments, cli.toolchain),
        Chore::Test(arguments) => test::main(arguments, cli.toolchain),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", lrpet_report::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
