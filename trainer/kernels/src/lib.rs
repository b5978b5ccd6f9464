//! Kernels of training on a CPU, where those of general libraries are slow: slices in, slices out.
//!
//! A feature map of a batch is channels-last (`[batch, h, w, c]`) for the kernels: [`Conv`] and [`Depthwise`] compute
//! a few images by the micro-kernels of `sweep` and `planes`, [`ConvNorm`] fuses a batch's convolution with the
//! normalisation, residual and activation that follow it, forward and backward.

pub mod channels_first;
mod conv;
mod conv_norm;
mod convolution;
mod depthwise;
mod frame;
mod geometry;
mod gradients;
mod isa;
mod lanes;
pub mod layout;
mod norm;
pub mod optimizer;
mod planes;
mod pool;
#[cfg(test)]
mod pool_tests;
mod shape_ops;
mod sweep;
mod sweep_weights;
#[cfg(test)]
mod tests;

pub use conv::Conv;
pub use conv_norm::{ConvNorm, ParameterGradients, Past, SlopeSums};
pub use convolution::Convolution;
pub use depthwise::Depthwise;
pub use gradients::InputGradient;
pub use isa::Isa;
pub use norm::Moments;
pub use pool::Pooling;
pub use shape_ops::{Concat, PadShortcut, add, global_average_pool, global_average_pool_backward, mask};
