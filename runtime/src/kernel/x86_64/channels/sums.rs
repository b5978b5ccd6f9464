//! The inner loop: sums in registers over all taps.
// Arrays of registers are indexed by what the compiler knows: that keeps them in registers.
#![allow(unsafe_code, clippy::needless_range_loop)]

use super::super::Vector;
use super::MOST_PIXELS;

/// Sums of Q registers of channels for P pixels.
#[derive(Clone, Copy)]
pub(in crate::kernel::x86_64) struct Job {
    /// Q registers of f16 a tap.
    pub(super) weights: *const u16,
    /// Where each tap lies behind a pixel.
    pub(super) offsets: *const u32,
    pub(super) taps: usize,
    /// The pixels.
    pub(super) x: [*const f32; MOST_PIXELS],
    /// Q registers that the sums begin with.
    pub(super) bias: *const f32,
    /// Where the sums of the first pixel go, and elements from there to the next one's.
    pub(super) to: *mut f32,
    pub(super) step: usize,
}

/// Computes a job.
///
/// # Safety
///
/// `weights` has Q·LANES·taps elements, `offsets` taps, `bias` Q·LANES; each of the P pixels has every offset behind it;
/// the destination has Q·LANES elements from p·step on for all p < P. To be inlined into a function that has the
/// instruction set.
#[inline(always)]
pub(in crate::kernel::x86_64) unsafe fn sums<V: Vector, const P: usize, const Q: usize>(job: &Job) {
    // SAFETY: the caller's promises are those that the accesses need, one by one.
    unsafe {
        let mut sums = [[V::splat(0.0); Q]; P];
        for q in 0..Q {
            let bias = V::load(job.bias.add(q * V::LANES));
            for p in 0..P {
                sums[p][q] = bias;
            }
        }
        let mut pixels = [job.x[0]; P];
        pixels.copy_from_slice(&job.x[..P]);
        let mut weights = job.weights;
        for tap in 0..job.taps {
            let offset = *job.offsets.add(tap) as usize;
            let mut lanes = [V::splat(0.0); Q];
            for q in 0..Q {
                lanes[q] = V::widen(weights.add(q * V::LANES), V::LANES);
            }
            for p in 0..P {
                let x = V::splat(*pixels[p].add(offset));
                for q in 0..Q {
                    sums[p][q] = V::mul_add(x, lanes[q], sums[p][q]);
                }
            }
            weights = weights.add(Q * V::LANES);
        }
        for p in 0..P {
            for q in 0..Q {
                V::store(sums[p][q], job.to.add(p * job.step + q * V::LANES));
            }
        }
    }
}
