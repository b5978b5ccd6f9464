//! The arithmetic of the sums: f32 or f16.
#![allow(unsafe_code)]

use core::arch::aarch64::*;

use super::geometry;
use crate::kernel::Arithmetic;

/// What pixels and weights are while they are multiplied.
///
/// # Safety
///
/// Everything here may only be inlined into functions that have the instructions. Pointers need no alignment beyond that
/// of their type.
pub(super) unsafe trait Element {
    /// An element in memory.
    type Bits: Copy + Default + 'static;
    /// A register of [`Element::LANES`] elements.
    type Register: Copy;
    /// The arithmetic by its name.
    const ARITHMETIC: Arithmetic;
    /// Elements of a register.
    const LANES: usize = geometry::lanes(Self::ARITHMETIC);
    /// Products that are summed before the sums are carried into f32.
    const CARRY: usize;

    /// An element from the f16 bits of the model file.
    fn element(half: u16) -> Self::Bits;
    /// An element of an f32, rounded.
    fn rounded(value: f32) -> Self::Bits;
    /// The same value in every lane, rounded to an element.
    unsafe fn zero() -> Self::Register;
    /// A register from its bytes.
    unsafe fn register(bytes: uint8x16_t) -> Self::Register;
    /// And the other way.
    unsafe fn bytes(register: Self::Register) -> uint8x16_t;
    /// sum + x · lane `lane` of `weights`, rounded once.
    unsafe fn multiply_add(
        sum: Self::Register,
        x: Self::Register,
        weights: Self::Register,
        lane: usize,
    ) -> Self::Register;
    /// Every lane between those of two bounds; where it is no number, one of them.
    unsafe fn bounded(x: Self::Register, bounds: [Self::Register; 2]) -> Self::Register;
    /// What sums begin with: f32 sums with `bias`, f16 sums with zero.
    unsafe fn begin(bias: f32) -> Self::Register;
    /// Carries sums into f32. They are added to what is there if `resume`, and else, where they are f16, to `bias`.
    unsafe fn carry(sums: Self::Register, to: *mut f32, bias: f32, resume: bool);
    /// Sums in f32, in the first register or in both; arguments as for [`Element::carry`].
    unsafe fn carried(sums: Self::Register, to: *const f32, bias: f32, resume: bool) -> [float32x4_t; 2];
    /// Eight f16, in order, to elements.
    unsafe fn place(halves: uint16x8_t, to: *mut Self::Bits);
    /// `EIGHTS` times eight f16, in order, to elements.
    #[inline(always)]
    unsafe fn place_all<const EIGHTS: usize>(halves: *const u16, to: *mut Self::Bits) {
        for i in 0..EIGHTS {
            unsafe { Self::place(vld1q_u16(halves.add(8 * i)), to.add(8 * i)) }
        }
    }
    /// `count` sums, a multiple of 8 or else the elements up to one are there, to elements in the same place.
    unsafe fn intermediate(sums: *mut f32, count: usize) -> *const Self::Bits;
}

/// f32, on every core.
pub(super) struct Full;

// SAFETY (of the blocks below): as `Element` states it for each function.
unsafe impl Element for Full {
    type Bits = f32;
    type Register = float32x4_t;
    const ARITHMETIC: Arithmetic = Arithmetic::F32;
    const CARRY: usize = usize::MAX;

    fn element(half: u16) -> f32 {
        crate::kernel::f16::widen(half)
    }

    fn rounded(value: f32) -> f32 {
        value
    }

    #[inline(always)]
    unsafe fn zero() -> float32x4_t {
        unsafe { vdupq_n_f32(0.0) }
    }

    #[inline(always)]
    unsafe fn register(bytes: uint8x16_t) -> float32x4_t {
        unsafe { vreinterpretq_f32_u8(bytes) }
    }

    #[inline(always)]
    unsafe fn bytes(register: float32x4_t) -> uint8x16_t {
        unsafe { vreinterpretq_u8_f32(register) }
    }

    #[inline(always)]
    unsafe fn multiply_add(
        sum: float32x4_t,
        x: float32x4_t,
        weights: float32x4_t,
        lane: usize,
    ) -> float32x4_t {
        unsafe {
            match lane {
                0 => vfmaq_laneq_f32::<0>(sum, x, weights),
                1 => vfmaq_laneq_f32::<1>(sum, x, weights),
                2 => vfmaq_laneq_f32::<2>(sum, x, weights),
                _ => vfmaq_laneq_f32::<3>(sum, x, weights),
            }
        }
    }

    #[inline(always)]
    unsafe fn bounded(x: float32x4_t, [low, high]: [float32x4_t; 2]) -> float32x4_t {
        unsafe { vminnmq_f32(vmaxnmq_f32(x, low), high) }
    }

    #[inline(always)]
    unsafe fn begin(bias: f32) -> float32x4_t {
        unsafe { vdupq_n_f32(bias) }
    }

    #[inline(always)]
    unsafe fn carry(sums: float32x4_t, to: *mut f32, _bias: f32, resume: bool) {
        unsafe { vst1q_f32(to, if resume { vaddq_f32(vld1q_f32(to), sums) } else { sums }) }
    }

