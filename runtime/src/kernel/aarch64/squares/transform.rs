//! The transforms of tiles that lie in the lanes.
#![allow(unsafe_code, clippy::needless_range_loop)]

use core::arch::aarch64::*;

use super::super::element::{Element, Full, Half, narrow};
use super::super::finish::some;
use super::super::geometry::Squares;
use super::super::load;
use crate::kernel::winograd::{self, Registers};

/// The buffers of one strip.
pub(in crate::kernel::aarch64) struct Strip<B> {
    pub(super) patch: *mut B,
    pub(super) values: *mut B,
    pub(super) sums: *mut f32,
    pub(super) middle: *mut B,
    /// First row of tiles, and their number.
    pub(super) top: usize,
    pub(super) rows: usize,
}

/// NEON's f32.
struct Lanes;

// SAFETY: NEON is part of A64.
unsafe impl Registers for Lanes {
    type Register = float32x4_t;

    #[inline(always)]
    unsafe fn splat(value: f32) -> float32x4_t {
        unsafe { vdupq_n_f32(value) }
    }

    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vaddq_f32(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vsubq_f32(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmulq_f32(a, b) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(c, a, b) }
    }
}

/// The inputs of an element's tiles.
///
/// # Safety
///
/// Everything here may only be inlined into functions that have the instructions.
pub(in crate::kernel::aarch64) unsafe trait Tiles<const SIDE: usize>:
    Element
{
    /// SIDE columns of as many tiles side by side as there are lanes.
    unsafe fn columns(from: *const Self::Bits) -> [Self::Register; SIDE];
    /// [`winograd::input`].
    unsafe fn input(side: &[Self::Register; SIDE]) -> [Self::Register; SIDE];
}

// SAFETY: NEON is part of A64.
unsafe impl Tiles<6> for Full {
    #[inline(always)]
    unsafe fn columns(from: *const f32) -> [float32x4_t; 6] {
        // SAFETY: as for `forth`.
        unsafe {
            let ([a, b, c, d], [e, f, _, _]) = (load::four(from), load::four(from.add(4)));
            [a, b, c, d, e, f]
        }
    }

    #[inline(always)]
    unsafe fn input(side: &[float32x4_t; 6]) -> [float32x4_t; 6] {
        // SAFETY: NEON is part of A64.
        unsafe { winograd::input::<Lanes, 6>(side) }
    }
}

// SAFETY: inlined where the instructions are there.
unsafe impl Tiles<4> for Half {
    #[inline(always)]
    unsafe fn columns(from: *const u16) -> [float16x8_t; 4] {
        // SAFETY: as for `forth`.
        unsafe {
            let (uint16x8x2_t(a, b), uint16x8x2_t(c, d)) = (vld2q_u16(from), vld2q_u16(from.add(2)));
            [a, b, c, d].map(|halves| vreinterpretq_f16_u16(halves))
        }
    }

    /// Of 2×2 outputs, as `winograd::input` has it: sums and differences alone.
    #[inline]
    #[target_feature(enable = "neon,fp16")]
    unsafe fn input(d: &[float16x8_t; 4]) -> [float16x8_t; 4] {
        [vsubq_f16(d[0], d[2]), vaddq_f16(d[1], d[2]), vsubq_f16(d[2], d[1]), vsubq_f16(d[1], d[3])]
    }
}

/// Two outputs of each of four tiles, side by side.
#[inline(always)]
pub(super) unsafe fn two(ab: uint16x8_t) -> uint16x8_t {
    // SAFETY: NEON is part of A64.
    unsafe { vzip1q_u16(ab, vextq_u16::<4>(ab, ab)) }
}

/// Four outputs of each of four tiles, side by side.
#[inline(always)]
pub(super) unsafe fn four(ab: uint16x8_t, cd: uint16x8_t) -> [uint16x8_t; 2] {
    // SAFETY: NEON is part of A64.
    unsafe {
        // a0 c0 a1 c1 … and b0 d0 b1 d1 …
        let (ac, bd) = (vzip1q_u16(ab, cd), vzip2q_u16(ab, cd));
        [vzip1q_u16(ac, bd), vzip2q_u16(ac, bd)]
    }
}

