//! The kernels on packed weights for AVX-512.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use super::super::winograd::{self, Spread};
use super::super::{self as wide, Fill, Job, Output, PackedConv, Part, Planes, Turned, Vector, channels};
use super::avx2::{Avx2, avx2_conv};
use crate::kernel::winograd::Registers;
use crate::kernel::{Buffers, LayerWeights, Team};
use crate::model::Activation;

/// AVX-512 F, BW and VL: 32 registers of 16 lanes.
struct Avx512;

/// Runs a convolution packed for AVX-512, which the machine must have.
pub(in crate::kernel) fn avx512_conv(
    conv: &PackedConv,
    buffers: &mut Buffers<'_>,
    team: Option<&mut Team>,
) -> bool {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
    fn run(conv: &PackedConv, buffers: &mut Buffers<'_>, team: Option<&mut Team>) -> bool {
        wide::run::<Avx512>(conv, buffers, team)
    }
    if conv.lanes() == Avx2::LANES {
        return avx2_conv(conv, buffers, team);
    }
    // SAFETY: the caller has asked the processor.
    unsafe { run(conv, buffers, team) }
}

/// The lowest `count` ≤ 32 bits.
#[inline(always)]
fn mask(count: usize) -> u32 {
    ((1u64 << count) - 1) as u32
}

/// Means of planes; the machine must have AVX-512.
pub(in crate::kernel) fn avx512_average(input: &[u16], plane: [usize; 2], output: &mut [u16]) {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
    fn run(input: &[u16], plane: [usize; 2], output: &mut [u16]) {
        wide::average::<Avx512>(input, plane, output);
    }
    // SAFETY: the caller has asked the processor.
    unsafe { run(input, plane, output) }
}

/// A linear layer; the machine must have AVX-512.
pub(in crate::kernel) fn avx512_linear(
    weights: &LayerWeights<'_>,
    bias: &[f32],
    activation: Activation,
    buffers: &mut Buffers<'_>,
) {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
    fn run(weights: &LayerWeights<'_>, bias: &[f32], activation: Activation, buffers: &mut Buffers<'_>) {
        crate::kernel::linear::linear::<wide::InRegisters<Avx512>>(weights, bias, activation, buffers);
    }
    // SAFETY: the caller has asked the processor.
    unsafe { run(weights, bias, activation, buffers) }
}

/// Multiply-adds alone; the machine must have AVX-512.
pub(in crate::kernel) fn avx512_multiply_adds(rounds: u32) -> u64 {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
    fn run(rounds: u32) -> u64 {
        wide::multiply_adds::<Avx512>(rounds)
    }
    // SAFETY: the caller has asked the processor.
    unsafe { run(rounds) }
}

// SAFETY (of the blocks below): as `Registers` and `Vector` state it for each function.
unsafe impl Registers for Avx512 {
    type Register = __m512;

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
}

