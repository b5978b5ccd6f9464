//! Depthwise 3×3.
//!
//! Registers of all loops: s0–s3 sums; s4–s12 pixels; s20–s28 weights; s29 bias; s30 and s31 products, or the bounds. r1
//! the row's pixels, r4 the group's, r2 and r11 those of a kernel row, r3 output, r5 groups left, r6 rows left, r9
//! activation, r10 arguments, r12 from a kernel row to the next, lr from the even to the odd phase.

use core::arch::naked_asm;

use super::super::depthwise::{Arguments, Five};

/// Two sums from `$x` and `$y` on plus weight · pixels.
#[cfg(not(fpv5))]
macro_rules! pair {
    ($w:literal; $p:literal $q:literal; $a:literal $b:literal; $x:literal $y:literal) => {
        concat!(
            "vmul.f32 s30, s",
            $p,
            ", s",
            $w,
            "\nvmul.f32 s31, s",
            $q,
            ", s",
            $w,
            "\n",
            "vadd.f32 s",
            $a,
            ", s",
            $x,
            ", s30\nvadd.f32 s",
            $b,
            ", s",
            $y,
            ", s31\n",
        )
    };
    ($w:literal; $p:literal; $a:literal; $x:literal) => {
        concat!("vmul.f32 s30, s", $p, ", s", $w, "\nvadd.f32 s", $a, ", s", $x, ", s30\n")
    };
}

/// Two sums plus weight · pixels.
#[cfg(fpv5)]
macro_rules! pair {
    ($w:literal; $p:literal $q:literal; $a:literal $b:literal; 29 29) => {
        concat!("vmov.f32 s", $a, ", s29\nvmov.f32 s", $b, ", s29\n", pair!($w; $p $q; $a $b; $a $b))
    };
    ($w:literal; $p:literal $q:literal; $a:literal $b:literal; $x:literal $y:literal) => {
        concat!(
            "vfma.f32 s", $a, ", s", $p, ", s", $w, "\nvfma.f32 s", $b, ", s", $q, ", s", $w, "\n",
        )
    };
    ($w:literal; $p:literal; $a:literal; 29) => {
        concat!("vmov.f32 s", $a, ", s29\n", pair!($w; $p; $a; $a))
    };
    ($w:literal; $p:literal; $a:literal; $x:literal) => {
        concat!("vfma.f32 s", $a, ", s", $p, ", s", $w, "\n")
    };
}

/// One tap of 4, 2 or 1 pixels, the first one from the bias on.
macro_rules! tap {
    (4 first $w:literal; $p0:literal $p1:literal $p2:literal $p3:literal) => {
        concat!(pair!($w; $p0 $p1; 0 1; 29 29), pair!($w; $p2 $p3; 2 3; 29 29))
    };
    (4 $w:literal; $p0:literal $p1:literal $p2:literal $p3:literal) => {
        concat!(pair!($w; $p0 $p1; 0 1; 0 1), pair!($w; $p2 $p3; 2 3; 2 3))
    };
    (2 first $w:literal; $p0:literal $p1:literal $p2:literal $p3:literal) => {
        pair!($w; $p0 $p1; 0 1; 29 29)
    };
    (2 $w:literal; $p0:literal $p1:literal $p2:literal $p3:literal) => {
        pair!($w; $p0 $p1; 0 1; 0 1)
    };
    (1 first $w:literal; $p0:literal $p1:literal $p2:literal $p3:literal) => {
        pair!($w; $p0; 0; 29)
    };
    (1 $w:literal; $p0:literal $p1:literal $p2:literal $p3:literal) => {
        pair!($w; $p0; 0; 0)
    };
}

