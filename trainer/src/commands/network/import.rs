//! `lrpet network import`: a network and its weights from an ONNX file.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use lrpet_network::import::{self, Options, Report};
use lrpet_network::lrpet::Scope;
use lrpet_network::network::{InputKind, Network};
use lrpet_study::report::units;
use serde::Serialize;

use super::summary::Summary;
use crate::commands::Output;
use crate::commands::numbers::{pixel_deviation, pixel_mean};
use crate::commands::outputs;

/// Names of what is written.
pub(super) const NETWORK: &str = "network.toml";
pub(super) const WEIGHTS: &str = "weights.safetensors";

#[derive(clap::Args)]
pub struct Args {
    /// ONNX file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Axes of an input that the file leaves free, such as input=1x3x224x224; the first, of images, is 1
    #[arg(long, value_name = "NAME=AXES", value_parser = parse_axes)]
    input: Vec<(String, Vec<usize>)>,
    /// An output that is the network's, where not all of the file's are to be; any other value of the file cuts it there. May be
    /// given several times
    #[arg(long, value_name = "NAME")]
    output: Vec<String>,
    /// Mean of each channel of pixels scaled to 0..1: the network's input is a picture then [default: values as they are]
    #[arg(long, value_name = "M,…", value_delimiter = ',', value_parser = pixel_mean, requires = "std", allow_hyphen_values = true)]
    mean: Vec<f32>,
    /// Standard deviation of each channel of pixels scaled to 0..1
    #[arg(long, value_name = "S,…", value_delimiter = ',', value_parser = pixel_deviation, requires = "mean", allow_hyphen_values = true)]
    std: Vec<f32>,
    /// Folder to write the network's file and its weights to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Document {
    /// The network's file.
    network: PathBuf,
    /// Its weights.
    weights: PathBuf,
    #[serde(flatten)]
    summary: Summary,
    /// Layers that can be pairs of thin ones.
    pairs: usize,
    report: Report,
}

pub fn run(args: Args, output: &Output) -> Result<()> {
    let fresh = !args.out.exists();
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    let (network_file, weights_file) = (args.out.join(NETWORK), args.out.join(WEIGHTS));
    outputs::check(&[&network_file, &weights_file], &[&args.file])?;
    let options =
        Options { axes: args.input.into_iter().collect(), constants: BTreeMap::new(), outputs: args.output };
    let mut imported = import::import(&args.file, &options).inspect_err(|_| {
        if fresh {
            // What was refused leaves nothing. Only an empty folder goes.
            let _ = std::fs::remove_dir(&args.out);
        }
    })?;
    let channels = imported.network.input.channels;
    for (name, values) in [("mean", &args.mean), ("std", &args.std)] {
        if !values.is_empty() {
            ensure!(
                values.len() == channels as usize,
                "--{name} has {} for {}",
                units::things(values.len() as u64, "number"),
                units::things(channels.into(), "channel")
            );
            imported.network.input_kind = InputKind::Picture;
            let list: Vec<String> = values.iter().map(f32::to_string).collect();
            imported.checkpoint.metadata.insert(name.to_owned(), list.join(","));
        }
    }
    let (network, report) = (imported.network.clone(), imported.report.clone());
    let text = network.to_text();
    let again = Network::from_text(&network_file.display().to_string(), &text)
        .context("the network has operations that its file cannot say yet")?;
    ensure!(
        again.function_text() == network.function_text(),
        "the network has operations that its file cannot say yet; nothing is written"
    );
    let weights = imported.remembering().to_bytes()?;
    let document = Document {
        summary: Summary::of(&network),
        pairs: network.layers.iter().filter(|layer| Scope::Convolutions.contains(&layer.op)).count(),
        network: network_file,
        weights: weights_file,
        report,
    };
    outputs::write(&document.weights, weights)?;
    outputs::write(&document.network, text)?;
    output.print(&document, self::text)
}

fn text(document: &Document) -> String {
    let Report { producer, opset, nodes, operations, folded, left_out, patterns, notes, .. } =
        &document.report;
    let by = if producer.is_empty() { String::new() } else { format!(", written by {producer}") };
    let mut text = format!(
        "operator set {opset}{by}: {} became {}; {} computed from constants and shapes\n",
        units::things(*nodes as u64, "node"),
        units::things(*operations as u64, "operation"),
        units::things(*folded as u64, "node")
    );
    for (title, list) in [("seen", patterns), ("left out", left_out)] {
        for (what, count) in list {
            let _ = writeln!(text, "{title}: {what} ({count})");
        }
    }
    for note in notes {
        let _ = writeln!(text, "note: {note}");
    }
    let _ = writeln!(
        text,
        "{}, {}; {} can be a pair of thin ones",
        document.summary.shapes(),
        document.summary.costs(),
        units::things(document.pairs as u64, "convolution")
    );
    let _ = writeln!(text, "{} and {}", document.network.display(), document.weights.display());
    text
}

/// `input=1x3x224x224`.
fn parse_axes(text: &str) -> Result<(String, Vec<usize>), String> {
    let parsed = text.rsplit_once('=').and_then(|(name, axes)| {
        let axes: Option<Vec<usize>> = axes.split(['x', '×']).map(|axis| axis.parse().ok()).collect();
        Some((name.to_owned(), axes?))
    });
    parsed
        .filter(|(_, axes)| !axes.contains(&0))
        .ok_or_else(|| format!("{text:?} does not say the axes of an input, as input=1x3x224x224 does"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_named() {
        assert_eq!(parse_axes("x:0=1x3x8x9"), Ok(("x:0".to_owned(), vec![1, 3, 8, 9])));
        for bad in ["1x3x8x9", "x=", "x=1x0", "x=axb"] {
            assert!(parse_axes(bad).unwrap_err().contains("input=1x3x224x224"), "{bad}");
        }
    }
}
