//! The inner loops: sums in registers over all taps, and what follows them.
#![allow(unsafe_code)]

use super::Vector;
use crate::model::Activation;

/// Sums of N rows of weights × P registers of pixels.
#[derive(Clone, Copy)]
pub(in crate::kernel) struct Job {
    /// N weights a tap.
    pub(super) weights: *const f32,
    /// Of each tap, where its pixels begin behind `x`.
    pub(super) offsets: *const u32,
    pub(super) taps: usize,
    pub(super) x: *const f32,
    /// Elements from one register of pixels to the next.
    pub(super) step: usize,
    /// N values that the sums start from; null for zeros.
    pub(super) bias: *const f32,
    pub(super) to: To,
}

/// Where sums go.
#[derive(Clone, Copy)]
pub(super) enum To {
    /// To f32, register after register; rows are `row` apart.
    Middle { to: *mut f32, row: usize },
    /// Finished, to f16.
    Output(Output),
}

#[derive(Clone, Copy)]
pub(super) struct Output {
    pub(super) to: *mut u16,
    /// What is added, placed as the output is; null for nothing. May be the output itself.
    pub(super) second: *const u16,
    /// Elements from one row of weights, and from one register of pixels, to the next.
    pub(super) row: usize,
    pub(super) step: usize,
    /// Pixels of each register, and of the last.
    pub(super) count: usize,
    pub(super) last: usize,
    pub(super) activation: Activation,
}

/// Computes a job.
///
/// # Safety
///
/// For all n < N, p < P, t < taps: `weights` has N·taps elements, `offsets` taps, `bias` N unless it is null; `x` has
/// offsets\[t\] + p·step + LANES elements; the destination has P·LANES elements from n·row on, or `count` (`last` for
/// the last p) elements from n·row + p·step on, and so has `second` unless it is null. To be inlined into a function that
/// has the instruction set.
#[inline(always)]
pub(in crate::kernel) unsafe fn sums<V: Vector, const N: usize, const P: usize>(job: &Job) {
    // SAFETY: the caller's promises are those that the accesses need, one by one.
    unsafe {
        let mut sums = [[V::splat(0.0); P]; N];
        if !job.bias.is_null() {
            for n in 0..N {
                sums[n] = [V::splat(*job.bias.add(n)); P];
            }
        }
        let mut weights = job.weights;
        for tap in 0..job.taps {
            let x = job.x.add(*job.offsets.add(tap) as usize);
            if P > N {
                // Fewer weights than pixels: the weights stay in registers.
                let mut lanes = [V::splat(0.0); N];
                for n in 0..N {
                    lanes[n] = V::splat(*weights.add(n));
                }
                for p in 0..P {
                    let x = V::load(x.add(p * job.step));
                    for n in 0..N {
                        sums[n][p] = V::mul_add(lanes[n], x, sums[n][p]);
                    }
                }
            } else {
                let mut lanes = [V::splat(0.0); P];
                for p in 0..P {
                    lanes[p] = V::load(x.add(p * job.step));
                }
                for n in 0..N {
                    let weight = V::splat(*weights.add(n));
                    for p in 0..P {
                        sums[n][p] = V::mul_add(weight, lanes[p], sums[n][p]);
                    }
                }
            }
            weights = weights.add(N);
        }
        // The sums leave the registers in one place, by indices that are known: that keeps them there until then.
        let mut finished = [[V::splat(0.0); P]; N];
        let (to, row) = match job.to {
            To::Middle { to, row } => (to, row),
            To::Output(_) => (finished.as_mut_ptr().cast(), P * V::LANES),
        };
        for n in 0..N {
            for p in 0..P {
                V::store(sums[n][p], to.add(n * row + p * V::LANES));
            }
        }
        if let To::Output(output) = job.to {
            for n in 0..N {
                for p in 0..P {
                    let at = n * output.row + p * output.step;
                    let count = if p + 1 == P { output.last } else { output.count };
                    let sum = V::load(to.cast_const().add(n * row + p * V::LANES));
                    finish::<V>(sum, &output, at, count);
                }
            }
        }
    }
}

/// Largest finite f16.
const LIMIT: f32 = 65504.0;

/// Adds the residual, activates, rounds and stores `count` values at `at`.
#[inline(always)]
unsafe fn finish<V: Vector>(sum: V::Register, output: &Output, at: usize, count: usize) {
    // SAFETY: as `sums` demands it.
    unsafe {
        let mut value = sum;
        if !output.second.is_null() {
            value = V::add(value, V::widen(output.second.add(at), count));
        }
        // An activation makes 0 of NaN; without one NaN stays.
        let value = match output.activation {
            Activation::None => V::min(V::splat(LIMIT), V::max(V::splat(-LIMIT), value)),
            Activation::Relu => V::min(V::max(value, V::splat(0.0)), V::splat(LIMIT)),
            Activation::Relu6 => V::min(V::max(value, V::splat(0.0)), V::splat(6.0)),
        };
        V::narrow(value, output.to.add(at), count);
    }
}
