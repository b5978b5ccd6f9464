//! The two micro-kernels of a depthwise convolution and their walk over a few images: vector lanes hold channels, and
//! each channel meets its own weights.

// Tiles are indexed by their constants, which is what unrolls them into registers.
#![allow(unsafe_code, clippy::needless_range_loop)]

use super::isa::{Isa, Kind};
#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};
use super::lanes::{LANES, Lanes, Portable, whole};
use super::sweep::{Pitch, even_parts, instance};

/// One pass of a kernel over padded images, whose pixels have whole vectors of channels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planes {
    /// Rows and columns of the kernel.
    pub taps: [usize; 2],
    /// Distances between taps.
    pub tap: Pitch,
    /// Rows and columns of the windows, which are the result's pixels.
    pub rows: usize,
    pub cols: usize,
    /// Distances between windows in the padded input.
    pub input: Pitch,
    /// Distances between pixels of the result (or of its gradient).
    pub output: Pitch,
    /// Channels.
    pub channels: usize,
}

impl Planes {
    /// Values of the packed weights, `[tap][whole vectors of channels]`.
    pub(super) fn packed_len(&self) -> usize {
        self.taps[0] * self.taps[1] * whole(self.channels)
    }

    /// Values that a walk over the padded input of `images` images reaches.
    fn input_extent(&self, images: usize) -> usize {
        let taps = self.tap.extent(1, self.taps[0], self.taps[1]);
        self.input.extent(images, self.rows, self.cols) + taps + whole(self.channels)
    }

    fn is_empty(&self) -> bool {
        self.rows == 0 || self.cols == 0 || self.packed_len() == 0
    }
}

/// The result's pixels of `images` images: `y[pixel, c] = (y[pixel, c]) + Σ weights[tap, c] · x[pixel + tap, c]`, with
/// the old value where `accumulate` is set.
///
/// # Panics
/// Where a slice is shorter than the pass's extent.
pub(super) fn correlate(
    isa: Isa,
    planes: &Planes,
    images: usize,
    x: &[f32],
    weights: &[f32],
    y: &mut [f32],
    accumulate: bool,
) {
    if planes.is_empty() || images == 0 {
        return;
    }
    assert!(x.len() >= planes.input_extent(images), "padded input is too short for the pass");
    let extent = planes.output.extent(images, planes.rows, planes.cols) + planes.channels;
    assert!(y.len() >= extent, "result is too short for the pass");
    assert!(weights.len() >= planes.packed_len(), "packed weights are too short for the pass");
    let args = Pass { s: planes, images, x: x.as_ptr(), w: weights.as_ptr(), accumulate };
    let y = y.as_mut_ptr();
    // SAFETY: the extents were just checked against the slices; the kind was detected on this machine.
    unsafe {
        match isa.kind() {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => correlate_avx512(&args, y),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => correlate_avx2(&args, y),
            Kind::Portable => correlate_with::<Portable>(&args, y),
        }
    }
}

/// The weights' gradient over `images` images: `gradient[tap, c] += Σ_pixels x[pixel + tap, c] · dy[pixel, c]`, packed
/// like the weights. Each pixel of `dy` must have whole vectors of channels.
///
/// # Panics
/// Where a slice is shorter than the pass's extent.
pub(super) fn correlate_weights(
    isa: Isa,
    planes: &Planes,
    images: usize,
    x: &[f32],
    dy: &[f32],
    gradient: &mut [f32],
) {
    if planes.is_empty() || images == 0 {
        return;
    }
    assert!(x.len() >= planes.input_extent(images), "padded input is too short for the pass");
    let extent = planes.output.extent(images, planes.rows, planes.cols) + whole(planes.channels);
    assert!(dy.len() >= extent, "gradient is too short for the pass");
    assert!(gradient.len() >= planes.packed_len(), "packed weights are too short for the pass");
    let args = Pass { s: planes, images, x: x.as_ptr(), w: dy.as_ptr(), accumulate: true };
    let gradient = gradient.as_mut_ptr();
    // SAFETY: the extents were just checked against the slices; the kind was detected on this machine.
    unsafe {
        match isa.kind() {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => weights_avx512(&args, gradient),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => weights_avx2(&args, gradient),
            Kind::Portable => weights_with::<Portable>(&args, gradient),
        }
    }
}

