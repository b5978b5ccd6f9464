//! The inner loops in assembler.
//!
//! Naked functions, because their loops keep all 32 s-registers in use, which operands of `asm!` cannot say for
//! targets with single precision. An FPU of type FPv4 (Cortex-M4F) takes three cycles for a fused or chained
//! multiply-add and one each for VMUL and VADD, if no result is used by the instruction right behind it; FPv5
//! (Cortex-M7, M33, M55) fuses.
//!
//! Registers of all [`Accumulate`] loops: s0–s15 sums, four pixels for each output channel; s16–s21 pixels; s22–s29
//! weights; s30 and s31 products.

use core::arch::{asm, naked_asm};

use super::{Accumulate, Finish, Taps, WidenPhases, WidenRows};
use crate::model::Activation;

/// Four sums plus weight · pixels.
#[cfg(not(fpv5))]
macro_rules! mac {
    ($w:literal; $p0:literal $p1:literal $p2:literal $p3:literal; $a0:literal $a1:literal $a2:literal $a3:literal) => {
        concat!(
            "vmul.f32 s30, s",
            $p0,
            ", s",
            $w,
            "\n",
            "vmul.f32 s31, s",
            $p1,
            ", s",
            $w,
            "\n",
            "vadd.f32 s",
            $a0,
            ", s",
            $a0,
            ", s30\n",
            "vmul.f32 s30, s",
            $p2,
            ", s",
            $w,
            "\n",
            "vadd.f32 s",
            $a1,
            ", s",
            $a1,
            ", s31\n",
            "vmul.f32 s31, s",
            $p3,
            ", s",
            $w,
            "\n",
            "vadd.f32 s",
            $a2,
            ", s",
            $a2,
            ", s30\n",
            "vadd.f32 s",
            $a3,
            ", s",
            $a3,
            ", s31\n",
        )
    };
}

/// Four sums plus weight · pixels.
#[cfg(fpv5)]
macro_rules! mac {
    ($w:literal; $p0:literal $p1:literal $p2:literal $p3:literal; $a0:literal $a1:literal $a2:literal $a3:literal) => {
        concat!(
            "vfma.f32 s",
            $a0,
            ", s",
            $p0,
            ", s",
            $w,
            "\n",
            "vfma.f32 s",
            $a1,
            ", s",
            $p1,
            ", s",
            $w,
            "\n",
            "vfma.f32 s",
            $a2,
            ", s",
            $p2,
            ", s",
            $w,
            "\n",
            "vfma.f32 s",
            $a3,
            ", s",
            $p3,
            ", s",
            $w,
            "\n",
        )
    };
}

/// One tap: four pixels for each of 1 to 4 output channels, with weights that lie in the given registers.
macro_rules! tap {
    ($($p:literal)*; $w0:literal) => {
        mac!($w0; $($p)*; 0 1 2 3)
    };
    ($($p:literal)*; $w0:literal $w1:literal) => {
        concat!(mac!($w0; $($p)*; 0 1 2 3), mac!($w1; $($p)*; 4 5 6 7))
    };
    ($($p:literal)*; $w0:literal $w1:literal $w2:literal) => {
        concat!(mac!($w0; $($p)*; 0 1 2 3), mac!($w1; $($p)*; 4 5 6 7), mac!($w2; $($p)*; 8 9 10 11))
    };
    ($($p:literal)*; $w0:literal $w1:literal $w2:literal $w3:literal) => {
        concat!(
            mac!($w0; $($p)*; 0 1 2 3), mac!($w1; $($p)*; 4 5 6 7),
            mac!($w2; $($p)*; 8 9 10 11), mac!($w3; $($p)*; 12 13 14 15),
        )
    };
}

