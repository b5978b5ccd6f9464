//! Training: forward and backward passes, the optimiser, and the loop with its checkpoints.
//!
//! [`run`] is the way in. A [`Trainable`] is a network with its [`Parameters`] and an engine that runs it forward and backward;
//! [`Sgd`] and [`Schedule`] move the parameters; an [`Observer`] follows.

mod buffers;
mod checkpoint;
mod config;
mod error;
mod fused;
mod graph;
mod layers;
mod loss;
mod metrics;
#[cfg(test)]
mod network_tests;
mod node;
mod optimizer;
mod parameters;
mod passes;
mod progress;
mod run;
#[cfg(test)]
mod run_tests;
mod schedule;
#[cfg(test)]
mod tests;
mod trainable;

pub use checkpoint::{BEFORE, LAST, write_safetensors};
pub use config::{Period, ProjectionSettings, Settings, TrainConfig};
pub use error::TrainError;
pub use loss::{Loss, cross_entropy, top1};
pub use metrics::{EpochRecord, Evaluation, Observer, ProjectionRecord, Silent, StepRecord};
pub use optimizer::Sgd;
pub use parameters::Parameters;
pub use passes::{evaluate, project, reestimate};
pub use progress::Progress;
pub use run::{FINAL, METRICS, Outcome, TrainData, run};
pub use schedule::{Decay, Schedule};
pub use trainable::{Gradients, Mode, Trainable};

use trainable::Engine;