/// The pixels of a kernel row from `$x` on.
macro_rules! pixels {
    (Row 4 $x:literal) => {
        concat!("vldmia ", $x, ", {{s4-s9}}\n")
    };
    (Row 2 $x:literal) => {
        concat!("vldmia ", $x, ", {{s4-s7}}\n")
    };
    (Row 1 $x:literal) => {
        concat!("vldmia ", $x, ", {{s4-s6}}\n")
    };
    (Stride2 4 $x:literal) => {
        concat!("add r11, ", $x, ", lr\nvldmia ", $x, ", {{s4-s8}}\nvldmia r11, {{s9-s12}}\n")
    };
    (Stride2 2 $x:literal) => {
        concat!("add r11, ", $x, ", lr\nvldmia ", $x, ", {{s4-s6}}\nvldmia r11, {{s9-s10}}\n")
    };
    (Stride2 1 $x:literal) => {
        concat!("add r11, ", $x, ", lr\nvldmia ", $x, ", {{s4-s5}}\nvldr s9, [r11]\n")
    };
}

/// A kernel row.
macro_rules! row {
    (Row $n:tt $x:literal $($first:ident)?; $w0:literal $w1:literal $w2:literal) => {
        concat!(
            pixels!(Row $n $x),
            tap!($n $($first)? $w0; 4 5 6 7), tap!($n $w1; 5 6 7 8), tap!($n $w2; 6 7 8 9),
        )
    };
    (Stride2 $n:tt $x:literal $($first:ident)?; $w0:literal $w1:literal $w2:literal) => {
        concat!(
            pixels!(Stride2 $n $x),
            tap!($n $($first)? $w0; 4 5 6 7), tap!($n $w1; 9 10 11 12), tap!($n $w2; 5 6 7 8),
        )
    };
}

/// Activates halves in r7 and r8; r0 is what 6.0 (0x4600) lacks to the largest, twice.
#[cfg(not(fpv5))]
macro_rules! activate {
    (Constants $which:literal $low:literal $high:literal) => {
        concat!("ldr r9, [r10, #", $which, "]\nmovw r0, #0xb9ff\nmovt r0, #0xb9ff\n")
    };
    (Full $($s:literal)*) => {
        ""
    };
    (Half 4) => {
        concat!(
            "cmp r9, #1\nblo 9f\nusat16 r7, #15, r7\nusat16 r8, #15, r8\nbeq 9f\n",
            "uqadd16 r7, r7, r0\nuqadd16 r8, r8, r0\nuqsub16 r7, r7, r0\nuqsub16 r8, r8, r0\n9:\n",
        )
    };
    (Half $n:tt) => {
        "cmp r9, #1\nblo 9f\nusat16 r7, #15, r7\nbeq 9f\nuqadd16 r7, r7, r0\nuqsub16 r7, r7, r0\n9:\n"
    };
}

/// Activates sums.
#[cfg(fpv5)]
macro_rules! activate {
    (Constants $which:literal $low:literal $high:literal) => {
        concat!("vldr s30, [r10, #", $low, "]\nvldr s31, [r10, #", $high, "]\n")
    };
    (Full $($s:literal)*) => {
        concat!($(
            "vmaxnm.f32 s", $s, ", s", $s, ", s30\nvminnm.f32 s", $s, ", s", $s, ", s31\n",
        )*)
    };
    (Half $n:tt) => {
        ""
    };
}

/// Sums to the output.
macro_rules! store {
    (4) => {
        concat!(
            activate!(Full 0 1 2 3),
            "vcvtb.f16.f32 s4, s0\nvcvtt.f16.f32 s4, s1\nvcvtb.f16.f32 s5, s2\nvcvtt.f16.f32 s5, s3\n",
            "vmov r7, r8, s4, s5\n",
            activate!(Half 4),
            "str r7, [r3], #4\nstr r8, [r3], #4\n",
        )
    };
    (2) => {
        concat!(
            activate!(Full 0 1),
            "vcvtb.f16.f32 s4, s0\nvcvtt.f16.f32 s4, s1\nvmov r7, s4\n",
            activate!(Half 2),
            "str r7, [r3], #4\n",
        )
    };
    (1) => {
        concat!(
            activate!(Full 0),
            "vcvtb.f16.f32 s4, s0\nvmov r7, s4\n",
            activate!(Half 1),
            "strh r7, [r3], #2\n",
        )
    };
}

