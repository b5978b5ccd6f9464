//! Pixels into patches.

use core::arch::naked_asm;

use super::super::FillArguments;

/// Loops over channels and rows; `$row` moves r10 values from r6 to r7. r1 and r2 rows of the source, r3 and r4 of the
/// patch, r8 rows left, r9 channels left, r12 from the first to the second values.
macro_rules! fill {
    ($($name:ident: $row:expr;)*) => {$(
        /// # Safety
        /// As in [`super::super::fill`].
        #[unsafe(naked)]
        pub(in super::super) unsafe extern "C" fn $name(arguments: *const FillArguments) {
            naked_asm!(
                mve!(),
                "push {{r4-r11, lr}}",
                "ldm r0, {{r1-r4, r12}}",
                "ldr r10, [r0, #24]",
                "ldr r9, [r0, #28]",
                "2:",
                "ldr r8, [r0, #20]",
                "3:",
                "mov r6, r1",
                "mov r7, r3",
                $row,
                "add r1, r1, r2",
                "add r3, r3, r4",
                "subs r8, #1",
                "bne 3b",
                "ldrd r6, r7, [r0, #32]",
                "add r1, r1, r6",
                "add r3, r3, r7",
                "subs r9, #1",
                "bne 2b",
                "pop {{r4-r11, pc}}",
            )
        }
    )*};
}

/// Values in two phases: eight at a time, then those that are left, whose stores are `$tail`. r5 is
/// where second values go; first ones last: they stay where both have one place.
macro_rules! phases {
    ($first:literal, $second:literal, $store:literal, $tail:literal, $step:literal) => {
        concat!(
            "add r5, r7, r12\n",
            "lsr lr, r10, #3\n",
            "wls lr, lr, 5f\n",
            "4:\n",
            "vldrh.u16 q0, [r6], #16\n",
            $first,
            $second,
            "vstr",
            $store,
            " q2, [r5], #",
            $step,
            "\n",
            "vstr",
            $store,
            " q1, [r7], #",
            $step,
            "\n",
            "le lr, 4b\n",
            "5:\n",
            "ands lr, r10, #7\n",
            "beq 6f\n",
            "vctp.16 lr\n",
            "vpst\n",
            "vldrht.u16 q0, [r6]\n",
            $first,
            $second,
            "lsr r11, lr, #1\n",
            "vctp.32 r11\n",
            "vpst\n",
            "vstr",
            $tail,
            " q2, [r5]\n",
            "sub r11, lr, r11\n",
            "vctp.32 r11\n",
            "vpst\n",
            "vstr",
            $tail,
            " q1, [r7]\n",
            "6:\n",
        )
    };
}

fill! {
    full: concat!(
        "dlstp.32 lr, r10\n",
        "4:\n",
        "vldrh.u32 q0, [r6], #8\n",
        "vcvtb.f32.f16 q0, q0\n",
        "vstrw.32 q0, [r7], #16\n",
        "letp lr, 4b\n",
    );
    half: concat!(
        "dlstp.16 lr, r10\n",
        "4:\n",
        "vldrh.u16 q0, [r6], #16\n",
        "vstrh.16 q0, [r7], #16\n",
        "letp lr, 4b\n",
    );
    full_phases: phases!("vcvtb.f32.f16 q1, q0\n", "vcvtt.f32.f16 q2, q0\n", "w.32", "wt.32", "16");
    half_phases: phases!("vmov q1, q0\n", "vshr.u32 q2, q0, #16\n", "h.32", "ht.32", "8");
}

/// # Safety
/// `count` words.
pub(in super::super) unsafe fn clear(to: *mut u32, count: usize) {
    #[unsafe(naked)]
    unsafe extern "C" fn clear(to: *mut u32, count: usize) {
        naked_asm!(
            mve!(),
            "push {{r4, lr}}",
            "vmov.i32 q0, #0",
            "lsr r2, r1, #4",
            "wls lr, r2, 3f",
            "2:",
            "vstrw.32 q0, [r0], #16",
            "vstrw.32 q0, [r0], #16",
            "vstrw.32 q0, [r0], #16",
            "vstrw.32 q0, [r0], #16",
            "le lr, 2b",
            "3:",
            "and r1, r1, #15",
            "wlstp.32 lr, r1, 5f",
            "4:",
            "vstrw.32 q0, [r0], #16",
            "letp lr, 4b",
            "5:",
            "pop {{r4, pc}}",
        )
    }
    // SAFETY: the caller's.
    unsafe { clear(to, count) }
}
