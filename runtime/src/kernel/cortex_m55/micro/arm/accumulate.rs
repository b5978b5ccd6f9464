//! Multiply-adds.
//!
//! Registers of all loops: q0 to q6 sums, one vector of pixels for each output channel, q7 pixels; r0 arguments, r1 the
//! group's pixels, r2 those of a tap, r4 weights, of which r5 to r11 hold those of a tap, r12 the step, r3 that to the
//! next channel, lr rounds left.

use core::arch::naked_asm;

use super::super::{Accumulate, Taps};

/// The next weights, one for each of 1 to 7 channels.
macro_rules! weights {
    (1) => {
        "ldr r5, [r4], #4\n"
    };
    (2) => {
        "ldrd r5, r6, [r4], #8\n"
    };
    (3) => {
        "ldm r4!, {{r5-r7}}\n"
    };
    (4) => {
        "ldm r4!, {{r5-r8}}\n"
    };
    (5) => {
        "ldm r4!, {{r5-r9}}\n"
    };
    (6) => {
        "ldm r4!, {{r5-r10}}\n"
    };
    (7) => {
        "ldm r4!, {{r5-r11}}\n"
    };
}

/// `$each` of each of the first 1 to 7 channels: it is a macro that gets the channel and the register of its weight.
macro_rules! channels {
    (1 $each:ident $kind:ident) => {
        $each!($kind 0 5)
    };
    (2 $each:ident $kind:ident) => {
        concat!(channels!(1 $each $kind), $each!($kind 1 6))
    };
    (3 $each:ident $kind:ident) => {
        concat!(channels!(2 $each $kind), $each!($kind 2 7))
    };
    (4 $each:ident $kind:ident) => {
        concat!(channels!(3 $each $kind), $each!($kind 3 8))
    };
    (5 $each:ident $kind:ident) => {
        concat!(channels!(4 $each $kind), $each!($kind 4 9))
    };
    (6 $each:ident $kind:ident) => {
        concat!(channels!(5 $each $kind), $each!($kind 5 10))
    };
    (7 $each:ident $kind:ident) => {
        concat!(channels!(6 $each $kind), $each!($kind 6 11))
    };
}

macro_rules! multiply_add {
    (full $q:literal $r:literal) => {
        concat!("vfma.f32 q", $q, ", q7, r", $r, "\n")
    };
    (half $q:literal $r:literal) => {
        concat!("vfma.f16 q", $q, ", q7, r", $r, "\n")
    };
}

/// A vector of pixels, so many elements behind r2.
macro_rules! pixels {
    (full 0) => {
        "vldrw.u32 q7, [r2]\n"
    };
    (full 1) => {
        "vldrw.u32 q7, [r2, #4]\n"
    };
    (full 2) => {
        "vldrw.u32 q7, [r2, #8]\n"
    };
    (half 0) => {
        "vldrh.u16 q7, [r2]\n"
    };
    (half 1) => {
        "vldrh.u16 q7, [r2, #2]\n"
    };
    (half 2) => {
        "vldrh.u16 q7, [r2, #4]\n"
    };
}

macro_rules! tap {
    ($kind:ident $n:tt $at:tt) => {
        concat!(pixels!($kind $at), weights!($n), channels!($n multiply_add $kind))
    };
}

/// One round.
macro_rules! round {
    (Single $kind:ident $n:tt) => {
        concat!("ldr r2, [r12], #4\nadd r2, r2, r1\n", tap!($kind $n 0))
    };
    (Strided $kind:ident $n:tt) => {
        concat!(tap!($kind $n 0), "add r2, r2, r12\n")
    };
    (Square $kind:ident $n:tt) => {
        concat!(
            tap!($kind $n 0), tap!($kind $n 1), tap!($kind $n 2), "add r2, r2, r12\n",
            tap!($kind $n 0), tap!($kind $n 1), tap!($kind $n 2), "add r2, r2, r12\n",
            tap!($kind $n 0), tap!($kind $n 1), tap!($kind $n 2), "add r2, r2, r3\n",
        )
    };
    // The odd phase of a row lies behind the even one.
    (Square2 $kind:ident $n:tt) => {
        concat!(
            round!(Row $kind $n), "add r2, r2, r12, lsl #1\n",
            round!(Row $kind $n), "add r2, r2, r12, lsl #1\n",
            round!(Row $kind $n), "add r2, r2, r3\n",
        )
    };
    (Row $kind:ident $n:tt) => {
        concat!(
            tap!($kind $n 0), "add r2, r2, r12\n",
            tap!($kind $n 0), "sub r2, r2, r12\n",
            tap!($kind $n 1),
        )
    };
}

