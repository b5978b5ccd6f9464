//! `lrpet factorize`: a trained checkpoint becomes a model file, or a model file one with weights of 8 bits.

mod document;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use indicatif::ProgressBar;
use lrpet_network::export::schedule::Chosen;
use lrpet_network::export::{self, Card, Exported, Precision, Ranges, Request, SELF_CHECK_SAMPLES};
use lrpet_network::inspect;
use lrpet_network::lrpet::Budget;
use lrpet_network::lrpet::budget::Limit;
use lrpet_network::network::InputKind;
use lrpet_network::quantise;
use lrpet_network::source::is_onnx;
use lrpet_runtime::check::Comparison;
use lrpet_runtime::format::SafeTensors;
use lrpet_runtime::host::{AlignedBytes, MappedModel};
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::Model;
use lrpet_runtime::model::program::{PROGRAM_TENSOR, SCHEDULE_TENSOR};
use lrpet_runtime::plan::{Plan, Ram};
use lrpet_runtime::session::Session;
use lrpet_study::measure::ranged_logits;

use document::{Arena, Document, Width, text};

use super::Output;
use super::bar::bar;
use super::checkpoint;
use super::epsilon::EpsilonArgs;
use super::images::{ImageArgs, Images, Tried};
use super::model_file::ModelFile;
use super::outputs;
use super::ranks::{Eight, FileOf, Ranked, Ranks};