/// 4, 2 or 1 pixels.
macro_rules! group {
    ($taps:ident $n:tt) => {
        concat!(
            row!($taps $n "r4" first; 20 21 22), "add r2, r4, r12\n",
            row!($taps $n "r2"; 23 24 25), "add r2, r2, r12\n",
            row!($taps $n "r2"; 26 27 28), store!($n),
        )
    };
}

/// Loops over channels, rows and groups.
macro_rules! depthwise {
    ($($name:ident: $taps:ident;)*) => {$(
        #[unsafe(naked)]
        unsafe extern "C" fn $name(arguments: *mut Arguments) {
            naked_asm!(
                fpu!(),
                "push {{r3-r11, lr}}",
                "vpush {{s16-s31}}",
                "mov r10, r0",
                "1:",
                "ldrd r1, r0, [r10, #64]",
                "blx r1",
                "ldrd r2, r4, [r10, #72]",
                "ldr r3, [r2]",
                "add r3, r3, r4",
                "str r3, [r2]",
                "ldrd r2, r7, [r10, #40]",
                "ldr r3, [r2], #4",
                "ldr r4, [r2], #4",
                "ldr r5, [r2], #4",
                "ldr r6, [r2], #4",
                "vmov s10, s11, r3, r4",
                "ldrh r3, [r2], #2",
                "vmov s12, s13, r5, r6",
                "vmov s14, r3",
                "vldmia r7!, {{s29}}",
                "strd r2, r7, [r10, #40]",
                "vcvtb.f32.f16 s20, s10",
                "vcvtt.f32.f16 s21, s10",
                "vcvtb.f32.f16 s22, s11",
                "vcvtt.f32.f16 s23, s11",
                "vcvtb.f32.f16 s24, s12",
                "vcvtt.f32.f16 s25, s12",
                "vcvtb.f32.f16 s26, s13",
                "vcvtt.f32.f16 s27, s13",
                "vcvtb.f32.f16 s28, s14",
                activate!(Constants 52 56 60),
                "ldrd r12, lr, [r10, #8]",
                "ldr r1, [r10]",
                "ldr r3, [r10, #28]",
                "ldr r6, [r10, #16]",
                "2:",
                "mov r4, r1",
                "ldr r5, [r10, #20]",
                "cmp r5, #0",
                "beq 4f",
                "3:",
                group!($taps 4),
                "adds r4, #16",
                "subs r5, #1",
                "bne 3b",
                "4:",
                "ldr r5, [r10, #24]",
                "lsrs r5, r5, #1",
                "beq 5f",
                group!($taps 2),
                "adds r4, #8",
                "5:",
                "ldr r5, [r10, #24]",
                "lsrs r5, r5, #1",
                "bcc 6f",
                group!($taps 1),
                "6:",
                "ldr r5, [r10, #32]",
                "ldr r2, [r10, #4]",
                "add r3, r3, r5",
                "add r1, r1, r2",
                "subs r6, #1",
                "bne 2b",
                "ldr r3, [r10, #28]",
                "ldr r5, [r10, #36]",
                "ldr r6, [r10, #48]",
                "add r3, r3, r5",
                "str r3, [r10, #28]",
                "subs r6, #1",
                "str r6, [r10, #48]",
                "bne 1b",
                "vpop {{s16-s31}}",
                "pop {{r3-r11, pc}}",
            )
        }
    )*};
}

depthwise! {
    stride1: Row;
    stride2: Stride2;
}

/// One tap of five pixels, whose sums are s0–s3 and s13, the first one from the bias on.
macro_rules! tap_five {
    (first $w:literal; $p0:literal $p1:literal $p2:literal $p3:literal $p4:literal) => {
        concat!(tap!(4 first $w; $p0 $p1 $p2 $p3), pair!($w; $p4; 13; 29))
    };
    ($w:literal; $p0:literal $p1:literal $p2:literal $p3:literal $p4:literal) => {
        concat!(tap!(4 $w; $p0 $p1 $p2 $p3), pair!($w; $p4; 13; 13))
    };
}

