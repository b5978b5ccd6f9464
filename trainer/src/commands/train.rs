//! `lrpet train`: trains a network, dense or with low-rank projection.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use lrpet_runtime::model::Shape;
use lrpet_trainer::data::{self, Augmentation, Loader, LoaderOptions};
use lrpet_trainer::network::{KNOWN, Network};
use lrpet_trainer::report::schema::Training;
use lrpet_trainer::train::{
    self, Decay, Evaluation, Period, Progress, ProjectionSettings, Schedule, Settings, TrainConfig, TrainData,
};
use serde::Serialize;

use super::Output;
use super::device::DeviceArgs;
use super::ranks::Ranks;

#[derive(clap::Args)]
pub struct Args {
    /// Network
    #[arg(long, help = network_help())]
    net: String,
    /// Data set, from `lrpet data list`
    #[arg(long, value_name = "NAME")]
    data: String,
    /// Folder that holds data sets [default: $LRPET_DATA, the user's cache, then the system's packages]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Folder of the run: checkpoints, metrics.jsonl, final.safetensors
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Go on from the last checkpoint in the folder, where there is one
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    ranks: Ranks,
    #[command(flatten)]
    projection: ProjectionArgs,
    #[command(flatten)]
    optimizer: OptimizerArgs,
    /// Seed of initial weights, order and augmentation
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Training images held out for validation
    #[arg(long, default_value_t = 5000, value_name = "N")]
    validation: usize,
    /// Only this many training images (after validation is held out)
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Pixels of padding of the random crop; 0 is no crop [default: as usual for the data set]
    #[arg(long, value_name = "PIXELS")]
    crop_padding: Option<u32>,
    /// No random horizontal flip
    #[arg(long)]
    no_flip: bool,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Low-rank projection with energy transfer.
#[derive(clap::Args)]
struct ProjectionArgs {
    /// Project every N epochs
    #[arg(long, default_value_t = 1, value_name = "N", conflicts_with = "project_iterations")]
    project_epochs: usize,
    /// Project every N batches instead
    #[arg(long, value_name = "N")]
    project_iterations: Option<u64>,
    /// Residual factor ρ of the dropped singular values, in [0, 1)
    #[arg(long, default_value_t = 0.0, value_name = "RHO")]
    residual_factor: f64,
    /// Leave the kept singular values as they are
    #[arg(long)]
    no_energy_transfer: bool,
    /// Project weights without merging their batch normalisation
    #[arg(long)]
    no_rectification: bool,
}

/// SGD with momentum.
#[derive(clap::Args)]
struct OptimizerArgs {
    /// Epochs
    #[arg(long, default_value_t = 30)]
    epochs: usize,
    /// Images a batch
    #[arg(long, default_value_t = 128, value_parser = at_least_one)]
    batch: usize,
    /// Learning rate
    #[arg(long, default_value_t = 0.1)]
    lr: f64,
    /// Fall of the learning rate
    #[arg(long, value_enum, default_value = "cosine")]
    schedule: ScheduleName,
    /// Epochs at which a step schedule multiplies the rate by 0.1 [default: at half and three quarters]
    #[arg(long, value_delimiter = ',', value_name = "EPOCHS")]
    steps: Vec<usize>,
    /// Epochs over which the rate rises from zero
    #[arg(long, default_value_t = 0.0, value_name = "EPOCHS")]
    warm_up: f64,
    /// Momentum
    #[arg(long, default_value_t = 0.9)]
    momentum: f64,
    /// Weight decay of all parameters
    #[arg(long, default_value_t = 1e-4)]
    weight_decay: f64,
    /// Training batches over which BN statistics are averaged afresh at the end
    #[arg(long, default_value_t = 100, value_name = "BATCHES")]
    reestimate: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScheduleName {
    Step,
    Cosine,
}

#[derive(Serialize)]
struct Document {
    weights: PathBuf,
    validation: Option<Evaluation>,
    test: Option<Evaluation>,
    #[serde(flatten)]
    training: Training,
}

pub fn run(args: Args, output: &Output) -> Result<()> {
    if let Some(threads) = args.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
        pool.with_context(|| format!("cannot use {threads} threads"))?;
    }
    // First: a device that is not there must cost nothing.
    let device = args.device.open()?;
    let loaded = data::load(&args.data, args.data_dir.as_deref())?;
    let entry = loaded.entry;
    let network = network(&args.net, entry.shape, entry.classes.len() as u32)?;
    let settings = settings(&args, &network)?;
    ensure!(
        args.validation < loaded.train.len(),
        "--validation {} leaves none of the {} training images",
        args.validation,
        loaded.train.len()
    );
    let (mut train, validation) = loaded.train.split(args.validation, args.seed);
    if let Some(limit) = args.limit {
        train = train.subset(&(0..limit.min(train.len())).collect::<Vec<_>>());
    }
    let plain = || LoaderOptions::plain(args.optimizer.batch, entry.normalization());
    let augmentation = Augmentation {
        crop_padding: args.crop_padding.unwrap_or(entry.augmentation.crop_padding),
        flip: entry.augmentation.flip && !args.no_flip,
    };
    let options = LoaderOptions { shuffle: true, augmentation, seed: args.seed, ..plain() };
    let data = TrainData {
        train: Loader::new(Arc::new(train), options),
        validation: (!validation.is_empty()).then(|| Loader::new(Arc::new(validation), plain())),
        test: Some(Loader::new(Arc::new(loaded.test), plain())),
    };
    let config = TrainConfig {
        settings,
        run_dir: args.out.clone(),
        resume: args.resume,
        command: super::command_line(),
    };
    let outcome = train::run(&config, &network, &data, &device, &mut Progress::new())?;
    let document = Document {
        weights: outcome.weights,
        validation: outcome.validation,
        test: outcome.test,
        training: Training {
            seconds: Some(outcome.history.iter().map(|epoch| epoch.seconds).sum()),
            epochs: outcome.history.iter().map(Into::into).collect(),
            seed: Some(args.seed),
            command: Some(config.command),
        },
    };
    output.print(&document, text)
}

fn network_help() -> String {
    let names: Vec<&str> = KNOWN.iter().map(|known| known.name).collect();
    format!("Network: {}", names.join(", "))
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a number from 1".into()),
        Ok(number) => Ok(number),
    }
}

