//! The portable algorithms with NEON, which every A64 core has.
#![allow(unsafe_code)]

use core::arch::aarch64::*;

use crate::kernel::{Buffers, Isa, Kernel, Layer, Output, Primitives, f16, portable};

/// f32 arithmetic and the conversions.
pub(in crate::kernel) struct Neon;

/// Pixels computed together: two registers.
const LANES: usize = 8;

/// Largest finite f16.
const LIMIT: f32 = 65504.0;

// SAFETY (of the blocks below): NEON is part of A64; the slices have the elements that are touched.
impl Primitives<LANES> for Neon {
    type Lanes = [float32x4_t; 2];

    #[inline(always)]
    fn widen(from: &[u16], to: &mut [f32]) {
        let (from, mut to) = (from.chunks_exact(8), to.chunks_exact_mut(8));
        let rest = from.remainder();
        for (from, to) in from.zip(to.by_ref()) {
            unsafe {
                let halves = vreinterpretq_f16_u16(vld1q_u16(from.as_ptr()));
                vst1q_f32(to.as_mut_ptr(), vcvt_f32_f16(vget_low_f16(halves)));
                vst1q_f32(to.as_mut_ptr().add(4), vcvt_high_f32_f16(halves));
            }
        }
        rest.iter().zip(to.into_remainder()).for_each(|(from, to)| *to = Self::widen_one(*from));
    }

    #[inline(always)]
    fn widen_one(from: u16) -> f32 {
        unsafe { vgetq_lane_f32::<0>(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(from)))) }
    }

    #[inline(always)]
    fn narrow(from: &[f32], to: &mut [u16]) {
        let (from, mut to) = (from.chunks_exact(8), to.chunks_exact_mut(8));
        let rest = from.remainder();
        for (from, to) in from.zip(to.by_ref()) {
            unsafe {
                let limit = vdupq_n_f32(LIMIT);
                let clamp = |x| vmaxq_f32(vminq_f32(x, limit), vnegq_f32(limit));
                let low = vcvt_f16_f32(clamp(vld1q_f32(from.as_ptr())));
                let halves = vcvt_high_f16_f32(low, clamp(vld1q_f32(from.as_ptr().add(4))));
                vst1q_u16(to.as_mut_ptr(), vreinterpretq_u16_f16(halves));
            }
        }
        rest.iter().zip(to.into_remainder()).for_each(|(from, to)| *to = f16::narrow(*from));
    }

    #[inline(always)]
    fn splat(value: f32) -> Self::Lanes {
        unsafe { [vdupq_n_f32(value); 2] }
    }

    #[inline(always)]
    fn load(from: &[f32; LANES]) -> Self::Lanes {
        unsafe { [vld1q_f32(from.as_ptr()), vld1q_f32(from.as_ptr().add(4))] }
    }

    #[inline(always)]
    fn store([low, high]: Self::Lanes, to: &mut [f32; LANES]) {
        unsafe {
            vst1q_f32(to.as_mut_ptr(), low);
            vst1q_f32(to.as_mut_ptr().add(4), high);
        }
    }

    #[inline(always)]
    fn mul_add([a0, a1]: Self::Lanes, [b0, b1]: Self::Lanes, [c0, c1]: Self::Lanes) -> Self::Lanes {
        unsafe { [vfmaq_f32(c0, a0, b0), vfmaq_f32(c1, a1, b1)] }
    }
}

impl Kernel for Neon {
    const ISA: Isa = Isa::Neon;

    fn run(layer: &Layer<'_>, mut buffers: Buffers<'_>) {
        if let (Layer::GlobalAverage { input }, Output::Half(output)) = (layer, &mut buffers.output) {
            return average(buffers.input, [input.pixels(), input.width as usize], output);
        }
        #[cfg(feature = "std")]
        if let Layer::Linear { weights, bias, activation } = layer {
            return crate::kernel::linear::linear::<super::linear::InRegisters>(
                weights,
                bias,
                *activation,
                &mut buffers,
            );
        }
        portable::run::<Neon, 4, LANES>(Isa::Neon, layer, buffers);
    }
}

/// The mean of each plane of rows of `width` f16, rounded to f16; rows are summed up and added one after another, as everywhere.
fn average(input: &[u16], [pixels, width]: [usize; 2], output: &mut [u16]) {
    for (plane, to) in input.chunks_exact(pixels.max(1)).zip(output) {
        let mut sum = 0.0;
        portable::add_rows(plane, width, &mut sum, sum_of_row);
        *to = f16::narrow(sum / pixels as f32);
    }
}

/// The sum of a row in eight parts, halves added to halves.
fn sum_of_row(row: &[u16]) -> f32 {
    let eights = row.chunks_exact(8);
    let mut rest = [0.0; 8];
    let last = eights.remainder();
    Neon::widen(last, rest.get_mut(..last.len()).unwrap_or_default());
    let mut sums = [unsafe { vdupq_n_f32(0.0) }; 2];
    for eight in eights {
        unsafe {
            let halves = vreinterpretq_f16_u16(vld1q_u16(eight.as_ptr()));
            sums[0] = vaddq_f32(sums[0], vcvt_f32_f16(vget_low_f16(halves)));
            sums[1] = vaddq_f32(sums[1], vcvt_high_f32_f16(halves));
        }
    }
    let [low, high] = Neon::load(&rest);
    unsafe {
        let four = vaddq_f32(vaddq_f32(sums[0], low), vaddq_f32(sums[1], high));
        let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
        vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two)
    }
}
