//! The kernels on a GPU.

use candle_core::cuda_backend::cudarc::driver::sys::CUmemPool_attribute;
use candle_core::cuda_backend::cudarc::driver::{
    DevicePtr, DriverError, LaunchConfig, PushKernelArg, result,
};
use candle_core::cuda_backend::{CudaStorageSlice, WrapErr};
use candle_core::{CudaDevice, CudaStorage, Device, Result, bail};

use super::parameters::{Address, Parameters};

/// The kernels, made by `build.rs`.
const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));

/// Where the values begin.
pub(super) fn address(storage: &CudaStorage) -> Result<Address> {
    let stream = storage.device.cuda_stream();
    // The guards beside the addresses record uses for other streams; `open` makes one stream, where order is enough.
    Ok(match &storage.slice {
        CudaStorageSlice::F32(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::F64(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::U32(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::I64(slice) => slice.device_ptr(&stream).0,
        _ => bail!("no kernel takes this dtype"),
    })
}

/// Starts a kernel; it runs after all that the device's stream was given before.
pub(super) fn launch<P: Parameters>(
    device: &CudaDevice,
    kernel: &'static str,
    [across, down]: [u32; 2],
    threads: u32,
    parameters: P,
) -> Result<()> {
    let function = device.get_or_load_custom_func(kernel, "lrpet", PTX)?;
    let shape = LaunchConfig { grid_dim: (across, down, 1), block_dim: (threads, 1, 1), shared_mem_bytes: 0 };
    let mut builder = function.builder();
    builder.arg(&parameters);
    // SAFETY: the kernel takes this one structure; its addresses are the caller's duty (see `launch::launch`).
    #[allow(unsafe_code)]
    unsafe {
        builder.launch(shape).w()?;
    }
    Ok(())
}

/// Number of GPUs.
///
/// # Errors
/// The driver's reason, where there is none that works.
pub(crate) fn count() -> std::result::Result<usize, String> {
    let reason = |error: DriverError| match error.error_string() {
        Ok(text) => text.to_string_lossy().into_owned(),
        Err(_) => format!("{:?}", error.0),
    };
    result::init().map_err(reason)?;
    Ok(usize::try_from(result::device::get_count().map_err(reason)?).unwrap_or(0))
}

/// GPU `index` with one stream of its own.
///
/// # Errors
/// Where the driver or a library fails.
pub(crate) fn open(index: usize) -> Result<Device> {
    // Not the per-thread stream of `Device::new_cuda`: work given from another thread would run beside this one's.
    let device = Device::new_cuda_with_stream(index)?;
    let cuda = device.as_cuda_device()?;
    // SAFETY: everything that uses the device goes through its one stream.
    #[allow(unsafe_code)]
    unsafe {
        cuda.disable_event_tracking();
    }
    keep_memory(index)?;
    Ok(device)
}

/// Keeps freed memory in the process: else each wait for the GPU would hand it back to the driver.
fn keep_memory(index: usize) -> Result<()> {
    let ordinal = i32::try_from(index).unwrap_or(i32::MAX);
    let gpu = result::device::get(ordinal).w()?;
    let mut most = u64::MAX;
    // SAFETY: the device exists (it was opened), and the attribute is a 64-bit number.
    #[allow(unsafe_code)]
    unsafe {
        let pool = result::device::get_default_mem_pool(gpu).w()?;
        let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        result::mem_pool::set_attribute(pool, attribute, (&raw mut most).cast()).w()
    }
}
