//! Expansion of a pair's intermediate values, up to the stored activation.
//!
//! Registers of all loops: q0 to q6 sums of the channels, q7 values; behind the ranks, q6 and q7 the bounds and q5 what
//! else is needed, as far as sums have been stored. The last channel's is stored first. r0 arguments, r1 the output,
//! r2 values, which follow one another over groups and rows, r3 the residual, r4 weights, r5 to r11 a rank's weights,
//! r12 pixels of the row left, lr ranks left.

use core::arch::naked_asm;

use super::super::store::Store;

/// Instructions of an element.
macro_rules! each {
    (full start $q:literal) => {
        concat!("vldrw.u32 q", $q, ", [r5, #16*", $q, "]\n")
    };
    (half start $q:literal) => {
        each!(full start $q)
    };
    (full values) => {
        "vldrw.u32 q7, [r2], #16\n"
    };
    (half values) => {
        "vldrh.u16 q7, [r2], #16\n"
    };
    (full add $q:literal $r:literal) => {
        concat!("vfma.f32 q", $q, ", q7, r", $r, "\n")
    };
    (half add $q:literal $r:literal) => {
        concat!("vfma.f16 q", $q, ", q7, r", $r, "\n")
    };
    (full residual $q:literal $t:literal) => {
        concat!(
            "vpst\n",
            "vldrht.u32 q", $t, ", [r3]\n",
            "vcvtb.f32.f16 q", $t, ", q", $t, "\n",
            "vadd.f32 q", $q, ", q", $q, ", q", $t, "\n",
            "sub r3, r3, r6\n",
        )
    };
    (half residual $q:literal $t:literal) => {
        concat!(
            "vpst\n",
            "vldrht.u16 q", $t, ", [r3]\n",
            "vadd.f16 q", $q, ", q", $q, ", q", $t, "\n",
            "sub r3, r3, r6\n",
        )
    };
    (full low $q:literal $b:literal) => {
        concat!("vmaxnm.f32 q", $q, ", q", $q, ", q", $b, "\n")
    };
    (half low $q:literal $b:literal) => {
        concat!("vmaxnm.f16 q", $q, ", q", $q, ", q", $b, "\n")
    };
    (full high $q:literal $b:literal) => {
        concat!("vminnm.f32 q", $q, ", q", $q, ", q", $b, "\n")
    };
    (half high $q:literal $b:literal) => {
        concat!("vminnm.f16 q", $q, ", q", $q, ", q", $b, "\n")
    };
    (full store $q:literal) => {
        concat!(
            "vcvtb.f16.f32 q", $q, ", q", $q, "\n",
            "vpst\n",
            "vstrht.32 q", $q, ", [r1]\n",
            "sub r1, r1, r6\n",
        )
    };
    (half store $q:literal) => {
        concat!("vpst\n", "vstrht.16 q", $q, ", [r1]\n", "sub r1, r1, r6\n")
    };
    (full pixels) => {
        "4"
    };
    (half pixels) => {
        "8"
    };
    (full predicate) => {
        "vctp.32 r12\n"
    };
    (half predicate) => {
        "vctp.16 r12\n"
    };
}

/// The residual of a channel, where there is one, with a free register.
macro_rules! residual {
    (plain $kind:ident $q:literal $t:literal) => {
        ""
    };
    (added $kind:ident $q:literal $t:literal) => {
        each!($kind residual $q $t)
    };
}

/// A channel with bounds in q6 and q7.
macro_rules! channel {
    ($kind:ident $added:ident $q:literal) => {
        concat!(
            residual!($added $kind $q 5),
            each!($kind low $q 6), each!($kind high $q 7), each!($kind store $q),
        )
    };
}

/// The epilogue of 1 to 7 channels: r5 bounds, r6 from a channel to the next.
macro_rules! epilogue {
    (7 $kind:ident $added:ident) => {
        concat!(
            residual!($added $kind 6 7),
            "vldrw.u32 q7, [r5]\n", each!($kind low 6 7),
            "vldrw.u32 q7, [r5, #16]\n", each!($kind high 6 7), each!($kind store 6),
            residual!($added $kind 5 6),
            "vldrw.u32 q6, [r5]\n", each!($kind low 5 6), each!($kind high 5 7), each!($kind store 5),
            epilogue!(Rest 5 $kind $added),
        )
    };
    (6 $kind:ident $added:ident) => {
        concat!(
            residual!($added $kind 5 7),
            "vldrw.u32 q6, [r5]\n", "vldrw.u32 q7, [r5, #16]\n",
            each!($kind low 5 6), each!($kind high 5 7), each!($kind store 5),
            epilogue!(Rest 5 $kind $added),
        )
    };
    (Rest 5 $kind:ident $added:ident) => {
        concat!(channel!($kind $added 4), epilogue!(Rest 4 $kind $added))
    };
    (Rest 4 $kind:ident $added:ident) => {
        concat!(channel!($kind $added 3), epilogue!(Rest 3 $kind $added))
    };
    (Rest 3 $kind:ident $added:ident) => {
        concat!(channel!($kind $added 2), epilogue!(Rest 2 $kind $added))
    };
    (Rest 2 $kind:ident $added:ident) => {
        concat!(channel!($kind $added 1), epilogue!(Rest 1 $kind $added))
    };
    (Rest 1 $kind:ident $added:ident) => {
        channel!($kind $added 0)
    };
    ($n:tt $kind:ident $added:ident) => {
        concat!("vldrw.u32 q6, [r5]\n", "vldrw.u32 q7, [r5, #16]\n", epilogue!(Rest $n $kind $added))
    };
}

