//! Loads of up to four registers that move their pointer on: one instruction each, which intrinsics do not give.
#![allow(unsafe_code)]

use core::arch::aarch64::{uint8x16_t, vdupq_n_u8};
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

/// The pointer, known only after `register` is: an order for the compiler, no instruction.
#[inline(always)]
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
