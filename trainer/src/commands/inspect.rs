//! `lrpet inspect`: what a model file costs, layer by layer, beside the dense network.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use lrpet_network::export::schedule::Chosen;
use lrpet_network::inspect::{Inspection, LayerCost, inspect};
use lrpet_runtime::host::abridged;
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::Model;
use lrpet_runtime::plan::Ram;
use lrpet_study::report::{columns, units};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Output;
use super::model_file::ModelFile;
use super::ram::{numbers, words};

#[derive(clap::Args)]
pub struct Args {
    /// Model file
    model: PathBuf,
    /// Plan the arena for this instruction set
    #[arg(long, default_value = "cortex-m", value_parser = Isa::ALL.map(Isa::name))]
    isa: String,
    /// Plan for the schedule that suits this arena, such as 32KB (`least` for the smallest), instead of the file's own
    #[arg(long, value_name = "BYTES|least|fastest")]
    ram: Option<Ram>,
}

/// The schedule that `--ram` found.
#[derive(Serialize)]
struct Scheduled {
    /// Estimated instructions, as a share of layer by layer.
    cost: f64,
    /// As `lrpet schedule` has them.
    stretches: Vec<[u16; 4]>,
}

#[derive(Serialize)]
struct Document {
    file: PathBuf,
    sha256: String,
    #[serde(flatten)]
    inspection: Inspection,
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule: Option<Scheduled>,
}

pub fn run(args: Args, output: &Output) -> Result<()> {
    let file = ModelFile::open(&args.model)?;
    let isa = Isa::ALL.into_iter().find(|isa| isa.name() == args.isa).unwrap_or(Isa::Portable);
    let model = file.model()?;
    let chosen = args.ram.map(|ram| scheduled(&model, isa, ram, &args.model)).transpose()?;
    let inspection = match &chosen {
        Some((bytes, _)) => inspect(&model.with_schedule(bytes)?, isa)?,
        None => inspect(&model, isa)?,
    };
    let schedule = chosen.map(|(_, schedule)| schedule);
    let hash = Sha256::digest(file.bytes());
    let sha256 = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    output.print(&Document { file: args.model, sha256, inspection, schedule }, text)
}

/// The bytes of the schedule that suits `ram`, and what is said of it.
fn scheduled(model: &Model<'_>, isa: Isa, ram: Ram, file: &Path) -> Result<(Vec<u8>, Scheduled)> {
    let Chosen { choice, cost, .. } = Chosen::of(model, isa, ram, &file.display().to_string())?;
    Ok((choice.bytes(), Scheduled { cost, stretches: numbers(&choice) }))
}

fn text(document: &Document) -> String {
    let model = &document.inspection;
    let mut text = format!("{}: {} ", document.file.display(), model.network);
    let [c, h, w] = model.input;
    let _ = writeln!(
        text,
        "on {c}×{h}×{w}, {}, {} bytes",
        units::things(model.classes.into(), "class"),
        model.file_bytes
    );
    let head = ["layer", "kind", "output", "rank", "MACs", "dense", "bytes", "dense"];
    let layer = |layer: &LayerCost| {
        let [c, h, w] = layer.output;
        let rank = match (layer.rank, layer.max_rank) {
            (Some(rank), Some(of)) => format!("{rank} of {of}"),
            _ => String::new(),
        };
        let costs = [layer.macs, layer.macs_dense, layer.weight_bytes, layer.weight_bytes_dense];
        let bits = layer.bits.filter(|bits| *bits < 16).map_or(String::new(), |bits| format!(" i{bits}"));
        let kind = format!("{}{bits}", layer.kind);
        let words = [layer.name.clone(), kind, format!("{c}×{h}×{w}"), rank];
        words.into_iter().chain(costs.map(|cost| cost.to_string())).collect()
    };
    let head = head.map(str::to_owned).to_vec();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(model.layers.iter().map(layer)).collect();
    let _ = writeln!(text, "\n{}", columns(&rows, 2));
    let row = |name: &str, own: u64, dense: u64| {
        let share = format!("{:.3} of it", own as f64 / dense as f64);
        vec![name.to_owned(), own.to_string(), format!("dense {dense}"), share]
    };
    let mut rows = vec![row("MACs", model.macs, model.macs_dense)];
    if model.macs_factored > 0 {
        rows.push(row("in pairs", model.macs_factored, model.macs_factored_dense));
    }
    rows.push(row("parameters", model.params, model.params_dense));
    rows.push(row("weight bytes", model.weight_bytes, model.weight_bytes_dense));
    rows.push(row("arena bytes", model.arena_bytes as u64, model.arena_bytes_dense as u64));
    text.push_str(&columns(&rows, 1));
    let _ = writeln!(
        text,
        "arena for {}: table {}, activations {}, scratch {}; it peaks at {}\n",
        model.isa, model.table_bytes, model.activation_bytes, model.scratch_bytes, model.peak_layer
    );
    if let Some(schedule) = &document.schedule {
        let _ = writeln!(
            text,
            "this arena is that of a schedule: {}; instructions by estimate {:.2} of layer by layer. `lrpet schedule --ram` writes it \
             into the model\n",
            words(&schedule.stretches),
            schedule.cost
        );
    }
    let entry = |(key, value): (&String, &String)| {
        let value = if key == "classes" { abridged(value) } else { value.clone() };
        vec![format!("card {key}"), value]
    };
    text.push_str(&columns(&model.card.iter().map(entry).collect::<Vec<_>>(), 2));
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lrpet_data::Normalization;
    use lrpet_network::export::{Folded, checked, file::serialize};
    use lrpet_network::lrpet::RankPlan;
    use lrpet_network::network::KNOWN;
    use lrpet_runtime::host::AlignedBytes;

    use super::*;

    /// Most weights of a network that is written for this.
    const MOST: u64 = 3_000_000;

    /// Cells of a line: what two spaces or more part.
    fn cells(line: &str) -> Vec<&str> {
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
    }

    #[test]
    fn no_two_columns_run_together() {
        let mut seen = 0;
        for known in KNOWN {
            let network = known.build(known.input, known.classes).unwrap();
            if network.cost().params > MOST && known.name != "googlenet" {
                continue;
            }
            let plan = RankPlan::uniform(&network, 0.3).unwrap();
            let channels = network.input.channels as usize;
            let normalization = Normalization { mean: vec![0.0; channels], std: vec![1.0; channels] };
            let folded = Folded::zeros(&network, &plan, normalization);
            let bytes = AlignedBytes::copy_of(&serialize(&folded, &BTreeMap::new(), None).unwrap());
            let mut inspection = inspect(&checked(bytes.as_slice(), "zeros").unwrap(), Isa::CortexM).unwrap();
            // As long as a number gets.
            inspection.layers[0].macs_dense = u64::MAX;
            let layers = inspection.layers.clone();
            let shown = text(&Document {
                file: PathBuf::from("m"),
                sha256: String::new(),
                inspection,
                schedule: None,
            });
            let rows = shown.lines().skip_while(|line| !line.starts_with("layer")).skip(1);
            for (layer, row) in layers.iter().zip(rows) {
                let ranks = usize::from(layer.rank.is_some());
                assert_eq!(cells(row).len(), 7 + ranks, "{}: {row}", known.name);
                assert_eq!(cells(row)[..2], [&layer.name[..], layer.kind], "{row}");
                assert_eq!(cells(row)[6 + ranks], layer.weight_bytes_dense.to_string(), "{row}");
            }
            seen += 1;
        }
        assert!(seen >= 8, "{seen} networks");
    }
}