/// Loops over rows, groups and ranks. On the stack: rows left, the row's output.
macro_rules! expand {
    ($($name:ident: $kind:ident $added:ident $n:tt [$($q:literal $r:literal)*] $weights:literal;)*) => {$(
        #[unsafe(naked)]
        unsafe extern "C" fn $name(arguments: *const Store) {
            naked_asm!(
                mve!(),
                "push {{r4-r11, lr}}",
                "vpush {{d8-d15}}",
                "ldr r2, [r0]",
                "ldr r4, [r0, #48]",
                "ldr r1, [r0, #32]",
                "push {{r1, r4}}",
                "2:",
                "ldr r12, [r0, #52]",
                "3:",
                "ldrd r4, r6, [r0, #8]",
                "ldr r5, [r0, #16]",
                "dls lr, r6",
                $(each!($kind start $q),)*
                "4:",
                each!($kind values),
                $weights,
                $(each!($kind add $q $r),)*
                "le lr, 4b",
                each!($kind predicate),
                // Bounds, the last channel and the distance to the one before.
                "ldr r5, [r0, #20]",
                "ldrd r7, r6, [r0, #24]",
                "mov r8, r1",
                "add r1, r1, r7",
                "ldr r3, [r0, #44]",
                "add r3, r3, r1",
                epilogue!($n $kind $added),
                concat!("add r1, r8, #2*", each!($kind pixels)),
                concat!("subs r12, r12, #", each!($kind pixels)),
                "bgt 3b",
                "ldr r5, [r0, #36]",
                "ldrd r1, r4, [sp]",
                "add r1, r1, r5",
                "subs r4, #1",
                "strd r1, r4, [sp]",
                "bne 2b",
                "add sp, #8",
                "vpop {{d8-d15}}",
                "pop {{r4-r11, pc}}",
            )
        }
    )*};
}

/// The loops of one element.
macro_rules! table {
    ($kind:ident: $($plain:ident $added:ident $n:tt $channels:tt $weights:literal;)*) => {
        expand! {
            $($plain: $kind plain $n $channels $weights;)*
            $($added: $kind added $n $channels $weights;)*
        }

        /// # Safety
        /// As in [`super::super::store::expand`].
        pub(in super::super) unsafe fn $kind(arguments: &Store) {
            let inner = match (arguments.residual.is_null(), arguments.outs) {
                $((true, $n) => $plain, (false, $n) => $added,)*
                _ => return,
            };
            // SAFETY: the caller's lengths.
            unsafe { inner(arguments) }
        }
    };
}

table! { full:
    full_1 full_added_1 1 [0 5] "ldr r5, [r4], #4";
    full_2 full_added_2 2 [0 5 1 6] "ldrd r5, r6, [r4], #8";
    full_3 full_added_3 3 [0 5 1 6 2 7] "ldm r4!, {{r5-r7}}";
    full_4 full_added_4 4 [0 5 1 6 2 7 3 8] "ldm r4!, {{r5-r8}}";
    full_5 full_added_5 5 [0 5 1 6 2 7 3 8 4 9] "ldm r4!, {{r5-r9}}";
    full_6 full_added_6 6 [0 5 1 6 2 7 3 8 4 9 5 10] "ldm r4!, {{r5-r10}}";
    full_7 full_added_7 7 [0 5 1 6 2 7 3 8 4 9 5 10 6 11] "ldm r4!, {{r5-r11}}";
}

table! { half:
    half_1 half_added_1 1 [0 5] "ldr r5, [r4], #4";
    half_2 half_added_2 2 [0 5 1 6] "ldrd r5, r6, [r4], #8";
    half_3 half_added_3 3 [0 5 1 6 2 7] "ldm r4!, {{r5-r7}}";
    half_4 half_added_4 4 [0 5 1 6 2 7 3 8] "ldm r4!, {{r5-r8}}";
    half_5 half_added_5 5 [0 5 1 6 2 7 3 8 4 9] "ldm r4!, {{r5-r9}}";
    half_6 half_added_6 6 [0 5 1 6 2 7 3 8 4 9 5 10] "ldm r4!, {{r5-r10}}";
}
