//! `lrpet inspect`: what a model file costs, layer by layer, beside the dense network.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Result;
use lrpet_runtime::kernel::Isa;
use lrpet_trainer::measure::{self, Inspection};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Output;
use super::model_file::ModelFile;

/// Instruction sets that a plan can be made for.
const ISAS: [Isa; 6] =
    [Isa::Portable, Isa::CortexM, Isa::CortexM55, Isa::CortexM55Half, Isa::Avx2, Isa::Avx512];

#[derive(clap::Args)]
pub struct Args {
    /// Model file
    model: PathBuf,
    /// Plan the arena for this instruction set
    #[arg(long, default_value = "cortex-m", value_parser = ISAS.map(Isa::name))]
    isa: String,
}

#[derive(Serialize)]
struct Document {
    file: PathBuf,
    sha256: String,
    #[serde(flatten)]
    inspection: Inspection,
}

pub fn run(args: Args, output: &Output) -> Result<()> {
    let file = ModelFile::open(&args.model)?;
    let isa = ISAS.into_iter().find(|isa| isa.name() == args.isa).unwrap_or(Isa::Portable);
    let inspection = measure::inspect(&file.model()?, isa)?;
    let hash = Sha256::digest(file.bytes());
    let sha256 = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    output.print(&Document { file: args.model, sha256, inspection }, text)
}

fn text(document: &Document) -> String {
    let model = &document.inspection;
    let mut text = format!("{}: {} ", document.file.display(), model.network);
    let [c, h, w] = model.input;
    let _ = writeln!(text, "on {c}×{h}×{w}, {} classes, {} bytes", model.classes, model.file_bytes);
    let _ = writeln!(
        text,
        "\n{:<22}{:<12}{:>11}{:>10}{:>12}{:>12}{:>9}{:>9}",
        "layer", "kind", "output", "rank", "MACs", "dense", "bytes", "dense"
    );
    for layer in &model.layers {
        let [c, h, w] = layer.output;
        let rank = match (layer.rank, layer.max_rank) {
            (Some(rank), Some(of)) => format!("{rank} of {of}"),
            _ => String::new(),
        };
        let _ = writeln!(
            text,
            "{:<22}{:<12}{:>11}{rank:>10}{:>12}{:>12}{:>9}{:>9}",
            layer.name,
            layer.kind,
            format!("{c}×{h}×{w}"),
            layer.macs,
            layer.macs_dense,
            layer.weight_bytes,
            layer.weight_bytes_dense
        );
    }
    let mut row = |name: &str, own: u64, dense: u64| {
        let _ = writeln!(
            text,
            "{name:<14}{own:>12}   dense {dense:>12}   {:.3} of it",
            own as f64 / dense as f64
        );
    };
    row("\nMACs", model.macs, model.macs_dense);
    if model.macs_factored > 0 {
        row("in pairs", model.macs_factored, model.macs_factored_dense);
    }
    row("parameters", model.params, model.params_dense);
    row("weight bytes", model.weight_bytes, model.weight_bytes_dense);
    row("arena bytes", model.arena_bytes as u64, model.arena_bytes_dense as u64);
    let _ = writeln!(
        text,
        "arena for {}: table {}, activations {}, scratch {}; it peaks at {}",
        model.isa, model.table_bytes, model.activation_bytes, model.scratch_bytes, model.peak_layer
    );
    for (key, value) in &model.card {
        let _ = writeln!(text, "card {key:<20}{value}");
    }
    text
}
