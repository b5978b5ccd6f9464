//! x86-64: the portable algorithms compiled for AVX2 and AVX-512, with the F16C conversions.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use super::vectors;
use crate::kernel::{Buffers, Isa, Kernel, Layer, Output, Primitives, f16, portable};

/// Largest finite f16.
const LIMIT: f32 = 65504.0;

/// AVX2, FMA and F16C.
pub(in crate::kernel) struct Avx2;

/// Pixels computed together with AVX2: two registers.
const LANES_AVX2: usize = 16;

impl Primitives<LANES_AVX2> for Avx2 {
    type Lanes = [__m256; 2];

    #[inline(always)]
    fn widen(from: &[u16], to: &mut [f32]) {
        let (from, to) = (from.chunks_exact(8), to.chunks_exact_mut(8));
        let rest = from.remainder();
        let mut to = to;
        for (from, to) in from.zip(to.by_ref()) {
            // SAFETY: the slices have 8 elements; this is only inlined into functions with these features.
            unsafe {
                _mm256_storeu_ps(to.as_mut_ptr(), _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().cast())))
            };
        }
        rest.iter().zip(to.into_remainder()).for_each(|(from, to)| *to = widen_one(*from));
    }

    #[inline(always)]
    fn widen_one(from: u16) -> f32 {
        widen_one(from)
    }

    #[inline(always)]
    fn narrow(from: &[f32], to: &mut [u16]) {
        let (from, to) = (from.chunks_exact(8), to.chunks_exact_mut(8));
        let rest = from.remainder();
        let mut to = to;
        for (from, to) in from.zip(to.by_ref()) {
            // SAFETY: the slices have 8 elements; this is only inlined into functions with these features.
            unsafe {
                let limit = _mm256_set1_ps(LIMIT);
                let low =
                    _mm256_max_ps(_mm256_sub_ps(_mm256_setzero_ps(), limit), _mm256_loadu_ps(from.as_ptr()));
                let half = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm256_min_ps(limit, low));
                _mm_storeu_si128(to.as_mut_ptr().cast(), half);
            }
        }
        rest.iter().zip(to.into_remainder()).for_each(|(from, to)| *to = f16::narrow(*from));
    }

    #[inline(always)]
    fn splat(value: f32) -> Self::Lanes {
        // SAFETY: no memory is touched; features as above.
        unsafe { [_mm256_set1_ps(value); 2] }
    }

    #[inline(always)]
    fn load(from: &[f32; LANES_AVX2]) -> Self::Lanes {
        // SAFETY: the array has 16 elements; features as above.
        unsafe { [_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from.as_ptr().add(8))] }
    }

    #[inline(always)]
    fn store([low, high]: Self::Lanes, to: &mut [f32; LANES_AVX2]) {
        // SAFETY: the array has 16 elements; features as above.
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), low);
            _mm256_storeu_ps(to.as_mut_ptr().add(8), high);
        }
    }

    #[inline(always)]
    fn mul_add([a0, a1]: Self::Lanes, [b0, b1]: Self::Lanes, [c0, c1]: Self::Lanes) -> Self::Lanes {
        // SAFETY: no memory is touched; features as above.
        unsafe { [_mm256_fmadd_ps(a0, b0, c0), _mm256_fmadd_ps(a1, b1, c1)] }
    }
}

#[inline(always)]
fn widen_one(half: u16) -> f32 {
    // SAFETY: no memory is touched; this is only inlined into functions with F16C.
    unsafe { _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(half)))) }
}

impl Kernel for Avx2 {
    const ISA: Isa = Isa::Avx2;

    fn run(layer: &Layer<'_>, mut buffers: Buffers<'_>) {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn run(layer: &Layer<'_>, buffers: Buffers<'_>) {
            portable::run::<Avx2, 4, LANES_AVX2>(Isa::Avx2, layer, buffers);
        }
        if let (Layer::GlobalAverage { input }, Output::Half(output)) = (layer, &mut buffers.output) {
            return vectors::avx2_average(buffers.input, [input.pixels(), input.width as usize], output);
        }
        if let Layer::Linear { weights, bias, activation } = layer {
            return vectors::avx2_linear(weights, bias, *activation, &mut buffers);
        }
        // SAFETY: callers ask `Isa::is_available` first, as `Kernel` demands.
        unsafe { run(layer, buffers) }
    }
}

