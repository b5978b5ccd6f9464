//! Starting kernels of `kernels.cu` on tensors.
//!
//! The structures are those of `kernels.cu`, field by field. Pointers are addresses on the tensors' device.

use candle_core::{CpuStorage, Device, Result, Storage, Tensor, bail};
use lrpet_runtime::model::{Activation, Shape, Window};

/// Threads of a block, as `kernels.cu` has it.
const THREADS: u32 = 256;

/// Most blocks along x: enough to fill any GPU, few enough that starting them costs nothing.
const MOST_BLOCKS: u32 = 4096;

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

/// The number by which the kernels know an activation.
pub(crate) fn code(activation: Activation) -> u32 {
    match activation {
        Activation::None => 0,
        Activation::Relu => 1,
        Activation::Relu6 => 2,
        other => unreachable!("the engine refuses {}", other.name()),
    }
}

/// Blocks for `elements` in each of `rows`.
pub(crate) fn over(elements: u32, rows: u32) -> [u32; 2] {
    [elements.div_ceil(THREADS).clamp(1, MOST_BLOCKS), rows.clamp(1, 65_535)]
}

/// A contiguous f32 tensor of `shape` on `device` that a kernel is about to fill.
pub(crate) fn fresh(shape: impl Into<candle_core::Shape>, device: &Device) -> Result<Tensor> {
    // SAFETY: every caller hands the tensor to a kernel that writes all of it before anything reads it.
    #[allow(unsafe_code)]
    unsafe {
        Tensor::empty(shape, candle_core::DType::F32, device)
    }
}

/// Where the values of a contiguous tensor begin, on its device.
///
/// # Errors
/// Where the tensor is not contiguous, or of a dtype that no kernel takes.
pub(crate) fn address(tensor: &Tensor) -> Result<Address> {
    if !tensor.is_contiguous() {
        bail!("a kernel needs a contiguous tensor, not {:?}", tensor.layout());
    }
    let (storage, layout) = tensor.storage_and_layout();
    let offset = (layout.start_offset() * tensor.dtype().size_in_bytes()) as u64;
    let start = match &*storage {
        Storage::Cpu(CpuStorage::F32(values)) => values.as_ptr() as u64,
        Storage::Cpu(CpuStorage::F64(values)) => values.as_ptr() as u64,
        Storage::Cpu(CpuStorage::U32(values)) => values.as_ptr() as u64,
        Storage::Cpu(CpuStorage::I64(values)) => values.as_ptr() as u64,
        #[cfg(feature = "cuda")]
        Storage::Cuda(storage) => super::gpu::address(storage)?,
        _ => bail!("no kernel takes {:?} on {:?}", tensor.dtype(), tensor.device()),
    };
    Ok(start + offset)
}

/// Runs `kernel` on `device` with `blocks` along x and y.
///
/// # Errors
/// Where the device fails.
///
/// The caller answers for the addresses: they are of tensors on `device` that live until the call returns (a device
/// keeps freed memory until the kernels before the release are through), as large as the kernel takes them to be.
pub(crate) fn launch<P: Parameters>(
    device: &Device,
    kernel: &'static str,
    blocks: [u32; 2],
    parameters: P,
) -> Result<()> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => super::gpu::launch(device, kernel, blocks, THREADS, parameters),
        #[cfg(test)]
        Device::Cpu => {
            super::emulated::launch(kernel, [blocks[0], blocks[1], THREADS], &parameters);
            Ok(())
        }
        _ => {
            let _ = (kernel, blocks, parameters);
            bail!("no kernels for {device:?}")
        }
    }
}
