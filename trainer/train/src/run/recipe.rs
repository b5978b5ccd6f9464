//! What a run does beyond plain SGD on plain cross-entropy.

use std::fmt::{self, Display};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::optimizer::Algorithm;

/// Optimiser, loss and average. Settings at their usual values are not written, as older checkpoints do not name them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// How a step follows from a gradient.
    #[serde(default, rename = "optimizer", skip_serializing_if = "Algorithm::is_usual")]
    pub algorithm: Algorithm,
    /// ε of label smoothing, in [0, 1).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub label_smoothing: f64,
    /// α of mixup: images are mixed in pairs, with shares drawn from Beta(α, α) for each batch; 0 mixes none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub mixup: f64,
    /// Decay of the average of the weights, above 0 and below 1; it is what is validated and what the run ends with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// Another network whose answers are learned.
    #[serde(flatten)]
    pub distillation: Option<Distillation>,
}

/// Learning another network's answers; see [`crate::Taught`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Distillation {
    /// Its checkpoint or model file.
    pub teacher: PathBuf,
    /// Weight of its answers against that of the labels, above 0 and at most 1.
    pub distill_weight: f64,
    /// Temperature of both networks' answers.
    pub temperature: f64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

impl Recipe {
    /// Refuses numbers that make no sense, in a run with this momentum and so many batches for its statistics at the end.
    ///
    /// # Errors
    /// [`TrainError::Setting`].
    pub fn check(&self, momentum: f64, reestimate_batches: usize) -> Result<(), TrainError> {
        let fails = |reason: String| Err(TrainError::Setting(reason));
        if self.algorithm == Algorithm::Nesterov && momentum == 0.0 {
            return fails("Nesterov's momentum needs a momentum above 0".to_owned());
        }
        if !(0.0..1.0).contains(&self.label_smoothing) {
            return fails(format!(
                "label smoothing {}: it must be at least 0 and below 1",
                self.label_smoothing
            ));
        }
        if !(self.mixup >= 0.0 && self.mixup.is_finite()) {
            return fails(format!("mixup {}: it must be at least 0", self.mixup));
        }
        if let Some(decay) = self.ema {
            if !(decay > 0.0 && decay < 1.0) {
                return fails(format!(
                    "average of weights with decay {decay}: it must be above 0 and below 1"
                ));
            }
            if reestimate_batches == 0 {
                return fails(
                    "BN statistics of the training do not fit averaged weights: take them afresh over at least 1 batch \
                     (--reestimate)"
                        .to_owned(),
                );
            }
        }
        if let Some(Distillation { distill_weight, temperature, .. }) = &self.distillation {
            if !(*distill_weight > 0.0 && *distill_weight <= 1.0) {
                return fails(format!(
                    "weight {distill_weight} of the teacher: it must be above 0 and at most 1"
                ));
            }
            if !(*temperature > 0.0 && temperature.is_finite()) {
                return fails(format!("temperature {temperature}: it must be above 0"));
            }
        }
        Ok(())
    }

    /// Whether it is plain SGD on plain cross-entropy.
    pub fn is_plain(&self) -> bool {
        *self == Recipe::default()
    }
}

impl Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let optimizer = match self.algorithm {
            Algorithm::Sgd => "SGD with momentum",
            Algorithm::Nesterov => "SGD with Nesterov's momentum",
            Algorithm::AdamW => "AdamW",
        };
        f.write_str(optimizer)?;
        if self.label_smoothing > 0.0 {
            write!(f, ", label smoothing {}", self.label_smoothing)?;
        }
        if self.mixup > 0.0 {
            write!(f, ", mixup {}", self.mixup)?;
        }
        if let Some(decay) = self.ema {
            write!(f, ", average of the weights with decay {decay}")?;
        }
        if let Some(Distillation { teacher, distill_weight, temperature }) = &self.distillation {
            let teacher = teacher.display();
            write!(f, ", taught by {teacher} (weight {distill_weight}, temperature {temperature})")?;
        }
        Ok(())
    }
}
