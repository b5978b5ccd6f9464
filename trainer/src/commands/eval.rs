//! `lrpet eval`: accuracy of a model file on the whole test set.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use lrpet_runtime::model::Model;
use lrpet_trainer::device::DeviceName;
use lrpet_trainer::export::{Engine, Folded, evaluate, runtime_logits};
use serde::Serialize;

use super::Output;
use super::data_args::{Policy, bar};
use super::device::DeviceArgs;
use super::model_file::{ModelFile, labels};
use super::test_images::{self, TEST_RESIZE, TEST_SHARE, Trained};

#[derive(clap::Args)]
pub struct Args {
    /// Model file
    model: PathBuf,
    /// Data set from `lrpet data list`, or a folder of images per class: its test (or val) part, or the images that the
    /// training held back, or else all
    #[arg(long, value_name = "NAME|DIR")]
    data: String,
    /// Folder that holds data sets [default: $LRPET_DATA, the user's cache, then the system's packages]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// What computes: the no_std runtime in f16, or candle in f32 with the same weights
    #[arg(long, value_enum, default_value = "runtime")]
    engine: EngineName,
    /// Only the first images of the test set
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// What to do about images of a folder that cannot be read
    #[arg(long, value_enum, default_value = "refuse")]
    bad_images: Policy,
    #[command(flatten)]
    device: DeviceArgs,
}

#[derive(Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum EngineName {
    Runtime,
    Candle,
}

#[derive(Serialize)]
struct Document {
    engine: EngineName,
    accuracy: f64,
    correct: usize,
    images: usize,
    seconds: f64,
}

pub fn run(args: Args, output: &Output) -> Result<()> {
    ensure!(
        matches!((args.engine, args.device.device), (EngineName::Candle, _) | (_, DeviceName::Cpu)),
        "the runtime runs on the CPU alone: give --engine candle with --device {}",
        args.device.device
    );
    let device = args.device.open()?;
    let file = ModelFile::open(&args.model)?;
    let model = file.model()?;
    let mut test = test_images::load(
        &args.data,
        args.data_dir.as_deref(),
        &trained(&model, &args.model),
        args.bad_images.into(),
    )?;
    if let Some(limit) = args.limit {
        test = test.limited(limit);
    }
    let start = Instant::now();
    let engine = match args.engine {
        EngineName::Runtime => None,
        EngineName::Candle => Some(Folded::from_model(&model)?),
    };
    let engine = engine.as_ref().map(|folded| Engine::new(folded, &device)).transpose()?;
    let bar = bar(test.len(), "images");
    let (mut correct, mut images) = (0, 0);
    test.try_for_each_part(|part| -> Result<()> {
        evaluate::check_data(&model, part).with_context(|| args.model.display().to_string())?;
        let logits = match &engine {
            None => runtime_logits(&model, part, |images| bar.inc(images as u64))?,
            Some(engine) => engine.logits(part)?,
        };
        correct += logits.correct(&part.labels);
        images += part.len();
        Ok(())
    })?;
    bar.finish_and_clear();
    ensure!(images > 0, "{}: no test image", args.data);
    let document = Document {
        engine: args.engine,
        accuracy: correct as f64 / images as f64,
        correct,
        images,
        seconds: start.elapsed().as_secs_f64(),
    };
    output.print(&document, |done| {
        let percent = 100.0 * done.accuracy;
        format!("{percent:.2} % of {} images ({} right), {:.1} s", done.images, done.correct, done.seconds)
    })
}

/// What the card of `model` says of its training's images.
fn trained(model: &Model<'_>, file: &Path) -> Trained {
    let value = |key: &str| model.container().metadata_value(key).map(|value| value.to_string());
    let number = |key: &str| value(key).and_then(|text| text.parse().ok());
    // Mere numbers stand for names that nobody knew.
    let names = labels(model);
    let numbered = names.iter().enumerate().all(|(class, name)| *name == class.to_string());
    Trained {
        shape: model.program().header().input,
        classes: (!numbered).then_some(names),
        test_resize: number(TEST_RESIZE),
        test_share: number(TEST_SHARE),
        file: file.display().to_string(),
    }
}
