//! The inner loops: sums in registers over all taps.
// Arrays of registers are indexed by what the compiler knows: that keeps them in registers.
#![allow(unsafe_code, clippy::needless_range_loop)]

use core::arch::aarch64::*;

use super::element::{Element, Full, Half};
use super::finish::{Limits, Near, add, near};
use super::load;
use crate::model::Activation;

/// Sums of N rows of weights for blocks of R runs × C registers of pixels.
#[derive(Clone, Copy)]
pub(super) struct Job<B> {
    /// For each tap as many registers as hold N weights.
    pub(super) weights: *const B,
    /// Bytes from the pixels of each tap to those of the next.
    pub(super) steps: *const isize,
    pub(super) taps: usize,
    /// Pixels of the first tap.
    pub(super) x: *const B,
    /// Elements from one run of pixels to the next.
    pub(super) pitch: usize,
    /// N values that the sums start from.
    pub(super) bias: *const f32,
    /// True where the sums are added to those that are there.
    pub(super) resume: bool,
    /// Where they go, and where those are that are added to.
    pub(super) to: *mut f32,
    /// f32 from the sums of one row of weights to those of the next, and from one run to the next.
    pub(super) row: usize,
    pub(super) run: usize,
    /// Blocks, and the elements of pixels and of sums from one to the next.
    pub(super) blocks: usize,
    pub(super) step: [usize; 2],
    /// True where sums, all of their products in them, are written as elements: `to` is then where elements go, and so are
    /// the steps from there.
    pub(super) direct: bool,
    /// Where the results go instead, if sums are finished here.
    pub(super) output: Option<Output>,
}

/// Results of whole registers.
#[derive(Clone, Copy)]
pub(super) struct Output {
    pub(super) to: *mut u16,
    /// What is added, placed as the results are; null for nothing. May be the output itself.
    pub(super) second: *const u16,
    /// Elements from the results of one row of weights, of one run, of one block, to those of the next.
    pub(super) row: usize,
    pub(super) run: usize,
    pub(super) step: usize,
    pub(super) activation: Activation,
    /// Where sums of f16 are finished in f16 ([`Near`]): the small and the large parts of the N biases, in whole registers.
    pub(super) near: Option<(Near, [*const u16; 2])>,
}

/// Computes a job.
///
/// # Safety
///
/// For all n < N, t < taps, r < R, b < blocks: `weights` has as many registers for each tap as hold N elements, `steps` has
/// taps, `bias` N; `x` has C·LANES elements from b·step + r·pitch and the steps before t on, and `to` has
/// b·step + n·row + r·run + C·LANES, and so has the output with its own steps. To be inlined into a function that has the
/// instructions.
#[inline(always)]
unsafe fn sums<E: Element, const N: usize, const R: usize, const C: usize>(job: &Job<E::Bits>) {
    // SAFETY: the caller's promises are those that the accesses need, one by one.
    unsafe {
        let (mut x, mut to, mut output) = (job.x, job.to, job.output);
        for _ in 0..job.blocks {
            let mut sums = [[[E::zero(); C]; R]; N];
            for n in 0..N {
                sums[n] = [[E::begin(*job.bias.add(n)); C]; R];
            }
            // A pointer for each load, up to two in a run: all move from tap to tap by the same step.
            let mut pixels = [[x; 2]; R];
            for r in 0..R {
                pixels[r] = [x.add(r * job.pitch), x.add(r * job.pitch + C / 2 * E::LANES)];
            }
            let (mut weights, mut steps) = (job.weights, job.steps);
            let registers = N.div_ceil(E::LANES);
            // Three taps a round: the loop's own instructions weigh less, and one load may have all of their weights.
            for _ in 0..job.taps / 3 {
                let round = *steps.cast::<[isize; 3]>();
                let first = load::weights(&mut weights, if registers == 1 { 3 } else { registers });
                for i in 0..3 {
                    let lanes = match (registers, i) {
                        (1, _) => [first[i]; 4],
                        (_, 0) => first,
                        _ => load::weights(&mut weights, registers),
                    };
                    tap::<E, N, R, C>(&mut sums, &mut pixels, round[i], lanes);
                }
                steps = steps.add(3);
            }
            for _ in 0..job.taps % 3 {
                let lanes = load::weights(&mut weights, registers);
                tap::<E, N, R, C>(&mut sums, &mut pixels, *steps, lanes);
                steps = steps.add(1);
            }
            if E::LANES == 8 && job.direct {
                let elements = to.cast::<E::Bits>();
                for n in 0..N {
                    for r in 0..R {
                        for c in 0..C {
                            let bytes = E::bytes(sums[n][r][c]);
                            let to = elements.add(n * job.row + r * job.run + c * E::LANES);
                            vst1q_u8(to.cast(), bytes);
                        }
                    }
                }
                (x, to) = (x.wrapping_add(job.step[0]), elements.wrapping_add(job.step[1]).cast());
                continue;
            }
            if let (8, Some(output)) = (E::LANES, &mut output)
                && let Some((near, parts)) = output.near
            {
                halves::<E, N, R, C>(&sums, (near, parts), output);
                output.to = output.to.wrapping_add(output.step);
                (x, to) = (x.wrapping_add(job.step[0]), to.wrapping_add(job.step[1]));
                continue;
            }
            // Read late, not held in registers that the loop needs.
            let bias = load::after(job.bias, E::bytes(sums[N - 1][R - 1][C - 1]));
            // Widening takes more registers than are left: f16 sums go by way of memory after the loop, not in it.
            let mut copy = sums;
            if E::LANES == 8 {
                load::stored(&mut copy);
            }
            let sums = &copy;
            if let Some(output) = &mut output {
                if output.second.is_null() {
                    finish::<E, N, R, C, false>(sums, to, (job, bias), output);
                } else {
                    finish::<E, N, R, C, true>(sums, to, (job, bias), output);
                    output.second = output.second.wrapping_add(output.step);
                }
                output.to = output.to.wrapping_add(output.step);
                (x, to) = (x.wrapping_add(job.step[0]), to.wrapping_add(job.step[1]));
                continue;
            }
            for n in 0..N {
                for r in 0..R {
                    for c in 0..C {
                        let to = to.add(n * job.row + r * job.run + c * E::LANES);
                        E::carry(sums[n][r][c], to, *bias.add(n), job.resume);
                    }
                }
            }
            (x, to) = (x.wrapping_add(job.step[0]), to.wrapping_add(job.step[1]));
        }
    }
}

