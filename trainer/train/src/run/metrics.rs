//! What a run reports while it goes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};

use super::config::Settings;

/// One epoch; one line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Epochs of the run.
    pub epochs: usize,
    /// Learning rate of the epoch's last batch.
    pub rate: f64,
    /// Mean training loss in nats.
    pub train_loss: f64,
    /// Training accuracy, 0 to 1, of the images as augmented.
    pub train_accuracy: f64,
    /// Validation, where there is a validation set. Where the epoch ended in a projection it is of the projected weights, with
    /// BN statistics averaged over a few training batches.
    pub validation: Option<Evaluation>,
    /// The epoch's projections, where there were some.
    pub projection: Option<ProjectionRecord>,
    /// Training images per second, without validation.
    pub images_per_second: f64,
    /// Seconds for which the training waited for its images.
    #[serde(default)]
    pub wait_seconds: f64,
    /// Seconds of the epoch, everything included.
    pub seconds: f64,
}

impl EpochRecord {
    /// Share of the epoch for which the training waited for its images, 0 to 1.
    pub fn waiting_share(&self) -> f64 {
        share(self.wait_seconds, self.seconds)
    }

    /// Share of the epoch that its projections took, 0 to 1; none where there was no projection.
    pub fn projection_share(&self) -> Option<f64> {
        self.projection.as_ref().map(|projection| share(projection.seconds, self.seconds))
    }

    /// Share of the epoch for which the training waited for its images, where that is over 2 %.
    pub fn starved(&self) -> Option<f64> {
        starved(self.waiting_share())
    }
}

/// A share of the time for which the training waited for its images, where it is worth a word.
fn starved(share: f64) -> Option<f64> {
    Some(share).filter(|share| *share > 0.02)
}

impl StepRecord {
    /// Share of the epoch so far for which the training waited for its images, where that is over 2 %.
    pub fn starved(&self) -> Option<f64> {
        starved(self.waiting)
    }
}

/// `part` of `whole`, 0 where there is no whole.
fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// The projections of one epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProjectionRecord {
    /// How many times all layers were projected.
    pub count: usize,
    /// Mean over the layers of the share of energy kept by the last of them, before the transfer.
    pub energy_kept: f64,
    /// Layers left alone in the last of them because their weights were all but zero.
    pub skipped: usize,
    /// Seconds that they took.
    pub seconds: f64,
    /// Share of energy kept by the last of them in each layer, by name, to six decimals.
    #[serde(default)]
    pub layers: BTreeMap<String, f64>,
}

/// A number; NaN of null, which is how JSON has to write both NaN and infinity.
fn number_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// Loss and accuracy on a set of images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Mean loss in nats; NaN or infinite where logits are.
    #[serde(deserialize_with = "number_or_null")]
    pub loss: f64,
    /// Share of images whose class is right, 0 to 1.
    pub accuracy: f64,
    /// Number of images.
    pub images: usize,
}

/// The state inside an epoch, after each batch.
#[derive(Clone, Copy, Debug)]
pub struct StepRecord {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Epochs of the run.
    pub epochs: usize,
    /// Batches done in this epoch.
    pub batch: usize,
    /// Batches of an epoch.
    pub batches: usize,
    /// Images done in this epoch.
    pub images: usize,
    /// Learning rate of the batch.
    pub rate: f64,
    /// Mean loss of the batch in nats; on a GPU, of the batches that it was asked about last.
    pub batch_loss: f64,
    /// Mean loss of the epoch so far, in nats.
    pub loss: f64,
    /// Accuracy of the epoch so far, 0 to 1.
    pub accuracy: f64,
    /// Training images per second in this epoch so far.
    pub images_per_second: f64,
    /// Share of the epoch so far for which the training waited for its images, 0 to 1.
    pub waiting: f64,
}

/// A run as it begins or goes on, before its first batch.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// Folder of the run.
    pub run_dir: &'a Path,
    /// Records of the epochs that were done before: none unless the run goes on.
    pub history: &'a [EpochRecord],
    /// The run's settings, and how it was made longer.
    pub settings: &'a Settings,
    /// Rank of each projected layer, where it is known.
    pub ranks: Option<&'a BTreeMap<String, u64>>,
    /// Batches of an epoch.
    pub batches: usize,
}

/// What a finished run leaves.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The final weights' file.
    pub weights: PathBuf,
    /// Rank of each projected layer, stated or chosen in the course of the run; none of a dense run.
    pub ranks: Option<BTreeMap<String, u64>>,
    /// Records of all epochs.
    pub history: Vec<EpochRecord>,
    /// The final weights on the validation set.
    pub validation: Option<Evaluation>,
    /// The final weights on the test set.
    pub test: Option<Evaluation>,
}

/// Who follows a run. All methods do nothing unless overridden.
pub trait Observer {
    /// The run begins or goes on.
    fn start(&mut self, start: &Start) {
        let _ = start;
    }

    /// A batch is done.
    fn step(&mut self, record: &StepRecord) {
        let _ = record;
    }

    /// An epoch is done, and its checkpoint written.
    fn epoch(&mut self, record: &EpochRecord) {
        let _ = record;
    }

    /// The run is done, and its final weights written.
    fn done(&mut self, outcome: &Outcome) {
        let _ = outcome;
    }

    /// Something that the user should know and that is no failure.
    fn warning(&mut self, message: &str) {
        let _ = message;
    }

    /// The run has begun something else than an epoch.
    fn stage(&mut self, what: &str) {
        let _ = what;
    }
}

/// Follows nothing.
#[derive(Debug, Default)]
pub struct Silent;

impl Observer for Silent {}
