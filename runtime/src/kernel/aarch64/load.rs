//! Loads of up to four registers that move their pointer on: one instruction each, which intrinsics do not give.
#![allow(unsafe_code)]

use core::arch::aarch64::{float32x4_t, uint8x16_t, vdupq_n_u8};
use core::arch::asm;

/// Loads `count` ≤ 4 registers into v0…, and moves `from` behind them. The others are zero.
///
/// # Safety
///
/// `from` has 16·count bytes.
#[inline(always)]
pub(super) unsafe fn weights<B>(from: &mut *const B, count: usize) -> [uint8x16_t; 4] {
    let mut at = *from;
    // SAFETY: as the caller promises; nothing is written.
    unsafe {
        let zero = vdupq_n_u8(0);
        let (mut a, mut b, mut c, mut d) = (zero, zero, zero, zero);
        match count {
            1 => asm!("ld1 {{v0.16b}}, [{0}], #16", inout(reg) at, out("v0") a,
                options(pure, readonly, nostack, preserves_flags)),
            2 => asm!("ld1 {{v0.16b, v1.16b}}, [{0}], #32", inout(reg) at, out("v0") a, out("v1") b,
                options(pure, readonly, nostack, preserves_flags)),
            3 => asm!("ld1 {{v0.16b, v1.16b, v2.16b}}, [{0}], #48", inout(reg) at,
                out("v0") a, out("v1") b, out("v2") c,
                options(pure, readonly, nostack, preserves_flags)),
            _ => asm!("ld1 {{v0.16b, v1.16b, v2.16b, v3.16b}}, [{0}], #64", inout(reg) at,
                out("v0") a, out("v1") b, out("v2") c, out("v3") d,
                options(pure, readonly, nostack, preserves_flags)),
        }
        *from = at;
        [a, b, c, d]
    }
}

/// Loads `count` (1, 2 or 4) registers into v28…, and moves `from` on by `step` bytes. The others are zero.
///
/// # Safety
///
/// `from` has 16·count bytes.
#[inline(always)]
pub(super) unsafe fn pixels<B>(from: &mut *const B, step: isize, count: usize) -> [uint8x16_t; 4] {
    let mut at = *from;
    // SAFETY: as the caller promises; nothing is written.
    unsafe {
        let zero = vdupq_n_u8(0);
        let (mut a, mut b, mut c, mut d) = (zero, zero, zero, zero);
        match count {
            1 => asm!("ld1 {{v28.16b}}, [{0}], {1}", inout(reg) at, in(reg) step, out("v28") a,
                options(pure, readonly, nostack, preserves_flags)),
            2 => asm!("ld1 {{v28.16b, v29.16b}}, [{0}], {1}", inout(reg) at, in(reg) step,
                out("v28") a, out("v29") b,
                options(pure, readonly, nostack, preserves_flags)),
            _ => asm!("ld1 {{v28.16b, v29.16b, v30.16b, v31.16b}}, [{0}], {1}", inout(reg) at, in(reg) step,
                out("v28") a, out("v29") b, out("v30") c, out("v31") d,
                options(pure, readonly, nostack, preserves_flags)),
        }
        *from = at;
        [a, b, c, d]
    }
}

/// As [`pixels`], into v24…: where loads take turns, values need not be copied before the next one.
///
/// # Safety
///
/// `from` has 16·count bytes.
#[inline(always)]
pub(super) unsafe fn other_pixels<B>(from: &mut *const B, step: isize, count: usize) -> [uint8x16_t; 4] {
    let mut at = *from;
    // SAFETY: as the caller promises; nothing is written.
    unsafe {
        let zero = vdupq_n_u8(0);
        let (mut a, mut b, mut c, mut d) = (zero, zero, zero, zero);
        match count {
            1 => asm!("ld1 {{v24.16b}}, [{0}], {1}", inout(reg) at, in(reg) step, out("v24") a,
                options(pure, readonly, nostack, preserves_flags)),
            2 => asm!("ld1 {{v24.16b, v25.16b}}, [{0}], {1}", inout(reg) at, in(reg) step,
                out("v24") a, out("v25") b,
                options(pure, readonly, nostack, preserves_flags)),
            _ => asm!("ld1 {{v24.16b, v25.16b, v26.16b, v27.16b}}, [{0}], {1}", inout(reg) at, in(reg) step,
                out("v24") a, out("v25") b, out("v26") c, out("v27") d,
                options(pure, readonly, nostack, preserves_flags)),
        }
        *from = at;
        [a, b, c, d]
    }
}

/// The pointer, known only after `register` is: an order for the compiler, no instruction.
#[inline(always)]
// The pointer is not followed.
#[allow(clippy::pointers_in_nomem_asm_block)]
pub(super) unsafe fn after<B>(pointer: *const B, register: uint8x16_t) -> *const B {
    let mut at = pointer;
    // SAFETY: nothing is done.
    unsafe {
        asm!("/* {0} {1:v} */", inout(reg) at, in(vreg) register, options(pure, nomem, nostack, preserves_flags));
    }
    at
}

/// Lets what is at `values` be in memory: no instruction but those stores.
#[inline(always)]
pub(super) unsafe fn stored<T>(values: &mut T) {
    // SAFETY: nothing is done.
    unsafe { asm!("/* {0} */", in(reg) values as *mut T, options(nostack, preserves_flags)) }
}

/// Loads a register and moves `from` on by `step` bytes.
///
/// # Safety
///
/// `from` has 4 f32.
#[inline(always)]
pub(super) unsafe fn next(from: &mut *const f32, step: isize) -> float32x4_t {
    let (mut at, register);
    at = *from;
    // SAFETY: as the caller promises; nothing is written.
    unsafe {
        asm!("ld1 {{{0:v}.4s}}, [{1}], {2}", out(vreg) register, inout(reg) at, in(reg) step,
            options(pure, readonly, nostack, preserves_flags));
    }
    *from = at;
    register
}

/// Stores a register and moves `to` on by `step` bytes.
///
/// # Safety
///
/// `to` has room for 16 bytes.
#[inline(always)]
pub(super) unsafe fn put<B>(register: uint8x16_t, to: &mut *mut B, step: isize) {
    let mut at = *to;
    // SAFETY: as the caller promises.
    unsafe {
        asm!("st1 {{{0:v}.16b}}, [{1}], {2}", in(vreg) register, inout(reg) at, in(reg) step,
            options(nostack, preserves_flags));
    }
    *to = at;
}

/// Loads four registers, of which each has every fourth element. (The compiler puts the intrinsic's registers together by
/// itself, from loads and permutations, where it has some of the elements already.)
///
/// # Safety
///
/// `from` has 16 f32.
#[inline(always)]
pub(super) unsafe fn four(from: *const f32) -> [float32x4_t; 4] {
    let (a, b, c, d);
    // SAFETY: as the caller promises; nothing is written.
    unsafe {
        asm!("ld4 {{v28.4s, v29.4s, v30.4s, v31.4s}}, [{0}]", in(reg) from,
            out("v28") a, out("v29") b, out("v30") c, out("v31") d,
            options(pure, readonly, nostack, preserves_flags));
    }
    [a, b, c, d]
}
