//! What follows the sums: residual, activation, rounding.
#![allow(unsafe_code)]

use core::arch::aarch64::*;

use super::element::narrow;
use crate::model::Activation;

/// Largest finite f16, and 6.0, as bits.
const MAX: i16 = 0x7bff;
const SIX: i16 = 0x4600;

/// The largest result of an activation that is 0 for all that is less, as f16 bits.
pub(super) fn limit(activation: Activation) -> Option<i16> {
    match activation {
        Activation::None => None,
        Activation::Relu => Some(MAX),
        Activation::Relu6 => Some(SIX),
    }
}

/// Finishes `count` sums: adds what is at `second` unless that is null, activates, rounds and stores. `second` may be `to`.
///
/// # Safety
///
/// All three have `count` elements.
pub(super) unsafe fn finish(
    sums: *const f32,
    second: *const u16,
    to: *mut u16,
    count: usize,
    activation: Activation,
) {
    // SAFETY: as the caller promises.
    unsafe {
        match (activation, second.is_null()) {
            (Activation::None, true) => values::<false>(sums, second, to, count, |a, b| narrow(a, b)),
            (Activation::None, false) => values::<true>(sums, second, to, count, |a, b| narrow(a, b)),
            (Activation::Relu, true) => values::<false>(sums, second, to, count, |a, b| positive(a, b, MAX)),
            (Activation::Relu, false) => values::<true>(sums, second, to, count, |a, b| positive(a, b, MAX)),
            (Activation::Relu6, true) => values::<false>(sums, second, to, count, |a, b| positive(a, b, SIX)),
            (Activation::Relu6, false) => values::<true>(sums, second, to, count, |a, b| positive(a, b, SIX)),
        }
    }
}

/// To f16, nearest even, at least 0 and at most `limit`. Finite f16 are ordered as their bits are.
#[inline(always)]
pub(super) unsafe fn positive(low: float32x4_t, high: float32x4_t, limit: i16) -> uint16x8_t {
    unsafe {
        let halves = vreinterpretq_s16_f16(vcvt_high_f16_f32(vcvt_f16_f32(low), high));
        vreinterpretq_u16_s16(vminq_s16(vmaxq_s16(halves, vdupq_n_s16(0)), vdupq_n_s16(limit)))
    }
}

/// Adds eight f16.
#[inline(always)]
pub(super) unsafe fn add([low, high]: [float32x4_t; 2], second: uint16x8_t) -> [float32x4_t; 2] {
    unsafe {
        let second = vreinterpretq_f16_u16(second);
        [vaddq_f32(low, vcvt_f32_f16(vget_low_f16(second))), vaddq_f32(high, vcvt_high_f32_f16(second))]
    }
}

#[inline(always)]
unsafe fn values<const SECOND: bool>(
    sums: *const f32,
    second: *const u16,
    to: *mut u16,
    count: usize,
    round: impl Fn(float32x4_t, float32x4_t) -> uint16x8_t,
) {
    // SAFETY: as for `finish`.
    unsafe {
        let eight = |low: float32x4_t, high: float32x4_t, second: uint16x8_t| {
            let [low, high] = if SECOND { add([low, high], second) } else { [low, high] };
            round(low, high)
        };
        let mut at = 0;
        while at + 16 <= count {
            let float32x4x4_t(a, b, c, d) = vld1q_f32_x4(sums.add(at));
            let second = if SECOND {
                vld1q_u16_x2(second.add(at))
            } else {
                uint16x8x2_t(vdupq_n_u16(0), vdupq_n_u16(0))
            };
            vst1q_u16_x2(to.add(at), uint16x8x2_t(eight(a, b, second.0), eight(c, d, second.1)));
            at += 16;
        }
        while at < count {
            // The sums' buffer has whole registers of eight; the others end with the image.
            let (left, mut halves) = ((count - at).min(8), [0u16; 8]);
            if SECOND {
                core::ptr::copy_nonoverlapping(second.add(at), halves.as_mut_ptr(), left);
            }
            let mut sums_left = [0.0f32; 8];
            core::ptr::copy_nonoverlapping(sums.add(at), sums_left.as_mut_ptr(), left);
            let (low, high) = (vld1q_f32(sums_left.as_ptr()), vld1q_f32(sums_left.as_ptr().add(4)));
            vst1q_u16(halves.as_mut_ptr(), eight(low, high, vld1q_u16(halves.as_ptr())));
            core::ptr::copy_nonoverlapping(halves.as_ptr(), to.add(at), left);
            at += 8;
        }
    }
}
