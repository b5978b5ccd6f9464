//! Training of [networks](lrpet_network): forward and backward passes, the optimiser, and the loop with its checkpoints.
//!
//! [`run`](fn@run) is the way in. A [`Trainable`] is a network with its [`Parameters`] and an engine that runs it forward and backward;
//! [`Optimizer`] and [`Schedule`] move the parameters; an [`Observer`] follows. Processes that train together are an [`Exchange`].

#[cfg(test)]
extern crate self as lrpet_train;

mod conv2d;
#[cfg(any(test, feature = "cuda"))]
mod cuda;
pub mod device;
mod engine;
#[cfg(test)]
mod epsilon_tests;
mod error;
mod exchange;
pub mod folded;
mod general;
mod loss;
mod optimizer;
mod parameters;
pub mod projection;
mod run;
mod schedule;
#[cfg(test)]
#[path = "../tests/small/mod.rs"]
mod small;
#[cfg(test)]
#[path = "../../network/tests/support/mod.rs"]
mod support;
#[cfg(test)]
#[path = "../tests/threads/mod.rs"]
pub(crate) mod threads;
mod trainable;
mod values;

pub use conv2d::conv2d;
pub use engine::Mode;
pub use error::TrainError;
#[cfg(feature = "mpi")]
pub use exchange::Mpi;
#[cfg(feature = "nccl")]
pub use exchange::Nccl;
pub use exchange::{Alone, Exchange};
pub use loss::{Loss, Meter, Mixed, Targets, Taught, cross_entropy, top1};
pub use optimizer::{Algorithm, Optimizer};
pub use parameters::{Gradients, Parameters};
pub use run::{
    BEFORE, Choose, Distillation, EpochRecord, Evaluation, Extension, FINAL, LAST, Length, METRICS, Observer,
    Origin, Outcome, Period, ProjectionRecord, ProjectionSettings, Recipe, Settings, Silent, Start,
    StepRecord, TrainConfig, TrainData, check_folder, check_network, evaluate, project, reestimate, run,
    run_together, spectra, write_safetensors,
};
pub use schedule::{Decay, Schedule};
pub use trainable::{Trainable, checkpoint};