/// A kernel row of five pixels, s5–s9 between zeros: those at r2, or zeros where bit `$bit` of lr is not set.
macro_rules! row_five {
    ($bit:literal $($first:ident)?; $w0:literal $w1:literal $w2:literal) => {
        concat!(
            "tst lr, #", $bit, "\nbeq 3f\n",
            "ldr r7, [r2]\nldr r8, [r2, #4]\nldrh r5, [r2, #8]\n",
            "vmov s14, s15, r7, r8\nvmov s16, r5\n",
            "vcvtb.f32.f16 s5, s14\nvcvtt.f32.f16 s6, s14\nvcvtb.f32.f16 s7, s15\nvcvtt.f32.f16 s8, s15\n",
            "vcvtb.f32.f16 s9, s16\nb 4f\n3:\n",
            "vmov.f32 s5, s10\nvmov.f32 s6, s10\nvmov.f32 s7, s10\nvmov.f32 s8, s10\nvmov.f32 s9, s10\n4:\n",
            tap_five!($($first)? $w0; 4 5 6 7 8), tap_five!($w1; 5 6 7 8 9), tap_five!($w2; 6 7 8 9 10),
        )
    };
}

/// A row of five pixels of every channel, from the map to the output. r1 the first kernel row, r2 others, r3 output, r4 weights, r6
/// biases, r9 activation, r10 arguments, r11 channels left, r12 from a row to the next, lr which rows are there.
///
/// # Safety
/// As in [`super::super::depthwise::depthwise_five`].
#[unsafe(naked)]
pub(in super::super) unsafe extern "C" fn depthwise_five(arguments: *const Five) {
    naked_asm!(
        fpu!(),
        "push {{r3-r11, lr}}",
        "vpush {{s16-s31}}",
        "mov r10, r0",
        "ldrd r1, r12, [r10]",
        "ldrd lr, r3, [r10, #8]",
        "ldrd r4, r6, [r10, #16]",
        "ldr r11, [r10, #24]",
        activate!(Constants 36 40 44),
        "movs r5, #0",
        "vmov s10, r5",
        "1:",
        "ldr r5, [r4], #4",
        "ldr r7, [r4], #4",
        "vmov s14, s15, r5, r7",
        "ldr r5, [r4], #4",
        "ldr r7, [r4], #4",
        "vmov s16, s17, r5, r7",
        "ldrh r5, [r4], #2",
        "vmov s18, r5",
        "vldmia r6!, {{s29}}",
        "vcvtb.f32.f16 s20, s14",
        "vcvtt.f32.f16 s21, s14",
        "vcvtb.f32.f16 s22, s15",
        "vcvtt.f32.f16 s23, s15",
        "vcvtb.f32.f16 s24, s16",
        "vcvtt.f32.f16 s25, s16",
        "vcvtb.f32.f16 s26, s17",
        "vcvtt.f32.f16 s27, s17",
        "vcvtb.f32.f16 s28, s18",
        "vmov.f32 s4, s10",
        "mov r2, r1",
        row_five!(1 first; 20 21 22),
        "add r2, r2, r12",
        row_five!(2; 23 24 25),
        "add r2, r2, r12",
        row_five!(4; 26 27 28),
        store!(4),
        "vmov.f32 s0, s13",
        store!(1),
        "ldrd r5, r7, [r10, #28]",
        "add r1, r1, r5",
        "add r3, r3, r7",
        "subs r11, #1",
        "bne 1b",
        "vpop {{s16-s31}}",
        "pop {{r3-r11, pc}}",
    )
}

/// # Safety
/// As in [`super::super::depthwise::depthwise`].
pub(in super::super) unsafe fn depthwise(stride: usize, arguments: &mut Arguments) {
    // SAFETY: the caller's lengths.
    unsafe {
        match stride {
            1 => stride1(arguments),
            _ => stride2(arguments),
        }
    }
}

/// Address of what widens a channel.
pub(in super::super) fn fill(stride: usize) -> usize {
    match stride {
        1 => super::widen_rows as *const () as usize,
        _ => super::widen_phases as *const () as usize,
    }
}