/// Three taps: `$first`, `$second` and `$third` load the pixels of one where they are not there yet.
macro_rules! three {
    (1; [$($first:expr)?; $($p:literal)*] [$($second:expr)?; $($q:literal)*] [$($third:expr)?; $($r:literal)*]) => {
        concat!(
            "vldmia r4!, {{s22-s24}}\n",
            $($first,)? tap!($($p)*; 22), $($second,)? tap!($($q)*; 23), $($third,)? tap!($($r)*; 24),
        )
    };
    (2; [$($first:expr)?; $($p:literal)*] [$($second:expr)?; $($q:literal)*] [$($third:expr)?; $($r:literal)*]) => {
        concat!(
            "vldmia r4!, {{s22-s27}}\n",
            $($first,)? tap!($($p)*; 22 23), $($second,)? tap!($($q)*; 24 25), $($third,)? tap!($($r)*; 26 27),
        )
    };
    // Nine registers are free for weights besides the products' two and six pixels.
    (3; [$($first:expr)?; $($p:literal)*] [$($second:expr)?; $($q:literal)*] [$($third:expr)?; $($r:literal)*]) => {
        concat!(
            "vldmia r4!, {{s22-s27}}\n",
            $($first,)? tap!($($p)*; 22 23 24), $($second,)? tap!($($q)*; 25 26 27),
            "vldmia r4!, {{s22-s24}}\n",
            $($third,)? tap!($($r)*; 22 23 24),
        )
    };
    (4; [$($first:expr)?; $($p:literal)*] [$($second:expr)?; $($q:literal)*] [$($third:expr)?; $($r:literal)*]) => {
        concat!(
            "vldmia r4!, {{s22-s29}}\n",
            $($first,)? tap!($($p)*; 22 23 24 25), $($second,)? tap!($($q)*; 26 27 28 29),
            "vldmia r4!, {{s22-s25}}\n",
            $($third,)? tap!($($r)*; 22 23 24 25),
        )
    };
}

/// The taps of one offset, whose pixels begin at r5 (or follow r5, and end where the weights do).
macro_rules! taps {
    (Single 1) => {
        concat!("vldmia r5, {{s16-s19}}\nvldmia r4!, {{s22}}\n", tap!(16 17 18 19; 22))
    };
    (Single 2) => {
        concat!("vldmia r5, {{s16-s19}}\nvldmia r4!, {{s22-s23}}\n", tap!(16 17 18 19; 22 23))
    };
    (Single 3) => {
        concat!("vldmia r5, {{s16-s19}}\nvldmia r4!, {{s22-s24}}\n", tap!(16 17 18 19; 22 23 24))
    };
    (Single 4) => {
        concat!("vldmia r5, {{s16-s19}}\nvldmia r4!, {{s22-s25}}\n", tap!(16 17 18 19; 22 23 24 25))
    };
    (Ranks 1) => {
        concat!("vldmia r5!, {{s16-s19}}\nvldmia r4!, {{s22}}\n", tap!(16 17 18 19; 22))
    };
    (Ranks 2) => {
        concat!("vldmia r5!, {{s16-s19}}\nvldmia r4!, {{s22-s23}}\n", tap!(16 17 18 19; 22 23))
    };
    (Ranks 3) => {
        concat!("vldmia r5!, {{s16-s19}}\nvldmia r4!, {{s22-s24}}\n", tap!(16 17 18 19; 22 23 24))
    };
    (Ranks 4) => {
        concat!("vldmia r5!, {{s16-s19}}\nvldmia r4!, {{s22-s25}}\n", tap!(16 17 18 19; 22 23 24 25))
    };
    (Row $n:tt) => {
        concat!("vldmia r5, {{s16-s21}}\n", three!($n; [; 16 17 18 19] [; 17 18 19 20] [; 18 19 20 21]))
    };
    // The second phase's pixels take the place of the first's, of which the last four are loaded again.
    (Stride2 $n:tt) => {
        three!($n;
            ["vldmia r5, {{s16-s19}}\nadd r11, r5, lr\n"; 16 17 18 19]
            ["vldmia r11, {{s16-s19}}\nadds r5, #4\n"; 16 17 18 19]
            ["vldmia r5, {{s16-s19}}\n"; 16 17 18 19])
    };
}

/// From offset to offset.
macro_rules! walk {
    (Ranks Begin) => {
        "mov r5, r1"
    };
    (Ranks Next) => {
        ""
    };
    (Ranks End) => {
        "cmp r4, r3"
    };
    ($taps:ident Begin) => {
        ""
    };
    ($taps:ident Next) => {
        "ldr r5, [r2], #4\nadd r5, r5, r1"
    };
    ($taps:ident End) => {
        "cmp r2, r3"
    };
}

