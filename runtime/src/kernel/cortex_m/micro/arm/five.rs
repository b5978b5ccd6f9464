//! Five pixels by four channels. Registers: s0–s19 sums, five for each channel; s20–s24 pixels; s25–s28 weights; s30 and s31
//! products.

use core::arch::naked_asm;

use super::super::five::Five;

/// Five sums plus weight · pixels.
#[cfg(not(fpv5))]
macro_rules! mac {
    ($w:literal; $a0:literal $a1:literal $a2:literal $a3:literal $a4:literal) => {
        concat!(
            "vmul.f32 s30, s20, s",
            $w,
            "\nvmul.f32 s31, s21, s",
            $w,
            "\n",
            "vadd.f32 s",
            $a0,
            ", s",
            $a0,
            ", s30\nvmul.f32 s30, s22, s",
            $w,
            "\n",
            "vadd.f32 s",
            $a1,
            ", s",
            $a1,
            ", s31\nvmul.f32 s31, s23, s",
            $w,
            "\n",
            "vadd.f32 s",
            $a2,
            ", s",
            $a2,
            ", s30\nvmul.f32 s30, s24, s",
            $w,
            "\n",
            "vadd.f32 s",
            $a3,
            ", s",
            $a3,
            ", s31\nvadd.f32 s",
            $a4,
            ", s",
            $a4,
            ", s30\n",
        )
    };
}

/// Five sums plus weight · pixels.
#[cfg(fpv5)]
macro_rules! mac {
    ($w:literal; $($a:literal $p:literal)*) => {
        concat!($("vfma.f32 s", $a, ", s", $p, ", s", $w, "\n",)*)
    };
    ($w:literal; $a0:literal $a1:literal $a2:literal $a3:literal $a4:literal) => {
        mac!($w; $a0 20 $a1 21 $a2 22 $a3 23 $a4 24)
    };
}

/// One value: its pixels follow r1, its weights lie in one half of r8 to r11.
macro_rules! value {
    ($half:literal) => {
        concat!(
            "vldmia r1!, {{s20-s24}}\n",
            "vmov s25, s26, r8, r9\nvmov s27, s28, r10, r11\n",
            "vcvt", $half, ".f32.f16 s25, s25\nvcvt", $half, ".f32.f16 s26, s26\n",
            "vcvt", $half, ".f32.f16 s27, s27\nvcvt", $half, ".f32.f16 s28, s28\n",
            mac!(25; 0 1 2 3 4), mac!(26; 5 6 7 8 9), mac!(27; 10 11 12 13 14), mac!(28; 15 16 17 18 19),
        )
    };
}

/// A channel's bias to its five sums.
macro_rules! bias {
    ($at:literal; $a0:literal $($a:literal)*) => {
        concat!("vldr s", $a0, ", [r7, #", $at, "]\n", $("vmov.f32 s", $a, ", s", $a0, "\n",)*)
    };
}

/// r1 pixels, r2 to r5 weights of each channel, r6 values left in twos, r7 biases and sums, r8 to r11 weights of two values.
///
/// # Safety
/// As in [`super::super::five::five`].
#[unsafe(naked)]
pub(in super::super) unsafe extern "C" fn five(arguments: *const Five) {
    naked_asm!(
        fpu!(),
        "push {{r4-r11, lr}}",
        "vpush {{s16-s31}}",
        "ldr r7, [r0, #20]",
        bias!(0; 0 1 2 3 4),
        bias!(4; 5 6 7 8 9),
        bias!(8; 10 11 12 13 14),
        bias!(12; 15 16 17 18 19),
        "ldrd r1, r2, [r0]",
        "ldr r6, [r0, #8]",
        "add r3, r2, r6",
        "add r4, r3, r6",
        "add r5, r4, r6",
        "ldr r6, [r0, #12]",
        "cmp r6, #0",
        "beq 3f",
        "2:",
        "ldr r8, [r2], #4",
        "ldr r9, [r3], #4",
        "ldr r10, [r4], #4",
        "ldr r11, [r5], #4",
        value!("b"),
        value!("t"),
        "subs r6, #1",
        "bne 2b",
        "3:",
        "ldr r6, [r0, #16]",
        "cmp r6, #0",
        "beq 4f",
        "ldrh r8, [r2]",
        "ldrh r9, [r3]",
        "ldrh r10, [r4]",
        "ldrh r11, [r5]",
        value!("b"),
        "4:",
        "ldr r7, [r0, #24]",
        "vstmia r7!, {{s0-s3}}",
        "vstmia r7!, {{s5-s8}}",
        "vstmia r7!, {{s10-s13}}",
        "vstmia r7!, {{s15-s18}}",
        "vstr s4, [r7]",
        "vstr s9, [r7, #16]",
        "vstr s14, [r7, #32]",
        "vstr s19, [r7, #48]",
        "vpop {{s16-s31}}",
        "pop {{r4-r11, pc}}",
    )
}
