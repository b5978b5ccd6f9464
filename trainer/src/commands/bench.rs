//! `lrpet bench`: latency of a model on this machine.

use std::fmt::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Result;
use lrpet_trainer::measure::{self, Bench, BenchOptions};

use super::Output;
use super::model_file::ModelFile;

#[derive(clap::Args)]
pub struct Args {
    /// Model file
    model: PathBuf,
    /// Inferences measured whole, and as many again by layer
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    iterations: u32,
    /// Inferences before measuring
    #[arg(long, default_value_t = 20)]
    warm_up: u32,
    /// Threads of one inference; the logits do not depend on it
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
}

pub fn run(args: Args, output: &Output) -> Result<()> {
    let file = ModelFile::open(&args.model)?;
    let options = BenchOptions {
        warm_up: args.warm_up as usize,
        iterations: args.iterations as usize,
        threads: NonZeroUsize::new(args.threads.into()).unwrap_or(NonZeroUsize::MIN),
    };
    output.print(&measure::bench(&file.model()?, options)?, text)
}

fn text(bench: &Bench) -> String {
    let mut text = format!(
        "median {:.4} ms, min {:.4}, max {:.4} ({} iterations after {}, threads: {}, {}, {})\n",
        bench.median_ms,
        bench.min_ms,
        bench.max_ms,
        bench.iterations,
        bench.warm_up,
        bench.threads,
        bench.isa,
        bench.dtype
    );
    for layer in &bench.layers {
        let _ = writeln!(text, "{:<24}{:>10.4} ms", layer.name, layer.median_ms);
    }
    text
}
