//! The inner loops in assembler.
//!
//! Naked functions: no operand of `asm!` names an MVE register, and the target knows none (`-C target-cpu=cortex-m55`
//! crashes the compiler). The assembler takes their instructions behind `.arch_extension mve.fp`.

/// The core, which also goes into the attributes of the binary.
macro_rules! mve {
    () => {
        ".arch armv8.1-m.main\n.arch_extension mve.fp\n"
    };
}

mod accumulate;
mod depthwise;
mod expand;
mod fill;
mod finish;
mod other;
mod panel;

use core::arch::{asm, naked_asm};

use super::store::Store;
use super::{Accumulate, FillArguments, Taps};

pub(super) use depthwise::depthwise;
pub(super) use fill::clear;
pub(super) use other::{add, dot_full, dot_half, sum};

/// What differs between elements. The safety of each is that of its caller of the same name.
#[allow(clippy::missing_safety_doc)]
pub(in super::super) trait Loops: Copy {
    unsafe fn accumulate(taps: Taps, outs: usize, arguments: &mut Accumulate);
    unsafe fn expand(arguments: &Store);
    unsafe fn finish(arguments: &Store);
    unsafe fn panel(from: *const u16, pitch: usize, rows: usize, count: usize, to: *mut u32);
    unsafe fn eights(from: *const i8, lengths: [usize; 3], to: *mut u32, scales: *const f32);
    unsafe fn fill(arguments: &FillArguments);
    unsafe fn fill_phases(arguments: &FillArguments);
}

impl Loops for f32 {
    unsafe fn accumulate(taps: Taps, outs: usize, arguments: &mut Accumulate) {
        // SAFETY: the caller's.
        unsafe { accumulate::full(taps, outs, arguments) }
    }

    unsafe fn expand(arguments: &Store) {
        // SAFETY: the caller's.
        unsafe { expand::full(arguments) }
    }

    unsafe fn finish(arguments: &Store) {
        // SAFETY: the caller's.
        unsafe { finish::full(arguments) }
    }

    unsafe fn panel(from: *const u16, pitch: usize, rows: usize, count: usize, to: *mut u32) {
        // SAFETY: the caller's.
        unsafe { panel::full(from, pitch, rows, count, to) }
    }

    unsafe fn eights(from: *const i8, [pitch, rows, count]: [usize; 3], to: *mut u32, scales: *const f32) {
        // SAFETY: the caller's.
        unsafe { panel::eights_full(from, pitch, rows, count, to, scales) }
    }

    unsafe fn fill(arguments: &FillArguments) {
        // SAFETY: the caller's.
        unsafe { fill::full(arguments) }
    }

    unsafe fn fill_phases(arguments: &FillArguments) {
        // SAFETY: the caller's.
        unsafe { fill::full_phases(arguments) }
    }
}

impl Loops for u16 {
    unsafe fn accumulate(taps: Taps, outs: usize, arguments: &mut Accumulate) {
        // SAFETY: the caller's.
        unsafe { accumulate::half(taps, outs, arguments) }
    }

    unsafe fn expand(arguments: &Store) {
        // SAFETY: the caller's.
        unsafe { expand::half(arguments) }
    }

    unsafe fn finish(arguments: &Store) {
        // SAFETY: the caller's.
        unsafe { finish::half(arguments) }
    }

    unsafe fn panel(from: *const u16, pitch: usize, rows: usize, count: usize, to: *mut u32) {
        // SAFETY: the caller's.
        unsafe { panel::half(from, pitch, rows, count, to) }
    }

    unsafe fn eights(from: *const i8, [pitch, rows, count]: [usize; 3], to: *mut u32, scales: *const f32) {
        // SAFETY: the caller's.
        unsafe { panel::eights_half(from, pitch, rows, count, to, scales) }
    }

    unsafe fn fill(arguments: &FillArguments) {
        // SAFETY: the caller's.
        unsafe { fill::half(arguments) }
    }

    unsafe fn fill_phases(arguments: &FillArguments) {
        // SAFETY: the caller's.
        unsafe { fill::half_phases(arguments) }
    }
}

/// f16 bits → f32.
#[inline(always)]
pub(super) fn widen_one(half: u16) -> f32 {
    let bits: u32;
    // SAFETY: no memory is touched.
    unsafe {
        asm!("vmov s0, {half}", "vcvtb.f32.f16 s0, s0", "vmov {bits}, s0",
            half = in(reg) u32::from(half), bits = out(reg) bits, out("s0") _,
            options(nostack, preserves_flags, pure, nomem));
    }
    f32::from_bits(bits)
}

/// # Safety
/// `count` groups of eight sums.
pub(super) unsafe fn narrow_groups(sums: *mut f32, count: usize) {
    /// r0 where groups are read, r3 where they go.
    #[unsafe(naked)]
    unsafe extern "C" fn narrow(sums: *mut f32, count: usize) {
        naked_asm!(
            mve!(),
            "push {{r4, lr}}",
            "mov r3, r0",
            "wls lr, r1, 3f",
            "2:",
            "vldrw.u32 q0, [r0], #16",
            "vldrw.u32 q1, [r0], #16",
            "vcvtb.f16.f32 q2, q0",
            "vcvtt.f16.f32 q2, q1",
            "vstrh.16 q2, [r3], #16",
            "le lr, 2b",
            "3:",
            "pop {{r4, pc}}",
        )
    }
    // SAFETY: the caller's.
    unsafe { narrow(sums, count) }
}
