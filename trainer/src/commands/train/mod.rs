//! `lrpet train`: trains a network, dense or with low-rank projection.

mod other_run;
mod recipe;
mod settings;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use lrpet_data::Loader;
use lrpet_network::network::{InputKind, Network, names};
use lrpet_network::source::is_onnx;
use lrpet_network::{Source, read_weights};
use lrpet_runtime::model::Shape;
use lrpet_study::follow::{self, About, Follow, Images, Progress, Setup};
use lrpet_study::report::units;
use lrpet_study::schema::Training;
use lrpet_train::{Evaluation, Exchange, Length, Observer, Origin, Silent, TrainConfig};
use serde::Serialize;

use super::Output;
use super::data_args::DataArgs;
use super::device::DeviceArgs;
use super::epsilon::EpsilonArgs;
use super::numbers::{above_zero, below_one, count, from_zero, whole};
use super::processes::{Launcher, Processes};
use super::ranks::Ranks;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    options: Options,
    /// Folder of the run: checkpoints, metrics.jsonl, events for TensorBoard, curves.svg, summary.md, final.safetensors
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Go on from the last checkpoint in the folder, where there is one
    #[arg(long)]
    resume: bool,
    /// With --resume, make the run longer: go on until EPOCHS epochs are done in all, and name all other options as before
    ///
    /// From its last checkpoint on, the learning rates are those that a run of EPOCHS epochs has there: with the cosine
    /// schedule the rate rises again to what such a run has at this epoch, and falls to zero at the new end. Ranks stay. The
    /// final weights so far are kept as final-N-epochs.safetensors. Given again, the same command goes on to the same
    /// end.
    #[arg(long, value_name = "EPOCHS", value_parser = count::<usize>)]
    extend: Option<usize>,
    #[command(flatten)]
    pub(super) ranks: Ranks,
    /// What started several processes that train together, each on its share of every batch
    #[arg(long, value_enum, default_value = "auto")]
    launcher: Launcher,
}

