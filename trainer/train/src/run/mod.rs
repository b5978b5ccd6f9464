//! The training loop.

mod checkpoint;
mod config;
mod extension;
#[cfg(test)]
mod extension_tests;
mod finish;
mod folder;
mod initial;
#[cfg(test)]
mod initial_tests;
mod metrics;
mod mixup;
mod norms;
mod passes;
mod projections;
mod recipe;
#[cfg(test)]
mod recipe_tests;
mod records;
#[cfg(test)]
mod small_batch_tests;
mod teacher;
#[cfg(test)]
pub(crate) mod tests;
mod together;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use candle_core::{Device, Tensor};
use lrpet_data::{Images, Loader};
use lrpet_network::lrpet::LrpetError;
use lrpet_network::network::{InputKind, Network, OutputKind};

use super::exchange::{Alone, Exchange, whole_batch, whole_gradients};
use super::{Meter, Mode, Optimizer, Targets, TrainError, Trainable};

pub use checkpoint::{BEFORE, LAST, write_safetensors};
pub use config::{Choose, Extension, Length, Period, ProjectionSettings, Settings, TrainConfig};
pub use finish::FINAL;
pub use folder::check_folder;
pub use initial::Origin;
pub use metrics::{EpochRecord, Evaluation, Observer, Outcome, ProjectionRecord, Silent, Start, StepRecord};
pub use passes::{evaluate, project, reestimate, spectra};
pub use recipe::{Distillation, Recipe};

use checkpoint::io;
use folder::check_space;
use norms::{check_values, enough_values, norms};
use passes::input;
use projections::Projections;
use records::{append_metrics, identity};
use teacher::Teacher;

/// File of the epochs' records in the run directory.
pub const METRICS: &str = "metrics.jsonl";

/// The images of a run.
#[derive(Clone, Debug)]
pub struct TrainData {
    /// Shuffled and augmented.
    pub train: Loader,
    /// Held out of the training set; evaluated after each epoch.
    pub validation: Option<Loader>,
    /// Evaluated once, after everything else.
    pub test: Option<Loader>,
}

/// Trains `network` as `config` says and writes checkpoints, metrics and final weights to the run directory.
///
/// Each epoch: all batches, the projection where it is due, validation, checkpoint, one line of metrics. At the end
/// the weights are projected (unless the last epoch just did) and BN statistics are averaged afresh over training
/// batches.
///
/// On a CPU a resumed run gives the same bits as one that was never interrupted.
///
/// # Errors
/// [`TrainError`]; checkpoints written before stay.
pub fn run(
    config: &TrainConfig,
    network: &Network,
    data: &TrainData,
    device: &Device,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    run_together(config, network, data, device, Rc::new(Alone), observer)
}

/// [`run`] in one of several processes that train together. Each is given the same arguments, but for `exchange`, and takes
/// its share of every batch, of `config.settings.batch` images in all processes together. Process 0 alone reads and writes
/// files other than images. The result is that of one process up to the order of sums; a run may be resumed
/// with another number of processes.
///
/// # Errors
/// [`TrainError`]. The caller then ends the other processes, which may wait for this one.
pub fn run_together(
    config: &TrainConfig,
    network: &Network,
    data: &TrainData,
    device: &Device,
    exchange: Rc<dyn Exchange>,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    let mut run = Run::start(config, network, data, device, exchange, observer)?;
    observer.start(&Start {
        run_dir: &config.run_dir,
        history: &run.history,
        settings: &run.settings,
        ranks: run.ranks.as_ref(),
        batches: data.train.batches(),
    });
    for epoch in run.first..run.settings.epochs_in_all() {
        let record = run.epoch(epoch, observer)?;
        run.history.push(record);
        if run.leads() {
            run.save()?;
        }
        observer.epoch(&run.history[run.history.len() - 1]);
    }
    let outcome = run.finish(observer)?;
    observer.done(&outcome);
    Ok(outcome)
}

/// Refuses a network that no loss is known for, and one that does not take such images, or values, as `data` has.
///
/// # Errors
/// [`TrainError::Setting`].
pub fn check_network(network: &Network, data: &Images) -> Result<(), TrainError> {
    let reason = if network.output_kind != OutputKind::Classes {
        "cannot be trained here: its output is values, and training knows a loss for classes alone (cross-entropy); train it \
         elsewhere, and make a model of its weights with lrpet factorize"
    } else if network.input_kind == data.kind() {
        return Ok(());
    } else if network.input_kind == InputKind::Values {
        "cannot be trained here: its input is values, and the data are pictures; name a folder of values (docs/data.md), or train \
         it elsewhere, and make a model of its weights with lrpet factorize"
    } else {
        "takes pictures, and the data are values: say kind = \"values\" under [input] of the network's file (of a known network \
         lrpet network show writes it)"
    };
    Err(TrainError::Setting(format!("{} {reason}", network.name)))
}

