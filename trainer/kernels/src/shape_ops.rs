//! Operations without weights on channels-last feature maps: the parameter-free shortcut, concatenation of channels,
//! sums and the global average pool.

use lrpet_runtime::model::{Activation, Shape};
use rayon::prelude::*;

use super::isa::Isa;
use super::norm;

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

/// Joins the channels of feature maps of one height and width, in order.
#[derive(Clone, Debug)]
pub struct Concat {
    /// Channels of the inputs.
    channels: Vec<usize>,
}

impl Concat {
    /// Of inputs with so many channels.
    pub fn new(channels: Vec<usize>) -> Self {
        Concat { channels }
    }

    /// First and last channel of input `index` in the result.
    fn range(&self, index: usize) -> std::ops::Range<usize> {
        let first = self.channels[..index].iter().sum();
        first..first + self.channels[index]
    }

    fn total(&self) -> usize {
        self.channels.iter().sum()
    }

    /// Writes the channels of input `index` of a batch.
    pub fn forward(&self, index: usize, x: &[f32], y: &mut [f32]) {
        let (range, total) = (self.range(index), self.total());
        let pixels = y.par_chunks_exact_mut(total).with_min_len(PIXELS);
        (pixels, x.par_chunks_exact(range.len()))
            .into_par_iter()
            .for_each(|(y, x)| y[range.clone()].copy_from_slice(x));
    }

    /// Writes the gradient of input `index`, or adds it where `accumulate` is set.
    pub fn backward(&self, index: usize, dy: &[f32], dx: &mut [f32], accumulate: bool) {
        let (range, total) = (self.range(index), self.total());
        let pixels = dx.par_chunks_exact_mut(range.len()).with_min_len(PIXELS);
        (pixels, dy.par_chunks_exact(total)).into_par_iter().for_each(|(dx, dy)| {
            let dy = &dy[range.clone()];
            if accumulate {
                dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += *dy);
            } else {
                dx.copy_from_slice(dy);
            }
        });
    }
}

/// Fewest pixels that are worth another thread.
const PIXELS: usize = 256;

/// Fewest values that are worth another thread.
const VALUES: usize = 1 << 14;

/// act(a + b), elementwise.
pub fn add(a: &[f32], b: &[f32], activation: Activation, sum: &mut [f32]) {
    (sum.par_chunks_mut(VALUES), a.par_chunks(VALUES), b.par_chunks(VALUES))
        .into_par_iter()
        .for_each(|(sum, a, b)| norm::add(Isa::best(), a, b, activation, sum));
}

/// Turns the gradient of the result `z` of an activation into that of what it was applied to.
pub fn mask(z: &[f32], activation: Activation, dz: &mut [f32]) {
    if activation != Activation::None {
        (dz.par_chunks_mut(VALUES), z.par_chunks(VALUES))
            .into_par_iter()
            .for_each(|(dz, z)| norm::mask(Isa::best(), z, activation, dz));
    }
}

/// Mean over the pixels of each channel of a batch: `[batch, pixels, channels]` to `[batch, channels]`.
pub fn global_average_pool(x: &[f32], pixels: usize, channels: usize, means: &mut [f32]) {
    let images = x.par_chunks_exact(pixels * channels);
    (means.par_chunks_exact_mut(channels), images).into_par_iter().for_each(|(means, image)| {
        means.fill(0.0);
        for pixel in image.chunks_exact(channels) {
            for (mean, value) in means.iter_mut().zip(pixel) {
                *mean += *value;
            }
        }
        for mean in means {
            *mean /= pixels as f32;
        }
    });
}

/// The gradient of [`global_average_pool`]'s input: each channel's share spread over its pixels.
pub fn global_average_pool_backward(dy: &[f32], pixels: usize, channels: usize, dx: &mut [f32]) {
    let images = dx.par_chunks_exact_mut(pixels * channels);
    (dy.par_chunks_exact(channels), images).into_par_iter().for_each(|(dy, image)| {
        for pixel in image.chunks_exact_mut(channels) {
            for (dx, dy) in pixel.iter_mut().zip(dy) {
                *dx = *dy / pixels as f32;
            }
        }
    });
}
