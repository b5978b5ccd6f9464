//! The inner loops: sums in registers over all taps, and what follows them.
// Arrays of registers are indexed by what the compiler knows: that keeps them in registers.
#![allow(unsafe_code, clippy::needless_range_loop)]

use core::mem::MaybeUninit;

use super::Vector;
use crate::model::Activation;

/// Sums of N rows of weights × P registers of pixels.
#[derive(Clone, Copy)]
pub(super) struct Job {
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
pub(super) unsafe fn sums<V: Vector, const N: usize, const P: usize>(job: &Job) {
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
        // The common case, straight from the registers.
        if let To::Output(output) = &job.to
            && output.activation == Activation::Relu
            && output.last == V::LANES
            && output.count == V::LANES
        {
            let second = !output.second.is_null();
            for n in 0..N {
                for p in 0..P {
                    let at = n * output.row + p * output.step;
                    let mut value = sums[n][p];
                    if second {
                        value = V::add(value, V::widen(output.second.add(at), V::LANES));
                    }
                    let value = V::min(V::max(value, V::splat(0.0)), V::splat(LIMIT));
                    V::narrow(value, output.to.add(at), V::LANES);
                }
            }
            return;
        }
        // The sums leave the registers in one place, by indices that are known: that keeps them there until then.
        let mut values = MaybeUninit::<[[V::Register; P]; N]>::uninit();
        let (to, row) = match job.to {
            To::Middle { to, row } => (to, row),
            To::Output(_) => (values.as_mut_ptr().cast(), P * V::LANES),
        };
        for n in 0..N {
            for p in 0..P {
                V::store(sums[n][p], to.add(n * row + p * V::LANES));
            }
        }
        if let To::Output(output) = &job.to {
            V::finish(to, N, P, output);
        }
    }
}

/// Largest finite f16.
const LIMIT: f32 = 65504.0;

/// What an activation leaves of a sum, within the range of f16.
pub(super) struct Clamp<V: Vector> {
    low: V::Register,
    high: V::Register,
    /// Without an activation NaN stays; with one it becomes 0.
    keeps_nan: bool,
    /// Applied before, where it is more than bounds.
    before: Option<Activation>,
}

impl<V: Vector> Clamp<V> {
    /// That of `activation`. To be inlined into a function that has the instruction set, like what follows.
    #[inline(always)]
    pub(super) fn of(activation: Activation) -> Self {
        let (low, high) = match activation {
            Activation::None => (-LIMIT, LIMIT),
            Activation::Relu => (0.0, LIMIT),
            Activation::Relu6 => (0.0, 6.0),
            _ => (-LIMIT, LIMIT),
        };
        let before = (!activation.is_plain()).then_some(activation);
        // SAFETY: no memory is touched; the function that this is inlined into has the instruction set.
        let (low, high) = unsafe { (V::splat(low), V::splat(high)) };
        let keeps_nan = activation == Activation::None || before.is_some();
        Self { low, high, keeps_nan, before }
    }

    /// The value that is stored.
    #[inline(always)]
    pub(super) fn clamp(&self, value: V::Register) -> V::Register {
        // SAFETY: as above.
        unsafe {
            let value = match self.before {
                Some(activation) => activated::<V>(value, activation),
                None => value,
            };
            match self.keeps_nan {
                true => V::min(self.high, V::max(self.low, value)),
                false => V::min(V::max(value, self.low), self.high),
            }
        }
    }
}

/// An activation of each lane, by way of memory.
///
/// # Safety
///
/// The machine must have the instruction set.
#[inline(always)]
unsafe fn activated<V: Vector>(value: V::Register, activation: Activation) -> V::Register {
    /// Lanes of the widest set.
    const MOST: usize = 16;
    const { assert!(V::LANES <= MOST) };
    let mut lanes = [0.0f32; MOST];
    // SAFETY: a register fits.
    unsafe {
        V::store(value, lanes.as_mut_ptr());
        V::activate(activation, lanes.get_mut(..V::LANES).unwrap_or_default());
        V::load(lanes.as_ptr())
    }
}

/// Adds the residual, activates, rounds and stores `rows` × `registers` registers of sums, which may change.
///
/// # Safety
///
/// `sums` has them, and the output is as for [`sums()`]. To be inlined into a function that has the instruction set.
#[inline(always)]
pub(super) unsafe fn finish<V: Vector>(sums: *mut f32, rows: usize, registers: usize, output: &Output) {
    // An activation makes 0 of NaN; without one NaN stays.
    // SAFETY: as the caller promises.
    unsafe {
        match output.activation {
            Activation::None => each::<V>(sums, rows, registers, output, |value| {
                V::min(V::splat(LIMIT), V::max(V::splat(-LIMIT), value))
            }),
            Activation::Relu => each::<V>(sums, rows, registers, output, |value| {
                V::min(V::max(value, V::splat(0.0)), V::splat(LIMIT))
            }),
            Activation::Relu6 => each::<V>(sums, rows, registers, output, |value| {
                V::min(V::max(value, V::splat(0.0)), V::splat(6.0))
            }),
            other => {
                // All at once: a call for each register would take as long as the sums.
                if !output.second.is_null() {
                    for n in 0..rows {
                        for p in 0..registers {
                            let sums = sums.add((n * registers + p) * V::LANES);
                            let count = if p + 1 == registers { output.last } else { output.count };
                            let second = output.second.add(n * output.row + p * output.step);
                            V::store(V::add(V::load(sums), V::widen(second, count)), sums);
                        }
                    }
                }
                let values = core::slice::from_raw_parts_mut(sums, rows * registers * V::LANES);
                V::activate(other, values);
                let output = Output { second: core::ptr::null(), ..*output };
                each::<V>(sums, rows, registers, &output, |value| {
                    V::min(V::splat(LIMIT), V::max(V::splat(-LIMIT), value))
                });
            }
        }
    }
}

/// As [`finish`], with what comes between the residual and the rounding.
#[inline(always)]
unsafe fn each<V: Vector>(
    sums: *const f32,
    rows: usize,
    registers: usize,
    output: &Output,
    activate: impl Fn(V::Register) -> V::Register,
) {
    // SAFETY: as for `finish`.
    unsafe {
        let one = |sums: *const f32, at: usize, count: usize, second: bool| {
            let mut value = V::load(sums);
            if second {
                value = V::add(value, V::widen(output.second.add(at), count));
            }
            V::narrow(activate(value), output.to.add(at), count);
        };
        let whole = output.last == V::LANES && output.count == V::LANES;
        for n in 0..rows {
            let (sums, at) = (sums.add(n * registers * V::LANES), n * output.row);
            match (whole, output.second.is_null()) {
                (true, true) => {
                    for p in 0..registers {
                        one(sums.add(p * V::LANES), at + p * output.step, V::LANES, false);
                    }
                }
                (true, false) => {
                    for p in 0..registers {
                        one(sums.add(p * V::LANES), at + p * output.step, V::LANES, true);
                    }
                }
                (false, none) => {
                    for p in 0..registers {
                        let count = if p + 1 == registers { output.last } else { output.count };
                        one(sums.add(p * V::LANES), at + p * output.step, count, !none);
                    }
                }
            }
        }
    }
}