pub(super) struct Run<'a> {
    pub(super) config: &'a TrainConfig,
    /// The settings, and how the run was made longer.
    pub(super) settings: Settings,
    /// The share of this process.
    pub(super) data: TrainData,
    pub(super) model: Trainable,
    pub(super) optimizer: Optimizer,
    teacher: Option<Teacher>,
    /// Epochs that were done before.
    first: usize,
    /// Of all epochs in process 0, else of those done here.
    pub(super) history: Vec<EpochRecord>,
    /// Rank of each projected layer, as soon as it is known.
    pub(super) ranks: Option<BTreeMap<String, u64>>,
    /// What a checkpoint must agree on with this run.
    pub(super) identity: serde_json::Value,
}

impl<'a> Run<'a> {
    fn start(
        config: &'a TrainConfig,
        network: &Network,
        data: &TrainData,
        device: &Device,
        exchange: Rc<dyn Exchange>,
        observer: &mut dyn Observer,
    ) -> Result<Self, TrainError> {
        let settings = &config.settings;
        check_network(network, data.train.data())?;
        settings.check(network)?;
        let images = data.train.data();
        if images.is_empty()
            || images.shape() != network.input
            || images.classes().len() > network.classes as usize
        {
            return Err(TrainError::Setting(format!(
                "{} training images of {} in {} classes for {} with input {} and {} classes",
                images.len(),
                images.shape(),
                images.classes().len(),
                network.name,
                network.input,
                network.classes
            )));
        }
        together::check_batches(&data.train, exchange.size())?;
        check_values(network, data.train.smallest_batch())?;
        let model = Trainable::shared(network, settings.seed, device, exchange)?;
        let recipe = &settings.recipe;
        let open = |of| {
            let normalization = &data.train.options().normalization;
            Teacher::open(of, network, normalization, images.classes(), device)
        };
        let teacher = recipe.distillation.as_ref().map(open).transpose()?;
        let checksum = teacher.as_ref().map(|teacher| teacher.checksum.as_str());
        let optimizer = Optimizer::new(recipe.algorithm, settings.momentum, settings.weight_decay);
        let mut run = Run {
            config,
            settings: settings.clone(),
            data: together::share_of(data, model.exchange()),
            model,
            optimizer: optimizer.averaging(recipe.ema),
            first: 0,
            history: Vec::new(),
            ranks: settings.projection.as_ref().filter(|of| of.choose.is_none()).map(|of| of.ranks.clone()),
            identity: identity(settings, network, &data.train, checksum)?,
            teacher,
        };
        let longer = serde_json::json!(config.extend);
        together::agree(run.model.exchange(), &serde_json::json!([run.identity, longer]))?;
        let unmeasured = run.leads() && run.prepare(observer)?;
        let state =
            together::State { model: &run.model, optimizer: &mut run.optimizer, ranks: &mut run.ranks };
        run.first = state.share(run.history.len())?;
        if let (false, Some(to)) = (run.leads(), &config.extend) {
            // Of the lengths before only process 0 needs to know.
            run.settings.extended = vec![Extension { after: run.first, to: to.clone() }];
        }
        run.measure(unmeasured, observer)?;
        Ok(run)
    }

    /// Whether this process reads and writes the run's folder.
    pub(super) fn leads(&self) -> bool {
        self.model.exchange().rank() == 0
    }

    /// Takes the weights to start or go on from, and prepares the folder. Whether the weights have no statistics yet.
    fn prepare(&mut self, observer: &mut dyn Observer) -> Result<bool, TrainError> {
        let config = self.config;
        check_folder(&config.run_dir, config.resume)?;
        let holds_checkpoint = checkpoint::last_path(&config.run_dir).is_some();
        let unmeasured = match &config.settings.init {
            Some(path) if !(config.resume && holds_checkpoint) => self.start_from(path, observer)?,
            _ => false,
        };
        if config.resume {
            self.resume(observer)?;
        }
        check_space(&config.run_dir, self.model.parameters())?;
        // A run that is refused leaves no folder.
        std::fs::create_dir_all(&config.run_dir).map_err(|error| io(&config.run_dir, error))?;
        append_metrics(&config.run_dir.join(METRICS), self.history.iter(), true)?;
        Ok(unmeasured)
    }

    /// Writes checkpoint and record of the last epoch.
    fn save(&self) -> Result<(), TrainError> {
        let folder = &self.config.run_dir;
        let parameters = self.model.parameters();
        checkpoint::save(folder, parameters, &self.optimizer, &self.identity, &self.history, self.chosen())?;
        append_metrics(&folder.join(METRICS), self.history.last().into_iter(), false)
    }