/// The network called `name` for images of `input`.
pub fn network(name: &str, input: Shape, classes: u32) -> Result<Network> {
    Network::by_name(name, input, classes).with_context(|| {
        let names: Vec<&str> = KNOWN.iter().map(|known| known.name).collect();
        format!("no network {name} for images of {input}; known networks: {}", names.join(", "))
    })
}

fn settings(args: &Args, network: &Network) -> Result<Settings> {
    let plan = args.ranks.plan(network, None)?;
    let ranks: std::collections::BTreeMap<String, u64> =
        plan.pairs().map(|(layer, rank)| (layer.name.clone(), rank)).collect();
    let ProjectionArgs { project_epochs, project_iterations, residual_factor, .. } = args.projection;
    let projection = (!ranks.is_empty()).then(|| ProjectionSettings {
        ranks,
        period: project_iterations.map_or(Period::Epochs(project_epochs), Period::Iterations),
        energy_transfer: !args.projection.no_energy_transfer,
        rectification: !args.projection.no_rectification,
        residual: residual_factor,
    });
    let OptimizerArgs { epochs, batch, lr, warm_up, momentum, weight_decay, reestimate, .. } = args.optimizer;
    let decay = match args.optimizer.schedule {
        ScheduleName::Cosine => Decay::Cosine,
        ScheduleName::Step if args.optimizer.steps.is_empty() => {
            Decay::Step { at: vec![epochs / 2, epochs * 3 / 4], factor: 0.1 }
        }
        ScheduleName::Step => Decay::Step { at: args.optimizer.steps.clone(), factor: 0.1 },
    };
    Ok(Settings {
        dataset: args.data.clone(),
        epochs,
        batch,
        schedule: Schedule { rate: lr, warm_up, decay },
        momentum,
        weight_decay,
        seed: args.seed,
        projection,
        reestimate_batches: reestimate,
    })
}

fn text(done: &Document) -> String {
    let percent = |set: &str, of: &Option<Evaluation>| {
        of.map_or(String::new(), |of| format!("{:.2} % of {} {set} images\n", 100.0 * of.accuracy, of.images))
    };
    let seconds = done.training.seconds.unwrap_or(0.0);
    format!(
        "{}{}{} in {seconds:.0} s\n",
        percent("validation", &done.validation),
        percent("test", &done.test),
        done.weights.display()
    )
}
