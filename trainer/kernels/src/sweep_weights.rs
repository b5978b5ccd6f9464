//! The micro-kernel of the weights' gradient of a convolution; see `sweep` for how it walks.

// Tiles are indexed by their constants, which is what unrolls them into registers.
#![allow(unsafe_code, clippy::needless_range_loop)]

use super::isa::{Isa, Kind};
#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};
use super::lanes::{LANES, Lanes, Portable, whole};
use super::sweep::{Sweep, even_parts, groups, instance};

/// The share of one group of output channels and one run in the weights' gradient over `images` images:
/// `gradient[tap, n] += Σ_pixels x[pixel + tap] · dy[pixel, n]`, packed like the weights. Each pixel of `dy` must have
/// whole vectors of channels.
///
/// # Panics
/// Where a slice is shorter than the sweep's extent, or there is no such group or run.
pub(super) fn correlate_weights(
    isa: Isa,
    sweep: &Sweep,
    [group, run]: [usize; 2],
    images: usize,
    x: &[f32],
    dy: &[f32],
    gradient: &mut [f32],
) {
    if sweep.is_empty() || images == 0 {
        return;
    }
    let (first, across) = groups(isa, sweep.channels).nth(group).expect("one of the groups");
    assert!(run < sweep.runs, "one of the runs");
    assert!(x.len() >= sweep.input_extent(images), "padded input is too short for the sweep");
    let extent = sweep.output.extent(images, sweep.rows, sweep.cols) + whole(sweep.channels);
    assert!(dy.len() >= extent, "gradient is too short for the sweep");
    assert!(gradient.len() >= sweep.run_len * across * LANES, "packed weights are too short for the sweep");
    let slice = Slice { images, first, across, run };
    let (x, dy, gradient) = (x.as_ptr(), dy.as_ptr(), gradient.as_mut_ptr());
    // SAFETY: the extents were just checked against the slices; the kind was detected on this machine.
    unsafe {
        match isa.kind() {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => weights_avx512(sweep, &slice, x, dy, gradient),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => weights_avx2(sweep, &slice, x, dy, gradient),
            Kind::Portable => weights_with::<Portable>(sweep, &slice, x, dy, gradient),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx2,fma")]
unsafe fn weights_avx512(s: &Sweep, slice: &Slice, x: *const f32, dy: *const f32, gradient: *mut f32) {
    // SAFETY: the caller's contract, passed on.
    unsafe { weights_with::<Avx512>(s, slice, x, dy, gradient) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn weights_avx2(s: &Sweep, slice: &Slice, x: *const f32, dy: *const f32, gradient: *mut f32) {
    // SAFETY: the caller's contract, passed on.
    unsafe { weights_with::<Avx2>(s, slice, x, dy, gradient) }
}

/// What [`correlate_weights`] computes: a run of a group of channels, over a number of images.
struct Slice {
    images: usize,
    /// First channel and vectors of the group.
    first: usize,
    across: usize,
    run: usize,
}

/// [`correlate_weights`] on one instruction set.
///
/// # Safety
/// The machine has the instructions of `L`, and the pointers are valid for the extents of the sweep.
#[inline(always)]
unsafe fn weights_with<L: Lanes>(
    s: &Sweep,
    slice: &Slice,
    x: *const f32,
    dy: *const f32,
    gradient: *mut f32,
) {
    let Slice { images, first, across, run } = *slice;
    for (tap, count) in even_parts(s.run_len, L::TAPS[across - 1]) {
        // SAFETY: offsets stay within the extents, by the caller's contract.
        unsafe {
            let dy = dy.add(first);
            let x = x.add(run * s.run_pitch + tap);
            let to = gradient.add(tap * across * LANES);
            if across == 1 {
                instance!(count, L::TAPS[0], tap_tile, L, 1, (s, images, x, dy, to),
                    [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24]);
            } else {
                instance!(count, L::TAPS[1], tap_tile, L, 2, (s, images, x, dy, to),
                    [1 2 3 4 5 6 7 8 9 10 11 12]);
            }
        }
    }
}

/// `T` neighbouring taps times `V` vectors of output channels, all in registers, over all pixels.
#[inline(always)]
unsafe fn tap_tile<L: Lanes, const T: usize, const V: usize>(
    s: &Sweep,
    images: usize,
    x: *const f32,
    dy: *const f32,
    to: *mut f32,
) {
    // SAFETY: the caller's contract: every offset is one that the sweep visits.
    unsafe {
        let mut acc = [[L::zero(); V]; T];
        for (image, row) in (0..images).flat_map(|image| (0..s.rows).map(move |row| (image, row))) {
            let mut x = x.add(image * s.input.image + row * s.input.row);
            let mut dy = dy.add(image * s.output.image + row * s.output.row);
            for _ in 0..s.cols {
                let mut slope = [L::zero(); V];
                for v in 0..V {
                    slope[v] = L::load(dy.add(v * LANES));
                }
                for t in 0..T {
                    let value = L::splat(x.add(t));
                    for v in 0..V {
                        acc[t][v] = L::fma(value, slope[v], acc[t][v]);
                    }
                }
                x = x.wrapping_add(s.input.pixel);
                dy = dy.wrapping_add(s.output.pixel);
            }
        }
        for t in 0..T {
            for v in 0..V {
                let to = to.add((t * V + v) * LANES);
                // Adding 1·acc keeps the trait small; the product is exact.
                let sum = L::fma(L::splat(&1.0), acc[t][v], L::load(to.cast_const()));
                L::store(to, sum);
            }
        }
    }
}
