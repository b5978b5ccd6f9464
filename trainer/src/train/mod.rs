//! Training: forward and backward passes, the optimiser, and the loop with its checkpoints.

mod error;
mod fused;
mod graph;
mod loss;
mod parameters;
mod trainable;

pub use error::TrainError;
pub use loss::{Loss, cross_entropy, top1};
pub use parameters::Parameters;
pub use trainable::{Gradients, Mode, Trainable};

use trainable::Engine;

#[cfg(test)]
mod tests;
