//! Starting kernels of `kernels.cu` on tensors.

use candle_core::{CpuStorage, Device, Result, Storage, Tensor, bail};
use lrpet_runtime::model::Activation;

use super::parameters::{Address, Parameters};

/// Threads of a block, as `kernels.cu` has it.
const THREADS: u32 = 256;

/// Most blocks along x: enough to fill any GPU, few enough that starting them costs nothing.
const MOST_BLOCKS: u32 = 4096;

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
