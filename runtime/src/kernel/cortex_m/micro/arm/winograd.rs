//! The transforms of tiles of 2×2 output pixels, four tiles at a time.

use core::arch::naked_asm;

use super::super::winograd::{Pixels, Sums, Weights};

/// Ten columns of a row of Bᵀ·d: s0–s9 by `$op` from `$a` and `$b`, which are s0–s9 and s10–s19.
macro_rules! columns {
    (0 - 1) => {
        each!(
            "vsub" 0 0 10; "vsub" 1 1 11; "vsub" 2 2 12; "vsub" 3 3 13; "vsub" 4 4 14;
            "vsub" 5 5 15; "vsub" 6 6 16; "vsub" 7 7 17; "vsub" 8 8 18; "vsub" 9 9 19;
        )
    };
    (0 + 1) => {
        each!(
            "vadd" 0 0 10; "vadd" 1 1 11; "vadd" 2 2 12; "vadd" 3 3 13; "vadd" 4 4 14;
            "vadd" 5 5 15; "vadd" 6 6 16; "vadd" 7 7 17; "vadd" 8 8 18; "vadd" 9 9 19;
        )
    };
    (1 - 0) => {
        each!(
            "vsub" 0 10 0; "vsub" 1 11 1; "vsub" 2 12 2; "vsub" 3 13 3; "vsub" 4 14 4;
            "vsub" 5 15 5; "vsub" 6 16 6; "vsub" 7 17 7; "vsub" 8 18 8; "vsub" 9 19 9;
        )
    };
}

/// From s0–s9, columns of four tiles two apart, to four products of each.
macro_rules! products {
    () => {
        concat!(
            each!("vsub" 20 0 2; "vsub" 21 2 4; "vsub" 22 4 6; "vsub" 23 6 8;),
            each!("vadd" 24 1 2; "vadd" 25 3 4; "vadd" 26 5 6; "vadd" 27 7 8;),
            "vstmia r11, {{s20-s23}}\nadd r11, r11, r4\n",
            each!("vsub" 28 2 1; "vsub" 29 4 3; "vsub" 30 6 5; "vsub" 31 8 7;),
            "vstmia r11, {{s24-s27}}\nadd r11, r11, r4\n",
            each!("vsub" 20 1 3; "vsub" 21 3 5; "vsub" 22 5 7; "vsub" 23 7 9;),
            "vstmia r11, {{s28-s31}}\nadd r11, r11, r4\n",
            "vstmia r11, {{s20-s23}}\nadd r11, r11, r4\n",
        )
    };
}

/// r1 the row of tiles, r2 from a row of pixels to the next, r3 where the group goes, r4 from a product to the next, r5 rows
/// left, r6 the group's first row of pixels, r8 to r10 the others, r7 groups left, r11 where the product goes, r12 from a
/// group to the next.
///
/// # Safety
/// As in [`super::super::winograd::transform_pixels`].
#[unsafe(naked)]
pub(in super::super) unsafe extern "C" fn transform_pixels(arguments: *const Pixels) {
    naked_asm!(
        fpu!(),
        "push {{r4-r11, lr}}",
        "vpush {{s16-s31}}",
        "ldm r0, {{r1-r5}}",
        "ldr r12, [r0, #24]",
        "2:",
        "mov r6, r1",
        "ldr r7, [r0, #20]",
        "3:",
        "add r8, r6, r2",
        "add r9, r8, r2",
        "add r10, r9, r2",
        "mov r11, r3",
        "vldmia r6, {{s0-s9}}",
        "vldmia r9, {{s10-s19}}",
        columns!(0 - 1),
        products!(),
        "vldmia r8, {{s0-s9}}",
        columns!(0 + 1),
        products!(),
        "vldmia r8, {{s0-s9}}",
        columns!(1 - 0),
        products!(),
        "vldmia r8, {{s0-s9}}",
        "vldmia r10, {{s10-s19}}",
        columns!(0 - 1),
        products!(),
        "adds r6, #32",
        "add r3, r3, r12",
        "subs r7, #1",
        "bne 3b",
        "ldr r6, [r0, #28]",
        "add r1, r1, r6",
        "subs r5, #1",
        "bne 2b",
        "vpop {{s16-s31}}",
        "pop {{r4-r11, pc}}",
    )
}

/// The next weight's place.
macro_rules! put {
    ($s:literal) => {
        concat!("vstr s", $s, ", [r7]\nadd r7, r7, r4\n")
    };
}

