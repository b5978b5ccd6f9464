//! `lrpet network`: the networks that there are, their files, their costs, their pictures.

mod against;
mod check;
mod draw;
mod import;
mod list;
mod show;
mod summary;

use anyhow::Result;
use clap::Subcommand;

use super::Output;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the networks that are known by name.
    List,
    /// Print a network as a file that can be edited and trained: `lrpet network show resnet8 > mine.toml`.
    Show(show::Args),
    /// Check a network's file, and show shapes, costs and which layers can be pairs.
    Check(check::Args),
    /// Make a network and its weights of an ONNX file.
    Import(import::Args),
    /// Draw a network or a model as SVG, with shapes, multiply-adds and ranks.
    Draw(draw::Args),
}

pub fn run(args: Args, output: &Output) -> Result<()> {
    match args.command {
        Command::List => list::run(output),
        Command::Show(args) => show::run(&args, output),
        Command::Check(args) => check::run(&args, output),
        Command::Import(args) => import::run(args, output),
        Command::Draw(args) => draw::run(args, output),
    }
}
