//! `lrpet network show`: a network as the text of its file.

use anyhow::Result;
use lrpet_network::Source;
use lrpet_runtime::model::Shape;
use serde::Serialize;

use crate::commands::Output;
use crate::commands::numbers::count;

#[derive(clap::Args)]
pub struct Args {
    /// Network: a name of `lrpet network list`, a network's file, or a checkpoint that holds one
    #[arg(value_name = "NAME|FILE")]
    network: String,
    /// Shape of the input, such as 1x28x28 [default: what the network is known for]
    #[arg(long, value_name = "CxHxW", value_parser = parse_shape)]
    input: Option<Shape>,
    /// Number of classes [default: what the network is known for]
    #[arg(long, value_name = "N", value_parser = count::<u32>)]
    classes: Option<u32>,
}

#[derive(Serialize)]
struct Document {
    name: String,
    /// The text of the file.
    file: String,
}

pub fn run(args: &Args, output: &Output) -> Result<()> {
    let source = Source::named(&args.network)?;
    let usual = source.usual();
    let network = source.network(args.input.unwrap_or(usual.input), args.classes.unwrap_or(usual.classes))?;
    let document = Document { file: network.to_text(), name: network.name };
    output.print(&document, |document| document.file.clone())
}

fn parse_shape(text: &str) -> Result<Shape, String> {
    let axes: Option<Vec<u32>> = text.split(['x', '×']).map(|axis| axis.parse().ok()).collect();
    match axes.as_deref() {
        Some(&[channels, height, width]) if !Shape::new(channels, height, width).is_empty() => {
            Ok(Shape::new(channels, height, width))
        }
        _ => Err("the shape of an input is CxHxW, such as 3x32x32".into()),
    }
}
