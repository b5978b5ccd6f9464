//! What the batch-level operations ask of a kind of convolution, dense or depthwise.

use std::fmt::Debug;

use super::geometry::Geometry;
use super::isa::Isa;

/// Kernels over a few padded images at a time; all feature maps are channels-last.
///
/// Methods are given the number of images by the length of their slices. They panic where a slice is too short.
pub trait Convolution: Debug + Send + Sync {
    /// Sizes and paddings.
    #[allow(private_interfaces)]
    fn geometry(&self) -> &Geometry;

    /// Number of weights.
    fn weight_len(&self) -> usize;

    /// Values of packed weights and of a packed weight gradient.
    fn packed_len(&self) -> usize;

    /// Writes the weights in the order in which [`Convolution::forward`] reads them.
    fn pack(&self, isa: Isa, weights: &[f32], packed: &mut [f32]);

    /// Values of the weights packed for [`Convolution::input_gradient`].
    fn packed_transposed_len(&self) -> usize;

    /// Writes the weights in the order in which [`Convolution::input_gradient`] reads them.
    fn pack_transposed(&self, isa: Isa, weights: &[f32], packed: &mut [f32]);

    /// Writes a packed weight gradient in the order of the weights.
    fn unpack(&self, isa: Isa, packed: &[f32], gradient: &mut [f32]);

    /// Output images from padded input images and packed weights.
    fn forward(&self, isa: Isa, frames: &[f32], packed: &[f32], output: &mut [f32]);

    /// The gradient of input images from the padded gradients of the output and transposed weights; added to what
    /// `gradient` holds where `accumulate` is set.
    fn input_gradient(
        &self,
        isa: Isa,
        slopes: &[f32],
        packed: &[f32],
        gradient: &mut [f32],
        accumulate: bool,
    );

    /// Lengths of the slices of a packed weight gradient that can be computed apart; they make it up in this order.
    fn slices(&self, isa: Isa) -> Vec<usize>;

    /// Adds the share of padded images, with the padded gradients of the output, to slice `slice` of the packed
    /// gradient of the weights.
    fn weight_gradient(&self, isa: Isa, slice: usize, frames: &[f32], slopes: &[f32], gradient: &mut [f32]);

    /// Values of one input image.
    fn input_len(&self) -> usize {
        self.geometry().input_len()
    }

    /// Values of one output image.
    fn output_len(&self) -> usize {
        self.geometry().output_len()
    }

    /// Rows, columns and channels of the output.
    fn output(&self) -> [usize; 3] {
        self.geometry().output
    }
}
