//! Ways to compute forward and backward passes.
//!
//! [`Fused`] runs the kernels of [`lrpet_kernels`] on the CPU, [`Graph`] candle's operations anywhere, `DeviceEngine` those
//! of `crate::cuda` on a GPU.

mod buffers;
#[cfg(any(test, feature = "cuda"))]
mod device;
mod fused;
mod graph;
mod layers;
#[cfg(test)]
mod network_tests;
mod node;
mod recorder;
#[cfg(test)]
mod tests;

#[cfg(any(test, feature = "cuda"))]
pub(super) use device::DeviceEngine;
pub(super) use fused::Fused;
pub(super) use graph::Graph;

use candle_core::Tensor;

use super::{Gradients, Parameters, TrainError};

/// The error of a backward pass with nothing to go back through.
pub(crate) fn no_forward_pass() -> TrainError {
    TrainError::Setting("a backward pass needs a training forward pass before it".to_owned())
}

/// How batch normalisation works in a forward pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// With the batch's statistics, towards which the running ones move (variances unbiased):
    /// running = (1 − momentum)·running + momentum·batch. Needed before a backward pass.
    Train {
        /// Momentum of all normalisations; none: each has its own.
        momentum: Option<f64>,
    },
    /// With the running statistics.
    Infer,
}

impl Mode {
    /// Training with each normalisation's own momentum of the statistics.
    pub const TRAIN: Mode = Mode::Train { momentum: None };
    /// As training, and the running statistics become the batch's.
    pub const MEASURE: Mode = Mode::Train { momentum: Some(1.0) };
}

/// A way to compute forward and backward passes.
pub(crate) trait Engine {
    /// Logits `[batch, classes]` of `images` `[batch, c, h, w]`.
    fn forward(&mut self, parameters: &Parameters, images: &Tensor, mode: Mode)
    -> Result<Tensor, TrainError>;

    /// Gradients of all trained parameters, from the gradient of the logits of the last training forward pass.
    fn backward(&mut self, parameters: &Parameters, gradient: &Tensor) -> Result<Gradients, TrainError>;
}
