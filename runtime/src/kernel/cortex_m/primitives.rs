//! What the portable algorithms need, with VCVTB and VCVTT (Armv7-M Architecture Reference Manual, A7.7). Every core of thumbv7em-none-eabihf and thumbv8m.main-none-eabihf has them.
//!
//! The assembler names its s-registers, because operands of class `sreg` are refused on single-precision targets.
#![allow(unsafe_code)]

use core::arch::asm;

use super::super::{Primitives, f16};
use super::micro::widen_one;

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
        if overflowed(low) || overflowed(high) {
            from.iter().zip(to).for_each(|(from, to)| *to = f16::narrow(*from));
        } else {
            let halves = [low as u16, (low >> 16) as u16, high as u16, (high >> 16) as u16];
            to.copy_from_slice(&halves);
        }
    }
    rest.iter().zip(to.into_remainder()).for_each(|(from, to)| *to = f16::narrow(*from));
}

/// True where one of two f16 is infinite or NaN: then adding one to its exponent carries into its sign's place.
#[inline(always)]
fn overflowed(pair: u32) -> bool {
    ((pair & 0x7c00_7c00) + 0x0400_0400) & 0x8000_8000 != 0
}
