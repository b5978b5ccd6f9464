//! `lrpet export`: a model file in another format.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::ValueEnum;
use lrpet_network::onnx::{self, BATCH, Batch, Input, Options};
use lrpet_report::units::things;
use lrpet_report::visible;
use serde::Serialize;

use super::Output;
use super::model_file::ModelFile;
use super::outputs;

#[derive(clap::Args)]
pub struct Args {
    /// Model file, dense or factored
    model: PathBuf,
    /// ONNX file to write: f32, weights of 8 bits as they are (DequantizeLinear), a pair of thin convolutions as two convolutions
    #[arg(long, value_name = "FILE")]
    onnx: PathBuf,
    /// What the ONNX model takes; unless said, what the model does
    #[arg(long, value_enum)]
    input: Option<InputKind>,
    /// Images that the ONNX model takes at once: a number, or `dynamic` for any number
    #[arg(long, value_name = "N|dynamic", default_value_t, hide_default_value = true)]
    batch: Batch,
    /// Keep weights f16 in the file, for half of its size; they are computed with in f32 all the same
    #[arg(long)]
    f16_weights: bool,
}

/// What the graph takes.
#[derive(Clone, Copy, ValueEnum)]
enum InputKind {
    /// Bytes of a picture, u8 N×H×W×C, which the graph normalises
    Image,
    /// Values f32 N×C×H×W that are normalised already
    Values,
}

#[derive(Serialize)]
struct Document {
    out: PathBuf,
    bytes: usize,
    operator_set: i64,
    input: Value,
    /// The first of several.
    output: Value,
    /// All, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    outputs: Vec<Value>,
    weights: &'static str,
    /// Tensors of weights of 8 bits, beside those.
    #[serde(skip_serializing_if = "nothing")]
    eights: usize,
    nodes: usize,
    constants: usize,
}

/// An input or output.
#[derive(Clone, Serialize)]
struct Value {
    name: String,
    #[serde(rename = "type")]
    element: &'static str,
    shape: Vec<Axis>,
}

/// The length of an axis, or the name of a free one.
#[derive(Clone, Serialize)]
#[serde(untagged)]
enum Axis {
    Length(u32),
    Free(&'static str),
}

/// The axis of the images, and those behind it.
fn shape(batch: Batch, axes: &[u32]) -> Vec<Axis> {
    let images = match batch {
        Batch::Of(images) => Axis::Length(images.get()),
        Batch::Dynamic => Axis::Free(BATCH),
    };
    std::iter::once(images).chain(axes.iter().copied().map(Axis::Length)).collect()
}

pub fn run(args: Args, output: &Output) -> Result<()> {
    outputs::check(&[&args.onnx], &[&args.model])?;
    let file = ModelFile::open(&args.model)?;
    let model = file.model()?;
    let header = model.program().header();
    let input = match args.input {
        Some(InputKind::Image) => Input::Image,
        Some(InputKind::Values) => Input::Values,
        None if header.kind == lrpet_runtime::model::InputKind::Values => Input::Values,
        None => Input::Image,
    };
    let options = Options { input, batch: args.batch, f16_weights: args.f16_weights };
    let converted = onnx::convert(&model, options).with_context(|| args.model.display().to_string())?;
    outputs::write(&args.onnx, &converted.bytes)?;
    let given = |(name, axes): &(String, Vec<u32>)| Value {
        name: name.clone(),
        element: "f32",
        shape: shape(args.batch, axes),
    };
    let all: Vec<Value> = converted.outputs.iter().map(given).collect();
    let document = Document {
        out: args.onnx,
        bytes: converted.bytes.len(),
        operator_set: converted.operator_set,
        input: Value {
            name: input.name().to_owned(),
            element: input.type_name(),
            shape: shape(args.batch, &input.axes(header.input)),
        },
        output: all.first().cloned().context("the graph has an output")?,
        outputs: if all.len() > 1 { all } else { Vec::new() },
        weights: if args.f16_weights { "f16" } else { "f32" },
        eights: converted.eights,
        nodes: converted.nodes,
        constants: converted.constants,
    };
    output.print(&document, text)
}

fn nothing(count: &usize) -> bool {
    *count == 0
}

fn text(done: &Document) -> String {
    let weights = match done.eights {
        0 => format!("weights {}", done.weights),
        eights => format!(
            "weights {}, {} of 8 bits (DequantizeLinear)",
            done.weights,
            things(eights as u64, "tensor")
        ),
    };
    let value = |value: &Value| {
        let axis = |axis: &Axis| match axis {
            Axis::Length(length) => length.to_string(),
            Axis::Free(name) => (*name).to_owned(),
        };
        let axes: Vec<String> = value.shape.iter().map(axis).collect();
        format!("{} {} {}", visible(&value.name), value.element, axes.join("×"))
    };
    let several = if done.outputs.is_empty() { std::slice::from_ref(&done.output) } else { &done.outputs };
    format!(
        "{}: {} bytes, ONNX operator set {}, {} operations, {weights}; takes {}, gives {}",
        done.out.display(),
        done.bytes,
        done.operator_set,
        done.nodes,
        value(&done.input),
        several.iter().map(value).collect::<Vec<_>>().join(", ")
    )
}
