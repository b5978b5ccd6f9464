//! Training on a GPU: kernels of our own between candle's tensors and matrix products.
//!
//! The engine above them keeps feature maps channels-first with the batch inside, `[c, batch, h, w]`: a convolution is one
//! product of matrices (cuBLAS, through candle) over the unfolded input, and a channel's values are one run of memory.
//! All else is a kernel of `kernels.cu`: normalisation with residual and activation, its way back, pools, depthwise
//! convolutions, shortcut, loss and optimiser.
//!
//! The tests run the same kernels on the CPU (see `emulate.h`), so that they need no GPU, and on the GPU where there is
//! one.

#[cfg(feature = "cuda")]
mod gpu;
pub(crate) mod launch;
pub(crate) mod norm;
pub(crate) mod parameters;
pub(crate) mod steps;
pub(crate) mod windows;

#[cfg(test)]
mod emulated;
#[cfg(test)]
pub(crate) mod tests;

#[cfg(feature = "cuda")]
pub(crate) use gpu::{count, open};
pub(crate) use steps::{Moved, cross_entropy, descend};
