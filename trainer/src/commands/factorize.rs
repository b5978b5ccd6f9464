//! `lrpet factorize`: a trained checkpoint becomes a model file.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use lrpet_runtime::host::AlignedBytes;
use lrpet_trainer::atomic;
use lrpet_trainer::data::Images;
use lrpet_trainer::export::{self, Card, Request};
use lrpet_trainer::report::columns;
use serde::Serialize;

use super::Output;
use super::checkpoint;
use super::images::ImageArgs;
use super::ranks::Ranks;

#[derive(clap::Args)]
pub struct Args {
    /// Dense checkpoint: safetensors, or a state_dict that PyTorch saved (.pth, .pt, .bin), with torchvision-style names
    /// (`layer1.0.conv1.weight`, `bn1.running_mean`, …)
    checkpoint: PathBuf,
    /// Network, one of `lrpet train --help` [default: the one that the checkpoint names]
    #[arg(long)]
    net: Option<String>,
    #[command(flatten)]
    images: ImageArgs,
    #[command(flatten)]
    ranks: Ranks,
    /// Raise each pair to the energy of its dense layer (for weights that were trained without projection)
    #[arg(long)]
    energy_transfer: bool,
    /// Do not measure accuracy on the test set for the model card
    #[arg(long)]
    no_accuracy: bool,
    /// Model file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Document {
    out: PathBuf,
    bytes: usize,
    /// Shape of the images, C×H×W.
    input: [u32; 3],
    /// How pictures are prepared for it: key and value in the card.
    preparation: BTreeMap<&'static str, String>,
    macs: u64,
    macs_dense: u64,
    accuracy: Option<f64>,
    /// What was assumed of the checkpoint.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    /// The factored layers.
    layers: Vec<export::folded::FactoredLayer>,
}

pub fn run(args: Args, output: &Output) -> Result<()> {
    let (checkpoint, net) = checkpoint::open(&args.checkpoint, args.net.as_deref())?;
    let images = args.images.find(&net, &checkpoint, &args.checkpoint)?;
    let network = super::train::network(&net, images.shape, images.classes.len() as u32)?;
    let checkpoint = checkpoint::fit(checkpoint, &args.checkpoint, &network)?;
    let mut card = Card {
        dataset: images.dataset.clone(),
        classes: images.classes.clone(),
        prune: String::new(),
        accuracy_dense: None,
        accuracy: None,
        training: checkpoint.metadata.get("command").cloned(),
        command: super::command_line(),
    };
    let (plan, rule) = args.ranks.of_checkpoint(&network, &checkpoint, &card)?;
    card.prune = rule;
    let samples = images.samples()?;
    let request = Request {
        network: &network,
        checkpoint: &checkpoint,
        plan: &plan,
        energy_transfer: args.energy_transfer,
        normalization: &images.normalization,
        card: &card,
        samples: Some(&samples),
    };
    let named = || args.checkpoint.display().to_string();
    let mut exported = export::export(&request).with_context(named)?;
    exported.card.extend(images.preparation.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    let mut accuracy = None;
    if let Some(test) = images.test.as_ref().filter(|_| !args.no_accuracy) {
        let measured = measure(&exported.to_bytes()?, test)?;
        exported.card.insert("accuracy".into(), format!("{measured:.4}"));
        accuracy = Some(measured);
    }
    let bytes = exported.to_bytes()?;
    atomic::write(&args.out, &bytes).with_context(|| format!("cannot write {}", args.out.display()))?;
    let document = Document {
        out: args.out,
        bytes: bytes.len(),
        input: [images.shape.channels, images.shape.height, images.shape.width],
        preparation: images.preparation.into_iter().collect(),
        macs: plan.cost().macs,
        macs_dense: network.cost().macs,
        accuracy,
        notes: checkpoint.notes,
        layers: exported.layers,
    };
    output.print(&document, text)
}

/// Accuracy of the file's bytes on the test set, by the runtime.
fn measure(bytes: &[u8], test: &Images) -> Result<f64> {
    let bytes = AlignedBytes::copy_of(bytes);
    let model = export::checked(bytes.as_slice(), "the exported model")?;
    let (mut correct, mut images) = (0, 0);
    test.try_for_each_part(|part, _| -> Result<()> {
        correct += export::runtime_logits(&model, part, |_| ())?.correct(&part.labels);
        images += part.len();
        Ok(())
    })?;
    ensure!(images > 0, "the test set is empty");
    Ok(correct as f64 / images as f64)
}

fn text(done: &Document) -> String {
    let row = |layer: &export::folded::FactoredLayer| {
        let kept = format!("{:.2} % of the energy", 100.0 * layer.energy_kept);
        vec![layer.name.clone(), format!("rank {}", layer.rank), kept]
    };
    let mut text = columns(&done.layers.iter().map(row).collect::<Vec<_>>(), 1);
    let _ = writeln!(
        text,
        "{}: {} bytes, takes {}×{}×{}, {} MACs of {} dense",
        done.out.display(),
        done.bytes,
        done.input[0],
        done.input[1],
        done.input[2],
        done.macs,
        done.macs_dense
    );
    if let Some(accuracy) = done.accuracy {
        let _ = writeln!(text, "{:.2} % on the test set (runtime, f16)", 100.0 * accuracy);
    }
    text
}