/// Operands of a pass: the padded input, and the packed weights or the gradient of the result.
struct Pass<'a> {
    s: &'a Planes,
    images: usize,
    x: *const f32,
    w: *const f32,
    accumulate: bool,
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx2,fma")]
unsafe fn correlate_avx512(pass: &Pass, y: *mut f32) {
    // SAFETY: the caller's contract, passed on.
    unsafe { correlate_with::<Avx512>(pass, y) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn correlate_avx2(pass: &Pass, y: *mut f32) {
    // SAFETY: the caller's contract, passed on.
    unsafe { correlate_with::<Avx2>(pass, y) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx2,fma")]
unsafe fn weights_avx512(pass: &Pass, gradient: *mut f32) {
    // SAFETY: the caller's contract, passed on.
    unsafe { weights_with::<Avx512>(pass, gradient) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn weights_avx2(pass: &Pass, gradient: *mut f32) {
    // SAFETY: the caller's contract, passed on.
    unsafe { weights_with::<Avx2>(pass, gradient) }
}

/// Most pixels, or taps, of a tile: with as many sums as this, even 16 registers are enough.
const MOST: usize = 6;

/// [`correlate`] on one instruction set.
///
/// # Safety
/// The machine has the instructions of `L`, and the pointers are valid for the extents of the pass.
#[inline(always)]
unsafe fn correlate_with<L: Lanes>(pass: &Pass, y: *mut f32) {
    let s = pass.s;
    for (image, row) in (0..pass.images).flat_map(|image| (0..s.rows).map(move |row| (image, row))) {
        for (col, count) in even_parts(s.cols, MOST) {
            // SAFETY: offsets stay within the extents, by the caller's contract.
            unsafe {
                let x = pass.x.add(image * s.input.image + row * s.input.row + col * s.input.pixel);
                let y = y.add(image * s.output.image + row * s.output.row + col * s.output.pixel);
                for first in (0..s.channels).step_by(LANES) {
                    let args = (pass, x.add(first), pass.w.add(first), y.add(first), s.channels - first);
                    instance!(count, MOST, pixel_tile, L, 1, (args), [1 2 3 4 5 6]);
                }
            }
        }
    }
}

/// `P` neighbouring pixels of one vector of channels: the pass, its first window, the vector's weights, its first
/// result, and the channels from there on.
#[inline(always)]
unsafe fn pixel_tile<L: Lanes, const P: usize, const V: usize>(
    (pass, x, w, y, lanes): (&Pass, *const f32, *const f32, *mut f32, usize),
) {
    let s = pass.s;
    let [input, output] = [s.input.pixel, s.output.pixel];
    // SAFETY: the caller's contract: every offset is one that the pass visits.
    unsafe {
        let mut acc = [L::zero(); P];
        if pass.accumulate && lanes >= LANES {
            for p in 0..P {
                acc[p] = L::load(y.add(p * output).cast_const());
            }
        } else if pass.accumulate {
            for p in 0..P {
                acc[p] = L::load_some(y.add(p * output).cast_const(), lanes);
            }
        }
        let mut w = w;
        for i in 0..s.taps[0] {
            for j in 0..s.taps[1] {
                let x = x.add(i * s.tap.row + j * s.tap.pixel);
                let weight = L::load(w);
                w = w.wrapping_add(whole(s.channels));
                for p in 0..P {
                    acc[p] = L::fma(L::load(x.add(p * input)), weight, acc[p]);
                }
            }
        }
        if lanes >= LANES {
            for p in 0..P {
                L::store(y.add(p * output), acc[p]);
            }
        } else {
            for p in 0..P {
                L::store_some(y.add(p * output), acc[p], lanes);
            }
        }
    }
}

/// [`correlate_weights`] on one instruction set.
///
/// # Safety
/// The machine has the instructions of `L`, and the pointers are valid for the extents of the pass.
#[inline(always)]
unsafe fn weights_with<L: Lanes>(pass: &Pass, gradient: *mut f32) {
    let s = pass.s;
    for first in (0..s.channels).step_by(LANES) {
        for i in 0..s.taps[0] {
            for (j, count) in even_parts(s.taps[1], MOST) {
                // SAFETY: offsets stay within the extents, by the caller's contract.
                unsafe {
                    let x = pass.x.add(i * s.tap.row + j * s.tap.pixel + first);
                    let to = gradient.add((i * s.taps[1] + j) * whole(s.channels) + first);
                    let args = (pass, x, pass.w.add(first), to);
                    instance!(count, MOST, tap_tile, L, 1, (args), [1 2 3 4 5 6]);
                }
            }
        }
    }
}

/// `T` neighbouring taps of one vector of channels over all pixels: the pass, the first tap of the first window, the
/// gradient of the first pixel, and the weights' gradient.
#[inline(always)]
unsafe fn tap_tile<L: Lanes, const T: usize, const V: usize>(
    (pass, x, dy, to): (&Pass, *const f32, *const f32, *mut f32),
) {
    let s = pass.s;
    // SAFETY: the caller's contract: every offset is one that the pass visits.
    unsafe {
        // Sums of even and of odd columns, so that a sum need not wait for the one before.
        let mut acc = [[L::zero(); 2]; T];
        for (image, row) in (0..pass.images).flat_map(|image| (0..s.rows).map(move |row| (image, row))) {
            let x = x.add(image * s.input.image + row * s.input.row);
            let dy = dy.add(image * s.output.image + row * s.output.row);
            let mut col = 0;
            while col + 2 <= s.cols {
                for half in 0..2 {
                    let slope = L::load(dy.add((col + half) * s.output.pixel));
                    let x = x.add((col + half) * s.input.pixel);
                    for t in 0..T {
                        acc[t][half] = L::fma(L::load(x.add(t * s.tap.pixel)), slope, acc[t][half]);
                    }
                }
                col += 2;
            }
            if col < s.cols {
                let slope = L::load(dy.add(col * s.output.pixel));
                let x = x.add(col * s.input.pixel);
                for t in 0..T {
                    acc[t][0] = L::fma(L::load(x.add(t * s.tap.pixel)), slope, acc[t][0]);
                }
            }
        }
        let one = L::splat(&1.0);
        for t in 0..T {
            let to = to.add(t * whole(s.channels));
            // Adding 1·acc keeps the trait small; the product is exact.
            let sum = L::fma(one, acc[t][0], L::load(to.cast_const()));
            L::store(to, L::fma(one, acc[t][1], sum));
        }
    }
}
