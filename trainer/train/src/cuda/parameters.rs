//! What kernels of `kernels.cu` take: its structures, field by field. Pointers are addresses on the tensors' device.

use candle_core::{Result, bail};
use lrpet_runtime::model::{Shape, Window};

/// An address on a device; 0 is none.
pub(crate) type Address = u64;

/// What may be handed to a kernel by value.
#[cfg(feature = "cuda")]
pub(crate) use candle_core::cuda_backend::cudarc::driver::DeviceRepr as ByValue;
#[cfg(not(feature = "cuda"))]
pub(crate) use std::marker::Copy as ByValue;

/// What a kernel takes.
///
/// # Safety
/// The type is `repr(C)` and, field by field, a structure of `kernels.cu`.
#[allow(unsafe_code)] // what the kernels do with it is beyond the compiler's sight
pub(crate) unsafe trait Parameters: Copy + ByValue {}

macro_rules! parameters {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[repr(C)]
            #[derive(Clone, Copy, Debug)]
            pub(crate) struct $name { $(pub $field: $type),* }
            // SAFETY: a C structure of plain numbers, kept in step with `kernels.cu`.
            #[allow(unsafe_code)]
            unsafe impl Parameters for $name {}
            #[cfg(feature = "cuda")]
            // SAFETY: as above; passed by value.
            #[allow(unsafe_code)]
            unsafe impl ByValue for $name {}
        )*
    };
}

/// A window over a batch of planes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Geometry {
    pub channels: u32,
    pub batch: u32,
    pub rows: u32,
    pub columns: u32,
    pub out_rows: u32,
    pub out_columns: u32,
    pub kernel_rows: u32,
    pub kernel_columns: u32,
    pub stride_rows: u32,
    pub stride_columns: u32,
    pub top: u32,
    pub left: u32,
}

impl Geometry {
    /// `window` over `batch` maps of shape `input` that gives maps of shape `output`.
    ///
    /// # Errors
    /// Where an index of a kernel would pass 31 bits.
    pub(crate) fn new(input: Shape, output: Shape, window: &Window, batch: usize) -> Result<Geometry> {
        let taps = u64::from(window.taps());
        let largest = input.pixels().max(output.pixels()) as u64 * batch as u64;
        let rows = u64::from(input.channels.max(output.channels)) * taps;
        if largest > i32::MAX as u64 || rows > i32::MAX as u64 {
            bail!("a batch of {batch} is too large for maps of {input}; give a smaller one");
        }
        Ok(Geometry {
            channels: input.channels,
            batch: batch as u32,
            rows: input.height,
            columns: input.width,
            out_rows: output.height,
            out_columns: output.width,
            kernel_rows: window.kernel[0].into(),
            kernel_columns: window.kernel[1].into(),
            stride_rows: window.stride[0].into(),
            stride_columns: window.stride[1].into(),
            top: window.padding[0].into(),
            left: window.padding[1].into(),
        })
    }

    /// Values of one channel of the input.
    pub(crate) fn input_length(&self) -> u32 {
        self.batch * self.rows * self.columns
    }

    /// Values of one channel of the output.
    pub(crate) fn output_length(&self) -> u32 {
        self.batch * self.out_rows * self.out_columns
    }

    /// Taps of the window.
    pub(crate) fn taps(&self) -> u32 {
        self.kernel_rows * self.kernel_columns
    }
}

parameters! {
    /// Of `unfold` and `fold`.
    Unfold { from: Address, to: Address, g: Geometry, add: u32 }
    /// Of the depthwise convolution's kernels.
    Depthwise { x: Address, weight: Address, slope: Address, to: Address, g: Geometry, add: u32 }
    /// Of the pooling's kernels.
    Pooling { x: Address, slope: Address, to: Address, g: Geometry, average: u32, add: u32 }
    /// Of the option-A shortcut's kernels.
    Shortcut { from: Address, to: Address, g: Geometry, out_channels: u32, before: u32, add: u32 }
    /// Of the statistics' kernels.
    Moments {
        y: Address, partial: Address, mean: Address, inverse: Address,
        running_mean: Address, running_variance: Address,
        channels: u32, length: u32, splits: u32, count: u32, momentum: f32, epsilon: f32,
    }
    /// Of `normalise`.
    Normalise {
        y: Address, mean: Address, inverse: Address, gamma: Address, beta: Address, residual: Address, z: Address,
        channels: u32, length: u32, activation: u32,
    }
    /// Of the kernels that go back through a normalisation.
    Slopes {
        slope: Address, z: Address, y: Address, mean: Address, inverse: Address, gamma: Address, partial: Address,
        gamma_slope: Address, beta_slope: Address, tilt: Address, shift: Address,
        y_slope: Address, residual_slope: Address,
        channels: u32, length: u32, splits: u32, count: u32, activation: u32, add: u32,
    }
    /// Of `add` and `add_input`.
    Sum { a: Address, b: Address, to: Address, length: u32, activation: u32 }
    /// Of `mean` and `mean_input`.
    Mean { from: Address, to: Address, length: u32, pixels: u32, add: u32 }
    /// Of `cross_entropy`.
    Entropy { logits: Address, labels: Address, slope: Address, totals: Address, batch: u32, classes: u32 }
    /// Of `descend`.
    Descent { slots: Address, tensors: u32, rate: f32, momentum: f32, decay: f32 }
}
