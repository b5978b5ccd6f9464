//! What follows the sums: residual, activation, rounding.
#![allow(unsafe_code)]

use core::arch::aarch64::*;

use super::element::Element;
use crate::kernel::{activate, f16};
use crate::model::Activation;

/// Largest finite f16, and 6.0, as bits.
const MAX: i16 = 0x7bff;
const SIX: i16 = 0x4600;

/// What an activation makes of a sum that is rounded to f16: bounds of the bits, whose order is that of the values as long as
/// these are positive.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// The smallest and the largest as signed numbers.
    low: int16x8_t,
    high: int16x8_t,
    /// The largest as an unsigned one: of values below zero the one that is farthest from it.
    far: uint16x8_t,
}

impl Limits {
    /// Those of the range of f16 for an activation that is more than bounds, which is applied before ([`activated`]).
    #[inline(always)]
    pub(super) fn of(activation: Activation) -> Limits {
        let (low, high) = match activation {
            Activation::None => (i16::MIN, MAX),
            Activation::Relu => (0, MAX),
            Activation::Relu6 => (0, SIX),
            _ => (i16::MIN, MAX),
        };
        // SAFETY: NEON is part of A64.
        unsafe { Limits { low: vdupq_n_s16(low), high: vdupq_n_s16(high), far: vdupq_n_u16(0xfbff) } }
    }

    /// To f16, nearest even, between the bounds.
    #[inline(always)]
    pub(super) fn round(&self, [low, high]: [float32x4_t; 2]) -> uint16x8_t {
        // SAFETY: NEON is part of A64.
        unsafe {
            let halves = vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(low), high));
            let halves = vreinterpretq_s16_u16(vminq_u16(halves, self.far));
            vreinterpretq_u16_s16(vmaxq_s16(vminq_s16(halves, self.high), self.low))
        }
    }
}

/// How sums of f16 arithmetic become results in f16, without a detour by f32: both parts of the bias are added, of which the
/// smaller one comes first, and the result is held between two bounds.
///
/// A bias is the sum of its parts but for 2⁻²² of it. What adding the small part rounds is at most 2⁻¹¹ of the products' sum,
/// one rounding more than those of the products; what adding the large one rounds is the rounding of the result.
#[derive(Clone, Copy)]
pub(super) struct Near {
    /// The bounds, as f16.
    low: u16,
    high: u16,
}

impl Near {
    /// Of an activation that is no more than bounds.
    #[inline(always)]
    pub(super) fn of(activation: Activation) -> Option<Near> {
        const LEAST: u16 = 0xfbff;
        match activation {
            Activation::None => Some(Near { low: LEAST, high: MAX as u16 }),
            Activation::Relu => Some(Near { low: 0, high: MAX as u16 }),
            Activation::Relu6 => Some(Near { low: 0, high: SIX as u16 }),
            _ => None,
        }
    }

    /// The parts of a bias, the small one first.
    pub(super) fn parts(bias: f32) -> [u16; 2] {
        let large = f16::narrow(bias);
        [f16::narrow(bias - f16::widen(large)), large]
    }

    /// One, and the bounds, in registers.
    #[inline(always)]
    pub(super) unsafe fn registers<E: Element>(&self) -> (E::Register, [E::Register; 2]) {
        const ONE: u16 = 0x3c00;
        // SAFETY: no memory is touched.
        unsafe {
            let all = |bits| E::register(vreinterpretq_u8_u16(vdupq_n_u16(bits)));
            (all(ONE), [all(self.low), all(self.high)])
        }
    }
}

/// A sum with two parts of a bias, which lie in a lane of two registers, between bounds: see [`Near`].
#[inline(always)]
pub(super) unsafe fn near<E: Element>(
    sum: E::Register,
    parts: [(E::Register, usize); 2],
    (one, bounds): (E::Register, [E::Register; 2]),
) -> uint16x8_t {
    // SAFETY: no memory is touched; inlined where the instructions of `E` are.
    unsafe {
        let [(small, small_lane), (large, large_lane)] = parts;
        let sum = E::multiply_add(sum, one, small, small_lane);
        let sum = E::multiply_add(sum, one, large, large_lane);
        vreinterpretq_u16_u8(E::bytes(E::bounded(sum, bounds)))
    }
}

