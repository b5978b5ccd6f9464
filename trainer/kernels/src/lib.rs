//! Operations of our own, where candle's are slow on a CPU.
//!
//! A feature map of a batch is channels-last (`[batch, h, w, c]`) for the kernels: [`Conv`] and [`Depthwise`] compute
//! a few images by the micro-kernels of `sweep` and `planes`, [`ConvNorm`] fuses a batch's convolution with the
//! normalisation, residual and activation that follow it, forward and backward. [`conv2d`] is the convolution as a
//! candle operation on channels-first tensors, differentiable by candle and at home on any device.

mod conv;
mod conv2d;
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
pub use conv_norm::{ConvNorm, EPSILON, ParameterGradients, Past, SlopeSums};
pub use conv2d::conv2d;
pub use convolution::Convolution;
pub use depthwise::Depthwise;
pub use gradients::InputGradient;
pub use isa::Isa;
pub use norm::Moments;
pub use pool::Pooling;
pub use shape_ops::{Concat, PadShortcut, add, global_average_pool, global_average_pool_backward, mask};
