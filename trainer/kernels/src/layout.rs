//! Between candle's tensors, channels first, and the kernels' slices, channels last.

use candle_core::{Result, Storage, Tensor, bail};

/// One image from c×h×w to h×w×c.
pub fn to_channels_last(from: &[f32], channels: usize, to: &mut [f32]) {
    let pixels = from.len() / channels;
    for (channel, plane) in from.chunks_exact(pixels).enumerate() {
        for (pixel, value) in to.chunks_exact_mut(channels).zip(plane) {
            pixel[channel] = *value;
        }
    }
}

/// One image from h×w×c to c×h×w.
pub fn to_channels_first(from: &[f32], channels: usize, to: &mut [f32]) {
    let pixels = from.len() / channels;
    for (channel, plane) in to.chunks_exact_mut(pixels).enumerate() {
        for (pixel, value) in from.chunks_exact(channels).zip(plane) {
            *value = pixel[channel];
        }
    }
}

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
