//! x86-64: the kernels on packed weights for AVX2 and AVX-512.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use super::wide::{self, Job, Output, PackedConv, Vector};
use super::{Buffers, Team};

/// AVX2, FMA and F16C: 16 registers of 8 lanes.
struct Avx2;

/// Runs a convolution packed for AVX2, which the machine must have.
pub(super) fn avx2_conv(conv: &PackedConv, buffers: &mut Buffers<'_>, team: Option<&mut Team>) -> bool {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn run(conv: &PackedConv, buffers: &mut Buffers<'_>, team: Option<&mut Team>) -> bool {
        wide::run::<Avx2>(conv, buffers, team)
    }
    // SAFETY: the caller has asked the processor.
    unsafe { run(conv, buffers, team) }
}

/// Means of planes; the machine must have AVX2.
pub(super) fn avx2_average(input: &[u16], pixels: usize, output: &mut [u16]) {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn run(input: &[u16], pixels: usize, output: &mut [u16]) {
        wide::average::<Avx2>(input, pixels, output);
    }
    // SAFETY: the caller has asked the processor.
    unsafe { run(input, pixels, output) }
}

/// Multiply-adds alone; the machine must have AVX2.
pub(super) fn avx2_multiply_adds(rounds: u32) -> u64 {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn run(rounds: u32) -> u64 {
        wide::multiply_adds::<Avx2>(rounds)
    }
    // SAFETY: the caller has asked the processor.
    unsafe { run(rounds) }
}

// SAFETY (of the blocks below): as `Vector` states it for each function.
unsafe impl Vector for Avx2 {
    type Register = __m256;
    const LANES: usize = 8;
    const MASKS: bool = false;

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m256 {
        unsafe { _mm256_set1_ps(value) }
    }

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
            let mut halves = [0u16; 8];
            core::ptr::copy_nonoverlapping(from, halves.as_mut_ptr(), count);
            _mm256_cvtph_ps(_mm_loadu_si128(halves.as_ptr().cast()))
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
                let mut halves = [0u16; 8];
                _mm_storeu_si128(halves.as_mut_ptr().cast(), half);
                core::ptr::copy_nonoverlapping(halves.as_ptr(), to, count);
            }
        }
    }

    #[inline(always)]
    unsafe fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_add_ps(a, b) }
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
    unsafe fn fill(conv: &PackedConv, input: *const u16, to: *mut f32, part: (usize, usize, usize)) {
        #[target_feature(enable = "avx2,fma,f16c")]
        unsafe fn fill(conv: &PackedConv, input: *const u16, to: *mut f32, part: (usize, usize, usize)) {
            unsafe { wide::fill::<Avx2>(conv, input, to, part) }
        }
        unsafe { fill(conv, input, to, part) }
    }

    #[inline(always)]
    unsafe fn finish(sums: *const f32, rows: usize, registers: usize, output: &Output) {
        #[target_feature(enable = "avx2,fma,f16c")]
        #[inline(never)]
        unsafe fn finish(sums: *const f32, rows: usize, registers: usize, output: &Output) {
            unsafe { wide::finish::<Avx2>(sums, rows, registers, output) }
        }
        unsafe { finish(sums, rows, registers, output) }
    }
}

/// AVX-512 F, BW and VL: 32 registers of 16 lanes.
struct Avx512;

/// Runs a convolution packed for AVX-512, which the machine must have.
pub(super) fn avx512_conv(conv: &PackedConv, buffers: &mut Buffers<'_>, team: Option<&mut Team>) -> bool {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
    fn run(conv: &PackedConv, buffers: &mut Buffers<'_>, team: Option<&mut Team>) -> bool {
        wide::run::<Avx512>(conv, buffers, team)
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
pub(super) fn avx512_average(input: &[u16], pixels: usize, output: &mut [u16]) {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
    fn run(input: &[u16], pixels: usize, output: &mut [u16]) {
        wide::average::<Avx512>(input, pixels, output);
    }
    // SAFETY: the caller has asked the processor.
    unsafe { run(input, pixels, output) }
}

/// Multiply-adds alone; the machine must have AVX-512.
pub(super) fn avx512_multiply_adds(rounds: u32) -> u64 {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
    fn run(rounds: u32) -> u64 {
        wide::multiply_adds::<Avx512>(rounds)
    }
    // SAFETY: the caller has asked the processor.
    unsafe { run(rounds) }
}

// SAFETY (of the blocks below): as `Vector` states it for each function.
unsafe impl Vector for Avx512 {
    type Register = __m512;
    const LANES: usize = 16;
    const MASKS: bool = true;

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        unsafe { _mm512_set1_ps(value) }
    }

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
    unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
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
    unsafe fn fill(conv: &PackedConv, input: *const u16, to: *mut f32, part: (usize, usize, usize)) {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
        unsafe fn fill(conv: &PackedConv, input: *const u16, to: *mut f32, part: (usize, usize, usize)) {
            unsafe { wide::fill::<Avx512>(conv, input, to, part) }
        }
        unsafe { fill(conv, input, to, part) }
    }

    #[inline(always)]
    unsafe fn finish(sums: *const f32, rows: usize, registers: usize, output: &Output) {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
        #[inline(never)]
        unsafe fn finish(sums: *const f32, rows: usize, registers: usize, output: &Output) {
            unsafe { wide::finish::<Avx512>(sums, rows, registers, output) }
        }
        unsafe { finish(sums, rows, registers, output) }
    }
}
