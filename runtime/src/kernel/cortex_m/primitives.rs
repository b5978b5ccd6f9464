//! What the portable algorithms need, with VCVTB and VCVTT (Armv7-M Architecture Reference Manual, A7.7). Every core of thumbv7em-none-eabihf and thumbv8m.main-none-eabihf has them.
//!
//! The assembler names its s-registers, because operands of class `sreg` are refused on single-precision targets.
#![allow(unsafe_code)]

use core::arch::asm;

use super::super::{Primitives, f16::MAX};

pub(in crate::kernel) struct CortexM;

/// Values converted at a time.
const CHUNK: usize = 4;

/// Pixels computed together.
const LANES: usize = 4;

impl Primitives<LANES> for CortexM {
    array_lanes!(LANES);

    fn widen(from: &[u16], to: &mut [f32]) {
        widen(from, to);
    }

    #[inline(always)]
    fn widen_one(from: u16) -> f32 {
        widen_one(from)
    }

    fn narrow(from: &[f32], to: &mut [u16]) {
        narrow(from, to);
    }
}

// One copy of each: they are called for whole rows, and inlined into every kernel they double its size.

#[inline(never)]
fn widen(from: &[u16], to: &mut [f32]) {
    let (from, mut to) = (from.chunks_exact(CHUNK), to.chunks_exact_mut(CHUNK));
    let rest = from.remainder();
    for (from, to) in from.zip(to.by_ref()) {
        // SAFETY: both chunks have 4 elements. LDR needs no alignment on these cores; VSTM needs that of f32.
        unsafe {
            asm!(
                "ldr {a}, [{from}]",
                "ldr {b}, [{from}, #4]",
                "vmov s0, s1, {a}, {b}",
                "vcvtb.f32.f16 s2, s0",
                "vcvtt.f32.f16 s3, s0",
                "vcvtb.f32.f16 s4, s1",
                "vcvtt.f32.f16 s5, s1",
                "vstmia {to}, {{s2-s5}}",
                from = in(reg) from.as_ptr(), to = in(reg) to.as_mut_ptr(), a = out(reg) _, b = out(reg) _,
                out("s0") _, out("s1") _, out("s2") _, out("s3") _, out("s4") _, out("s5") _,
                options(nostack, preserves_flags)
            );
        }
    }
    rest.iter().zip(to.into_remainder()).for_each(|(from, to)| *to = widen_one(*from));
}

#[inline(never)]
fn narrow(from: &[f32], to: &mut [u16]) {
    let (from, mut to) = (from.chunks_exact(CHUNK), to.chunks_exact_mut(CHUNK));
    let rest = from.remainder();
    for (from, to) in from.zip(to.by_ref()) {
        let (low, high): (u32, u32);
        // SAFETY: the chunk has 4 elements, aligned as VLDM needs it. Each half of s4 and s5 is written.
        unsafe {
            asm!(
                "vldmia {from}, {{s0-s3}}",
                "vcvtb.f16.f32 s4, s0",
                "vcvtt.f16.f32 s4, s1",
                "vcvtb.f16.f32 s5, s2",
                "vcvtt.f16.f32 s5, s3",
                "vmov {low}, {high}, s4, s5",
                from = in(reg) from.as_ptr(), low = out(reg) low, high = out(reg) high,
                out("s0") _, out("s1") _, out("s2") _, out("s3") _, out("s4") _, out("s5") _,
                options(nostack, preserves_flags, readonly)
            );
        }
        let halves = [low as u16, (low >> 16) as u16, high as u16, (high >> 16) as u16];
        to.iter_mut().zip(halves).for_each(|(to, half)| *to = finite(half));
    }
    rest.iter().zip(to.into_remainder()).for_each(|(from, to)| *to = narrow_one(*from));
}

/// The f32 of the same value; exact.
#[inline(always)]
pub fn widen_one(half: u16) -> f32 {
    let bits: u32;
    // SAFETY: no memory is touched.
    unsafe {
        asm!("vmov s0, {half}", "vcvtb.f32.f16 s0, s0", "vmov {bits}, s0",
            half = in(reg) u32::from(half), bits = out(reg) bits, out("s0") _,
            options(nostack, preserves_flags, pure, nomem));
    }
    f32::from_bits(bits)
}

/// The nearest f16 (ties to even); what exceeds the range becomes ±65504, a NaN stays one.
#[inline]
pub fn narrow_one(value: f32) -> u16 {
    let bits: u32;
    // SAFETY: no memory is touched.
    unsafe {
        asm!("vmov s0, {value}", "vcvtb.f16.f32 s0, s0", "vmov {bits}, s0",
            value = in(reg) value.to_bits(), bits = out(reg) bits, out("s0") _,
            options(nostack, pure, nomem));
    }
    finite(bits as u16)
}

/// What an f16 is without infinities: ±65504 in their place, and one NaN for all.
#[inline(always)]
fn finite(half: u16) -> u16 {
    match half & 0x7fff {
        0..0x7c00 => half,
        0x7c00 => half & 0x8000 | MAX,
        _ => half & 0x8000 | 0x7e00,
    }
}
