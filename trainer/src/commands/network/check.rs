//! `lrpet network check`: whether a network's file is right, and what the network costs.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use lrpet_network::Source;
use lrpet_network::lrpet::Scope;
use lrpet_network::network::Network;
use lrpet_study::report::{columns, units};
use serde::Serialize;

use super::against::{self, Compared, Engine};
use super::import::NETWORK;
use super::summary::{Axes, Summary, spelt};
use crate::commands::Output;

#[derive(clap::Args)]
pub struct Args {
    /// Network's file, a name of `lrpet network list`, or a folder that `lrpet network import` wrote
    #[arg(value_name = "FILE|NAME|DIR")]
    network: String,
    /// Compute an imported network on some inputs, and hold it against what this program makes of its ONNX file
    #[arg(long, value_name = "ENGINE", value_enum)]
    against: Option<Engine>,
    /// The ONNX file [default: the one that was imported, where it was]
    #[arg(long, value_name = "FILE", requires = "against")]
    onnx: Option<PathBuf>,
}

#[derive(Serialize)]
struct Document {
    name: String,
    about: String,
    #[serde(flatten)]
    summary: Summary,
    /// Bytes of all weights in f16 and biases in f32.
    weight_bytes: u64,
    layers: Vec<Row>,
    /// Whether the network is the known one of its name.
    known: bool,
    /// How it compares with its ONNX file.
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<Compared>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    op: String,
    /// Names of the layers that it reads.
    inputs: Vec<String>,
    output: Axes,
    macs: u64,
    params: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pair: Option<Pair>,
}

/// What a layer could be as a pair of thin ones.
#[derive(Serialize)]
struct Pair {
    /// Its singular values.
    max_rank: u64,
    /// The highest rank at which a pair takes fewer multiply-adds.
    pays_up_to: u64,
    /// Only with --factor-linear.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    linear: bool,
}

pub fn run(args: &Args, output: &Output) -> Result<()> {
    let path = Path::new(&args.network);
    let named = match path.is_dir() {
        true => path.join(NETWORK).display().to_string(),
        false => args.network.clone(),
    };
    let network = Source::named(&named)?.usual();
    let against = args
        .against
        .map(|Engine::Onnxruntime| against::compare(path, &network, args.onnx.as_deref()))
        .transpose()?;
    let document = Document { against, ..document(&network) };
    output.print(&document, text)?;
    ensure!(
        !document.against.as_ref().is_some_and(Compared::differs),
        "{}: the network computes something else than its ONNX file",
        path.display()
    );
    Ok(())
}

fn document(network: &Network) -> Document {
    let shapes = network.value_shapes().unwrap_or_default();
    let matrices = network.matrices();
    let name_of = |value: usize| match value.checked_sub(1) {
        None => "input".to_owned(),
        Some(layer) => network.layers[layer].name().to_owned(),
    };
    let rows = network.computing_layers().iter().enumerate().map(|(index, layer)| {
        let matrix = matrices.iter().find(|(at, ..)| *at == index).map(|(_, _, matrix)| *matrix);
        let cost = matrix.map(|matrix| matrix.cost(0)).unwrap_or_default();
        let pair = matrix.filter(|_| Scope::All.contains(&layer.op)).map(|matrix| {
            let most = matrix.rows.min(matrix.columns);
            // r·(c·k² + n) < n·c·k².
            let last = (matrix.params(0).saturating_sub(1)) / (matrix.rows + matrix.columns);
            let linear = !Scope::Convolutions.contains(&layer.op);
            Pair { max_rank: most, pays_up_to: last.min(most), linear }
        });
        Row {
            name: layer.name().to_owned(),
            op: layer.operation().to_owned(),
            inputs: layer.op.inputs().values().iter().map(|&value| name_of(value.into())).collect(),
            output: shapes.get(index + 1).map_or([0; 3], |shape| shape.axes()),
            macs: cost.macs,
            params: cost.params,
            pair: pair.filter(|pair| pair.pays_up_to > 0),
        }
    });
    Document {
        name: network.name.clone(),
        about: network.about.clone(),
        summary: Summary::of(network),
        weight_bytes: network.cost().weight_bytes,
        layers: rows.collect(),
        known: network.is_known(),
        against: None,
    }
}

fn text(document: &Document) -> String {
    let mut text = document.name.clone();
    if !document.about.is_empty() {
        let _ = write!(text, ": {}", document.about);
    }
    let head = ["layer", "op", "reads", "output", "MACs", "parameters", "a pair pays to rank"];
    let head = head.map(str::to_owned).to_vec();
    let row = |row: &Row| {
        let number = |count: u64| if count == 0 { String::new() } else { count.to_string() };
        let pair = row.pair.as_ref().map_or(String::new(), |pair| {
            let linear = if pair.linear { " (--factor-linear)" } else { "" };
            format!("{} of {}{linear}", pair.pays_up_to, pair.max_rank)
        });
        let words = [row.name.clone(), row.op.clone(), row.inputs.join(", "), spelt(row.output)];
        words.into_iter().chain([number(row.macs), number(row.params), pair]).collect()
    };
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(document.layers.iter().map(row)).collect();
    let _ = writeln!(
        text,
        "\n{}, {}\n\n{}",
        document.summary.shapes(),
        units::things(document.layers.len() as u64, "layer"),
        columns(&rows, 3)
    );
    let _ = writeln!(
        text,
        "{}, {} bytes of weights and biases",
        document.summary.costs(),
        units::grouped(document.weight_bytes as f64)
    );
    text + &document.against.as_ref().map_or(String::new(), Compared::text)
}
