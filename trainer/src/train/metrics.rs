//! What a run reports while it goes.

use serde::{Deserialize, Serialize};

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
    /// Share of the epoch for which the training waited for its images, where that is over 2 %.
    pub fn starved(&self) -> Option<f64> {
        Some(self.wait_seconds / self.seconds).filter(|share| *share > 0.02)
    }
}

/// The projections of one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProjectionRecord {
    /// How many times all layers were projected.
    pub count: usize,
    /// Mean over the layers of the share of energy kept by the last of them, before the transfer.
    pub energy_kept: f64,
    /// Layers left alone in the last of them because their weights were all but zero.
    pub skipped: usize,
    /// Seconds that they took.
    pub seconds: f64,
}

/// Loss and accuracy on a set of images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Mean loss in nats.
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
    /// Mean loss of the epoch so far, in nats.
    pub loss: f64,
    /// Accuracy of the epoch so far, 0 to 1.
    pub accuracy: f64,
    /// Training images per second in this epoch so far.
    pub images_per_second: f64,
}

/// Who follows a run. All methods do nothing unless overridden.
pub trait Observer {
    /// A batch is done.
    fn step(&mut self, record: &StepRecord) {
        let _ = record;
    }

    /// An epoch is done, and its checkpoint written.
    fn epoch(&mut self, record: &EpochRecord) {
        let _ = record;
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
