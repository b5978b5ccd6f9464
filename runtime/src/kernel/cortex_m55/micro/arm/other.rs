//! What is no convolution: dot products, sums and additions of f16.

use core::arch::naked_asm;

/// The four lanes of q0 into s0.
macro_rules! across {
    () => {
        "vadd.f32 s0, s0, s1\nvadd.f32 s2, s2, s3\nvadd.f32 s0, s0, s2\n"
    };
}

/// Sum of `count` f16, in four parts.
///
/// # Safety
/// `count` values.
#[unsafe(naked)]
pub(in super::super) unsafe extern "C" fn sum(from: *const u16, count: usize) -> f32 {
    naked_asm!(
        mve!(),
        "push {{r4, lr}}",
        "vmov.i32 q0, #0",
        "wlstp.32 lr, r1, 3f",
        "2:",
        "vldrh.u32 q1, [r0], #8",
        "vcvtb.f32.f16 q1, q1",
        "vadd.f32 q0, q0, q1",
        "letp lr, 2b",
        "3:",
        across!(),
        "pop {{r4, pc}}",
    )
}

/// Dot product of f16 weights and f16 values, in four parts.
///
/// # Safety
/// `count` weights and values.
#[unsafe(naked)]
pub(in super::super) unsafe extern "C" fn dot_half(weights: *const u16, x: *const u16, count: usize) -> f32 {
    naked_asm!(
        mve!(),
        "push {{r4, lr}}",
        "vpush {{d8-d9}}",
        "vmov.i32 q0, #0",
        "lsr r3, r2, #3",
        "wls lr, r3, 3f",
        "2:",
        "vldrh.u16 q1, [r0], #16",
        "vldrh.u16 q2, [r1], #16",
        "vcvtb.f32.f16 q3, q1",
        "vcvtb.f32.f16 q4, q2",
        "vfma.f32 q0, q3, q4",
        "vcvtt.f32.f16 q3, q1",
        "vcvtt.f32.f16 q4, q2",
        "vfma.f32 q0, q3, q4",
        "le lr, 2b",
        "3:",
        "ands r2, r2, #7",
        "beq 4f",
        // Lanes behind the last are loaded as zero.
        "vctp.16 r2",
        "vpstt",
        "vldrht.u16 q1, [r0]",
        "vldrht.u16 q2, [r1]",
        "vcvtb.f32.f16 q3, q1",
        "vcvtb.f32.f16 q4, q2",
        "vfma.f32 q0, q3, q4",
        "vcvtt.f32.f16 q3, q1",
        "vcvtt.f32.f16 q4, q2",
        "vfma.f32 q0, q3, q4",
        "4:",
        across!(),
        "vpop {{d8-d9}}",
        "pop {{r4, pc}}",
    )
}

/// Dot product of f16 weights and f32 values, in four parts.
///
/// # Safety
/// `count` weights and values.
#[unsafe(naked)]
pub(in super::super) unsafe extern "C" fn dot_full(weights: *const u16, x: *const f32, count: usize) -> f32 {
    naked_asm!(
        mve!(),
        "push {{r4, lr}}",
        "vmov.i32 q0, #0",
        "wlstp.32 lr, r2, 3f",
        "2:",
        "vldrh.u32 q1, [r0], #8",
        "vldrw.u32 q2, [r1], #16",
        "vcvtb.f32.f16 q1, q1",
        "vfma.f32 q0, q1, q2",
        "letp lr, 2b",
        "3:",
        across!(),
        "pop {{r4, pc}}",
    )
}

/// a + b in f16, each sum rounded once and then held between two bounds of 16 bytes each.
///
/// # Safety
/// `count` summands and places, at least one; `to` may be `a` or `b`.
#[unsafe(naked)]
pub(in super::super) unsafe extern "C" fn add(
    a: *const u16,
    b: *const u16,
    to: *mut u16,
    count: usize,
    bounds: *const [u32; 4],
) {
    naked_asm!(
        mve!(),
        "ldr r12, [sp]",
        "push {{r4, lr}}",
        "vldrw.u32 q2, [r12]",
        "vldrw.u32 q3, [r12, #16]",
        "dlstp.16 lr, r3",
        "2:",
        "vldrh.u16 q0, [r0], #16",
        "vldrh.u16 q1, [r1], #16",
        "vadd.f16 q0, q0, q1",
        "vmaxnm.f16 q0, q0, q2",
        "vminnm.f16 q0, q0, q3",
        "vstrh.16 q0, [r2], #16",
        "letp lr, 2b",
        "pop {{r4, pc}}",
    )
}
