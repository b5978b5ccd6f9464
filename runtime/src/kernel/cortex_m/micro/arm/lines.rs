//! The transforms of tiles of one row, four tiles at a time.

use core::arch::naked_asm;

use super::super::super::lines::Outputs;
use super::super::lines::{Pixels, Sums, Weights};
use crate::kernel::{Operations, Set};

/// The loops over three rows of pixels and their groups: r1 a row of pixels, r2 from one to the next, r3 where the row goes, r4 from
/// a product to the next, r5 groups, r6 from a group to the next, r7 rows left, r8 a group's pixels, r9 where the group goes, r10
/// groups left, r11 where a product goes.
macro_rules! pixels {
    ($name:ident: $step:literal, $($body:expr,)*) => {
        /// # Safety
        /// As in [`super::super::lines::line_pixels`].
        #[unsafe(naked)]
        unsafe extern "C" fn $name(arguments: *const Pixels) {
            naked_asm!(
                fpu!(),
                "push {{r4-r11, lr}}",
                "vpush {{s16-s31}}",
                "ldm r0, {{r1-r6}}",
                "movs r7, #3",
                "2:",
                "mov r8, r1",
                "mov r9, r3",
                "mov r10, r5",
                "3:",
                "mov r11, r9",
                $($body,)*
                concat!("adds r8, #", $step),
                "add r9, r9, r6",
                "subs r10, #1",
                "bne 3b",
                "add r1, r1, r2",
                "adds r3, #16",
                "subs r7, #1",
                "bne 2b",
                "vpop {{s16-s31}}",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

/// A product of four tiles, from `$from` to `$to`.
macro_rules! put {
    ($from:literal $to:literal) => {
        concat!("vstmia r11, {{s", $from, "-s", $to, "}}\nadd r11, r11, r4\n")
    };
}

// Columns two apart, s0–s9.
pixels! { pixels_two: 32,
    "vldmia r8, {{s0-s9}}",
    each!("vsub" 20 0 2; "vsub" 21 2 4; "vsub" 22 4 6; "vsub" 23 6 8;),
    each!("vadd" 24 1 2; "vadd" 25 3 4; "vadd" 26 5 6; "vadd" 27 7 8;),
    put!(20 23),
    each!("vsub" 28 2 1; "vsub" 29 4 3; "vsub" 30 6 5; "vsub" 31 8 7;),
    put!(24 27),
    each!("vsub" 20 1 3; "vsub" 21 3 5; "vsub" 22 5 7; "vsub" 23 7 9;),
    put!(28 31),
    put!(20 23),
}

// Columns four apart, s0–s17; s31 is 4.
pixels! { pixels_four: 64,
    "vldmia r8, {{s0-s17}}",
    "vmov.f32 s31, #4.0",
    // d4 − 4·d2 and d3 − 4·d1.
    each!("vmul" 29 2 31; "vmul" 30 6 31; "vsub" 18 4 29; "vsub" 19 8 30;),
    each!("vmul" 29 10 31; "vmul" 30 14 31; "vsub" 20 12 29; "vsub" 21 16 30;),
    each!("vmul" 29 1 31; "vmul" 30 5 31; "vsub" 22 3 29; "vsub" 23 7 30;),
    each!("vmul" 29 9 31; "vmul" 30 13 31; "vsub" 24 11 29; "vsub" 25 15 30;),
    each!("vadd" 26 18 22; "vadd" 27 19 23; "vadd" 28 20 24; "vadd" 29 21 25;),
    put!(26 29),
    each!("vsub" 18 18 22; "vsub" 19 19 23; "vsub" 20 20 24; "vsub" 21 21 25;),
    put!(18 21),
    // d4 − d2 and 2·(d3 − d1).
    each!("vsub" 22 3 1; "vsub" 23 7 5; "vsub" 24 11 9; "vsub" 25 15 13;),
    each!("vsub" 18 4 2; "vsub" 19 8 6; "vsub" 20 12 10; "vsub" 21 16 14;),
    each!("vadd" 22 22 22; "vadd" 23 23 23; "vadd" 24 24 24; "vadd" 25 25 25;),
    each!("vadd" 26 18 22; "vadd" 27 19 23; "vadd" 28 20 24; "vadd" 29 21 25;),
    put!(26 29),
    each!("vsub" 26 18 22; "vsub" 27 19 23; "vsub" 28 20 24; "vsub" 29 21 25;),
    put!(26 29),
    // d4 − d2 + 4·(d0 − d2).
    each!("vsub" 26 0 2; "vsub" 27 4 6; "vsub" 28 8 10; "vsub" 29 12 14;),
    each!("vmul" 26 26 31; "vmul" 27 27 31; "vmul" 28 28 31; "vmul" 29 29 31;),
    each!("vadd" 18 18 26; "vadd" 19 19 27; "vadd" 20 20 28; "vadd" 21 21 29;),
    put!(18 21),
    // d5 − d3 − 4·(d3 − d1).
    each!("vsub" 26 5 3; "vsub" 27 9 7; "vsub" 28 13 11; "vsub" 29 17 15;),
    each!("vadd" 22 22 22; "vadd" 23 23 23; "vadd" 24 24 24; "vadd" 25 25 25;),
    each!("vsub" 26 26 22; "vsub" 27 27 23; "vsub" 28 28 24; "vsub" 29 29 25;),
    put!(26 29),
}

/// # Safety
/// As in [`super::super::lines::line_pixels`].
pub(in super::super) unsafe fn line_pixels<U: Operations>(outputs: Outputs, arguments: &Pixels) {
    // SAFETY: the caller's lengths.
    unsafe {
        match outputs {
            Outputs::Two if U::USED.has(Set::LINES_TWO) => pixels_two(arguments),
            Outputs::Four if U::USED.has(Set::LINES_FOUR) => pixels_four(arguments),
            _ => {}
        }
    }
}

/// `$op` for each of `$n` channels.
macro_rules! quad {
    (4; $op:literal $t0:literal $t1:literal $t2:literal $t3:literal; $a0:literal $a1:literal $a2:literal $a3:literal; $b0:literal $b1:literal $b2:literal $b3:literal) => {
        each!($op $t0 $a0 $b0; $op $t1 $a1 $b1; $op $t2 $a2 $b2; $op $t3 $a3 $b3;)
    };
    (2; $op:literal $t0:literal $t1:literal $t2:literal $t3:literal; $a0:literal $a1:literal $a2:literal $a3:literal; $b0:literal $b1:literal $b2:literal $b3:literal) => {
        each!($op $t0 $a0 $b0; $op $t1 $a1 $b1;)
    };
    (1; $op:literal $t0:literal $t1:literal $t2:literal $t3:literal; $a0:literal $a1:literal $a2:literal $a3:literal; $b0:literal $b1:literal $b2:literal $b3:literal) => {
        each!($op $t0 $a0 $b0;)
    };
}

/// One weight of each of `$n` channels to where its product is.
macro_rules! weigh {
    (4; $to:literal $first:literal $second:literal $last:literal) => {
        concat!("vstmia ", $to, "!, {{s", $first, "-s", $last, "}}\n")
    };
    (2; $to:literal $first:literal $second:literal $last:literal) => {
        concat!("vstmia ", $to, "!, {{s", $first, "-s", $second, "}}\n")
    };
    (1; $to:literal $first:literal $second:literal $last:literal) => {
        concat!("vstmia ", $to, "!, {{s", $first, "}}\n")
    };
}

/// Three weights of each of `$n` channels: s0–s3, s4–s7 and s8–s11.
macro_rules! load {
    (half $from:literal; $a:literal $b:literal $c:literal) => {
        concat!(
            "ldr r0, [", $from, "], #4\nldrh r1, [", $from, "], #2\nvmov s24, s25, r0, r1\n",
            "vcvtb.f32.f16 s", $a, ", s24\nvcvtt.f32.f16 s", $b, ", s24\nvcvtb.f32.f16 s", $c, ", s25\n",
        )
    };
    // Whole 128ths.
    (thin $from:literal; $a:literal $b:literal $c:literal) => {
        concat!(
            "ldrsb r0, [", $from, "], #1\nldrsb r1, [", $from, "], #1\nldrsb lr, [", $from, "], #1\n",
            "vmov s", $a, ", r0\nvmov s", $b, ", r1\nvmov s", $c, ", lr\n",
            "vcvt.f32.s32 s", $a, ", s", $a, ", #7\nvcvt.f32.s32 s", $b, ", s", $b, ", #7\n",
            "vcvt.f32.s32 s", $c, ", s", $c, ", #7\n",
        )
    };
    ($kind:ident 1) => {
        load!($kind "r2"; 0 4 8)
    };
    ($kind:ident 2) => {
        concat!(load!($kind "r2"; 0 4 8), load!($kind "r3"; 1 5 9))
    };
    (half 4) => {
        concat!(
            load!(half "r2"; 0 4 8), load!(half "r3"; 1 5 9), load!(half "r4"; 2 6 10), load!(half "r5"; 3 7 11),
        )
    };
    // The values of two channels at a time go to neighbours.
    (thin 4) => {
        concat!(
            load!(Two "r2" "r3"; 0 1; 4 5; 8 9), load!(Two "r4" "r5"; 2 3; 6 7; 10 11),
            load!(Parts 0 1 2 3 4 5 6 7 8 9 10 11),
        )
    };
    (Two $from:literal $other:literal; $a:literal $b:literal; $c:literal $d:literal; $e:literal $f:literal) => {
        concat!(
            load!(Pair $from $other; $a $b), load!(Pair $from $other; $c $d), load!(Pair $from $other; $e $f),
        )
    };
    (Pair $from:literal $other:literal; $a:literal $b:literal) => {
        concat!(
            "ldrsb r0, [", $from, "], #1\nldrsb r1, [", $other, "], #1\nvmov s", $a, ", s", $b, ", r0, r1\n",
        )
    };
    (Parts $($s:literal)*) => { concat!($("vcvt.f32.s32 s", $s, ", s", $s, ", #7\n",)*) };
}

/// G·g of three weights.
macro_rules! filter {
    (Two $n:tt) => {
        concat!(
            quad!($n; "vadd" 12 13 14 15; 0 1 2 3; 8 9 10 11),
            weigh!($n; "r6" 0 1 3),
            quad!($n; "vadd" 16 17 18 19; 12 13 14 15; 4 5 6 7),
            quad!($n; "vsub" 20 21 22 23; 12 13 14 15; 4 5 6 7),
            weigh!($n; "r7" 16 17 19),
            weigh!($n; "r8" 20 21 23),
            weigh!($n; "r9" 8 9 11),
        )
    };
    (Four $n:tt) => {
        concat!(
            quad!($n; "vadd" 12 13 14 15; 0 1 2 3; 8 9 10 11),
            quad!($n; "vadd" 16 17 18 19; 12 13 14 15; 4 5 6 7),
            quad!($n; "vsub" 20 21 22 23; 12 13 14 15; 4 5 6 7),
            weigh!($n; "r6" 16 17 19),
            weigh!($n; "r7" 20 21 23),
            quad!($n; "vmul" 12 13 14 15; 8 9 10 11; 31 31 31 31),
            quad!($n; "vadd" 4 5 6 7; 4 5 6 7; 4 5 6 7),
            quad!($n; "vadd" 12 13 14 15; 12 13 14 15; 0 1 2 3),
            weigh!($n; "r10" 0 1 3),
            quad!($n; "vadd" 16 17 18 19; 12 13 14 15; 4 5 6 7),
            quad!($n; "vsub" 20 21 22 23; 12 13 14 15; 4 5 6 7),
            weigh!($n; "r8" 16 17 19),
            weigh!($n; "r9" 20 21 23),
            weigh!($n; "r11" 8 9 11),
        )
    };
}

macro_rules! weights {
    ($($name:ident: $kind:ident $tile:ident $n:tt;)*) => {$(
        /// r2 to r5 weights of each channel, r6 to r11 where products go, r12 threes left, s31 4.
        ///
        /// # Safety
        /// As in [`super::super::lines::line_products`].
        #[unsafe(naked)]
        unsafe extern "C" fn $name(arguments: *const Weights) {
            naked_asm!(
                fpu!(),
                "push {{r4-r11, lr}}",
                "vpush {{s16-s31}}",
                "ldr r2, [r0]",
                "ldr r1, [r0, #4]",
                "add r3, r2, r1",
                "add r4, r3, r1",
                "add r5, r4, r1",
                "ldr r6, [r0, #8]",
                "ldr r1, [r0, #12]",
                "add r7, r6, r1",
                "add r8, r7, r1",
                "add r9, r8, r1",
                "add r10, r9, r1",
                "add r11, r10, r1",
                "ldr r12, [r0, #16]",
                "vmov.f32 s31, #4.0",
                "2:",
                load!($kind $n),
                filter!($tile $n),
                "subs r12, r12, #1",
                "bne 2b",
                "vpop {{s16-s31}}",
                "pop {{r4-r11, pc}}",
            )
        }
    )*};
}

weights! {
    weights_two_1: half Two 1;
    weights_two_2: half Two 2;
    weights_two_4: half Two 4;
    weights_four_1: half Four 1;
    weights_four_2: half Four 2;
    weights_four_4: half Four 4;
    eights_two_1: thin Two 1;
    eights_two_2: thin Two 2;
    eights_two_4: thin Two 4;
    eights_four_1: thin Four 1;
    eights_four_2: thin Four 2;
    eights_four_4: thin Four 4;
}

/// True where the program has such tiles, so many ranks and such weights.
#[inline(always)]
fn has<U: Operations>(outputs: Set, outs: usize, weights: Set) -> bool {
    U::USED.has(outputs) && U::USED.has(Set::LINE_WEIGHTS[outs]) && U::USED.has(weights)
}

/// # Safety
/// `outs` is 1, 2 or 4; the rest as in [`super::super::lines::line_products`].
pub(in super::super) unsafe fn line_weights<U: Operations>(
    (outputs, halves): (Outputs, bool),
    outs: usize,
    arguments: &Weights,
) {
    let inner = match (outputs, outs, halves) {
        (Outputs::Two, 1, true) if has::<U>(Set::LINES_TWO, 0, Set::HALVES) => weights_two_1,
        (Outputs::Two, 2, true) if has::<U>(Set::LINES_TWO, 1, Set::HALVES) => weights_two_2,
        (Outputs::Two, 4, true) if has::<U>(Set::LINES_TWO, 2, Set::HALVES) => weights_two_4,
        (Outputs::Four, 1, true) if has::<U>(Set::LINES_FOUR, 0, Set::HALVES) => weights_four_1,
        (Outputs::Four, 2, true) if has::<U>(Set::LINES_FOUR, 1, Set::HALVES) => weights_four_2,
        (Outputs::Four, 4, true) if has::<U>(Set::LINES_FOUR, 2, Set::HALVES) => weights_four_4,
        (Outputs::Two, 1, false) if has::<U>(Set::LINES_TWO, 0, Set::THIN) => eights_two_1,
        (Outputs::Two, 2, false) if has::<U>(Set::LINES_TWO, 1, Set::THIN) => eights_two_2,
        (Outputs::Two, 4, false) if has::<U>(Set::LINES_TWO, 2, Set::THIN) => eights_two_4,
        (Outputs::Four, 1, false) if has::<U>(Set::LINES_FOUR, 0, Set::THIN) => eights_four_1,
        (Outputs::Four, 2, false) if has::<U>(Set::LINES_FOUR, 1, Set::THIN) => eights_four_2,
        (Outputs::Four, 4, false) if has::<U>(Set::LINES_FOUR, 2, Set::THIN) => eights_four_4,
        _ => return,
    };
    // SAFETY: the caller's lengths.
    unsafe { inner(arguments) }
}

/// The four pixels of a tile: y0 from `$zero`, `$sum` and `$far`, which are p0/4's, e's and g's; and so on.
macro_rules! tile {
    ($e:literal $f:literal $g:literal $h:literal $zero:literal $infinity:literal) => {
        concat!(
            "vmul.f32 s24, s", $zero, ", s30\n",
            "vmul.f32 s26, s", $g, ", s31\n",
            "vmul.f32 s27, s", $h, ", s31\n",
            "vsub.f32 s24, s24, s", $e, "\n",
            "vsub.f32 s25, s", $h, ", s", $f, "\n",
            "vsub.f32 s26, s26, s", $e, "\n",
            "vsub.f32 s27, s27, s", $f, "\n",
            "vadd.f32 s24, s24, s", $g, "\n",
            "vadd.f32 s27, s27, s", $infinity, "\n",
            "vstmia r10, {{s24-s27}}\nadd r10, r10, r4\n",
        )
    };
}

/// The loops over groups of tiles and ranks: r1 a rank's sums, r2 from a product to the next, r3 where the group goes, r4 from four
/// pixels to the next, r5 ranks, r6 groups left, r7 where the rank goes, r8 ranks left, r10 where pixels go, r11 products.
macro_rules! sums {
    ($name:ident: $shift:literal, [$($before:expr,)*] $($body:expr,)*) => {
        /// # Safety
        /// As in [`super::super::lines::line_sums`].
        #[unsafe(naked)]
        unsafe extern "C" fn $name(arguments: *const Sums) {
            naked_asm!(
                fpu!(),
                "push {{r4-r11, lr}}",
                "vpush {{s16-s31}}",
                "ldm r0, {{r1-r6}}",
                $($before,)*
                "2:",
                "mov r7, r3",
                "mov r8, r5",
                "3:",
                "mov r10, r7",
                "add r11, r1, r2",
                $($body,)*
                "adds r1, #16",
                "adds r7, #16",
                "subs r8, #1",
                "bne 3b",
                concat!("add r3, r3, r4, lsl #", $shift),
                "subs r6, #1",
                "bne 2b",
                "vpop {{s16-s31}}",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

sums! { sums_two: 1, []
    "vldmia r1, {{s0-s3}}",
    "vldmia r11, {{s4-s7}}\nadd r11, r11, r2",
    "vldmia r11, {{s8-s11}}\nadd r11, r11, r2",
    "vldmia r11, {{s12-s15}}",
    "vmov.f32 s31, #0.5",
    each!("vadd" 16 4 8; "vadd" 17 5 9; "vadd" 18 6 10; "vadd" 19 7 11;),
    each!("vsub" 20 4 8; "vsub" 21 5 9; "vsub" 22 6 10; "vsub" 23 7 11;),
    each!("vmul" 16 16 31; "vmul" 17 17 31; "vmul" 18 18 31; "vmul" 19 19 31;),
    each!("vmul" 20 20 31; "vmul" 21 21 31; "vmul" 22 22 31; "vmul" 23 23 31;),
    each!("vadd" 24 0 16; "vadd" 26 1 17; "vadd" 28 2 18; "vadd" 30 3 19;),
    each!("vsub" 25 20 12; "vsub" 27 21 13; "vsub" 29 22 14; "vsub" 31 23 15;),
    "vstmia r10, {{s24-s27}}",
    "add r10, r10, r4",
    "vstmia r10, {{s28-s31}}",
}

// s28 is 1/6, s29 1/24, s30 1/4, s31 4.
sums! { sums_four: 2, [
    "movw r7, #0xaaab",
    "movt r7, #0x3e2a",
    "vmov s28, r7",
    "movt r7, #0x3d2a",
    "vmov s29, r7",
    "vmov.f32 s30, #0.25",
    "vmov.f32 s31, #4.0",
    ]
    "vldmia r1, {{s0-s3}}",
    "vldmia r11, {{s4-s7}}\nadd r11, r11, r2",
    "vldmia r11, {{s8-s11}}\nadd r11, r11, r2",
    "vldmia r11, {{s12-s15}}\nadd r11, r11, r2",
    "vldmia r11, {{s16-s19}}\nadd r11, r11, r2",
    "vldmia r11, {{s20-s23}}",
    // e = (p₁ + p₋₁) / 6 and f = (p₁ − p₋₁) / 6.
    each!("vadd" 24 0 4; "vadd" 25 1 5; "vadd" 26 2 6; "vadd" 27 3 7;),
    each!("vsub" 4 0 4; "vsub" 5 1 5; "vsub" 6 2 6; "vsub" 7 3 7;),
    each!("vmul" 0 24 28; "vmul" 1 25 28; "vmul" 2 26 28; "vmul" 3 27 28;),
    each!("vmul" 4 4 28; "vmul" 5 5 28; "vmul" 6 6 28; "vmul" 7 7 28;),
    // g = (p₂ + p₋₂) / 24 and h = (p₂ − p₋₂) / 12.
    each!("vadd" 24 8 12; "vadd" 25 9 13; "vadd" 26 10 14; "vadd" 27 11 15;),
    each!("vsub" 12 8 12; "vsub" 13 9 13; "vsub" 14 10 14; "vsub" 15 11 15;),
    each!("vmul" 8 24 29; "vmul" 9 25 29; "vmul" 10 26 29; "vmul" 11 27 29;),
    each!("vmul" 12 12 29; "vmul" 13 13 29; "vmul" 14 14 29; "vmul" 15 15 29;),
    each!("vadd" 12 12 12; "vadd" 13 13 13; "vadd" 14 14 14; "vadd" 15 15 15;),
    tile!(0 4 8 12 16 20),
    tile!(1 5 9 13 17 21),
    tile!(2 6 10 14 18 22),
    tile!(3 7 11 15 19 23),
}

/// # Safety
/// As in [`super::super::lines::line_sums`].
pub(in super::super) unsafe fn line_sums<U: Operations>(outputs: Outputs, arguments: &Sums) {
    // SAFETY: the caller's lengths.
    unsafe {
        match outputs {
            Outputs::Two if U::USED.has(Set::LINES_TWO) => sums_two(arguments),
            Outputs::Four if U::USED.has(Set::LINES_FOUR) => sums_four(arguments),
            _ => {}
        }
    }
}