    #[inline(always)]
    unsafe fn carried(sums: float32x4_t, _to: *const f32, _bias: f32, _resume: bool) -> [float32x4_t; 2] {
        [sums; 2]
    }

    #[inline(always)]
    unsafe fn place(halves: uint16x8_t, to: *mut f32) {
        let halves = unsafe { vreinterpretq_f16_u16(halves) };
        unsafe {
            vst1q_f32(to, vcvt_f32_f16(vget_low_f16(halves)));
            vst1q_f32(to.add(4), vcvt_high_f32_f16(halves));
        }
    }

    #[inline(always)]
    unsafe fn intermediate(sums: *mut f32, _count: usize) -> *const f32 {
        sums
    }
}

/// f16, on cores with FEAT_FP16.
pub(super) struct Half;

unsafe impl Element for Half {
    type Bits = u16;
    type Register = float16x8_t;
    const ARITHMETIC: Arithmetic = Arithmetic::F16;
    const CARRY: usize = 144;

    fn element(half: u16) -> u16 {
        half
    }

    fn rounded(value: f32) -> u16 {
        crate::kernel::f16::narrow(value)
    }

    #[inline(always)]
    unsafe fn zero() -> float16x8_t {
        unsafe { vreinterpretq_f16_u16(vdupq_n_u16(0)) }
    }

    #[inline(always)]
    unsafe fn register(bytes: uint8x16_t) -> float16x8_t {
        unsafe { vreinterpretq_f16_u8(bytes) }
    }

    #[inline(always)]
    unsafe fn bytes(register: float16x8_t) -> uint8x16_t {
        unsafe { vreinterpretq_u8_f16(register) }
    }

    // Inlined where the kernels, which have the feature, call it.
    #[inline]
    #[target_feature(enable = "neon,fp16")]
    unsafe fn multiply_add(
        sum: float16x8_t,
        x: float16x8_t,
        weights: float16x8_t,
        lane: usize,
    ) -> float16x8_t {
        match lane {
            0 => vfmaq_laneq_f16::<0>(sum, x, weights),
            1 => vfmaq_laneq_f16::<1>(sum, x, weights),
            2 => vfmaq_laneq_f16::<2>(sum, x, weights),
            3 => vfmaq_laneq_f16::<3>(sum, x, weights),
            4 => vfmaq_laneq_f16::<4>(sum, x, weights),
            5 => vfmaq_laneq_f16::<5>(sum, x, weights),
            6 => vfmaq_laneq_f16::<6>(sum, x, weights),
            _ => vfmaq_laneq_f16::<7>(sum, x, weights),
        }
    }

    #[inline]
    #[target_feature(enable = "neon,fp16")]
    unsafe fn bounded(x: float16x8_t, [low, high]: [float16x8_t; 2]) -> float16x8_t {
        vminnmq_f16(vmaxnmq_f16(x, low), high)
    }

    #[inline(always)]
    unsafe fn begin(_bias: f32) -> float16x8_t {
        unsafe { Self::zero() }
    }

    #[inline(always)]
    unsafe fn carry(sums: float16x8_t, to: *mut f32, bias: f32, resume: bool) {
        unsafe {
            let [low, high] = Self::carried(sums, to, bias, resume);
            vst1q_f32(to, low);
            vst1q_f32(to.add(4), high);
        }
    }

    #[inline(always)]
    unsafe fn carried(sums: float16x8_t, to: *const f32, bias: f32, resume: bool) -> [float32x4_t; 2] {
        unsafe {
            let mut before = [vdupq_n_f32(bias); 2];
            if resume {
                before = [vld1q_f32(to), vld1q_f32(to.add(4))];
            }
            [
                vaddq_f32(before[0], vcvt_f32_f16(vget_low_f16(sums))),
                vaddq_f32(before[1], vcvt_high_f32_f16(sums)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn place(halves: uint16x8_t, to: *mut u16) {
        unsafe { vst1q_u16(to, halves) }
    }

    #[inline(always)]
    unsafe fn place_all<const EIGHTS: usize>(halves: *const u16, to: *mut u16) {
        unsafe {
            match EIGHTS {
                2 => vst1q_u16_x2(to, vld1q_u16_x2(halves)),
                4 => vst1q_u16_x4(to, vld1q_u16_x4(halves)),
                _ => (0..EIGHTS).for_each(|i| Self::place(vld1q_u16(halves.add(8 * i)), to.add(8 * i))),
            }
        }
    }

    #[inline(always)]
    unsafe fn intermediate(sums: *mut f32, count: usize) -> *const u16 {
        let to = sums.cast::<u16>();
        for at in (0..count).step_by(8) {
            // Eight f32 are read before the half of their room is written.
            unsafe {
                let (low, high) = (vld1q_f32(sums.add(at)), vld1q_f32(sums.add(at + 4)));
                vst1q_u16(to.add(at), narrow(low, high));
            }
        }
        to
    }
}

/// To f16, nearest even; what exceeds the range becomes ±65504.
#[inline(always)]
pub(super) unsafe fn narrow(low: float32x4_t, high: float32x4_t) -> uint16x8_t {
    unsafe {
        let limit = vdupq_n_f32(65504.0);
        let clamp = |x| vmaxq_f32(vminq_f32(x, limit), vnegq_f32(limit));
        vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(clamp(low)), clamp(high)))
    }
}
