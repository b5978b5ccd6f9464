//! Multiply-adds.
//!
//! An FPU of type FPv4 (Cortex-M4F) takes three cycles for a fused or chained multiply-add and one each for VMUL and
//! VADD, if no result is used by the instruction right behind it; FPv5 (Cortex-M7, M33, M55) fuses.
//!
//! Registers of all [`Accumulate`] loops: s0–s15 sums, four pixels for each output channel; s16–s21 pixels; s22–s29
//! weights; s30 and s31 products.

use core::arch::naked_asm;

use super::super::{Accumulate, Taps};
use crate::kernel::{Operations, Set};

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

/// One tap: four pixels for each of 1, 2 or 4 output channels, with weights that lie in the given registers.
macro_rules! tap {
    ($($p:literal)*; $w0:literal) => {
        mac!($w0; $($p)*; 0 1 2 3)
    };
    ($($p:literal)*; $w0:literal $w1:literal) => {
        concat!(mac!($w0; $($p)*; 0 1 2 3), mac!($w1; $($p)*; 4 5 6 7))
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
    (4; [$($first:expr)?; $($p:literal)*] [$($second:expr)?; $($q:literal)*] [$($third:expr)?; $($r:literal)*]) => {
        concat!(
            "vldmia r4!, {{s22-s29}}\n",
            $($first,)? tap!($($p)*; 22 23 24 25), $($second,)? tap!($($q)*; 26 27 28 29),
            "vldmia r4!, {{s22-s25}}\n",
            $($third,)? tap!($($r)*; 22 23 24 25),
        )
    };
}

/// The taps of one offset, whose pixels begin at r5 (or follow r5, two ranks at a time, and end where the weights do).
macro_rules! taps {
    (Single 1) => {
        concat!("vldmia r5, {{s16-s19}}\nvldmia r4!, {{s22}}\n", tap!(16 17 18 19; 22))
    };
    (Single 2) => {
        concat!("vldmia r5, {{s16-s19}}\nvldmia r4!, {{s22-s23}}\n", tap!(16 17 18 19; 22 23))
    };
    (Single 4) => {
        concat!("vldmia r5, {{s16-s19}}\nvldmia r4!, {{s22-s25}}\n", tap!(16 17 18 19; 22 23 24 25))
    };
    // Two of them.
    (Ranks $n:tt) => {
        ranks!(Two $n)
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

/// One or two ranks, whose pixels and weights follow r5 and r4. Registers are left for four pixels of one at a time beside
/// products.
#[cfg(not(fpv5))]
macro_rules! ranks {
    (One 1) => {
        concat!("vldmia r5!, {{s16-s19}}\nvldmia r4!, {{s22}}\n", tap!(16 17 18 19; 22))
    };
    (One 2) => {
        concat!("vldmia r5!, {{s16-s19}}\nvldmia r4!, {{s22-s23}}\n", tap!(16 17 18 19; 22 23))
    };
    (One 4) => {
        concat!("vldmia r5!, {{s16-s19}}\nvldmia r4!, {{s22-s25}}\n", tap!(16 17 18 19; 22 23 24 25))
    };
    (Two $last:literal; $($w:literal)*; $($v:literal)*) => {
        concat!(
            "vldmia r5!, {{s16-s19}}\nvldmia r4!, {{s22-s", $last, "}}\n", tap!(16 17 18 19; $($w)*),
            "vldmia r5!, {{s16-s19}}\n", tap!(16 17 18 19; $($v)*),
        )
    };
    (Two 1) => {
        ranks!(Two 23; 22; 23)
    };
    (Two 2) => {
        ranks!(Two 25; 22 23; 24 25)
    };
    (Two 4) => {
        ranks!(Two 29; 22 23 24 25; 26 27 28 29)
    };
}

/// One or two ranks, whose pixels and weights follow r5 and r4.
#[cfg(fpv5)]
macro_rules! ranks {
    (One 1) => {
        concat!("vldmia r5!, {{s16-s19}}\nvldmia r4!, {{s24}}\n", tap!(16 17 18 19; 24))
    };
    (One 2) => {
        concat!("vldmia r5!, {{s16-s19}}\nvldmia r4!, {{s24-s25}}\n", tap!(16 17 18 19; 24 25))
    };
    (One 4) => {
        concat!("vldmia r5!, {{s16-s19}}\nvldmia r4!, {{s24-s27}}\n", tap!(16 17 18 19; 24 25 26 27))
    };
    (Two $last:literal; $($w:literal)*; $($v:literal)*) => {
        concat!(
            "vldmia r5!, {{s16-s23}}\nvldmia r4!, {{s24-s", $last, "}}\n",
            tap!(16 17 18 19; $($w)*), tap!(20 21 22 23; $($v)*),
        )
    };
    (Two 1) => {
        ranks!(Two 25; 24; 25)
    };
    (Two 2) => {
        ranks!(Two 27; 24 25; 26 27)
    };
    (Two 4) => {
        ranks!(Two 31; 24 25 26 27; 28 29 30 31)
    };
}

/// From offset to offset.
macro_rules! walk {
    // An odd rank first.
    (Ranks $n:tt Begin) => {
        concat!("mov r5, r1\ncmp lr, #0\nbeq 4f\n", ranks!(One $n), "cmp r4, r3\nbeq 5f\n")
    };
    // The next row's weights.
    (Ranks Row) => {
        "ldr r10, [r0, #52]\nldr r4, [r0, #24]\nadd r3, r3, r10\nadd r4, r4, r10\nstr r4, [r0, #24]"
    };
    ($taps:ident Row) => {
        ""
    };
    (Ranks Next) => {
        ""
    };
    (Ranks End) => {
        "cmp r4, r3"
    };
    ($taps:ident $n:tt Begin) => {
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
/// sums, r8 and r9 what they start from, r10 groups left, r12 from a group to the next, lr to the second phase, or 1 where
/// the ranks are odd.
macro_rules! accumulate {
    ($($name:ident: $taps:ident $n:tt $last:literal;)*) => {$(
        #[unsafe(naked)]
        unsafe extern "C" fn $name(arguments: *mut Accumulate) {
            naked_asm!(
                fpu!(),
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
                walk!($taps $n Begin),
                "4:",
                walk!($taps Next),
                taps!($taps $n),
                walk!($taps End),
                "bne 4b",
                "5:",
                concat!("vstmia r6, {{s0-s", $last, "}}"),
                "add r6, r6, r7",
                "add r1, r1, r12",
                "subs r10, r10, #1",
                "bne 3b",
                "ldr r1, [r0]",
                "ldr r10, [r0, #4]",
                "add r1, r1, r10",
                "str r1, [r0]",
                walk!($taps Row),
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
    single_4: Single 4 15;
    ranks_1: Ranks 1 3;
    ranks_2: Ranks 2 7;
    ranks_4: Ranks 4 15;
    row_1: Row 1 3;
    row_2: Row 2 7;
    row_4: Row 4 15;
    stride2_1: Stride2 1 3;
    stride2_2: Stride2 2 7;
    stride2_4: Stride2 4 15;
}

/// # Safety
/// `outs` is 1, 2 or 4; the rest as in [`super::super::accumulate`].
pub(in super::super) unsafe fn accumulate<U: Operations>(
    taps: Taps,
    outs: usize,
    arguments: &mut Accumulate,
) {
    let inner = match (taps, outs) {
        (Taps::Single, 1) if U::USED.has(Set::SINGLE[0]) => single_1,
        (Taps::Single, 2) if U::USED.has(Set::SINGLE[1]) => single_2,
        (Taps::Single, _) if U::USED.has(Set::SINGLE[2]) => single_4,
        (Taps::Ranks, 1) if U::USED.has(Set::RANKS[0]) => ranks_1,
        (Taps::Ranks, 2) if U::USED.has(Set::RANKS[1]) => ranks_2,
        (Taps::Ranks, _) if U::USED.has(Set::RANKS[2]) => ranks_4,
        (Taps::Row, 1) if U::USED.has(Set::ROW[0]) => row_1,
        (Taps::Row, 2) if U::USED.has(Set::ROW[1]) => row_2,
        (Taps::Row, _) if U::USED.has(Set::ROW[2]) => row_4,
        (Taps::Stride2, 1) if U::USED.has(Set::STRIDE_2[0]) => stride2_1,
        (Taps::Stride2, 2) if U::USED.has(Set::STRIDE_2[1]) => stride2_2,
        (Taps::Stride2, _) if U::USED.has(Set::STRIDE_2[2]) => stride2_4,
        _ => return,
    };
    // SAFETY: the caller's lengths.
    unsafe { inner(arguments) }
}