    fn resume(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let longer = self.config.extend.as_ref();
        let found = checkpoint::newest(&self.config.run_dir, |warning| observer.warning(&warning))?;
        let Some(found) = found else {
            if let Some(longer) = longer {
                return Err(TrainError::Setting(format!(
                    "--extend {}: {} holds no checkpoint to go on from",
                    longer.epochs,
                    self.config.run_dir.display()
                )));
            }
            observer.warning(&format!("no checkpoint in {}: starting afresh", self.config.run_dir.display()));
            return Ok(());
        };
        let (extended, news) = extension::agree(&found, &self.identity, self.settings.epochs, longer)?;
        if let Some(fields) = self.identity.as_object_mut().filter(|_| !extended.is_empty()) {
            fields.insert(extension::EXTENDED.to_owned(), serde_json::json!(extended));
        }
        self.settings.extended = extended;
        self.model.load(&found.tensors)?;
        self.optimizer.set_state(self.model.parameters(), found.optimizer, found.steps)?;
        self.history = found.history;
        self.ranks = found.ranks.or(self.ranks.take());
        let epochs = self.settings.epochs_in_all();
        observer.stage(&format!("going on after epoch {} of {epochs}", found.epoch));
        if news {
            self.keep_final(found.epoch, observer)?;
        }
        Ok(())
    }

    /// Puts final weights after `epochs` epochs aside: the run is made longer.
    fn keep_final(&self, epochs: usize, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let from = self.config.run_dir.join(FINAL);
        if !from.exists() {
            return Ok(());
        }
        let to = self.config.run_dir.join(format!("final-{epochs}-epochs.safetensors"));
        std::fs::rename(&from, &to).map_err(|error| io(&to, error))?;
        observer.stage(&format!(
            "the final weights after {} are {} now",
            lrpet_report::units::things(epochs as u64, "epoch"),
            to.display()
        ));
        Ok(())
    }

    /// Ranks that were chosen in the course of the run.
    fn chosen(&self) -> Option<&BTreeMap<String, u64>> {
        let chooses = self.settings.projection.as_ref().is_some_and(|of| of.choose.is_some());
        self.ranks.as_ref().filter(|_| chooses)
    }

    /// Chooses the ranks where `epoch` (from 0) is the first with projections.
    fn choose(&mut self, epoch: usize, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let choose = self.settings.projection.as_ref().and_then(|projection| projection.choose.as_ref());
        let Some(choose) = choose.filter(|choose| self.ranks.is_none() && epoch >= choose.after) else {
            return Ok(());
        };
        if !self.leads() {
            self.ranks = together::share_ranks(&self.model, None);
            return Ok(());
        }
        let plan = choose.rule.plan(self.model.network(), Some(&spectra(&self.model)?))?;
        let (low, dense) = (plan.cost(), self.model.network().cost());
        observer.stage(&format!(
            "ranks by {}: {} of {} MACs, {} of {} parameters; {plan}",
            choose.rule, low.macs, dense.macs, low.params, dense.params
        ));
        self.ranks = together::share_ranks(&self.model, Some(plan.ranks()));
        Ok(())
    }

    /// The projection of a run whose ranks are known.
    pub(super) fn projection(&self) -> Option<(&ProjectionSettings, &BTreeMap<String, u64>)> {
        Some((self.settings.projection.as_ref()?, self.ranks.as_ref()?))
    }

