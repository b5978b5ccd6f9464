//! The kernels on packed weights for AVX2.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use super::super::winograd::{self, Spread};
use super::super::{self as wide, Fill, Job, Output, PackedConv, Part, Planes, Turned, Vector, channels};
use crate::kernel::winograd::Registers;
use crate::kernel::{Buffers, LayerWeights, Team};
use crate::model::Activation;

/// AVX2, FMA and F16C: 16 registers of 8 lanes.
pub(super) struct Avx2;

/// `count` ≤ 3 f16, the first in the lowest bits.
#[inline(always)]
unsafe fn few(from: *const u16, count: usize) -> u64 {
    if count == 0 {
        return 0;
    }
    // SAFETY: all three are among them; those that are the same one fall on each other.
    unsafe {
        let at = |i: usize| u64::from(*from.add(i)) << (16 * i);
        at(0) | at(count / 2) | at(count - 1)
    }
}

/// Runs a convolution packed for AVX2, which the machine must have.
pub(in crate::kernel) fn avx2_conv(
    conv: &PackedConv,
    buffers: &mut Buffers<'_>,
    team: Option<&mut Team>,
) -> bool {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn run(conv: &PackedConv, buffers: &mut Buffers<'_>, team: Option<&mut Team>) -> bool {
        wide::run::<Avx2>(conv, buffers, team)
    }
    // SAFETY: the caller has asked the processor.
    unsafe { run(conv, buffers, team) }
}

/// Means of planes; the machine must have AVX2.
pub(in crate::kernel) fn avx2_average(input: &[u16], plane: [usize; 2], output: &mut [u16]) {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn run(input: &[u16], plane: [usize; 2], output: &mut [u16]) {
        wide::average::<Avx2>(input, plane, output);
    }
    // SAFETY: the caller has asked the processor.
    unsafe { run(input, plane, output) }
}

/// A linear layer; the machine must have AVX2.
pub(in crate::kernel) fn avx2_linear(
    weights: &LayerWeights<'_>,
    bias: &[f32],
    activation: Activation,
    buffers: &mut Buffers<'_>,
) {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn run(weights: &LayerWeights<'_>, bias: &[f32], activation: Activation, buffers: &mut Buffers<'_>) {
        crate::kernel::linear::linear::<wide::InRegisters<Avx2>>(weights, bias, activation, buffers);
    }
    // SAFETY: the caller has asked the processor.
    unsafe { run(weights, bias, activation, buffers) }
}

/// Multiply-adds alone; the machine must have AVX2.
pub(in crate::kernel) fn avx2_multiply_adds(rounds: u32) -> u64 {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn run(rounds: u32) -> u64 {
        wide::multiply_adds::<Avx2>(rounds)
    }
    // SAFETY: the caller has asked the processor.
    unsafe { run(rounds) }
}

// SAFETY (of the blocks below): as `Registers` and `Vector` state it for each function.
unsafe impl Registers for Avx2 {
    type Register = __m256;

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m256 {
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
}

unsafe impl Vector for Avx2 {
    const LANES: usize = 8;
    const MASKS: bool = false;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(register: __m256, to: *mut f32) {
        unsafe { _mm256_storeu_ps(to, register) }
    }

    #[inline(always)]
    unsafe fn widen(from: *const u16, count: usize) -> __m256 {
        unsafe {
            if count == 8 {
                return _mm256_cvtph_ps(_mm_loadu_si128(from.cast()));
            }
            let (low, high) = if count < 4 {
                (few(from, count), 0)
            } else {
                (from.cast::<u64>().read_unaligned(), few(from.add(4), count - 4))
            };
            _mm256_cvtph_ps(_mm_set_epi64x(high as i64, low as i64))
        }
    }

    #[inline(always)]
    unsafe fn widen_masked(from: *const u16, mask: u32) -> __m256 {
        unsafe {
            let mut halves = [0u16; 8];
            for (lane, half) in halves.iter_mut().enumerate().filter(|(lane, _)| mask >> lane & 1 != 0) {
                *half = *from.wrapping_add(lane);
            }
            _mm256_cvtph_ps(_mm_loadu_si128(halves.as_ptr().cast()))
        }
    }

    #[inline(always)]
    unsafe fn widen_even(from: *const u16, count: usize) -> __m256 {
        unsafe {
            if count == 8 {
                // Two loads of 8 that share the value in the middle: the sixteenth is not ours to read.
                let low = _mm_and_si128(_mm_loadu_si128(from.cast()), _mm_set1_epi32(0xffff));
                let high = _mm_srli_epi32::<16>(_mm_loadu_si128(from.add(7).cast()));
                return _mm256_cvtph_ps(_mm_packus_epi32(low, high));
            }
            let mut halves = [0u16; 8];
            for (i, half) in halves.iter_mut().enumerate().take(count) {
                *half = *from.add(2 * i);
            }
            _mm256_cvtph_ps(_mm_loadu_si128(halves.as_ptr().cast()))
        }
    }

