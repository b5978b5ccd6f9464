//! Residual, activation, rounding to f16.

use core::arch::naked_asm;

use super::super::Finish;
use crate::kernel::{Operations, Set};
use crate::model::Activation;

/// Loads the residual of four sums and adds it.
macro_rules! residual {
    (None) => {
        ""
    };
    (Some) => {
        concat!(
            "ldr r7, [r4], #4\n",
            "ldr r12, [r4], #4\n",
            "vmov s8, s9, r7, r12\n",
            "vcvtb.f32.f16 s4, s8\n",
            "vcvtt.f32.f16 s5, s8\n",
            "vcvtb.f32.f16 s6, s9\n",
            "vcvtt.f32.f16 s7, s9\n",
            "vadd.f32 s0, s0, s4\n",
            "vadd.f32 s1, s1, s5\n",
            "vadd.f32 s2, s2, s6\n",
            "vadd.f32 s3, s3, s7\n",
        )
    };
    (One None) => {
        ""
    };
    (One Some) => {
        "ldrh r7, [r4], #2\nvmov s4, r7\nvcvtb.f32.f16 s4, s4\nvadd.f32 s0, s0, s4\n"
    };
}

/// Activates four f16 in r7 and r12. As integers they have the order of their values, the negative ones negative.
#[cfg(not(fpv5))]
macro_rules! activate {
    (Full None) => {
        ""
    };
    (Full $activation:ident) => {
        ""
    };
    (One $activation:ident) => {
        ""
    };
    (HalfOne None) => {
        ""
    };
    (HalfOne Relu) => {
        "usat16 r7, #15, r7\n"
    };
    (HalfOne Relu6) => {
        "usat16 r7, #15, r7\nuqadd16 r7, r7, lr\nuqsub16 r7, r7, lr\n"
    };
    (Half None) => {
        ""
    };
    (Half Relu) => {
        "usat16 r7, #15, r7\nusat16 r12, #15, r12\n"
    };
    // Saturating up by what 6.0 (0x4600) lacks, and down again.
    (Half Relu6) => {
        concat!(
            activate!(Half Relu),
            "uqadd16 r7, r7, lr\nuqadd16 r12, r12, lr\nuqsub16 r7, r7, lr\nuqsub16 r12, r12, lr\n",
        )
    };
    (Constants) => {
        "movw lr, #0xb9ff\nmovt lr, #0xb9ff\n"
    };
}

/// Activates four sums.
#[cfg(fpv5)]
macro_rules! activate {
    (Full None) => {
        ""
    };
    (Full Relu) => {
        concat!(
            "vmaxnm.f32 s0, s0, s14\nvmaxnm.f32 s1, s1, s14\n",
            "vmaxnm.f32 s2, s2, s14\nvmaxnm.f32 s3, s3, s14\n",
        )
    };
    (Full Relu6) => {
        concat!(
            activate!(Full Relu),
            "vminnm.f32 s0, s0, s15\nvminnm.f32 s1, s1, s15\n",
            "vminnm.f32 s2, s2, s15\nvminnm.f32 s3, s3, s15\n",
        )
    };
    (One None) => {
        ""
    };
    (One Relu) => {
        "vmaxnm.f32 s0, s0, s14\n"
    };
    (One Relu6) => {
        "vmaxnm.f32 s0, s0, s14\nvminnm.f32 s0, s0, s15\n"
    };
    (HalfOne $activation:ident) => {
        ""
    };
    (Half $activation:ident) => {
        ""
    };
    (Constants) => {
        "movs r5, #0\nvmov s14, r5\nvmov.f32 s15, #6.0\n"
    };
}

/// Loops over channels, rows, groups and the last pixels. r1 and r2 sums, r3 output, r4 residual, r5 groups left, r6 rows left.
macro_rules! finish {
    ($($name:ident: $residual:ident $activation:ident;)*) => {$(
        #[unsafe(naked)]
        unsafe extern "C" fn $name(arguments: *mut Finish) {
            naked_asm!(
                fpu!(),
                "push {{r4-r7, lr}}",
                activate!(Constants),
                "1:",
                "ldr r1, [r0]",
                "ldr r2, [r0, #4]",
                "ldr r3, [r0, #8]",
                "ldr r4, [r0, #12]",
                "ldr r6, [r0, #20]",
                "2:",
                "ldr r5, [r0, #16]",
                "cbz r5, 4f",
                "3:",
                "vldmia r1, {{s0-s3}}",
                "add r1, r1, r2",
                residual!($residual),
                activate!(Full $activation),
                "vcvtb.f16.f32 s8, s0",
                "vcvtt.f16.f32 s8, s1",
                "vcvtb.f16.f32 s9, s2",
                "vcvtt.f16.f32 s9, s3",
                "vmov r7, r12, s8, s9",
                activate!(Half $activation),
                "str r7, [r3], #4",
                "str r12, [r3], #4",
                "subs r5, r5, #1",
                "bne 3b",
                "4:",
                "ldr r5, [r0, #28]",
                "cbz r5, 6f",
                "mov r12, r1",
                "add r1, r1, r2",
                "5:",
                "vldmia r12!, {{s0}}",
                residual!(One $residual),
                activate!(One $activation),
                "vcvtb.f16.f32 s8, s0",
                "vmov r7, s8",
                activate!(HalfOne $activation),
                "strh r7, [r3], #2",
                "subs r5, r5, #1",
                "bne 5b",
                "6:",
                "ldr r5, [r0, #24]",
                "add r3, r3, r5",
                "add r4, r4, r5",
                "subs r6, r6, #1",
                "bne 2b",
                // The next channel.
                "ldr r1, [r0]",
                "ldr r5, [r0, #36]",
                "ldr r3, [r0, #8]",
                "ldr r4, [r0, #12]",
                "ldr r6, [r0, #32]",
                "adds r1, #16",
                "add r3, r3, r5",
                "add r4, r4, r5",
                "str r1, [r0]",
                "str r3, [r0, #8]",
                "str r4, [r0, #12]",
                "subs r6, r6, #1",
                "str r6, [r0, #32]",
                "bne 1b",
                "pop {{r4-r7, pc}}",
            )
        }
    )*};
}

finish! {
    plain: None None;
    plain_relu: None Relu;
    plain_relu6: None Relu6;
    added: Some None;
    added_relu: Some Relu;
    added_relu6: Some Relu6;
}

/// # Safety
/// As in [`super::super::finish`].
pub(in super::super) unsafe fn finish<U: Operations>(activation: Activation, arguments: &mut Finish) {
    let inner = match (arguments.residual.is_null(), activation) {
        (true, Activation::None) if U::USED.has(Set::STORED[0]) => plain,
        (true, Activation::Relu) if U::USED.has(Set::STORED[1]) => plain_relu,
        (true, _) if U::USED.has(Set::STORED[2]) => plain_relu6,
        (false, Activation::None) if U::USED.has(Set::ADDED[0]) => added,
        (false, Activation::Relu) if U::USED.has(Set::ADDED[1]) => added_relu,
        (false, _) if U::USED.has(Set::ADDED[2]) => added_relu6,
        _ => return,
    };
    // SAFETY: the caller's lengths.
    unsafe { inner(arguments) }
}
