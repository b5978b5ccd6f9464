//! Between feature maps whose channels come first and the kernels', whose channels come last.

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