    fn epoch(&mut self, epoch: usize, observer: &mut dyn Observer) -> Result<EpochRecord, TrainError> {
        self.choose(epoch, observer)?;
        let epochs = self.settings.epochs_in_all();
        let (batches, norms) = (self.data.train.batches(), norms(self.model.network()));
        let start = Instant::now();
        let (mut meter, mut images, mut rate, mut recent) = (Meter::default(), 0, 0.0, f64::NAN);
        let mut projections = Projections::default();
        let mut loaded = self.data.train.epoch(epoch as u64, 0);
        let mut numbers = 0..;
        while let (Some(number), Some(batch)) = (numbers.next(), loaded.next()) {
            rate = self.settings.rate(epoch as f64 + number as f64 / batches as f64);
            let batch = batch?;
            let whole = whole_batch(self.model.exchange(), batch.labels.len())?;
            if !enough_values(&norms, whole) {
                // Unreadable images were left out of it.
                observer.warning(&format!(
                    "batch {} of epoch {} is left out: {whole} of its images can be read, too few for batch normalisation",
                    number + 1,
                    epoch + 1
                ));
                continue;
            }
            let (labels, input) = input(&self.model, batch)?;
            let place = [self.settings.seed, epoch as u64, number as u64];
            let (input, targets) = self.targets(input, &labels, place)?;
            let logits = self.model.forward(&input, Mode::TRAIN)?;
            let known = (meter.sum, meter.images);
            let gradient = meter.add_share(&logits, &targets, whole, self.model.exchange())?;
            if meter.images > known.1 {
                recent = (meter.sum - known.0) / (meter.images - known.1) as f64;
            }
            self.check(&meter, epoch, number)?;
            let gradients = self.model.backward(&gradient)?;
            let gradients = whole_gradients(self.model.exchange(), gradients)?;
            self.optimizer.step(self.model.parameters(), &gradients, rate)?;
            images += whole;
            let done = epoch as u64 * batches as u64 + number as u64 + 1;
            if let Some((projection, ranks)) = self.projection()
                && let Period::Iterations(every) = projection.period
                && done.is_multiple_of(every)
            {
                projections.add(&self.model, projection, ranks).map_err(|error| match error {
                    TrainError::Projection(LrpetError::NotFinite { layer, .. }) => {
                        self.not_finite(layer, epoch, number + 1)
                    }
                    other => other,
                })?;
            }
            observer.step(&StepRecord {
                epoch: epoch + 1,
                epochs,
                batch: number + 1,
                batches,
                images,
                rate,
                batch_loss: recent,
                loss: meter.sum / meter.images as f64,
                accuracy: meter.correct as f64 / meter.images as f64,
                images_per_second: images as f64 / start.elapsed().as_secs_f64(),
                waiting: loaded.waited().as_secs_f64() / start.elapsed().as_secs_f64(),
            });
        }
        if images == 0 {
            return Err(TrainError::Setting(format!(
                "epoch {}: so few of the {} training images can be read that each of its {batches} batches is too small for \
                 batch normalisation: repair the images, or give a larger --batch",
                epoch + 1,
                self.data.train.data().len()
            )));
        }
        meter.read()?;
        self.check(&meter, epoch, batches - 1)?;
        let images_per_second = images as f64 / start.elapsed().as_secs_f64();
        // Batch normalisation can keep a loss finite over weights that are not: no checkpoint may hold them.
        if let Some(name) = self.model.parameters().not_finite()? {
            return Err(self.not_finite(name, epoch, batches));
        }
        let mut projected = false;
        if let Some((projection, ranks)) = self.projection() {
            let due = match projection.period {
                Period::Epochs(every) => (epoch + 1).is_multiple_of(every),
                Period::Iterations(_) => false,
            };
            projected = due || epoch + 1 == epochs;
            if projected {
                projections.add(&self.model, projection, ranks)?;
            }
        }
        let validation = self.validate(projected)?;
        Ok(EpochRecord {
            epoch: epoch + 1,
            epochs,
            rate,
            train_loss: meter.sum / images as f64,
            train_accuracy: meter.correct as f64 / images as f64,
            validation,
            projection: projections.record(),
            images_per_second,
            wait_seconds: loaded.waited().as_secs_f64(),
            seconds: start.elapsed().as_secs_f64(),
        })
    }

    /// The images of a batch as they are trained on, and what their logits are held against; `place` are seed, epoch and batch.
    fn targets<'l>(
        &mut self,
        images: Tensor,
        labels: &'l [u32],
        place: [u64; 3],
    ) -> Result<(Tensor, Targets<'l>), TrainError> {
        let recipe = &self.settings.recipe;
        let (images, mixed) = match recipe.mixup {
            0.0 => (images, None),
            alpha => {
                let (images, mixed) = mixup::mix(&images, labels, alpha, place)?;
                (images, Some(mixed))
            }
        };
        let teacher = self.teacher.as_mut().map(|teacher| teacher.answer(&images)).transpose()?;
        Ok((images, Targets { labels, mixed, smoothing: recipe.label_smoothing, teacher }))
    }

    /// The error of tensor or layer `name` after `batch` batches of epoch `epoch` (from 0).
    fn not_finite(&self, name: String, epoch: usize, batch: usize) -> TrainError {
        let checkpoint = checkpoint::last_path(&self.config.run_dir);
        TrainError::NotFinite { name, epoch: epoch + 1, batch, checkpoint }
    }

    /// Stops a run whose loss is not finite, as far as it is known after batch `number` of epoch `epoch` (both from 0).
    fn check(&self, meter: &Meter, epoch: usize, number: usize) -> Result<(), TrainError> {
        if meter.sum.is_finite() {
            return Ok(());
        }
        if let (Some(path), 0, 0) = (&self.settings.init, epoch, number) {
            let reason = format!("the loss of the first batch, before any step, is {}", meter.sum);
            return Err(TrainError::Init { path: path.clone(), reason });
        }
        Err(TrainError::Diverged {
            loss: meter.sum,
            epoch: epoch + 1,
            batch: number + 1,
            checkpoint: checkpoint::last_path(&self.config.run_dir),
        })
    }
}
