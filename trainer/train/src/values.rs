//! The values of candle's tensors as slices.

use candle_core::{Result, Storage, Tensor, bail};

/// Lends the values of a tensor on the CPU, in row-major order.
///
/// # Errors
/// Where the tensor is on another device or not f32.
pub fn with_values<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        bail!("expected a tensor on the CPU, got one on {:?}", tensor.device().location());
    };
    let start = layout.start_offset();
    Ok(f(&storage.as_slice::<f32>()?[start..start + layout.shape().elem_count()]))
}
