//! The inner loop: sums of products in registers over the channels.
// Arrays of registers are indexed by what the compiler knows: that keeps them in registers.
#![allow(unsafe_code, clippy::needless_range_loop)]

use super::super::Vector;
use super::LINE;
use crate::kernel::winograd::TOGETHER;

/// Sums of Q registers of filters for P tiles, of one of a tile's products.
#[derive(Clone, Copy)]
pub(in crate::kernel::x86_64) struct Job {
    /// Q registers of transformed weights a channel.
    pub(super) weights: *const f32,
    pub(super) channels: usize,
    /// Weights that are brought into the cache meanwhile, a line for each channel, where registers are small: they use up weights
    /// faster than the processor foresees. With larger ones it was slower (measured on Zen 4).
    pub(super) ahead: *const f32,
    /// The transformed inputs of the first tile, channel after channel, and elements from there to the next tile's.
    pub(super) x: *const f32,
    pub(super) pitch: usize,
    /// Where the first tile's sums go, and elements from there to the next one's.
    pub(super) to: *mut f32,
    pub(super) step: usize,
}

/// Computes a job: sums of up to [`TOGETHER`] channels, and the sums of those.
///
/// # Safety
///
/// `weights` has Q·LANES elements for each channel, `x` the channels from p·pitch on and the destination Q·LANES elements
/// from p·step on, for all p < P. To be inlined into a function that has the instruction set.
#[inline(always)]
pub(in crate::kernel::x86_64) unsafe fn products<V: Vector, const P: usize, const Q: usize>(job: &Job) {
    // SAFETY: the caller's promises are those that the accesses need, one by one.
    unsafe {
        let mut weights = job.weights;
        let mut ahead = job.ahead;
        let mut first = 0;
        loop {
            let end = job.channels.min(first + TOGETHER);
            let mut sums = [[V::splat(0.0); Q]; P];
            for channel in first..end {
                if V::LANES < LINE {
                    V::prefetch(ahead);
                    ahead = ahead.wrapping_add(LINE);
                }
                let mut lanes = [V::splat(0.0); Q];
                for q in 0..Q {
                    lanes[q] = V::load(weights.add(q * V::LANES));
                }
                for p in 0..P {
                    let x = V::splat(*job.x.add(p * job.pitch + channel));
                    for q in 0..Q {
                        sums[p][q] = V::mul_add(x, lanes[q], sums[p][q]);
                    }
                }
                weights = weights.add(Q * V::LANES);
            }
            for p in 0..P {
                for q in 0..Q {
                    let to = job.to.add(p * job.step + q * V::LANES);
                    let sum = if first == 0 { sums[p][q] } else { V::add(V::load(to), sums[p][q]) };
                    V::store(sum, to);
                }
            }
            first = end;
            if first == job.channels {
                return;
            }
        }
    }
}