/// All but the folder and the ranks: what the runs of a sweep share.
#[derive(clap::Args)]
pub struct Options {
    /// Network
    #[arg(long, value_name = "NAME|FILE", help = network_help())]
    pub net: String,
    #[command(flatten)]
    pub data: DataArgs,
    /// Start from the weights of this checkpoint instead of fresh ones: safetensors, or a state_dict of PyTorch
    #[arg(long, value_name = "FILE")]
    pub init: Option<PathBuf>,
    /// Start the last layer afresh whatever --init has for it: for other classes than the checkpoint's
    #[arg(long, requires = "init")]
    pub new_head: bool,
    #[command(flatten)]
    epsilon: EpsilonArgs,
    #[command(flatten)]
    projection: ProjectionArgs,
    #[command(flatten)]
    optimizer: OptimizerArgs,
    /// Seed of initial weights, order and augmentation
    #[arg(long, default_value_t = 1, value_parser = whole::<u64>)]
    pub seed: u64,
    /// Threads [default: all cores; processes that train together share a machine's]
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    pub threads: Option<usize>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Low-rank projection with energy transfer.
#[derive(clap::Args)]
struct ProjectionArgs {
    /// Choose ranks by energy or budget after this many epochs without projection
    /// [default: a tenth of the epochs; 0 with --init]
    #[arg(long, value_name = "EPOCHS", value_parser = whole::<usize>)]
    choose_after: Option<usize>,
    /// Project every N epochs [default: 1]
    #[arg(long, value_name = "N", conflicts_with = "project_iterations", value_parser = count::<usize>)]
    project_epochs: Option<usize>,
    /// Project every N batches instead
    #[arg(long, value_name = "N", value_parser = count::<u64>)]
    project_iterations: Option<u64>,
    /// Residual factor ρ of the dropped singular values, in [0, 1)
    #[arg(long, default_value_t = 0.0, value_name = "RHO", value_parser = below_one)]
    residual_factor: f64,
    /// Leave the kept singular values as they are
    #[arg(long)]
    no_energy_transfer: bool,
    /// Project weights without merging their batch normalisation
    #[arg(long)]
    no_rectification: bool,
}

/// Steps, and how long.
#[derive(clap::Args)]
struct OptimizerArgs {
    /// Epochs
    #[arg(long, default_value_t = 30, value_parser = count::<usize>)]
    epochs: usize,
    /// Images a batch, in all processes together
    #[arg(long, default_value_t = 128, value_parser = count::<usize>)]
    batch: usize,
    /// Learning rate [default: 0.1; 0.001 for AdamW]
    #[arg(long, value_parser = above_zero::<f64>)]
    lr: Option<f64>,
    /// Fall of the learning rate
    #[arg(long, value_enum, default_value = "cosine")]
    schedule: ScheduleName,
    /// Epochs after which a step schedule multiplies the rate by 0.1 [default: half and three quarters of them]
    #[arg(long, value_delimiter = ',', value_name = "EPOCHS", value_parser = count::<usize>)]
    steps: Vec<usize>,
    /// Epochs over which the rate rises from zero
    #[arg(long, default_value_t = 0.0, value_name = "EPOCHS", value_parser = from_zero::<f64>)]
    warm_up: f64,
    /// Momentum
    #[arg(long, default_value_t = 0.9, value_parser = below_one)]
    momentum: f64,
    /// Weight decay of all parameters [default: 0.0001; 0.01 for AdamW]
    #[arg(long, value_parser = from_zero::<f64>)]
    weight_decay: Option<f64>,
    /// Training batches over which BN statistics are taken afresh at the end; 0 keeps those of the training (dense only)
    #[arg(long, default_value_t = 100, value_name = "BATCHES", value_parser = whole::<usize>)]
    reestimate: usize,
    #[command(flatten)]
    recipe: recipe::RecipeArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScheduleName {
    Step,
    Cosine,
}

#[derive(Serialize)]
struct Document {
    /// What the run was about to do when it began, and its ranks.
    setup: Option<Setup>,
    weights: PathBuf,
    summary: PathBuf,
    validation: Option<Evaluation>,
    test: Option<Evaluation>,
    /// Seconds for which the training waited for its images.
    wait_seconds: f64,
    /// Which layers started from --init and which afresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    init: Option<Origin>,
    #[serde(flatten)]
    training: Training,
}

pub fn run(mut args: Args, output: &Output) -> Result<()> {
    // An ONNX file has the weights of its network.
    let named = PathBuf::from(&args.options.net);
    if args.options.init.is_none() && is_onnx(&named) {
        args.options.init = Some(named);
    }
    let processes = args.launcher.join()?;
    processes.end(train(args, &processes, output))
}

fn train(args: Args, processes: &Processes, output: &Output) -> Result<()> {
    // Before anything is read: what makes no sense, and a device that is not there, must cost nothing.
    let options = &args.options;
    options.check(None)?;
    if let Some(epochs) = args.extend {
        ensure!(
            args.resume,
            "--extend {epochs} makes a run longer that is in {} already: give --resume too",
            args.out.display()
        );
        let before = options.optimizer.epochs;
        ensure!(
            epochs > before,
            "--extend {epochs}: the run has {}, it can only be made longer",
            units::things(before as u64, "epoch")
        );
        options.check(args.extend)?;
    }
    options.check_projection(args.ranks.rule(|| Ok(0))?.as_ref())?;
    if let Some(threads) = options.threads.or_else(|| processes.threads()) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
        pool.with_context(|| format!("cannot use {}", units::things(threads as u64, "thread")))?;
    }
    let device = options.device.open_for(processes.index)?;
    if processes.leads() {
        lrpet_train::check_folder(&args.out, args.resume)?;
    }
    let exchange = processes.on(&device)?;
    let source = Source::named(&options.net)?;
    let images = options.data.find(&source)?;
    let source = match images.train.kind() {
        InputKind::Picture => of_pictures(source, &images.name, processes.leads()),
        InputKind::Values => source,
    };
    let network = source.network(images.shape, images.classes as u32)?;
    lrpet_train::check_network(&network, &images.train).with_context(|| options.net.clone())?;
    settings::check_ram(&args.ranks, &network)?;
    let network = with_epsilon(network, options, &*exchange)?;
    let shape = images.shape;
    let settings = settings::settings(&args, &network, &images.name)?;
    let data = options.data.loaders(images, options.optimizer.batch, options.seed)?;
    let config = TrainConfig {
        settings,
        run_dir: args.out.clone(),
        resume: args.resume,
        extend: args.extend.map(|epochs| Length { epochs, schedule: options.optimizer.schedule(epochs) }),
        command: super::command_line(),
    };
    // Behind what may refuse the training: a warning is about one that begins.
    if processes.leads() {
        warn_of_size(&source, shape);
    }
    let images = |loader: &Option<Loader>| loader.as_ref().map_or(0, |loader| loader.data().len());
    let about = About {
        command: config.command.clone(),
        network: &network,
        settings: config.settings.clone(),
        images: Images {
            train: data.train.data().len(),
            validation: images(&data.validation),
            test: images(&data.test),
        },
        without_images: without_images(data.train.data()),
        augmentation: data.train.options().augmentation.to_string(),
        device: options.device.device.to_string(),
    };
    let mut progress = Progress::new();
    let mut follow = Follow::new(&mut progress, about);
    let observer: &mut dyn Observer = if processes.leads() { &mut follow } else { &mut Silent };
    let outcome = lrpet_train::run_together(&config, &network, &data, &device, exchange, observer)
        .map_err(|error| other_run::with_advice(error, &args.out))?;
    if !processes.leads() {
        return Ok(());
    }
    let document = Document {
        setup: follow.setup().cloned(),
        summary: args.out.join(follow::SUMMARY),
        weights: outcome.weights,
        validation: outcome.validation,
        test: outcome.test,
        wait_seconds: outcome.history.iter().map(|epoch| epoch.wait_seconds).sum(),
        init: Origin::of(&config.settings, &network),
        training: Training {
            seconds: Some(outcome.history.iter().map(|epoch| epoch.seconds).sum()),
            epochs: outcome.history.iter().map(Into::into).collect(),
            seed: Some(options.seed),
            command: Some(config.command),
        },
    };
    output.print(&document, text)
}

/// `network` with ε of the option or of the weights that it starts from. The first process alone reads files, and tells the others.
fn with_epsilon(network: Network, options: &Options, exchange: &dyn Exchange) -> Result<Network> {
    let found = match &options.init {
        None => options.epsilon.alone(),
        Some(init) => {
            let found = match exchange.rank() {
                0 => options.epsilon.found(&read_weights(init)?.metadata, init)?,
                _ => None,
            };
            let all = exchange.gather(&[found.unwrap_or(0.0)]);
            Some(*all.first().context("the first process is silent")?).filter(|epsilon| *epsilon > 0.0)
        }
    };
    Ok(found.map_or(network.clone(), |epsilon| network.with_epsilon(epsilon)))
}

/// Names of the classes of which `images` have none.
fn without_images(images: &lrpet_data::Images) -> Vec<String> {
    let mut seen = vec![false; images.classes().len()];
    for index in 0..images.len() {
        if let Some(seen) = seen.get_mut(images.label(index) as usize) {
            *seen = true;
        }
    }
    images.classes().iter().zip(seen).filter(|(_, seen)| !seen).map(|(class, _)| class.clone()).collect()
}

/// `source` as a network of pictures: those of the data set are what an imported network's values are meant to come from.
fn of_pictures(source: Source, data: &str, leads: bool) -> Source {
    if !source.takes_values() || !matches!(source.input().channels, 1 | 3) {
        return source;
    }
    if leads {
        tracing::warn!(
            "{} takes values as they are; it is trained on pictures, normalised by the mean and standard deviation of {data} \
             (weights from elsewhere may have known another normalisation)",
            source.called()
        );
    }
    source.of_pictures()
}

fn network_help() -> String {
    format!("Network: a file (docs/networks.md), or one of {}", names())
}

/// Says that images have another size than those that the network is known for.
fn warn_of_size(source: &Source, images: Shape) {
    let usual = source.input();
    if [images.height, images.width] != [usual.height, usual.width] {
        tracing::warn!(
            "{} trains on images of {}×{} pixels (height × width); it is known for {}×{}",
            source.name(),
            images.height,
            images.width,
            usual.height,
            usual.width
        );
    }
}

fn text(done: &Document) -> String {
    let percent = |set: &str, of: &Option<Evaluation>| {
        of.map_or(String::new(), |of| {
            let images = units::things(of.images as u64, &format!("{set} image"));
            format!("{:.2} % of {images}\n", 100.0 * of.accuracy)
        })
    };
    let seconds = done.training.seconds.unwrap_or(0.0);
    let waiting = match done.wait_seconds / seconds {
        share if share > 0.02 => format!(", {:.0} % of it waiting for images", 100.0 * share),
        _ => String::new(),
    };
    let start = done.init.as_ref().map_or(String::new(), |origin| format!("start: {origin}\n"));
    format!(
        "{start}{}{}{} in {seconds:.0} s{waiting}\nsummary: {}\n",
        percent("validation", &done.validation),
        percent("test", &done.test),
        done.weights.display(),
        done.summary.display()
    )
}