/// Adds `count` f16 to the outputs of four tiles.
#[inline(always)]
pub(super) unsafe fn add<const OUT: usize>(
    outputs: [float32x4_t; OUT],
    second: *const u16,
    count: usize,
) -> [float32x4_t; OUT] {
    // SAFETY: the caller has them.
    unsafe {
        let first = some(second, count.min(8));
        let halves = if OUT == 4 {
            let rest = some(second.wrapping_add(8), count.saturating_sub(8));
            let (ac, bd) = (vuzp1q_u16(first, rest), vuzp2q_u16(first, rest));
            [vuzp1q_u16(ac, ac), vuzp1q_u16(bd, bd), vuzp2q_u16(ac, ac), vuzp2q_u16(bd, bd)]
        } else {
            [vuzp1q_u16(first, first), vuzp2q_u16(first, first), first, first]
        };
        core::array::from_fn(|i| {
            vaddq_f32(outputs[i], vcvt_f32_f16(vreinterpret_f16_u16(vget_low_u16(halves[i]))))
        })
    }
}

/// Stores the outputs of four tiles as intermediate values.
#[inline(always)]
pub(super) unsafe fn intermediate<E: Element, const OUT: usize>(
    outputs: [float32x4_t; OUT],
    to: *mut E::Bits,
) {
    // SAFETY: there is room for them.
    unsafe {
        if E::LANES == 8 {
            vst1q_u16(to.cast(), two(narrow(outputs[0], outputs[1])));
        } else if let [a, b, c, d] = outputs[..] {
            vst4q_f32(to.cast(), float32x4x4_t(a, b, c, d));
        }
    }
}

/// Transforms the inputs of a channel's tiles.
#[inline(always)]
pub(super) unsafe fn forth<E: Tiles<SIDE>, const SIDE: usize, const OUT: usize>(
    plan: &Squares,
    strip: &Strip<E::Bits>,
    channel: usize,
    channels: usize,
) {
    let step = (plan.product(channels) * size_of::<E::Bits>()) as isize;
    let pitch = plan.patch.pitch;
    for y in 0..strip.rows {
        for x in (0..plan.across).step_by(E::LANES) {
            // SAFETY: the tiles lie in the patch, and behind them is room; what is written behind the last of them is written
            // again, or means nothing.
            unsafe {
                let from = strip.patch.add(y * OUT * pitch + x * OUT).cast_const();
                let mut lines = [[E::zero(); SIDE]; SIDE];
                for i in 0..SIDE {
                    lines[i] = E::input(&E::columns(from.add(i * pitch)));
                }
                if SIDE == 6 {
                    // By way of memory: there are more than there are registers.
                    load::stored(&mut lines);
                }
                let first = strip.values.add(channel * plan.pitch + y * plan.across + x);
                for j in 0..SIDE {
                    let column = core::array::from_fn(|i| lines[i][j]);
                    let mut to = first.byte_offset(j as isize * step);
                    for value in E::input(&column) {
                        load::put(E::bytes(value), &mut to, SIDE as isize * step);
                    }
                }
            }
        }
    }
}

/// Transforms the sums of row `n` of `rows` back, and gives four tiles a call: outputs by row and column, the row of tiles and
/// the first tile in it. From the right to the left: what is written behind a row is written again by the next.
#[inline(always)]
pub(super) unsafe fn back<E: Element, const SIDE: usize, const OUT: usize>(
    plan: &Squares,
    strip: &Strip<E::Bits>,
    (rows, n): (usize, usize),
    mut each: impl FnMut([[float32x4_t; OUT]; OUT], usize, usize),
) {
    let step = (rows * plan.pitch * size_of::<f32>()) as isize;
    for y in 0..strip.rows {
        for x in (0..plan.across).step_by(4).rev() {
            // SAFETY: the sums are there, and room behind them.
            unsafe {
                let first = strip.sums.add(n * plan.pitch + y * plan.across + x).cast_const();
                let mut lines = [[vdupq_n_f32(0.0); SIDE]; OUT];
                for j in 0..SIDE {
                    let mut from = first.byte_offset(j as isize * step);
                    let mut column = [vdupq_n_f32(0.0); SIDE];
                    for value in &mut column {
                        *value = load::next(&mut from, SIDE as isize * step);
                    }
                    let outputs = winograd::output::<Lanes, SIDE, OUT>(&column);
                    for i in 0..OUT {
                        lines[i][j] = outputs[i];
                    }
                }
                let tile = core::array::from_fn(|i| winograd::output::<Lanes, SIDE, OUT>(&lines[i]));
                each(tile, y, x);
            }
        }
    }
}