    #[inline(always)]
    unsafe fn narrow(register: __m256, to: *mut u16, count: usize) {
        unsafe {
            let half = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(register);
            if count == 8 {
                _mm_storeu_si128(to.cast(), half);
            } else {
                let (mut rest, mut to) = (half, to);
                if count & 4 != 0 {
                    _mm_storel_epi64(to.cast(), rest);
                    (rest, to) = (_mm_unpackhi_epi64(rest, rest), to.add(4));
                }
                let mut rest = _mm_cvtsi128_si64(rest);
                if count & 2 != 0 {
                    to.cast::<u32>().write_unaligned(rest as u32);
                    (rest, to) = (rest >> 32, to.add(2));
                }
                if count & 1 != 0 {
                    *to = rest as u16;
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn max(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_max_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn min(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_min_ps(a, b) }
    }

    #[inline(always)]
    fn registers(rows: usize) -> usize {
        match rows {
            1 => 8,
            2 | 3 => 4,
            _ => 2,
        }
    }

    #[inline(always)]
    unsafe fn sums<const N: usize, const P: usize>(job: &Job) {
        #[target_feature(enable = "avx2,fma,f16c")]
        unsafe fn sums<const N: usize, const P: usize>(job: &Job) {
            unsafe { wide::sums::<Avx2, N, P>(job) }
        }
        unsafe { sums::<N, P>(job) }
    }

    #[inline(always)]
    unsafe fn fill(fill: &Fill, input: *const u16, to: *mut f32, part: Part) {
        #[target_feature(enable = "avx2,fma,f16c")]
        unsafe fn run(fill: &Fill, input: *const u16, to: *mut f32, part: Part) {
            unsafe { wide::fill::<Avx2>(fill, input, to, part) }
        }
        unsafe { run(fill, input, to, part) }
    }

    #[inline(always)]
    unsafe fn depthwise<const K: usize, const S: usize>(planes: &Planes<'_>) {
        #[target_feature(enable = "avx2,fma,f16c")]
        unsafe fn depthwise<const K: usize, const S: usize>(planes: &Planes<'_>) {
            unsafe { wide::planes::<Avx2, K, S>(planes) }
        }
        unsafe { depthwise::<K, S>(planes) }
    }

    #[inline(always)]
    fn pixels(registers: usize) -> usize {
        match registers {
            1 => 9,
            _ => 6,
        }
    }

    #[inline(always)]
    unsafe fn channels<const P: usize, const Q: usize>(job: &channels::Job) {
        #[target_feature(enable = "avx2,fma,f16c")]
        unsafe fn sums<const P: usize, const Q: usize>(job: &channels::Job) {
            unsafe { channels::sums::<Avx2, P, Q>(job) }
        }
        unsafe { sums::<P, Q>(job) }
    }

    #[inline(always)]
    unsafe fn turn(turned: &Turned) {
        unsafe { super::turn(turned) }
    }

    #[inline(always)]
    unsafe fn activate(activation: Activation, values: &mut [f32]) {
        #[target_feature(enable = "avx2,fma,f16c")]
        #[inline(never)]
        fn activate(activation: Activation, values: &mut [f32]) {
            crate::kernel::activation::apply_inlined(activation, values);
        }
        unsafe { activate(activation, values) }
    }

    #[inline(always)]
    unsafe fn finish(sums: *mut f32, rows: usize, registers: usize, output: &Output) {
        #[target_feature(enable = "avx2,fma,f16c")]
        #[inline(never)]
        unsafe fn finish(sums: *mut f32, rows: usize, registers: usize, output: &Output) {
            unsafe { wide::finish::<Avx2>(sums, rows, registers, output) }
        }
        unsafe { finish(sums, rows, registers, output) }
    }

    #[inline(always)]
    fn tiles(registers: usize) -> usize {
        match registers {
            1 => 12,
            2 => 6,
            _ => 4,
        }
    }

    #[inline(always)]
    unsafe fn prefetch(at: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    #[inline(always)]
    unsafe fn products<const P: usize, const Q: usize>(job: &winograd::Job) {
        #[target_feature(enable = "avx2,fma,f16c")]
        unsafe fn products<const P: usize, const Q: usize>(job: &winograd::Job) {
            unsafe { winograd::products::<Avx2, P, Q>(job) }
        }
        unsafe { products::<P, Q>(job) }
    }

    #[inline(always)]
    unsafe fn spread(spread: &Spread) {
        unsafe { super::spread(spread) }
    }

    #[inline(always)]
    unsafe fn to_tiles<const SIDE: usize>(row: &winograd::Row) {
        #[target_feature(enable = "avx2,fma,f16c")]
        unsafe fn run<const SIDE: usize>(row: &winograd::Row) {
            unsafe { winograd::to_tiles::<Avx2, SIDE>(row) }
        }
        unsafe { run::<SIDE>(row) }
    }

    #[inline(always)]
    unsafe fn from_tiles<const SIDE: usize, const OUTPUTS: usize>(sums: &winograd::Sums) {
        #[target_feature(enable = "avx2,fma,f16c")]
        unsafe fn run<const SIDE: usize, const OUTPUTS: usize>(sums: &winograd::Sums) {
            unsafe { winograd::from_tiles::<Avx2, SIDE, OUTPUTS>(sums) }
        }
        unsafe { run::<SIDE, OUTPUTS>(sums) }
    }
}