unsafe impl Vector for Avx512 {
    const LANES: usize = 16;
    const MASKS: bool = true;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(register: __m512, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, register) }
    }

    #[inline(always)]
    unsafe fn widen(from: *const u16, count: usize) -> __m512 {
        unsafe {
            if count == 16 {
                _mm512_cvtph_ps(_mm256_loadu_si256(from.cast()))
            } else {
                _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask(count) as u16, from.cast()))
            }
        }
    }

    #[inline(always)]
    unsafe fn widen_masked(from: *const u16, mask: u32) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask as u16, from.cast())) }
    }

    #[inline(always)]
    unsafe fn widen_even(from: *const u16, count: usize) -> __m512 {
        unsafe {
            let pairs = _mm512_maskz_loadu_epi16(mask(2 * count - 1), from.cast());
            _mm512_cvtph_ps(_mm512_cvtepi32_epi16(pairs))
        }
    }

    #[inline(always)]
    unsafe fn narrow(register: __m512, to: *mut u16, count: usize) {
        unsafe {
            let half = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(register);
            if count == 16 {
                _mm256_storeu_si256(to.cast(), half);
            } else {
                _mm256_mask_storeu_epi16(to.cast(), mask(count) as u16, half);
            }
        }
    }

    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }

    #[inline(always)]
    fn registers(rows: usize) -> usize {
        match rows {
            1..=3 => 8,
            4..=6 => 4,
            _ => 2,
        }
    }

    #[inline(always)]
    unsafe fn sums<const N: usize, const P: usize>(job: &Job) {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
        unsafe fn sums<const N: usize, const P: usize>(job: &Job) {
            unsafe { wide::sums::<Avx512, N, P>(job) }
        }
        unsafe { sums::<N, P>(job) }
    }

    #[inline(always)]
    unsafe fn fill(fill: &Fill, input: *const u16, to: *mut f32, part: Part) {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
        unsafe fn run(fill: &Fill, input: *const u16, to: *mut f32, part: Part) {
            unsafe { wide::fill::<Avx512>(fill, input, to, part) }
        }
        unsafe { run(fill, input, to, part) }
    }

    #[inline(always)]
    unsafe fn depthwise<const K: usize, const S: usize>(planes: &Planes<'_>) {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
        unsafe fn depthwise<const K: usize, const S: usize>(planes: &Planes<'_>) {
            unsafe { wide::planes::<Avx512, K, S>(planes) }
        }
        unsafe { depthwise::<K, S>(planes) }
    }

    #[inline(always)]
    fn pixels(registers: usize) -> usize {
        if registers == 4 { 6 } else { 9 }
    }

    #[inline(always)]
    unsafe fn channels<const P: usize, const Q: usize>(job: &channels::Job) {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
        unsafe fn sums<const P: usize, const Q: usize>(job: &channels::Job) {
            unsafe { channels::sums::<Avx512, P, Q>(job) }
        }
        unsafe { sums::<P, Q>(job) }
    }

    #[inline(always)]
    unsafe fn turn(turned: &Turned) {
        unsafe { super::turn(turned) }
    }

    #[inline(always)]
    unsafe fn activate(activation: Activation, values: &mut [f32]) {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
        #[inline(never)]
        fn activate(activation: Activation, values: &mut [f32]) {
            crate::kernel::activation::apply_inlined(activation, values);
        }
        unsafe { activate(activation, values) }
    }

    #[inline(always)]
    unsafe fn finish(sums: *mut f32, rows: usize, registers: usize, output: &Output) {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
        #[inline(never)]
        unsafe fn finish(sums: *mut f32, rows: usize, registers: usize, output: &Output) {
            unsafe { wide::finish::<Avx512>(sums, rows, registers, output) }
        }
        unsafe { finish(sums, rows, registers, output) }
    }

    #[inline(always)]
    fn tiles(registers: usize) -> usize {
        match registers {
            1 | 2 => 12,
            3 => 9,
            _ => 6,
        }
    }

    #[inline(always)]
    unsafe fn prefetch(at: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    #[inline(always)]
    unsafe fn products<const P: usize, const Q: usize>(job: &winograd::Job) {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
        unsafe fn products<const P: usize, const Q: usize>(job: &winograd::Job) {
            unsafe { winograd::products::<Avx512, P, Q>(job) }
        }
        unsafe { products::<P, Q>(job) }
    }

    #[inline(always)]
    unsafe fn spread(spread: &Spread) {
        unsafe { super::spread(spread) }
    }

    #[inline(always)]
    unsafe fn to_tiles<const SIDE: usize>(row: &winograd::Row) {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
        unsafe fn run<const SIDE: usize>(row: &winograd::Row) {
            unsafe { winograd::to_tiles::<Avx512, SIDE>(row) }
        }
        unsafe { run::<SIDE>(row) }
    }

    #[inline(always)]
    unsafe fn from_tiles<const SIDE: usize, const OUTPUTS: usize>(sums: &winograd::Sums) {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
        unsafe fn run<const SIDE: usize, const OUTPUTS: usize>(sums: &winograd::Sums) {
            unsafe { winograd::from_tiles::<Avx512, SIDE, OUTPUTS>(sums) }
        }
        unsafe { run::<SIDE, OUTPUTS>(sums) }
    }
}
