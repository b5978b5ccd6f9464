//! Weights side by side.

use core::arch::naked_asm;

/// Rows of weights, each element into a word, and each row one word behind the one before. r0 row, r1 bytes from row to
/// row, r2 rows left, r3 elements, r4 where the row goes, r5 bytes from its element to the next; q1 the same for four.
macro_rules! panel {
    ($($name:ident: $convert:literal;)*) => {$(
        #[unsafe(naked)]
        unsafe extern "C" fn $name(from: *const u16, pitch: usize, rows: usize, count: usize, to: *mut u32) {
            naked_asm!(
                mve!(),
                "ldr r12, [sp]",
                "push {{r4-r8, lr}}",
                "lsls r5, r2, #2",
                "lsls r8, r2, #4",
                "movs r6, #0",
                "vidup.u32 q1, r6, #1",
                "vmul.i32 q1, q1, r5",
                "2:",
                "mov r6, r0",
                "mov r7, r12",
                "dlstp.32 lr, r3",
                "3:",
                "vldrh.u32 q0, [r6], #8",
                $convert,
                "vstrw.32 q0, [r7, q1]",
                "add r7, r7, r8",
                "letp lr, 3b",
                "add r0, r0, r1",
                "add r12, r12, #4",
                "subs r2, #1",
                "bne 2b",
                "pop {{r4-r8, pc}}",
            )
        }
    )*};
}

panel! {
    widened: "vcvtb.f32.f16 q0, q0";
    copied: "";
}

/// # Safety
/// As in [`super::super::panel`].
pub(in super::super) unsafe fn full(from: *const u16, pitch: usize, rows: usize, count: usize, to: *mut u32) {
    // SAFETY: the caller's.
    unsafe { widened(from, pitch, rows, count, to) }
}

/// # Safety
/// As in [`super::super::panel`].
pub(in super::super) unsafe fn half(from: *const u16, pitch: usize, rows: usize, count: usize, to: *mut u32) {
    // SAFETY: the caller's.
    unsafe { copied(from, pitch, rows, count, to) }
}