/// Adds the products of one tap, and moves `pixels` on to the next.
#[inline(always)]
unsafe fn tap<E: Element, const N: usize, const R: usize, const C: usize>(
    sums: &mut [[[E::Register; C]; R]; N],
    pixels: &mut [[*const E::Bits; 2]; R],
    step: isize,
    weights: [uint8x16_t; 4],
) {
    // SAFETY: as for `sums`.
    unsafe {
        let weights = weights.map(|bytes| E::register(bytes));
        for r in 0..R {
            // Up to four registers with one load.
            for half in 0..if C > 4 { 2 } else { 1 } {
                let x = load::pixels(&mut pixels[r][half], step, if C > 4 { 4 } else { C });
                for c in 0..if C > 4 { 4 } else { C } {
                    let x = E::register(x[c]);
                    for n in 0..N {
                        let sum = &mut sums[n][r][half * 4 + c];
                        *sum = E::multiply_add(*sum, x, weights[n / E::LANES], n % E::LANES);
                    }
                }
            }
        }
    }
}

/// Finishes a block of sums in f16.
#[inline(always)]
unsafe fn halves<E: Element, const N: usize, const R: usize, const C: usize>(
    sums: &[[[E::Register; C]; R]; N],
    (how, parts): (Near, [*const u16; 2]),
    output: &Output,
) {
    // SAFETY: as for `sums`; biases lie in whole registers.
    unsafe {
        let registers = how.registers::<E>();
        let mut biases = [[E::zero(); 2]; 2];
        for i in 0..N.div_ceil(8) {
            biases[i] = parts.map(|part| E::register(vreinterpretq_u8_u16(vld1q_u16(part.add(8 * i)))));
        }
        for n in 0..N {
            let bias = biases[n / 8].map(|register| (register, n % 8));
            for r in 0..R {
                for c in 0..C {
                    let to = output.to.add(n * output.row + r * output.run + c * 8);
                    vst1q_u16(to, near::<E>(sums[n][r][c], bias, registers));
                }
            }
        }
    }
}

