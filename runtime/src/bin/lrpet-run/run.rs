//! `lrpet-run run`: logits and the best classes of images, or the values that a model makes.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use lrpet_runtime::host::{AlignedBytes, labels, output_names, softmax, top_k};
use lrpet_runtime::model::OutputKind;
use serde_json::json;

use super::Common;
use super::input::Images;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Images: a .npy of f32 N×C×H×W (normalised) or of u8 N×H×W×C, the first axis optional; any other name: raw bytes, H·W·C each.
    #[arg(long)]
    input: PathBuf,
    /// How many classes to show; of a model of values, all values are shown.
    #[arg(long, default_value_t = 5)]
    top: usize,
}

pub fn run(arguments: &Arguments, out: &mut impl Write) -> Result<()> {
    let common = &arguments.common;
    let map = common.map()?;
    let schedule = common.schedule(&map)?;
    let model = common.model(&map, schedule.as_deref())?;
    let header = model.program().header();
    let (input, output) = (header.input, header.output);
    let images = Images::read(&arguments.input, input)?;
    let mut arena = AlignedBytes::zeroed(common.plan(&model)?.arena_bytes);
    let mut session = common.session(&model, &mut arena)?;
    let (labels, names) = (labels(&model), output_names(&model));
    let mut logits = vec![0.0; session.classes()];
    let mut results = Vec::new();
    for i in 0..images.count(input) {
        let ran = images.infer(i, &mut session, &mut logits, input);
        ran.with_context(|| format!("{}: image {i}", arguments.input.display()))?;
        if header.result == OutputKind::Values {
            let outputs = model.program().split(&logits).zip(&names);
            let given: Vec<serde_json::Value> = outputs
                .clone()
                .map(|((shape, values), name)| json!({ "name": name, "shape": shape.axes(), "values": values }))
                .collect();
            if common.json && given.len() > 1 {
                results.push(json!({ "outputs": given }));
            } else if common.json {
                results.push(json!({ "shape": output.axes(), "values": logits }));
            } else {
                for ((shape, values), name) in outputs {
                    let name = if given.len() > 1 { format!("{name}: ") } else { String::new() };
                    let values: Vec<String> = values.iter().map(f32::to_string).collect();
                    writeln!(out, "image {i}: {name}{shape}: {}", values.join(" "))?;
                }
            }
            continue;
        }
        let probabilities = softmax(&logits);
        let best = top_k(&logits, arguments.top);
        if common.json {
            let best = best.iter().map(|&class| {
                json!({ "class": class, "label": labels[class], "logit": logits[class], "probability": probabilities[class] })
            });
            results.push(json!({ "logits": logits, "top": best.collect::<Vec<_>>() }));
        } else {
            let best =
                best.iter().map(|&class| format!("{} {:.1} %", labels[class], probabilities[class] * 100.0));
            writeln!(out, "image {i}: {}", best.collect::<Vec<_>>().join(", "))?;
        }
    }
    if common.json {
        writeln!(
            out,
            "{}",
            json!({
                "model": common.model, "isa": session.isa().name(), "arithmetic": session.arithmetic().name(),
                "images": results,
            })
        )?;
    }
    Ok(())
}
