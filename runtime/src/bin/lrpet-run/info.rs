//! `lrpet-run info`: card, layers, costs and memory of a model.

use std::io::Write;

use anyhow::Result;
use lrpet_runtime::host::abridged;
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::cost::{self, Cost};
use lrpet_runtime::model::{Op, Weights};
use serde_json::{Map, Value, json};

use super::Common;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    common: Common,
}

fn kind(op: &Op<&str>) -> &'static str {
    let of = |weights, dense, pair| match weights {
        Weights::Dense => dense,
        Weights::Pair { .. } => pair,
        Weights::Depthwise => "depthwise",
    };
    match op {
        Op::Conv(conv) => of(conv.weights, "convolution", "convolution pair"),
        Op::Linear(linear) => of(linear.weights, "linear", "linear pair"),
        Op::Pool(_) | Op::GlobalAveragePool { .. } => "pooling",
        Op::PadShortcut(_) => "shortcut",
        Op::Add { .. } => "addition",
        Op::Concat(_) => "concatenation",
        general => general.kind(),
    }
}

fn rank(op: &Op<&str>) -> u64 {
    op.weights().map_or(0, cost::rank_of)
}

pub fn run(arguments: &Arguments, out: &mut impl Write) -> Result<()> {
    let common = &arguments.common;
    let map = common.map()?;
    let schedule = common.schedule(&map)?;
    let model = common.model(&map, schedule.as_deref())?;
    let plan = common.plan(&model)?;
    let (mut stored, mut dense) = (Cost::default(), Cost::default());
    let mut layers = Vec::new();
    for layer in model.program().layers() {
        let (own, twin) = (cost::stored(&layer.op, layer.input), cost::dense(&layer.op, layer.input));
        stored += own;
        dense += twin;
        layers.push((layer, own, twin));
    }
    let card: Map<String, Value> =
        model.metadata().map(|(key, value)| (key.to_string(), value.to_string().into())).collect();
    if common.json {
        let rows = layers.iter().map(|(layer, own, twin)| {
            json!({
                "index": layer.index, "name": layer.op.name(), "kind": kind(&layer.op), "rank": rank(&layer.op),
                "input": layer.input.to_string(), "output": layer.output.to_string(),
                "macs": own.macs, "macs_dense": twin.macs,
                "weight_bytes": own.weight_bytes, "weight_bytes_dense": twin.weight_bytes,
            })
        });
        writeln!(
            out,
            "{}",
            json!({
                "model": common.model, "card": card, "file_bytes": model.bytes().len(),
                "macs": stored.macs, "macs_dense": dense.macs, "params": stored.params, "params_dense": dense.params,
                "weight_bytes": stored.weight_bytes, "weight_bytes_dense": dense.weight_bytes,
                "isa": common.isa().name(), "arena_bytes": plan.arena_bytes, "table_bytes": plan.table_bytes,
                "activation_bytes": plan.activation_bytes, "scratch_bytes": plan.scratch_bytes,
                "peak_layer": plan.peak_layer, "layers": rows.collect::<Vec<_>>(),
            })
        )?;
        return Ok(());
    }
    for (key, value) in &card {
        let value = value.as_str().unwrap_or_default();
        let value = if key == "classes" { abridged(value) } else { value.to_owned() };
        writeln!(out, "{key}: {value}")?;
    }
    writeln!(
        out,
        "\n{:28} {:18} {:>5} {:>11} {:>11} {:>10} {:>10}",
        "layer", "kind", "rank", "input", "output", "MACs", "bytes"
    )?;
    for (layer, own, _) in &layers {
        let (input, output) = (layer.input.to_string(), layer.output.to_string());
        let rank = Some(rank(&layer.op)).filter(|rank| *rank > 0).map_or("".into(), |rank| rank.to_string());
        let (name, kind) = (layer.op.name(), kind(&layer.op));
        writeln!(
            out,
            "{name:28} {kind:18} {rank:>5} {input:>11} {output:>11} {:>10} {:>10}",
            own.macs, own.weight_bytes
        )?;
    }
    writeln!(
        out,
        "\nMACs {} (dense {}), weights {} bytes (dense {})",
        stored.macs, dense.macs, stored.weight_bytes, dense.weight_bytes
    )?;
    let isas = if common.isa.is_some() { vec![common.isa()] } else { vec![Isa::CortexM, Isa::detect()] };
    for isa in isas {
        if let Ok(plan) = lrpet_runtime::plan::Plan::new(model.program(), isa) {
            writeln!(
                out,
                "arena on {}: {} bytes (table {}, activations {}, scratch {})",
                isa.name(),
                plan.arena_bytes,
                plan.table_bytes,
                plan.activation_bytes,
                plan.scratch_bytes
            )?;
        }
    }
    Ok(())
}
