//! `lrpet network draw`: a network or a model as a picture.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use lrpet_network::Source;
use lrpet_network::export::model_network;
use lrpet_network::network::Network;
use serde::Serialize;

use crate::commands::Output;
use crate::commands::model_file::ModelFile;
use crate::commands::outputs;

#[derive(clap::Args)]
pub struct Args {
    /// Network's file, a name of `lrpet network list`, or a model file, whose ranks are shown
    #[arg(value_name = "FILE|NAME")]
    network: String,
    /// SVG file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Document {
    out: PathBuf,
    name: String,
    layers: usize,
}

pub fn run(args: Args, output: &Output) -> Result<()> {
    let file = Path::new(&args.network);
    let source: &[&Path] = if file.is_file() { &[file] } else { &[] };
    outputs::check(&[&args.out], source)?;
    let (network, ranks) = find(&args.network)?;
    outputs::write(&args.out, lrpet_network::draw::draw(&network, &ranks).as_bytes())?;
    let document = Document { out: args.out, name: network.name, layers: network.layers.len() };
    output.print(&document, |document| format!("{}: {}", document.out.display(), document.name))
}

/// The network, and the ranks of its pairs where it is of a model.
fn find(name: &str) -> Result<(Network, BTreeMap<String, u64>)> {
    let path = Path::new(name);
    if path.extension().is_some_and(|extension| extension == "safetensors") {
        let file = ModelFile::open(path)?;
        return match (file.model(), Source::named(name)) {
            (Ok(model), _) => Ok(model_network(&model)?),
            // A checkpoint may hold a network too.
            (Err(_), Ok(source)) => Ok((source.usual(), BTreeMap::new())),
            (Err(error), Err(_)) => Err(error),
        };
    }
    Ok((Source::named(name)?.usual(), BTreeMap::new()))
}