/// Finishes a block of sums.
#[inline(always)]
unsafe fn finish<E: Element, const N: usize, const R: usize, const C: usize, const SECOND: bool>(
    sums: &[[[E::Register; C]; R]; N],
    to: *const f32,
    (job, bias): (&Job<E::Bits>, *const f32),
    output: &Output,
) {
    let limits = Limits::of(output.activation);
    // SAFETY: as for `sums`.
    unsafe {
        for n in 0..N {
            for r in 0..R {
                let before = to.add(n * job.row + r * job.run);
                let at = n * output.row + r * output.run;
                let carried =
                    |c: usize| E::carried(sums[n][r][c], before.add(c * E::LANES), *bias.add(n), job.resume);
                let results = |full: [float32x4_t; 2], second: uint16x8_t| {
                    let [low, high] = if SECOND { add(full, second) } else { full };
                    limits.round([low, high])
                };
                if C * E::LANES == 4 {
                    // Half of a register.
                    let second = if SECOND { vld1_u16(output.second.add(at)) } else { vdup_n_u16(0) };
                    let results = results(carried(0), vcombine_u16(second, second));
                    vst1_u16(output.to.add(at), vget_low_u16(results));
                    continue;
                }
                for eight in 0..C * E::LANES / 8 {
                    let at = at + eight * 8;
                    let full = if E::LANES == 8 {
                        carried(eight)
                    } else {
                        [carried(eight * 2)[0], carried(eight * 2 + 1)[0]]
                    };
                    let second = if SECOND { vld1q_u16(output.second.add(at)) } else { vdupq_n_u16(0) };
                    vst1q_u16(output.to.add(at), results(full, second));
                }
            }
        }
    }
}

/// The sums of an element.
///
/// # Safety
///
/// They do what the function states, and touch no other memory.
pub(super) unsafe trait Sums: Element + Sized {
    /// Computes a job of `rows` rows of weights, in blocks of `runs` × `registers` registers.
    ///
    /// # Safety
    ///
    /// As for [`sums()`]; the machine has the element's instructions.
    unsafe fn compute(rows: usize, runs: usize, registers: usize, job: &Job<Self::Bits>);
}

/// Calls the kernel for (rows, runs, registers).
macro_rules! dispatch {
    ($kernel:ident, $rows:expr, $runs:expr, $registers:expr, $job:expr) => {
        dispatch!(@ $kernel, ($rows, $runs, $registers), $job,
            [1 (1 1)(1 2)(1 4)(1 8)(2 1)(2 2)(2 4)(4 1)(4 2)(8 1)]
            [2 (1 1)(1 2)(1 4)(1 8)(2 1)(2 2)(2 4)(4 1)(4 2)(8 1)]
            [3 (1 1)(1 2)(1 4)(1 8)(2 1)(2 2)(2 4)(4 1)(4 2)(8 1)]
            [4 (1 1)(1 2)(1 4)(2 1)(2 2)(4 1)]
            [5 (1 1)(1 2)(1 4)(2 1)(2 2)(4 1)]
            [6 (1 1)(1 2)(1 4)(2 1)(2 2)(4 1)]
            [7 (1 1)(1 2)(2 1)]
            [8 (1 1)(1 2)(2 1)]
            [9 (1 1)(1 2)(2 1)]
            [10 (1 1)(1 2)(2 1)]
            [11 (1 1)(1 2)(2 1)]
            [12 (1 1)(1 2)(2 1)])
    };
    (@ $kernel:ident, $key:expr, $job:expr, $([$n:literal $(($r:literal $c:literal))*])*) => {
        match $key {
            // SAFETY: as for the caller.
            $($(($n, $r, $c) => unsafe { $kernel::<$n, $r, $c>($job) },)*)*
            _ => {}
        }
    };
}

unsafe impl Sums for Full {
    unsafe fn compute(rows: usize, runs: usize, registers: usize, job: &Job<f32>) {
        #[inline(never)]
        unsafe fn kernel<const N: usize, const R: usize, const C: usize>(job: &Job<f32>) {
            // SAFETY: NEON is part of A64; otherwise as for the caller.
            unsafe { sums::<Full, N, R, C>(job) }
        }
        dispatch!(kernel, rows, runs, registers, job)
    }
}

unsafe impl Sums for Half {
    unsafe fn compute(rows: usize, runs: usize, registers: usize, job: &Job<u16>) {
        #[inline(never)]
        #[target_feature(enable = "neon,fp16")]
        unsafe fn kernel<const N: usize, const R: usize, const C: usize>(job: &Job<u16>) {
            // SAFETY: as for the caller.
            unsafe { sums::<Half, N, R, C>(job) }
        }
        dispatch!(kernel, rows, runs, registers, job)
    }
}
