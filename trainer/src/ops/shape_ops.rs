//! Operations without weights on channels-last feature maps: the parameter-free shortcut and the global average pool.

use lrpet_runtime::model::Shape;
use rayon::prelude::*;

/// The option-A shortcut of CIFAR ResNets: every `stride`-th pixel of each axis, new zero channels around the old
/// ones, half of them (rounded down) before.
#[derive(Clone, Copy, Debug)]
pub struct PadShortcut {
    input: [usize; 3],
    output: [usize; 3],
    stride: usize,
}

impl PadShortcut {
    /// A shortcut between two shapes; `output` must be the shape that the operation gives.
    pub fn new(input: Shape, output: Shape, stride: u16) -> Self {
        let sizes = |shape: Shape| [shape.height, shape.width, shape.channels].map(|size| size as usize);
        PadShortcut { input: sizes(input), output: sizes(output), stride: usize::from(stride) }
    }

    fn for_each_pixel(&self, mut f: impl FnMut(std::ops::Range<usize>, std::ops::Range<usize>)) {
        let ([_, w, c], [oh, ow, n]) = (self.input, self.output);
        let before = (n - c) / 2;
        for row in 0..oh {
            for col in 0..ow {
                let from = (row * self.stride * w + col * self.stride) * c;
                let to = (row * ow + col) * n + before;
                f(from..from + c, to..to + c);
            }
        }
    }

    /// Writes the result of a batch.
    pub fn forward(&self, x: &[f32], y: &mut [f32]) {
        let [input, output]: [usize; 2] = [self.input.iter().product(), self.output.iter().product()];
        (y.par_chunks_exact_mut(output), x.par_chunks_exact(input)).into_par_iter().for_each(|(y, x)| {
            y.fill(0.0);
            self.for_each_pixel(|from, to| y[to].copy_from_slice(&x[from]));
        });
    }

    /// Adds the gradient of the input to `dx`.
    pub fn backward(&self, dy: &[f32], dx: &mut [f32]) {
        let [input, output]: [usize; 2] = [self.input.iter().product(), self.output.iter().product()];
        (dx.par_chunks_exact_mut(input), dy.par_chunks_exact(output)).into_par_iter().for_each(|(dx, dy)| {
            self.for_each_pixel(|from, to| {
                for (dx, dy) in dx[from].iter_mut().zip(&dy[to]) {
                    *dx += *dy;
                }
            });
        });
    }
}

/// Mean over the pixels of each channel: `[batch, pixels, channels]` to `[batch, channels]`.
pub fn global_average_pool(x: &[f32], pixels: usize, channels: usize) -> Vec<f32> {
    let mut means = vec![0.0; x.len() / pixels];
    for (means, image) in means.chunks_exact_mut(channels).zip(x.chunks_exact(pixels * channels)) {
        for pixel in image.chunks_exact(channels) {
            for (mean, value) in means.iter_mut().zip(pixel) {
                *mean += *value;
            }
        }
        for mean in means {
            *mean /= pixels as f32;
        }
    }
    means
}

/// The gradient of [`global_average_pool`]'s input: each channel's share spread over its pixels.
pub fn global_average_pool_backward(dy: &[f32], pixels: usize, channels: usize, dx: &mut [f32]) {
    for (dy, image) in dy.chunks_exact(channels).zip(dx.chunks_exact_mut(pixels * channels)) {
        for pixel in image.chunks_exact_mut(channels) {
            for (dx, dy) in pixel.iter_mut().zip(dy) {
                *dx = *dy / pixels as f32;
            }
        }
    }
}
