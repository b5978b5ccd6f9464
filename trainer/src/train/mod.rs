//! Training: forward and backward passes, the optimiser, and the loop with its checkpoints.
//!
//! [`run`] is the way in. A [`Trainable`] is a network with its [`Parameters`] and an engine that runs it forward and backward;
//! [`Sgd`] and [`Schedule`] move the parameters; an [`Observer`] follows.

mod buffers;
mod checkpoint;
mod config;
mod error;
mod exchange;
mod finish;
mod fused;
mod graph;
mod layers;
mod loss;
mod metrics;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(feature = "nccl")]
mod nccl;
#[cfg(test)]
mod network_tests;
mod node;
mod optimizer;
mod parameters;
mod passes;
mod progress;
mod projections;
mod records;
mod run;
#[cfg(test)]
pub(crate) mod run_tests;
mod sampled;
mod schedule;
#[cfg(test)]
mod tests;
#[cfg(test)]
#[path = "../../tests/threads/mod.rs"]
pub(crate) mod threads;
mod together;
mod trainable;

pub use checkpoint::{BEFORE, LAST, write_safetensors};
pub use config::{Choose, Period, ProjectionSettings, Sampled, Settings, TrainConfig};
pub use error::TrainError;
pub use exchange::{Alone, Exchange};
pub use finish::{FINAL, Outcome, Variant};
pub use loss::{Loss, Meter, cross_entropy, top1};
pub use metrics::{EpochRecord, Evaluation, Observer, ProjectionRecord, Silent, Start, StepRecord};
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
#[cfg(feature = "nccl")]
pub use nccl::Nccl;
pub use optimizer::Sgd;
pub use parameters::Parameters;
pub use passes::{evaluate, project, reestimate, spectra};
pub use progress::Progress;
pub use run::{METRICS, TrainData, run, run_together};
pub use schedule::{Decay, Schedule};
pub use trainable::{Gradients, Mode, Trainable};

#[cfg(test)]
pub(crate) use exchange::whole_gradients;
pub(crate) use trainable::Engine;
#[cfg(any(test, feature = "cuda"))]
pub(crate) use {exchange::whole_batch, parameters::LayerNames};
