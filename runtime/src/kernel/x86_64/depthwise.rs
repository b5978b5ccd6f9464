//! Depthwise convolutions of 3×3 and 5×5 with strides 1 and 2: the sums of some rows of one channel in registers.
//!
//! A register holds neighbouring pixels of a row. Each one that is read of the patch is multiplied for all of the rows that
//! it lies under, so that four rows of 3×3 take 18 loads for 36 multiply-adds. Other windows are one row of weights of
//! [`super::sums()`], with a load for each multiply-add.
#![allow(unsafe_code, clippy::needless_range_loop)]

use super::pixels::Pixels;
use super::sums::Clamp;
use super::{Part, Vector};

/// Rows whose sums are held together.
const ROWS: usize = 4;

/// What the kernels do to a part of the output. The pointers are to buffers of the sizes that `conv` states.
pub(super) struct Planes<'a> {
    pub(super) conv: &'a Pixels,
    /// The part's patch.
    pub(super) patch: *const f32,
    /// The whole output, and what is added to it; null for nothing.
    pub(super) output: *mut u16,
    pub(super) second: *const u16,
    pub(super) part: Part,
}

/// Computes a part; false, and nothing done, where the window has no kernel here.
///
/// # Safety
///
/// The patch is filled for the part, and the machine has the instruction set.
pub(super) unsafe fn run<V: Vector>(planes: &Planes<'_>) -> bool {
    let window = &planes.conv.window;
    // SAFETY: as for this function.
    unsafe {
        match (window.kernel, window.stride) {
            ([3, 3], [1, 1]) => V::depthwise::<3, 1>(planes),
            ([3, 3], [2, 2]) => V::depthwise::<3, 2>(planes),
            ([5, 5], [1, 1]) => V::depthwise::<5, 1>(planes),
            ([5, 5], [2, 2]) => V::depthwise::<5, 2>(planes),
            _ => return false,
        }
    }
    true
}

/// Where the pixels of one register of a row lie, and where its result goes.
struct Place {
    /// The register's first pixel in the patch.
    x: *const f32,
    /// Elements from one row of a phase to the next, and from a column phase and a row phase to the next.
    pitch: usize,
    plane: usize,
    phase: usize,
    to: *mut u16,
    second: *const u16,
    /// Elements from one row of the output to the next, and pixels of the register.
    row: usize,
    count: usize,
}

/// As [`run`] for K×K taps and stride S.
///
/// # Safety
///
/// As for [`run`], of a convolution with this window. To be inlined into a function that has the instruction set.
#[inline(always)]
pub(super) unsafe fn planes<V: Vector, const K: usize, const S: usize>(planes: &Planes<'_>) {
    let Planes { conv, patch, output, second, part } = planes;
    let (width, pixels) = (conv.patch.width, conv.output.pixels());
    let plane = conv.patch.phase_rows * conv.patch.pitch;
    let clamp = Clamp::<V>::of(conv.activation);
    let across = width.div_ceil(V::LANES);
    for i in 0..part.channels {
        let channel = part.channel + i;
        let Some(bias) = conv.bias.get(channel) else { return };
        let weights = conv.channel(channel).as_ptr();
        for register in 0..across {
            let x = register * V::LANES;
            let count = V::LANES.min(width - x);
            let mut row = 0;
            while row < part.rows {
                let at = channel * pixels + (part.y + row) * width + x;
                // SAFETY: these pixels are in the patch and in the output.
                unsafe {
                    let place = Place {
                        x: patch.add(i * conv.patch.channel() + row * conv.patch.pitch + x),
                        pitch: conv.patch.pitch,
                        plane,
                        phase: conv.patch.planes * plane,
                        to: output.add(at),
                        second: if second.is_null() { *second } else { second.add(at) },
                        row: width,
                        count,
                    };
                    match part.rows - row {
                        1 => rows::<V, 1, K, S>(weights, *bias, &place, &clamp),
                        2 => rows::<V, 2, K, S>(weights, *bias, &place, &clamp),
                        3 => rows::<V, 3, K, S>(weights, *bias, &place, &clamp),
                        _ => rows::<V, ROWS, K, S>(weights, *bias, &place, &clamp),
                    }
                }
                row += ROWS;
            }
        }
    }
}

/// One register of R rows.
#[inline(always)]
unsafe fn rows<V: Vector, const R: usize, const K: usize, const S: usize>(
    weights: *const f32,
    bias: f32,
    place: &Place,
    clamp: &Clamp<V>,
) {
    // SAFETY: as for `planes`.
    unsafe {
        let mut sums = [V::splat(bias); R];
        macro_rules! lines {
            ($($i:literal)*) => {$(
                if $i < (R - 1) * S + K {
                    line::<V, R, K, S, $i>(&mut sums, weights, place);
                }
            )*};
        }
        // The longest are 5 rows of taps and 3 strides of 2.
        lines!(0 1 2 3 4 5 6 7 8 9 10);
        for r in 0..R {
            let mut value = sums[r];
            if !place.second.is_null() {
                value = V::add(value, V::widen(place.second.add(r * place.row), place.count));
            }
            V::narrow(clamp.clamp(value), place.to.add(r * place.row), place.count);
        }
    }
}

/// Multiplies line I of the pixels for all of the R rows that it lies under: each row gets its taps in order.
#[inline(always)]
unsafe fn line<V: Vector, const R: usize, const K: usize, const S: usize, const I: usize>(
    sums: &mut [V::Register; R],
    weights: *const f32,
    place: &Place,
) {
    // SAFETY: as for `planes`.
    unsafe {
        let line = place.x.add((I % S) * place.phase + (I / S) * place.pitch);
        for kx in 0..K {
            let x = V::load(line.add((kx % S) * place.plane + kx / S));
            for r in 0..R {
                if I >= r * S && I < r * S + K {
                    let weight = V::splat(*weights.add((I - r * S) * K + kx));
                    sums[r] = V::mul_add(weight, x, sums[r]);
                }
            }
        }
    }
}