/// G·g of a row: from `$a`, `$b` and `$c` to four products, which are scaled by `$outer` and `$inner`.
macro_rules! weights {
    ($a:literal $b:literal $c:literal; $inner:literal) => {
        concat!(
            each!("vadd" 24 $a $c; "vadd" 25 24 $b; "vsub" 26 24 $b; "vmul" 25 25 $inner; "vmul" 26 26 $inner;),
            put!($a), put!(25), put!(26), put!($c),
        )
    };
    ($a:literal $b:literal $c:literal; $inner:literal $outer:literal) => {
        concat!(
            each!("vadd" 24 $a $c; "vmul" 27 $a $outer; "vadd" 25 24 $b; "vsub" 26 24 $b; "vmul" 28 $c $outer;),
            each!("vmul" 25 25 $inner; "vmul" 26 26 $inner;),
            put!(27), put!(25), put!(26), put!(28),
        )
    };
}

/// G·g·Gᵀ of weights that `$load` reads to s0–s8 from r5 on, behind which it leaves r5; it may use r7, r11, r12, lr and s16–s20.
macro_rules! transform {
    ($name:ident: $($load:literal,)*) => {
        /// r1 the rank's weights, r2 from a rank to the next, r3 where the rank's first goes, r4 from a product to the next, r5 the
        /// channel's weights, r6 where it goes, r7 where a product goes, r8 channels left, r9 ranks left, r10 from a channel to the
        /// next. s0–s8 weights, s9–s11 and s12–s14 the middle rows of G·g, s30 and s31 a half and a quarter.
        ///
        /// # Safety
        /// As in [`super::super::winograd::transform_weights`].
        #[unsafe(naked)]
        pub(in super::super) unsafe extern "C" fn $name(arguments: *const Weights) {
            naked_asm!(
                fpu!(),
                "push {{r4-r11, lr}}",
                "vpush {{s16-s31}}",
                "ldm r0, {{r1-r4}}",
                "ldrd r9, r10, [r0, #20]",
                "vmov.f32 s30, #0.5",
                "vmov.f32 s31, #0.25",
                "2:",
                "mov r5, r1",
                "mov r6, r3",
                "ldr r8, [r0, #16]",
                "3:",
                $($load,)*
                each!("vadd" 16 0 6; "vadd" 17 1 7; "vadd" 18 2 8;),
                each!("vadd" 9 16 3; "vadd" 10 17 4; "vadd" 11 18 5;),
                each!("vsub" 12 16 3; "vsub" 13 17 4; "vsub" 14 18 5;),
                "mov r7, r6",
                weights!(0 1 2; 30),
                weights!(9 10 11; 31 30),
                weights!(12 13 14; 31 30),
                weights!(6 7 8; 30),
                "add r6, r6, r10",
                "subs r8, #1",
                "bne 3b",
                "add r1, r1, r2",
                "adds r3, #4",
                "subs r9, #1",
                "bne 2b",
                "vpop {{s16-s31}}",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

transform! { transform_weights:
    "ldr r7, [r5], #4",
    "ldr r11, [r5], #4",
    "ldr r12, [r5], #4",
    "ldr lr, [r5], #4",
    "vmov s16, s17, r7, r11",
    "ldrh r7, [r5], #2",
    "vmov s18, s19, r12, lr",
    "vmov s20, r7",
    "vcvtb.f32.f16 s0, s16",
    "vcvtt.f32.f16 s1, s16",
    "vcvtb.f32.f16 s2, s17",
    "vcvtt.f32.f16 s3, s17",
    "vcvtb.f32.f16 s4, s18",
    "vcvtt.f32.f16 s5, s18",
    "vcvtb.f32.f16 s6, s19",
    "vcvtt.f32.f16 s7, s19",
    "vcvtb.f32.f16 s8, s20",
}

// 8 bits of a thin half: whole 128ths.
transform! { transform_eights:
    "ldrsb r7, [r5], #1",
    "ldrsb r11, [r5], #1",
    "ldrsb r12, [r5], #1",
    "ldrsb lr, [r5], #1",
    "vmov s0, s1, r7, r11",
    "vmov s2, s3, r12, lr",
    "ldrsb r7, [r5], #1",
    "ldrsb r11, [r5], #1",
    "ldrsb r12, [r5], #1",
    "ldrsb lr, [r5], #1",
    "vmov s4, s5, r7, r11",
    "ldrsb r7, [r5], #1",
    "vmov s6, s7, r12, lr",
    "vmov s8, r7",
    "vcvt.f32.s32 s0, s0, #7",
    "vcvt.f32.s32 s1, s1, #7",
    "vcvt.f32.s32 s2, s2, #7",
    "vcvt.f32.s32 s3, s3, #7",
    "vcvt.f32.s32 s4, s4, #7",
    "vcvt.f32.s32 s5, s5, #7",
    "vcvt.f32.s32 s6, s6, #7",
    "vcvt.f32.s32 s7, s7, #7",
    "vcvt.f32.s32 s8, s8, #7",
}

/// The four products of a column, from r11 on: Aᵀ·m, to the registers of either row.
macro_rules! column {
    ($p0:literal $p1:literal $p2:literal $p3:literal; $q0:literal $q1:literal $q2:literal $q3:literal) => {
        concat!(
            "vldmia r11, {{s16-s19}}\nadd r10, r11, r12\n",
            "vldmia r10, {{s20-s23}}\nadd r10, r10, r12\n",
            "vldmia r10, {{s24-s27}}\nadd r10, r10, r12\n",
            "vldmia r10, {{s28-s31}}\nadd r11, r11, r2\n",
            each!("vadd" 16 16 20; "vadd" 17 17 21; "vadd" 18 18 22; "vadd" 19 19 23;),
            each!("vsub" 20 20 24; "vsub" 21 21 25; "vsub" 22 22 26; "vsub" 23 23 27;),
            each!("vadd" $p0 16 24; "vadd" $p1 17 25; "vadd" $p2 18 26; "vadd" $p3 19 27;),
            each!("vsub" $q0 20 28; "vsub" $q1 21 29; "vsub" $q2 22 30; "vsub" $q3 23 31;),
        )
    };
}

/// r1 the group's sums, r2 from a product to the next, r12 four times that, r3 where its pixels go, r4 from a group of
/// pixels to the next, r5 the same for the second half, r6 ranks left, r7 groups left, r8 rows left, r9 from a row of pixels
/// to the next, r10 and r11 products. s0–s7 and s8–s15 the pixels of either row.
///
/// # Safety
/// As in [`super::super::winograd::transform_sums`].
#[unsafe(naked)]
pub(in super::super) unsafe extern "C" fn transform_sums(arguments: *mut Sums) {
    naked_asm!(
        fpu!(),
        "push {{r4-r11, lr}}",
        "vpush {{s16-s31}}",
        "ldm r0, {{r1-r4}}",
        "ldr r9, [r0, #20]",
        "ldr r8, [r0, #32]",
        "lsl r12, r2, #2",
        "2:",
        "ldr r3, [r0, #8]",
        "ldr r7, [r0, #28]",
        "3:",
        "mov r5, r4",
        "cmp r7, #1",
        "it eq",
        "ldreq r5, [r0, #16]",
        "mov lr, r3",
        "ldr r6, [r0, #24]",
        "4:",
        "mov r11, r1",
        column!(0 2 4 6; 8 10 12 14),
        column!(1 3 5 7; 9 11 13 15),
        each!("vadd" 0 0 1; "vadd" 2 2 3; "vadd" 4 4 5; "vadd" 6 6 7;),
        each!("vadd" 8 8 9; "vadd" 10 10 11; "vadd" 12 12 13; "vadd" 14 14 15;),
        column!(16 17 18 19; 20 21 22 23),
        each!("vadd" 0 0 16; "vadd" 2 2 17; "vadd" 4 4 18; "vadd" 6 6 19;),
        each!("vsub" 1 1 16; "vsub" 3 3 17; "vsub" 5 5 18; "vsub" 7 7 19;),
        each!("vadd" 8 8 20; "vadd" 10 10 21; "vadd" 12 12 22; "vadd" 14 14 23;),
        each!("vsub" 9 9 20; "vsub" 11 11 21; "vsub" 13 13 22; "vsub" 15 15 23;),
        column!(16 17 18 19; 20 21 22 23),
        each!("vsub" 1 1 16; "vsub" 3 3 17; "vsub" 5 5 18; "vsub" 7 7 19;),
        each!("vsub" 9 9 20; "vsub" 11 11 21; "vsub" 13 13 22; "vsub" 15 15 23;),
        // The second half first: the first takes its place where it has none.
        "add r10, lr, r5",
        "vstmia r10, {{s4-s7}}",
        "vstmia lr, {{s0-s3}}",
        "add r10, lr, r9",
        "add r11, r10, r5",
        "vstmia r11, {{s12-s15}}",
        "vstmia r10, {{s8-s11}}",
        "add lr, lr, #16",
        "adds r1, #16",
        "subs r6, #1",
        "bne 4b",
        "add r3, r3, r4, lsl #1",
        "subs r7, #1",
        "bne 3b",
        "ldr r3, [r0, #8]",
        "add r3, r3, r9, lsl #1",
        "str r3, [r0, #8]",
        "subs r8, #1",
        "bne 2b",
        "vpop {{s16-s31}}",
        "pop {{r4-r11, pc}}",
    )
}