/// Loops over rows, groups and offsets. r0 arguments, r1 pixels of the group, r2 and r3 offsets, r4 weights, r6 and r7
/// sums, r8 and r9 what they start from, r10 groups left, r12 from a group to the next, lr to the second phase.
macro_rules! accumulate {
    ($($name:ident: $taps:ident $n:tt $last:literal;)*) => {$(
        #[unsafe(naked)]
        unsafe extern "C" fn $name(arguments: *mut Accumulate) {
            naked_asm!(
                ".fpu fpv4-sp-d16",
                "push {{r4-r11, lr}}",
                "vpush {{s16-s31}}",
                "ldr r3, [r0, #20]",
                "ldr r6, [r0, #28]",
                "ldr r7, [r0, #32]",
                "ldr r8, [r0, #36]",
                "ldr r9, [r0, #40]",
                "ldr r12, [r0, #44]",
                "ldr lr, [r0, #48]",
                "2:",
                "ldr r1, [r0]",
                "ldr r10, [r0, #12]",
                "3:",
                concat!("vldmia r8, {{s0-s", $last, "}}"),
                "add r8, r8, r9",
                "ldr r2, [r0, #16]",
                "ldr r4, [r0, #24]",
                walk!($taps Begin),
                "4:",
                walk!($taps Next),
                taps!($taps $n),
                walk!($taps End),
                "bne 4b",
                concat!("vstmia r6, {{s0-s", $last, "}}"),
                "add r6, r6, r7",
                "add r1, r1, r12",
                "subs r10, r10, #1",
                "bne 3b",
                "ldr r1, [r0]",
                "ldr r10, [r0, #4]",
                "add r1, r1, r10",
                "str r1, [r0]",
                "ldr r10, [r0, #8]",
                "subs r10, r10, #1",
                "str r10, [r0, #8]",
                "bne 2b",
                "vpop {{s16-s31}}",
                "pop {{r4-r11, pc}}",
            )
        }
    )*};
}

accumulate! {
    single_1: Single 1 3;
    single_2: Single 2 7;
    single_3: Single 3 11;
    single_4: Single 4 15;
    ranks_1: Ranks 1 3;
    ranks_2: Ranks 2 7;
    ranks_3: Ranks 3 11;
    ranks_4: Ranks 4 15;
    row_1: Row 1 3;
    row_2: Row 2 7;
    row_3: Row 3 11;
    row_4: Row 4 15;
    stride2_1: Stride2 1 3;
    stride2_2: Stride2 2 7;
    stride2_3: Stride2 3 11;
    stride2_4: Stride2 4 15;
}

/// # Safety
/// `outs` is 1 to 4; the rest as in [`super::accumulate`].
pub(super) unsafe fn accumulate(taps: Taps, outs: usize, arguments: &mut Accumulate) {
    let inner = match (taps, outs) {
        (Taps::Single, 1) => single_1,
        (Taps::Single, 2) => single_2,
        (Taps::Single, 3) => single_3,
        (Taps::Single, _) => single_4,
        (Taps::Ranks, 1) => ranks_1,
        (Taps::Ranks, 2) => ranks_2,
        (Taps::Ranks, 3) => ranks_3,
        (Taps::Ranks, _) => ranks_4,
        (Taps::Row, 1) => row_1,
        (Taps::Row, 2) => row_2,
        (Taps::Row, 3) => row_3,
        (Taps::Row, _) => row_4,
        (Taps::Stride2, 1) => stride2_1,
        (Taps::Stride2, 2) => stride2_2,
        (Taps::Stride2, 3) => stride2_3,
        (Taps::Stride2, _) => stride2_4,
    };
    // SAFETY: the caller's lengths.
    unsafe { inner(arguments) }
}

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