/// AVX-512 F, BW and VL, with what AVX2 has.
pub(in crate::kernel) struct Avx512;

/// The lowest `count` of 16 lanes.
#[inline(always)]
fn mask(count: usize) -> u16 {
    ((1u32 << count.min(16)) - 1) as u16
}

/// Pixels computed together with AVX-512: two registers.
const LANES_AVX512: usize = 32;

impl Primitives<LANES_AVX512> for Avx512 {
    type Lanes = [__m512; 2];

    #[inline(always)]
    fn widen(from: &[u16], to: &mut [f32]) {
        for (from, to) in from.chunks(16).zip(to.chunks_mut(16)) {
            let mask = mask(from.len().min(to.len()));
            // SAFETY: the mask covers no more elements than the slices have; features as above.
            unsafe {
                let half = _mm256_maskz_loadu_epi16(mask, from.as_ptr().cast());
                _mm512_mask_storeu_ps(to.as_mut_ptr(), mask, _mm512_cvtph_ps(half));
            }
        }
    }

    #[inline(always)]
    fn widen_one(from: u16) -> f32 {
        widen_one(from)
    }

    #[inline(always)]
    fn narrow(from: &[f32], to: &mut [u16]) {
        for (from, to) in from.chunks(16).zip(to.chunks_mut(16)) {
            let mask = mask(from.len().min(to.len()));
            // SAFETY: the mask covers no more elements than the slices have; features as above.
            unsafe {
                let low = _mm512_max_ps(_mm512_set1_ps(-LIMIT), _mm512_maskz_loadu_ps(mask, from.as_ptr()));
                let half =
                    _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm512_min_ps(_mm512_set1_ps(LIMIT), low));
                _mm256_mask_storeu_epi16(to.as_mut_ptr().cast(), mask, half);
            }
        }
    }

    #[inline(always)]
    fn splat(value: f32) -> Self::Lanes {
        // SAFETY: no memory is touched; features as above.
        unsafe { [_mm512_set1_ps(value); 2] }
    }

    #[inline(always)]
    fn load(from: &[f32; LANES_AVX512]) -> Self::Lanes {
        // SAFETY: the array has 32 elements; features as above.
        unsafe { [_mm512_loadu_ps(from.as_ptr()), _mm512_loadu_ps(from.as_ptr().add(16))] }
    }

    #[inline(always)]
    fn store([low, high]: Self::Lanes, to: &mut [f32; LANES_AVX512]) {
        // SAFETY: the array has 32 elements; features as above.
        unsafe {
            _mm512_storeu_ps(to.as_mut_ptr(), low);
            _mm512_storeu_ps(to.as_mut_ptr().add(16), high);
        }
    }

    #[inline(always)]
    fn mul_add([a0, a1]: Self::Lanes, [b0, b1]: Self::Lanes, [c0, c1]: Self::Lanes) -> Self::Lanes {
        // SAFETY: no memory is touched; features as above.
        unsafe { [_mm512_fmadd_ps(a0, b0, c0), _mm512_fmadd_ps(a1, b1, c1)] }
    }
}

impl Kernel for Avx512 {
    const ISA: Isa = Isa::Avx512;

    fn run(layer: &Layer<'_>, mut buffers: Buffers<'_>) {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
        fn run(layer: &Layer<'_>, buffers: Buffers<'_>) {
            portable::run::<Avx512, 4, LANES_AVX512>(Isa::Avx512, layer, buffers);
        }
        if let (Layer::GlobalAverage { input }, Output::Half(output)) = (layer, &mut buffers.output) {
            return vectors::avx512_average(buffers.input, [input.pixels(), input.width as usize], output);
        }
        if let Layer::Linear { weights, bias, activation } = layer {
            return vectors::avx512_linear(weights, bias, *activation, &mut buffers);
        }
        // SAFETY: callers ask `Isa::is_available` first, as `Kernel` demands.
        unsafe { run(layer, buffers) }
    }
}
