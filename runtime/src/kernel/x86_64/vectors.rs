//! x86-64: the kernels on packed weights for AVX2 and AVX-512.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use super::sums::Clamp;
use super::{self as wide, Fill, Job, Output, PackedConv, Part, Planes, Turned, Vector, channels};
use crate::kernel::{Buffers, LayerWeights, Team};
use crate::model::Activation;

/// AVX2, FMA and F16C: 16 registers of 8 lanes.
struct Avx2;

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
pub(in crate::kernel) fn avx2_average(input: &[u16], pixels: usize, output: &mut [u16]) {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn run(input: &[u16], pixels: usize, output: &mut [u16]) {
        wide::average::<Avx2>(input, pixels, output);
    }
    // SAFETY: the caller has asked the processor.
    unsafe { run(input, pixels, output) }
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
        wide::linear::<Avx2>(weights, bias, activation, buffers);
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
        unsafe { turn(turned) }
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

/// Finishes sums that lie pixel by pixel, 8 channels × 8 pixels at a time.
///
/// # Safety
///
/// As `Vector` states it; the machine must have AVX2.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn turn(turned: &Turned) {
    let Turned { sums, step, channels, pixels, to, second, plane, activation } = *turned;
    let clamp = Clamp::<Avx2>::of(activation);
    for channel in (0..channels).step_by(8) {
        for pixel in (0..pixels).step_by(8) {
            let count = 8.min(pixels - pixel);
            // SAFETY: sums of whole eights are there; channels and pixels that exist are in the output.
            unsafe {
                let from = sums.add(pixel * step + channel);
                let rows = transpose([0, 1, 2, 3, 4, 5, 6, 7].map(|i| _mm256_loadu_ps(from.add(i * step))));
                for (i, row) in rows.into_iter().enumerate().take(channels - channel) {
                    let at = (channel + i) * plane + pixel;
                    let mut value = row;
                    if !second.is_null() {
                        value = _mm256_add_ps(value, Avx2::widen(second.add(at), count));
                    }
                    Avx2::narrow(clamp.clamp(value), to.add(at), count);
                }
            }
        }
    }
}

/// Columns of eight rows.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn transpose(rows: [__m256; 8]) -> [__m256; 8] {
    let [a, b, c, d, e, f, g, h] = rows;
    let pairs = |x, y| (_mm256_unpacklo_ps(x, y), _mm256_unpackhi_ps(x, y));
    let ((ab, ab2), (cd, cd2), (ef, ef2), (gh, gh2)) = (pairs(a, b), pairs(c, d), pairs(e, f), pairs(g, h));
    let fours = |x, y| (_mm256_shuffle_ps::<0x44>(x, y), _mm256_shuffle_ps::<0xee>(x, y));
    let ((a, b), (c, d)) = (fours(ab, cd), fours(ab2, cd2));
    let ((e, f), (g, h)) = (fours(ef, gh), fours(ef2, gh2));
    let low = |x, y| _mm256_permute2f128_ps::<0x20>(x, y);
    let high = |x, y| _mm256_permute2f128_ps::<0x31>(x, y);
    [low(a, e), low(b, f), low(c, g), low(d, h), high(a, e), high(b, f), high(c, g), high(d, h)]
}

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
pub(in crate::kernel) fn avx512_average(input: &[u16], pixels: usize, output: &mut [u16]) {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
    fn run(input: &[u16], pixels: usize, output: &mut [u16]) {
        wide::average::<Avx512>(input, pixels, output);
    }
    // SAFETY: the caller has asked the processor.
    unsafe { run(input, pixels, output) }
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
        wide::linear::<Avx512>(weights, bias, activation, buffers);
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
        unsafe { turn(turned) }
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