/// An activation of each of eight sums, by way of memory. A call, even one that is not made, costs the loops around it their
/// registers: those of the plain activations have none.
#[inline(never)]
pub(super) fn activated([low, high]: [float32x4_t; 2], activation: Activation) -> [float32x4_t; 2] {
    let mut values = [0.0f32; 8];
    // SAFETY: NEON is part of A64, and eight values fit.
    unsafe {
        vst1q_f32(values.as_mut_ptr(), low);
        vst1q_f32(values.as_mut_ptr().add(4), high);
    }
    activate(activation, &mut values);
    // SAFETY: as above.
    unsafe { [vld1q_f32(values.as_ptr()), vld1q_f32(values.as_ptr().add(4))] }
}

/// Stores the first `count` ≤ 8 of eight f16.
///
/// # Safety
///
/// There is room for them.
#[inline(always)]
pub(super) unsafe fn store(halves: uint16x8_t, to: *mut u16, count: usize) {
    // SAFETY: as the caller promises.
    unsafe {
        if count == 8 {
            return vst1q_u16(to, halves);
        }
        let (mut rest, mut to) = (vget_low_u16(halves), to);
        if count & 4 != 0 {
            vst1_u16(to, rest);
            (rest, to) = (vget_high_u16(halves), to.add(4));
        }
        if count & 2 != 0 {
            to.cast::<u32>().write_unaligned(vget_lane_u32::<0>(vreinterpret_u32_u16(rest)));
            (rest, to) = (vext_u16::<2>(rest, rest), to.add(2));
        }
        if count & 1 != 0 {
            *to = vget_lane_u16::<0>(rest);
        }
    }
}

/// The first `count` ≤ 8 of eight f16, with zeros behind them.
///
/// # Safety
///
/// They are there.
#[inline(always)]
pub(super) unsafe fn some(from: *const u16, count: usize) -> uint16x8_t {
    // SAFETY: as the caller promises.
    unsafe {
        if count == 8 {
            return vld1q_u16(from);
        }
        let mut halves = [0; 8];
        for (i, half) in halves.iter_mut().enumerate().take(count) {
            *half = *from.add(i);
        }
        vld1q_u16(halves.as_ptr())
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
        match (second.is_null(), activation.is_plain()) {
            (true, true) => values::<false, true>(sums, second, to, count, activation),
            (false, true) => values::<true, true>(sums, second, to, count, activation),
            (true, false) => values::<false, false>(sums, second, to, count, activation),
            (false, false) => values::<true, false>(sums, second, to, count, activation),
        }
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
unsafe fn values<const SECOND: bool, const PLAIN: bool>(
    sums: *const f32,
    second: *const u16,
    to: *mut u16,
    count: usize,
    activation: Activation,
) {
    let limits = Limits::of(activation);
    // SAFETY: as for `finish`.
    unsafe {
        let eight = |low: float32x4_t, high: float32x4_t, second: uint16x8_t| {
            let sums = if SECOND { add([low, high], second) } else { [low, high] };
            limits.round(if PLAIN { sums } else { activated(sums, activation) })
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
            let left = (count - at).min(8);
            let mut sums_left = [0.0f32; 8];
            core::ptr::copy_nonoverlapping(sums.add(at), sums_left.as_mut_ptr(), left);
            let (low, high) = (vld1q_f32(sums_left.as_ptr()), vld1q_f32(sums_left.as_ptr().add(4)));
            let second = if SECOND { some(second.add(at), left) } else { vdupq_n_u16(0) };
            store(eight(low, high, second), to.add(at), left);
            at += 8;
        }
    }
}