/// Loops over rows, groups and the last pixels. r1 and r2 sums, r3 output, r4 residual, r5 groups left, r6 rows left.
macro_rules! finish {
    ($($name:ident: $residual:ident $activation:ident;)*) => {$(
        #[unsafe(naked)]
        unsafe extern "C" fn $name(arguments: *const Finish) {
            naked_asm!(
                ".fpu fpv5-sp-d16",
                "push {{r4-r7, lr}}",
                activate!(Constants),
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
/// As in [`super::finish`].
pub(super) unsafe fn finish(activation: Activation, arguments: &Finish) {
    let inner = match (arguments.residual.is_null(), activation) {
        (true, Activation::None) => plain,
        (true, Activation::Relu) => plain_relu,
        (true, Activation::Relu6) => plain_relu6,
        (false, Activation::None) => added,
        (false, Activation::Relu) => added_relu,
        (false, Activation::Relu6) => added_relu6,
    };
    // SAFETY: the caller's lengths.
    unsafe { inner(arguments) }
}

/// Widens r2 values from r0 to r1, which both go behind them; uses r3 and r12.
macro_rules! widen {
    () => {
        concat!(
            "subs r2, #8\n",
            "blo 14f\n",
            // VLDM needs words.
            "tst r0, #2\n",
            "bne 13f\n",
            "12:\n",
            "vldmia r0!, {{s8-s11}}\n",
            widen!(Eight),
            "bhs 12b\n",
            "b 14f\n",
            "13:\n",
            "ldr r3, [r0], #4\n",
            "ldr r12, [r0], #4\n",
            "vmov s8, s9, r3, r12\n",
            "ldr r3, [r0], #4\n",
            "ldr r12, [r0], #4\n",
            "vmov s10, s11, r3, r12\n",
            widen!(Eight),
            "bhs 13b\n",
            // The last three bits of the count still say how many are left.
            "14:\n",
            "lsls r2, r2, #30\n",
            "bcc 15f\n",
            "ldr r3, [r0], #4\n",
            "ldr r12, [r0], #4\n",
            "vmov s8, s9, r3, r12\n",
            "vcvtb.f32.f16 s0, s8\n",
            "vcvtt.f32.f16 s1, s8\n",
            "vcvtb.f32.f16 s2, s9\n",
            "vcvtt.f32.f16 s3, s9\n",
            "vstmia r1!, {{s0-s3}}\n",
            "15:\n",
            "lsls r2, r2, #1\n",
            "bcc 16f\n",
            "ldr r3, [r0], #4\n",
            "vmov s8, r3\n",
            "vcvtb.f32.f16 s0, s8\n",
            "vcvtt.f32.f16 s1, s8\n",
            "vstmia r1!, {{s0-s1}}\n",
            "16:\n",
            "cbz r2, 17f\n",
            "ldrh r3, [r0], #2\n",
            "vmov s8, r3\n",
            "vcvtb.f32.f16 s0, s8\n",
            "vstmia r1!, {{s0}}\n",
            "17:\n",
        )
    };
    (Eight) => {
        concat!(
            "vcvtb.f32.f16 s0, s8\n",
            "vcvtt.f32.f16 s1, s8\n",
            "vcvtb.f32.f16 s2, s9\n",
            "vcvtt.f32.f16 s3, s9\n",
            "vcvtb.f32.f16 s4, s10\n",
            "vcvtt.f32.f16 s5, s10\n",
            "vcvtb.f32.f16 s6, s11\n",
            "vcvtt.f32.f16 s7, s11\n",
            "vstmia r1!, {{s0-s7}}\n",
            "subs r2, #8\n",
        )
    };
}

/// # Safety
/// `count` elements in both.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn widen(from: *const u16, to: *mut f32, count: usize) {
    naked_asm!(".fpu fpv4-sp-d16", widen!(), "bx lr")
}

/// # Safety
/// As in [`super::widen_rows`].
#[unsafe(naked)]
pub(super) unsafe extern "C" fn widen_rows(arguments: *const WidenRows) {
    naked_asm!(
        ".fpu fpv4-sp-d16",
        "push {{r4-r9, lr}}",
        "ldm r0, {{r1, r4-r9}}",
        "movs r0, #0",
        "vmov s12, r0",
        "2:",
        "movs r2, r7",
        "beq 4f",
        "3:",
        "vstmia r1!, {{s12}}",
        "subs r2, #1",
        "bne 3b",
        "4:",
        "mov r0, r4",
        "mov r2, r8",
        widen!(),
        "movs r2, r9",
        "beq 6f",
        "5:",
        "vstmia r1!, {{s12}}",
        "subs r2, #1",
        "bne 5b",
        "6:",
        "add r4, r4, r5",
        "subs r6, #1",
        "bne 2b",
        "pop {{r4-r9, pc}}",
    )
}

/// `$count` times zero to `$to`, which goes behind them.
macro_rules! zeros {
    ($field:literal, $to:literal) => {
        concat!(
            "ldr r3, [r0, #",
            $field,
            "]\n",
            "cbz r3, 12f\n",
            "11:\n",
            "vstmia ",
            $to,
            "!, {{s12}}\n",
            "subs r3, #1\n",
            "bne 11b\n",
            "12:\n",
        )
    };
}

/// One value from r5 to `$to` where `$field` is not 0; both go behind it.
macro_rules! single {
    ($field:literal, $to:literal) => {
        concat!(
            "ldr r3, [r0, #",
            $field,
            "]\n",
            "cbz r3, 12f\n",
            "ldrh r3, [r5], #2\n",
            "vmov s8, r3\n",
            "vcvtb.f32.f16 s0, s8\n",
            "vstmia ",
            $to,
            "!, {{s0}}\n",
            "12:\n",
        )
    };
}

/// r1 even elements, r2 odd ones, r5 what is widened; r6 rows left, r7 to r9 where the row begins in each of them.
///
/// # Safety
/// As in [`super::widen_phases`].
#[unsafe(naked)]
pub(super) unsafe extern "C" fn widen_phases(arguments: *const WidenPhases) {
    naked_asm!(
        ".fpu fpv4-sp-d16",
        "push {{r4-r10, lr}}",
        "movs r3, #0",
        "vmov s12, r3",
        "ldm r0, {{r7-r9}}",
        "ldr r10, [r0, #12]",
        "ldr lr, [r0, #16]",
        "ldr r6, [r0, #20]",
        "2:",
        "mov r1, r7",
        "mov r2, r8",
        "mov r5, r9",
        zeros!(24, "r1"),
        zeros!(28, "r2"),
        single!(32, "r2"),
        "ldr r3, [r0, #36]",
        "subs r3, #4",
        "blo 4f",
        "3:",
        "ldr r4, [r5], #4",
        "ldr r12, [r5], #4",
        "vmov s8, s9, r4, r12",
        "ldr r4, [r5], #4",
        "ldr r12, [r5], #4",
        "vmov s10, s11, r4, r12",
        "vcvtb.f32.f16 s0, s8",
        "vcvtb.f32.f16 s1, s9",
        "vcvtb.f32.f16 s2, s10",
        "vcvtb.f32.f16 s3, s11",
        "vcvtt.f32.f16 s4, s8",
        "vcvtt.f32.f16 s5, s9",
        "vcvtt.f32.f16 s6, s10",
        "vcvtt.f32.f16 s7, s11",
        // The even ones last: they stay where both have one place.
        "vstmia r2!, {{s4-s7}}",
        "vstmia r1!, {{s0-s3}}",
        "subs r3, #4",
        "bhs 3b",
        "4:",
        "adds r3, #4",
        "beq 6f",
        "5:",
        "ldr r4, [r5], #4",
        "vmov s8, r4",
        "vcvtb.f32.f16 s0, s8",
        "vcvtt.f32.f16 s1, s8",
        "vstmia r2!, {{s1}}",
        "vstmia r1!, {{s0}}",
        "subs r3, #1",
        "bne 5b",
        "6:",
        single!(40, "r1"),
        zeros!(44, "r1"),
        zeros!(48, "r2"),
        "add r7, r7, lr",
        "add r8, r8, lr",
        "add r9, r9, r10",
        "subs r6, #1",
        "bne 2b",
        "pop {{r4-r10, pc}}",
    )
}

/// Loops over pairs of elements of some rows. r0, r4, r5, r6 the rows, r2 elements left, r3 where they go.
macro_rules! panel {
    ($($name:ident: $two:expr, $one:expr;)*) => {$(
        #[unsafe(naked)]
        unsafe extern "C" fn $name(from: *const u16, pitch: usize, count: usize, to: *mut f32) {
            naked_asm!(
                ".fpu fpv4-sp-d16",
                "push {{r4-r8, lr}}",
                "add r4, r0, r1",
                "add r5, r4, r1",
                "add r6, r5, r1",
                "subs r2, #2",
                "blo 3f",
                "2:",
                $two,
                "subs r2, #2",
                "bhs 2b",
                "3:",
                "adds r2, #2",
                "beq 4f",
                $one,
                "4:",
                "pop {{r4-r8, pc}}",
            )
        }
    )*};
}

panel! {
    panel_2: concat!(
        "ldr r7, [r0], #4\nldr r8, [r4], #4\nvmov s8, s9, r7, r8\n",
        "vcvtb.f32.f16 s0, s8\nvcvtb.f32.f16 s1, s9\nvcvtt.f32.f16 s2, s8\nvcvtt.f32.f16 s3, s9\n",
        "vstmia r3!, {{s0-s3}}\n",
    ), concat!(
        "ldrh r7, [r0]\nldrh r8, [r4]\nvmov s8, s9, r7, r8\n",
        "vcvtb.f32.f16 s0, s8\nvcvtb.f32.f16 s1, s9\nvstmia r3!, {{s0-s1}}\n",
    );
    panel_3: concat!(
        "ldr r7, [r0], #4\nldr r8, [r4], #4\nldr r12, [r5], #4\nvmov s8, s9, r7, r8\nvmov s10, r12\n",
        "vcvtb.f32.f16 s0, s8\nvcvtb.f32.f16 s1, s9\nvcvtb.f32.f16 s2, s10\n",
        "vcvtt.f32.f16 s3, s8\nvcvtt.f32.f16 s4, s9\nvcvtt.f32.f16 s5, s10\n",
        "vstmia r3!, {{s0-s5}}\n",
    ), concat!(
        "ldrh r7, [r0]\nldrh r8, [r4]\nldrh r12, [r5]\nvmov s8, s9, r7, r8\nvmov s10, r12\n",
        "vcvtb.f32.f16 s0, s8\nvcvtb.f32.f16 s1, s9\nvcvtb.f32.f16 s2, s10\nvstmia r3!, {{s0-s2}}\n",
    );
    panel_4: concat!(
        "ldr r7, [r0], #4\nldr r8, [r4], #4\nldr r12, [r5], #4\nldr lr, [r6], #4\n",
        "vmov s8, s9, r7, r8\nvmov s10, s11, r12, lr\n",
        "vcvtb.f32.f16 s0, s8\nvcvtb.f32.f16 s1, s9\nvcvtb.f32.f16 s2, s10\nvcvtb.f32.f16 s3, s11\n",
        "vcvtt.f32.f16 s4, s8\nvcvtt.f32.f16 s5, s9\nvcvtt.f32.f16 s6, s10\nvcvtt.f32.f16 s7, s11\n",
        "vstmia r3!, {{s0-s7}}\n",
    ), concat!(
        "ldrh r7, [r0]\nldrh r8, [r4]\nldrh r12, [r5]\nldrh lr, [r6]\n",
        "vmov s8, s9, r7, r8\nvmov s10, s11, r12, lr\n",
        "vcvtb.f32.f16 s0, s8\nvcvtb.f32.f16 s1, s9\nvcvtb.f32.f16 s2, s10\nvcvtb.f32.f16 s3, s11\n",
        "vstmia r3!, {{s0-s3}}\n",
    );
}

/// # Safety
/// As in [`super::widen_panel`].
pub(super) unsafe fn widen_panel(from: *const u16, pitch: usize, rows: usize, count: usize, to: *mut f32) {
    let pitch = pitch * size_of::<u16>();
    // SAFETY: the caller's lengths.
    unsafe {
        match rows {
            1 => widen(from, to, count),
            2 => panel_2(from, pitch, count, to),
            3 => panel_3(from, pitch, count, to),
            _ => panel_4(from, pitch, count, to),
        }
    }
}

/// True where an f32 or f16 exceeded its range since the last call: FPSCR.OFC, which is cleared.
pub(in super::super) fn overflow() -> bool {
    const OFC: u32 = 1 << 2;
    let status: u32;
    // SAFETY: the exception flags are for whoever reads them; nothing traps on these cores.
    unsafe {
        asm!("vmrs {status}, fpscr", "bic {other}, {status}, {ofc}", "vmsr fpscr, {other}",
            status = out(reg) status, other = out(reg) _, ofc = const OFC, options(nomem, nostack));
    }
    status & OFC != 0
}

/// f16 bits → f32.
#[inline(always)]
pub(in super::super) fn widen_one(half: u16) -> f32 {
    let bits: u32;
    // SAFETY: no memory is touched.
    unsafe {
        asm!("vmov s0, {half}", "vcvtb.f32.f16 s0, s0", "vmov {bits}, s0",
            half = in(reg) u32::from(half), bits = out(reg) bits, out("s0") _,
            options(nostack, preserves_flags, pure, nomem));
    }
    f32::from_bits(bits)
}
