//! `lrpet eval`: accuracy of a model file on the whole test set.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use lrpet_trainer::data;
use lrpet_trainer::device::DeviceName;
use lrpet_trainer::export::{Engine, Folded, evaluate, runtime_logits};
use serde::Serialize;

use super::Output;
use super::device::DeviceArgs;
use super::model_file::ModelFile;

#[derive(clap::Args)]
pub struct Args {
    /// Model file
    model: PathBuf,
    /// Data set, from `lrpet data list`
    #[arg(long, value_name = "NAME")]
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
    let mut test = data::load(&args.data, args.data_dir.as_deref())?.test;
    if let Some(limit) = args.limit {
        test = test.subset(&(0..limit.min(test.len())).collect::<Vec<_>>());
    }
    evaluate::check_data(&model, &test).with_context(|| args.model.display().to_string())?;
    let start = Instant::now();
    let test = Arc::new(test);
    let logits = match args.engine {
        EngineName::Runtime => {
            let style = ProgressStyle::with_template("{bar:40} {pos}/{len} images, {per_sec}, {eta} left")?;
            let bar = ProgressBar::new(test.len() as u64).with_style(style);
            let logits = runtime_logits(&model, &test, |images| bar.inc(images as u64))?;
            bar.finish_and_clear();
            logits
        }
        EngineName::Candle => Engine::new(&Folded::from_model(&model)?, &device)?.logits(&test)?,
    };
    let document = Document {
        engine: args.engine,
        accuracy: logits.accuracy(&test.labels),
        correct: logits.correct(&test.labels),
        images: test.len(),
        seconds: start.elapsed().as_secs_f64(),
    };
    output.print(&document, |done| {
        let percent = 100.0 * done.accuracy;
        format!("{percent:.2} % of {} images ({} right), {:.1} s", done.images, done.correct, done.seconds)
    })
}