#[derive(clap::Args)]
pub struct Args {
    /// Dense checkpoint, or for --weights i8 a model file, whose ranks stay: safetensors, or a state_dict that PyTorch saved (.pth, .pt, .bin), with torchvision-style names
    /// (`layer1.0.conv1.weight`, `bn1.running_mean`, …); or an ONNX file [default: the ONNX file of --net]
    #[arg(required_unless_present = "net")]
    checkpoint: Option<PathBuf>,
    /// Network: a name of `lrpet network list`, or a network's file [default: what the checkpoint says]
    #[arg(long, value_name = "NAME|FILE")]
    net: Option<String>,
    #[command(flatten)]
    images: ImageArgs,
    #[command(flatten)]
    pub(super) ranks: Ranks,
    #[command(flatten)]
    epsilon: EpsilonArgs,
    /// Raise each pair to the energy of its dense layer (for weights that were trained without projection)
    #[arg(long)]
    energy_transfer: bool,
    /// What a weight takes in the file: f16, or 8 bits and a scale for each row, in layers that may have them. The bytes are fitted to
    /// what the layers read on images of the training set; where none are at hand, each weight is rounded by itself. `fit` chooses each
    /// layer's together with its rank for --budget flash=… [default: fit with such a budget, else f16]
    #[arg(long, value_enum)]
    weights: Option<Width>,
    /// Do not measure accuracy on the test set for the model card
    #[arg(long)]
    no_accuracy: bool,
    /// The arena that there is on a Cortex-M, such as 32KB: the model gets the schedule that is fastest in it, rows instead of layers
    /// where need be; `least` for the smallest (`lrpet schedule` shows what there is). A size is what --budget ram=… says
    #[arg(long, value_name = "BYTES|least|fastest")]
    ram: Option<Ram>,
    /// Model file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// How often ranks are chosen anew for what the file takes besides.
const MOST_TRIES: usize = 8;

/// A model, and what is said of it besides.
struct Made {
    exported: Exported,
    images: Images,
    tried: Tried,
    calibration: Option<usize>,
    /// Multiply-adds, and those of the dense network.
    macs: [u64; 2],
    /// Bytes of the file by which ranks were chosen.
    counted: Option<u64>,
    /// The schedule of the model that it was made of.
    schedule: Option<Vec<u8>>,
    notes: Vec<String>,
}

pub fn run(args: Args, output: &Output) -> Result<()> {
    let named = args.net.as_ref().map(PathBuf::from).filter(|net| is_onnx(net));
    let file = args.checkpoint.clone().or(named).context(
        "name a checkpoint: only the network of an ONNX file (--net model.onnx) has its weights with it",
    )?;
    outputs::check(&[&args.out], &[&file])?;
    let ram = match (args.ram, args.ranks.ram()) {
        (Some(_), Some(_)) => {
            bail!("--ram and --budget ram=… both say how much memory there is: give one of them")
        }
        (ram, budget) => ram.or(budget.map(Ram::Bytes)),
    };
    let flash = args.ranks.of_flash();
    let width = args.weights.unwrap_or(if flash.is_some() { Width::Fit } else { Width::F16 });
    ensure!(
        width != Width::Fit || flash.is_some(),
        "--weights fit chooses the bits that fit --budget flash=…: give one, or --weights i8"
    );
    let (mut more, mut tries) = (0, 0);
    let (made, chosen) = loop {
        let made = match width {
            Width::I8 if is_model(&file) => of_model(&args, &file)?,
            _ => of_checkpoint(&args, width, &file, more)?,
        };
        let unlabelled = AlignedBytes::copy_of(&made.exported.to_bytes()?);
        let model = export::checked(unlabelled.as_slice(), "the exported model")?;
        let chosen =
            ram.map(|ram| Chosen::of(&model, Isa::CortexM, ram, &file.display().to_string())).transpose()?;
        // A schedule counts too, and is known only now.
        let Some(Budget { limit: Limit::Count(limit), .. }) = flash else { break (made, chosen) };
        let bytes = made.bytes(Some(0.5), chosen.as_ref())?.len() as u64;
        if bytes <= limit {
            break (made, chosen);
        }
        tries += 1;
        ensure!(
            tries < MOST_TRIES,
            "{}: no choice of ranks fits {limit} bytes with its schedule: give a larger --budget flash=…, or no --ram",
            file.display()
        );
        more = bytes.saturating_sub(made.counted.unwrap_or(limit)).max(more + 1);
    };
    let test = made.images.test.as_ref().filter(|_| !args.no_accuracy);
    let mut ranges = made.exported.ranges.clone();
    let unlabelled = AlignedBytes::copy_of(&made.exported.to_bytes()?);
    let model = export::checked(unlabelled.as_slice(), "the exported model")?;
    let accuracy = test.map(|test| measure(&model, test, &mut ranges)).transpose()?;
    let bytes = made.bytes(accuracy, chosen.as_ref())?;
    let Made { exported, images, tried, calibration, macs, notes, .. } = made;
    let written = outputs::write(&args.out, &bytes);
    let document = Document {
        out: args.out,
        bytes: bytes.len(),
        arena: chosen.map(|chosen| Arena { arena_bytes: chosen.choice.plan.arena_bytes, cost: chosen.cost }),
        input: [images.shape.channels, images.shape.height, images.shape.width],
        preparation: images.preparation.into_iter().collect(),
        macs: macs[0],
        macs_dense: macs[1],
        accuracy,
        not_measured: match accuracy {
            Some(_) => None,
            None if args.no_accuracy => Some("--no-accuracy"),
            None if images.kind == InputKind::Values => Some(
                "the network takes values, and no test samples are at hand: name their folder with --data",
            ),
            None => Some("no test images are at hand: name their folder or data set with --data"),
        },
        notes,
        blur: exported.self_check.as_ref().map_or(0.0, |check| check.blur(exported.folded.classes as usize)),
        held_on_values: matches!(tried, Tried::Values(None)).then_some(SELF_CHECK_SAMPLES),
        tolerances: exported.self_check.and_then(|check| check.tolerances).unwrap_or_default(),
        weights: width,
        calibration,
        quantised: exported.quantised,
        layers: exported.layers,
        ranges: ranges.of(&model),
    };
    output.print(&document, text)?;
    written
}

impl Made {
    /// The model file, with what is measured and chosen.
    fn bytes(&self, accuracy: Option<f64>, chosen: Option<&Chosen>) -> Result<Vec<u8>> {
        let mut exported = self.exported.clone();
        exported.card.extend(accuracy.map(|accuracy| ("accuracy".into(), format!("{accuracy:.4}"))));
        let bytes = exported.to_bytes()?;
        match (chosen, &self.schedule) {
            (Some(chosen), _) => Ok(chosen.in_file(&bytes)?),
            (None, Some(schedule)) => Ok(export::schedule::with_schedule(&bytes, schedule)?),
            (None, None) => Ok(bytes),
        }
    }
}

/// The model of a checkpoint; `more` bytes of a budget of flash are left free.
fn of_checkpoint(args: &Args, width: Width, file: &Path, more: u64) -> Result<Made> {
    let (checkpoint, net) = checkpoint::open(file, args.net.as_deref())?;
    let net = args.images.pictures(net, &checkpoint);
    let images = args.images.find(&net, &checkpoint, file)?;
    let network = match net.takes_values() {
        true => net.usual(),
        false => net.network(images.shape, images.classes.len() as u32)?,
    };
    let network = args.epsilon.of(network, &checkpoint.metadata, file)?;
    let checkpoint = checkpoint::fit(checkpoint, file, &network)?;
    let mut card = Card {
        dataset: images.dataset.clone(),
        classes: images.classes.clone(),
        prune: String::new(),
        accuracy_dense: None,
        accuracy: None,
        training: checkpoint.metadata.get("command").cloned(),
        command: super::command_line(),
    };
    let allowed = match width {
        Width::F16 => None,
        Width::I8 => Some(Eight::Always),
        Width::Fit => Some(Eight::OrHalf),
    };
    // What the card says of pictures comes to it later: key, value, quotes, colon and comma.
    let said: usize = images.preparation.iter().map(|(key, value)| key.len() + value.len() + 6).sum();
    let more = more.max(said as u64);
    let Ranked { plan, rule, eights, bytes: counted } =
        args.ranks.of_checkpoint(&network, &checkpoint, &card, FileOf { eights: allowed, more })?;
    card.prune = rule;
    let tried = images.tried()?;
    // Where the budget has room for f16 everywhere, nothing is rounded.
    let rounds = width != Width::F16
        && network.layers.iter().any(|layer| quantise::may(&layer.op))
        && eights.as_ref().is_none_or(|eights| !eights.is_empty());
    let inputs = if rounds { calibration(args, &images)? } else { None };
    let bar = bar(inputs.as_ref().map_or(0, Vec::len), "calibration inputs");
    let progress = || run_of(&bar);
    let request = Request {
        network: &network,
        checkpoint: &checkpoint,
        plan: &plan,
        energy_transfer: args.energy_transfer,
        normalization: &images.normalization,
        card: &card,
        precision: match rounds {
            false => Precision::Half,
            true => {
                Precision::Eight { layers: eights.as_ref(), inputs: inputs.as_deref(), progress: &progress }
            }
        },
        samples: Some(tried.samples()),
    };
    let mut exported = export::export(&request).with_context(|| file.display().to_string())?;
    bar.finish_and_clear();
    exported.card.extend(images.preparation.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    let macs = [plan.cost().macs, network.cost().macs];
    let (notes, calibration) = (checkpoint.notes, inputs.map(|inputs| inputs.len()));
    Ok(Made { exported, images, tried, calibration, macs, counted, schedule: None, notes })
}

/// Whether `file` is a model file, however it is.
fn is_model(file: &Path) -> bool {
    let Ok(map) = MappedModel::open(file) else { return false };
    SafeTensors::new_checked(map.bytes()).is_ok_and(|container| container.tensor(PROGRAM_TENSOR).is_some())
}

/// A model file with weights of 8 bits.
fn of_model(args: &Args, file: &Path) -> Result<Made> {
    let given = [
        ("--net", args.net.is_some()),
        ("--energy-transfer", args.energy_transfer),
        ("--bn-epsilon", args.epsilon.given()),
        ("a rule for the ranks", args.ranks.given()),
        ("--factor-linear", args.ranks.factors_linear()),
    ];
    let given = given.iter().find(|(_, given)| *given).map(|(option, _)| *option);
    if let Some(option) = given.or(args.images.of_checkpoint()) {
        bail!("{}: {option} is for a checkpoint, and this is a model file", file.display());
    }
    let opened = ModelFile::open(file)?;
    let model = opened.model()?;
    check_itself(&opened, file)?;
    let images = args.images.of_model(&model, file)?;
    let tried = images.tried()?;
    let inputs = calibration(args, &images)?;
    let bar = bar(inputs.as_ref().map_or(0, Vec::len), "calibration inputs");
    let mut exported =
        Exported::requantised(&model, inputs.as_deref(), Some(tried.samples()), &|| run_of(&bar))
            .with_context(|| file.display().to_string())?;
    bar.finish_and_clear();
    // That of the weights of f16.
    exported.card.remove("accuracy");
    exported.card.insert("command".into(), super::command_line());
    exported.card.insert("version".into(), env!("CARGO_PKG_VERSION").into());
    let costs = inspect(&model, Isa::CortexM)?;
    let macs = [costs.macs, costs.macs_dense];
    let schedule = model.container().tensor(SCHEDULE_TENSOR).map(|tensor| tensor.data.to_vec());
    let calibration = inputs.map(|inputs| inputs.len());
    Ok(Made { exported, images, tried, calibration, macs, counted: None, schedule, notes: Vec::new() })
}

/// Refuses a model that does not compute the logits of its self-check, which a new one would replace.
fn check_itself(opened: &ModelFile, file: &Path) -> Result<()> {
    let model = opened.model()?;
    let Some(check) = model.self_check().filter(|check| check.samples() > 0) else { return Ok(()) };
    let refused = |error: &dyn std::fmt::Display| anyhow!("{}: {error}", file.display());
    let plan = Plan::new(model.program(), Isa::detect()).map_err(|error| refused(&error))?;
    let mut arena = AlignedBytes::zeroed(plan.arena_bytes);
    let mut session = Session::new(&model, arena.as_mut_slice()).map_err(|error| refused(&error))?;
    let mut logits = vec![0.0; session.classes()];
    for sample in 0..check.samples() {
        session.run_sample(&check, sample, &mut logits, &mut ()).map_err(|error| refused(&error))?;
        let found = Comparison::by(&session, &logits, &check, sample);
        ensure!(
            found.passes(),
            "{}: it does not compute the logits of its own self-check (a difference of {:.2e}, where {:.2e} is allowed): its weights \
             are damaged; export it again from its checkpoint",
            file.display(),
            found.max_abs_diff,
            found.tolerance
        );
    }
    Ok(())
}

/// Inputs that weights of 8 bits are fitted to, where they are wanted and at hand.
fn calibration(args: &Args, images: &Images) -> Result<Option<Vec<Vec<f32>>>> {
    let inputs = args.images.calibration(images)?;
    if inputs.is_none() {
        tracing::warn!(
            "no training images are at hand, so each weight is rounded by itself: name their folder or data set with --data for \
             weights that keep the layers' outputs"
        );
    }
    Ok(inputs)
}

/// Counts a run of an input; large networks run each several times.
fn run_of(bar: &ProgressBar) {
    if bar.length() == Some(bar.position()) {
        bar.inc_length(bar.position());
    }
    bar.inc(1);
}

/// Accuracy of the model on the test set, by the runtime; adds how far values go there.
fn measure(model: &Model<'_>, test: &lrpet_data::Images, ranges: &mut Ranges) -> Result<f64> {
    let (mut correct, mut images) = (0, 0);
    test.try_for_each_part(|part, _| -> Result<()> {
        let (logits, seen) = ranged_logits(model, part, |_| ())?;
        ranges.join(&seen);
        correct += logits.correct(part.labels());
        images += part.labels().len();
        Ok(())
    })?;
    ensure!(images > 0, "the test set is empty");
    Ok(correct as f64 / images as f64)
}
