//! `lrpet factorize`: a trained checkpoint becomes a model file.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use lrpet_data::Images;
use lrpet_network::export::{self, Card, LayerRange, Ranges, Request, SELF_CHECK_SAMPLES, Samples, range};
use lrpet_network::source::is_onnx;
use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::model::Model;
use lrpet_study::report::columns;
use lrpet_train::folded::Candle;
use serde::Serialize;

use super::Output;
use super::checkpoint;
use super::epsilon::EpsilonArgs;
use super::images::ImageArgs;
use super::outputs;
use super::ranks::Ranks;

#[derive(clap::Args)]
pub struct Args {
    /// Dense checkpoint: safetensors, or a state_dict that PyTorch saved (.pth, .pt, .bin), with torchvision-style names
    /// (`layer1.0.conv1.weight`, `bn1.running_mean`, …); or an ONNX file [default: the ONNX file of --net]
    #[arg(required_unless_present = "net")]
    checkpoint: Option<PathBuf>,
    /// Network: a name of `lrpet network list`, or a network's file [default: what the checkpoint says]
    #[arg(long, value_name = "NAME|FILE")]
    net: Option<String>,
    #[command(flatten)]
    images: ImageArgs,
    #[command(flatten)]
    ranks: Ranks,
    #[command(flatten)]
    epsilon: EpsilonArgs,
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
    /// Why the accuracy was not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_measured: Option<&'static str>,
    /// What was assumed of the checkpoint.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    /// Inputs of normal random values on which each layer was held against sums in f64, of a network that takes values; its file has
    /// no self-check.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_on_values: Option<usize>,
    /// What roundings may move a logit of each self-check sample.
    tolerances: Vec<f32>,
    /// The largest of them as a share of its sample's largest logit (at least 1).
    blur: f32,
    /// The factored layers.
    layers: Vec<export::folded::FactoredLayer>,
    /// How far the values of each layer go, on the self-check's images and on the test set where it was read.
    ranges: Vec<LayerRange>,
}

pub fn run(args: Args, output: &Output) -> Result<()> {
    let named = args.net.as_ref().map(PathBuf::from).filter(|net| is_onnx(net));
    let file = args.checkpoint.clone().or(named).context(
        "name a checkpoint: only the network of an ONNX file (--net model.onnx) has its weights with it",
    )?;
    outputs::check(&[&args.out], &[&file])?;
    let (checkpoint, net) = checkpoint::open(&file, args.net.as_deref())?;
    let net = args.images.pictures(net, &checkpoint);
    let images = args.images.find(&net, &checkpoint, &file)?;
    let network = match net.takes_values() {
        true => net.usual(),
        false => net.network(images.shape, images.classes.len() as u32)?,
    };
    let network = args.epsilon.of(network, &checkpoint.metadata, &file)?;
    let checkpoint = checkpoint::fit(checkpoint, &file, &network)?;
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
    let data = if net.takes_values() { None } else { Some(images.samples()?) };
    let samples = match &data {
        Some(data) => Samples::Images { data, machine: &Candle },
        None => Samples::Values,
    };
    let request = Request {
        network: &network,
        checkpoint: &checkpoint,
        plan: &plan,
        energy_transfer: args.energy_transfer,
        normalization: &images.normalization,
        card: &card,
        samples: Some(samples),
    };
    let named = || file.display().to_string();
    let mut exported = export::export(&request).with_context(named)?;
    exported.card.extend(images.preparation.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    let mut ranges = exported.ranges.clone();
    let unlabelled = AlignedBytes::copy_of(&exported.to_bytes()?);
    let model = export::checked(unlabelled.as_slice(), "the exported model")?;
    let test = images.test.as_ref().filter(|_| !args.no_accuracy);
    let accuracy = test.map(|test| measure(&model, test, &mut ranges)).transpose()?;
    exported.card.extend(accuracy.map(|accuracy| ("accuracy".into(), format!("{accuracy:.4}"))));
    let bytes = exported.to_bytes()?;
    let written = outputs::write(&args.out, &bytes);
    let document = Document {
        out: args.out,
        bytes: bytes.len(),
        input: [images.shape.channels, images.shape.height, images.shape.width],
        preparation: images.preparation.into_iter().collect(),
        macs: plan.cost().macs,
        macs_dense: network.cost().macs,
        accuracy,
        not_measured: match accuracy {
            Some(_) => None,
            None if args.no_accuracy => Some("--no-accuracy"),
            None if data.is_none() => Some("the network takes values, and data sets are of pictures"),
            None => Some("no test images are at hand: name their folder or data set with --data"),
        },
        notes: checkpoint.notes,
        blur: exported.self_check.as_ref().map_or(0.0, |check| check.blur(exported.folded.classes as usize)),
        held_on_values: data.is_none().then_some(SELF_CHECK_SAMPLES),
        tolerances: exported.self_check.and_then(|check| check.tolerances).unwrap_or_default(),
        layers: exported.layers,
        ranges: ranges.of(&model),
    };
    output.print(&document, text)?;
    written
}

/// Accuracy of the model on the test set, by the runtime; adds how far values go there.
fn measure(model: &Model<'_>, test: &Images, ranges: &mut Ranges) -> Result<f64> {
    let (mut correct, mut images) = (0, 0);
    test.try_for_each_part(|part, _| -> Result<()> {
        let (logits, seen) = export::ranged_logits(model, part, |_| ())?;
        ranges.join(&seen);
        correct += logits.correct(&part.labels);
        images += part.len();
        Ok(())
    })?;
    ensure!(images > 0, "the test set is empty");
    Ok(correct as f64 / images as f64)
}

/// Share of the largest logit from which on a self-check says little.
const MUCH: f32 = 0.25;

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
    if let Some(why) = done.not_measured {
        let _ = writeln!(text, "accuracy not measured ({why})");
    }
    if let Some(inputs) = done.held_on_values {
        let _ = writeln!(
            text,
            "each layer held against sums in f64 on {inputs} inputs of normal random values; no self-check in the file, which is of \
             pictures"
        );
        return text + &range::warnings(&done.ranges);
    }
    let tolerance = done.tolerances.iter().copied().fold(0.0, f32::max);
    let _ = writeln!(text, "self-check: roundings may move a logit by {tolerance:.4}");
    if done.blur > MUCH {
        let _ = writeln!(
            text,
            "warning: that is {:.0} % of the largest logit, so a self-check finds only coarse faults of a device (the weights may be \
             untrained)",
            100.0 * done.blur
        );
    }
    text + &range::warnings(&done.ranges)
}
