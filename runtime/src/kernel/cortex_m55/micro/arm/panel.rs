//! Weights side by side.

use core::arch::naked_asm;

/// Rows of weights, each element into a word, and each row one word behind the one before. r0 row, r1 bytes from row to
/// row, r2 rows left, r3 elements, r12 where the row goes, r5 bytes from its element to the next; q1 the same for four; r4 and r9 for scales.
macro_rules! panel {
    ($($name:ident ($from:ty $(, $scales:ty)?): $begin:literal, $row:literal, $load:literal;)*) => {$(
        /// # Safety
        /// As in [`super::super::panel`].
        #[unsafe(naked)]
        pub(in super::super) unsafe extern "C" fn $name(
            from: *const $from,
            pitch: usize,
            rows: usize,
            count: usize,
            to: *mut u32,
            $(scales: $scales,)?
        ) {
            naked_asm!(
                mve!(),
                "ldr r12, [sp]",
                "push {{r4-r9, lr}}",
                $begin,
                "lsls r5, r2, #2",
                "lsls r8, r2, #4",
                "movs r6, #0",
                "vidup.u32 q1, r6, #1",
                "vmul.i32 q1, q1, r5",
                "2:",
                "mov r6, r0",
                "mov r7, r12",
                $row,
                "dlstp.32 lr, r3",
                "3:",
                $load,
                "vstrw.32 q0, [r7, q1]",
                "add r7, r7, r8",
                "letp lr, 3b",
                "add r0, r0, r1",
                "add r12, r12, #4",
                "subs r2, #1",
                "bne 2b",
                "pop {{r4-r9, pc}}",
            )
        }
    )*};
}

panel! {
    full(u16): "", "", "vldrh.u32 q0, [r6], #8\nvcvtb.f32.f16 q0, q0";
    half(u16): "", "", "vldrh.u32 q0, [r6], #8";
    // Bytes times the scale of their row, from r4 on: exact, in f16 too.
    eights_full(i8, &[f32; 8]):
        "ldr r4, [sp, #32]",
        "ldr r9, [r4], #4",
        "vldrb.s32 q0, [r6], #4\nvcvt.f32.s32 q0, q0\nvmul.f32 q0, q0, r9";
    // The lower halves of words; nothing reads the others.
    eights_half(i8, &[f32; 8]):
        "ldr r4, [sp, #32]",
        "ldr r9, [r4], #4\nvmov s0, r9\nvcvtb.f16.f32 s0, s0\nvmov r9, s0",
        "vldrb.s32 q0, [r6], #4\nvcvt.f16.s16 q0, q0\nvmul.f16 q0, q0, r9";
}