/// What sums begin with, from r2.
macro_rules! begin {
    (full $q:literal $r:literal) => {
        concat!("vldrw.u32 q", $q, ", [r2, #16*", $q, "]\n")
    };
    (half $q:literal $r:literal) => {
        concat!("vmov.i32 q", $q, ", #0\n")
    };
}

/// Sums to r3; those of f16 are added to what lies at r2, even pixels first.
macro_rules! end {
    (full $q:literal $r:literal) => {
        concat!("vstrw.32 q", $q, ", [r3, #16*", $q, "]\n")
    };
    (half $q:literal $r:literal) => {
        concat!(
            "vldrw.u32 q6, [r2, #32*",
            $q,
            "]\n",
            "vcvtb.f32.f16 q7, q",
            $q,
            "\n",
            "vadd.f32 q7, q7, q6\n",
            "vstrw.32 q7, [r3, #32*",
            $q,
            "]\n",
            "vldrw.u32 q6, [r2, #32*",
            $q,
            "+16]\n",
            "vcvtt.f32.f16 q7, q",
            $q,
            "\n",
            "vadd.f32 q7, q7, q6\n",
            "vstrw.32 q7, [r3, #32*",
            $q,
            "+16]\n",
        )
    };
}

/// Loops over rows, groups and rounds.
macro_rules! accumulate {
    ($($name:ident: $kind:ident $taps:ident $n:tt;)*) => {$(
        #[unsafe(naked)]
        unsafe extern "C" fn $name(arguments: *mut Accumulate) {
            naked_asm!(
                mve!(),
                "push {{r4-r11, lr}}",
                "vpush {{d8-d15}}",
                "2:",
                "ldr r1, [r0]",
                "ldr r5, [r0, #12]",
                "3:",
                "str r5, [r0, #52]",
                "ldr r2, [r0, #32]",
                channels!($n begin $kind),
                "ldrd r4, r5, [r0, #16]",
                "ldrd r12, r3, [r0, #40]",
                "mov r2, r1",
                "dls lr, r5",
                "4:",
                round!($taps $kind $n),
                "le lr, 4b",
                // Where sums begin, and where they go.
                "ldrd r2, r5, [r0, #32]",
                "ldrd r3, r6, [r0, #24]",
                channels!($n end $kind),
                "add r2, r2, r5",
                "add r3, r3, r6",
                "str r2, [r0, #32]",
                "str r3, [r0, #24]",
                "ldrd r2, r5, [r0, #48]",
                "add r1, r1, r2",
                "subs r5, r5, #1",
                "bne 3b",
                "ldrd r1, r5, [r0]",
                "add r1, r1, r5",
                "ldr r5, [r0, #8]",
                "str r1, [r0]",
                "subs r5, r5, #1",
                "str r5, [r0, #8]",
                "bne 2b",
                "vpop {{d8-d15}}",
                "pop {{r4-r11, pc}}",
            )
        }
    )*};
}

/// The loops of one element, by taps and channels.
macro_rules! table {
    ($kind:ident: $($taps:ident [$($name:ident $n:tt)*];)*) => {
        accumulate! { $($($name: $kind $taps $n;)*)* }

        /// # Safety
        /// `outs` is at least 1 and at most what the element computes together; the rest as in
        /// [`super::super::accumulate`].
        pub(in super::super) unsafe fn $kind(taps: Taps, outs: usize, arguments: &mut Accumulate) {
            let inner = match (taps, outs) {
                $($((Taps::$taps, $n) => $name,)*)*
                _ => return,
            };
            // SAFETY: the caller's lengths.
            unsafe { inner(arguments) }
        }
    };
}

table! { full:
    Single [single_1 1 single_2 2 single_3 3 single_4 4 single_5 5 single_6 6 single_7 7];
    Strided [strided_1 1 strided_2 2 strided_3 3 strided_4 4 strided_5 5 strided_6 6 strided_7 7];
    Square [square_1 1 square_2 2 square_3 3 square_4 4 square_5 5 square_6 6 square_7 7];
    Square2 [square2_1 1 square2_2 2 square2_3 3 square2_4 4 square2_5 5 square2_6 6 square2_7 7];
}

table! { half:
    Single [half_1 1 half_2 2 half_3 3 half_4 4 half_5 5 half_6 6];
    Strided [half_strided_1 1 half_strided_2 2 half_strided_3 3 half_strided_4 4 half_strided_5 5 half_strided_6 6];
    Square [half_square_1 1 half_square_2 2 half_square_3 3 half_square_4 4 half_square_5 5 half_square_6 6];
    Square2 [half_square2_1 1 half_square2_2 2 half_square2_3 3 half_square2_4 4 half_square2_5 5 half_square2_6 6];
}
