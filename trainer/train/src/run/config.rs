//! What a training run is asked to do.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lrpet_network::lrpet::{self, RankRule};
use lrpet_network::network::Network;
use serde::{Deserialize, Serialize};

use super::recipe::Recipe;
use crate::{Schedule, TrainError};

/// Settings that decide the result of a run, bit for bit on one kind of machine. They are written into the checkpoints; a
/// run is only resumed with the same ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Name of the data set.
    pub dataset: String,
    /// Epochs.
    pub epochs: usize,
    /// Images a batch, in all processes together.
    pub batch: usize,
    /// Learning rate over the run.
    pub schedule: Schedule,
    /// Momentum μ of SGD; β₁ of AdamW.
    pub momentum: f64,
    /// Weight decay λ of all parameters.
    pub weight_decay: f64,
    /// Seed of initial weights, order and augmentation.
    pub seed: u64,
    /// Low-rank projection; none for dense training.
    pub projection: Option<ProjectionSettings>,
    /// Training batches over which BN statistics are averaged afresh at the end (0: the running ones stay).
    pub reestimate_batches: usize,
    /// Checkpoint with the weights and statistics to start from; none for fresh ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
    /// The last layer starts afresh whatever `init` has for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub new_head: bool,
    /// What the run does beyond plain SGD on plain cross-entropy.
    #[serde(flatten)]
    pub recipe: Recipe,
    /// How the run was made longer, in order. A run takes this from its checkpoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extended: Vec<Extension>,
}

/// When and how weights are projected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProjectionSettings {
    /// Rank of each projected layer by name; others stay dense. Empty where `choose` is given.
    pub ranks: BTreeMap<String, u64>,
    /// How the ranks are chosen, in words.
    pub rule: String,
    /// Ranks that follow from weights trained so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choose: Option<Choose>,
    /// How often.
    pub period: Period,
    /// Raise the kept singular values to keep the energy.
    pub energy_transfer: bool,
    /// Project the weight with its batch normalisation merged.
    pub rectification: bool,
    /// Residual factor ρ of the dropped singular values, in [0, 1).
    pub residual: f64,
}

/// Ranks chosen in the course of the run; from then on they stay, as the method demands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choose {
    /// How.
    pub rule: RankRule,
    /// After this many epochs without projection; 0 is before the first, for weights that were trained before.
    pub after: usize,
}

/// Time between two projections. The weights are projected at the end of the last epoch in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// Whole epochs.
    Epochs(usize),
    /// Batches.
    Iterations(u64),
}

impl ProjectionSettings {
    pub(super) fn options(&self) -> lrpet::Options {
        lrpet::Options {
            energy_transfer: self.energy_transfer,
            rectification: self.rectification,
            residual: self.residual,
        }
    }
}

/// A training run.
#[derive(Clone, Debug)]
pub struct TrainConfig {
    /// What decides the result.
    pub settings: Settings,
    /// Folder of checkpoints, metrics and final weights; made where it does not exist.
    pub run_dir: PathBuf,
    /// Go on from the last checkpoint in the folder.
    pub resume: bool,
    /// Make the run that goes on so long; only with `resume`.
    pub extend: Option<Length>,
    /// The command that started the run, for the metadata.
    pub command: String,
}

impl Settings {
    /// # Errors
    /// Where a number makes no sense or a rank names no layer of `network`.
    pub(super) fn check(&self, network: &Network) -> Result<(), TrainError> {
        let fails = |reason: String| Err(TrainError::Setting(reason));
        if self.epochs == 0 || self.batch == 0 {
            return fails(format!("{} epochs of batch {}: both must be at least 1", self.epochs, self.batch));
        }
        if !(0.0..1.0).contains(&self.momentum) {
            return fails(format!("momentum {}: it must be at least 0 and below 1", self.momentum));
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return fails(format!("weight decay {}: it must be at least 0", self.weight_decay));
        }
        self.recipe.check(self.momentum, self.reestimate_batches)?;
        self.schedule.check(self.epochs)?;
        let Some(projection) = &self.projection else { return Ok(()) };
        if self.reestimate_batches == 0 {
            return fails(
                "BN statistics of the training do not fit projected weights: take them afresh over at least 1 batch"
                    .to_owned(),
            );
        }
        if matches!(projection.period, Period::Epochs(0) | Period::Iterations(0)) {
            return fails("period of the projection: it must be at least 1".to_owned());
        }
        if !(0.0..1.0).contains(&projection.residual) {
            return fails(format!(
                "residual factor {}: it must be at least 0 and below 1",
                projection.residual
            ));
        }
        if let Some(choose) = &projection.choose
            && choose.after >= self.epochs
        {
            let Choose { rule, after } = choose;
            return fails(format!(
                "ranks by {rule} after epoch {after}: the run has {}",
                lrpet_report::units::things(self.epochs as u64, "epoch")
            ));
        }
        let matrices = network.matrices();
        for (name, &rank) in &projection.ranks {
            match matrices.iter().find(|(_, layer, _)| layer == name) {
                None => return fails(format!("rank of `{name}`: {} has no such layer", network.name)),
                Some((.., matrix)) if rank == 0 || rank > matrix.rows.min(matrix.columns) => {
                    let most = matrix.rows.min(matrix.columns);
                    return fails(format!("layer {name}: rank {rank}; it must be between 1 and {most}"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// How long a run is in all, and its learning rate over all that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Length {
    /// Epochs in all.
    pub epochs: usize,
    /// Learning rate over them.
    pub schedule: Schedule,
}

/// A run was made longer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Extension {
    /// Epochs that were done by then. What follows has the learning rates that a run of the new length has there.
    pub after: usize,
    /// The new length.
    #[serde(flatten)]
    pub to: Length,
}

impl Settings {
    /// Epochs of the run in all.
    pub fn epochs_in_all(&self) -> usize {
        self.extended.last().map_or(self.epochs, |last| last.to.epochs)
    }

    /// Learning rate of the batch that begins after `done` epochs.
    pub fn rate(&self, done: f64) -> f64 {
        match self.extended.last() {
            Some(Extension { to, .. }) => to.schedule.rate(done, to.epochs),
            None => self.schedule.rate(done, self.epochs),
        }
    }
}
