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
    eights_full(i8, *const f32):
        "ldr r4, [sp, #32]",
        "ldr r9, [r4], #4",
        "vldrb.s32 q0, [r6], #4\nvcvt.f32.s32 q0, q0\nvmul.f32 q0, q0, r9";
}

/// Bytes times the scale of their row, exact in f16, to the lower halves of words; nothing reads the others. As [`full`], but for: eight
/// elements at a time, of which q1 has the places of the even ones and q2 those of the odd ones; r4 scales, r9 a row's, r10 elements
/// that are pairs.
///
/// # Safety
/// As in [`super::super::panel`].
#[unsafe(naked)]
pub(in super::super) unsafe extern "C" fn eights_half(
    from: *const i8,
    pitch: usize,
    rows: usize,
    count: usize,
    to: *mut u32,
    scales: *const f32,
) {
    naked_asm!(
        mve!(),
        "ldr r12, [sp]",
        "push {{r4-r10, lr}}",
        "ldr r4, [sp, #36]",
        "lsls r5, r2, #2",
        "lsls r8, r2, #5",
        "movs r6, #0",
        "vidup.u32 q1, r6, #2",
        "vmul.i32 q1, q1, r5",
        "vadd.i32 q2, q1, r5",
        // Words are stored for two elements each: so an odd one is left.
        "bic r10, r3, #1",
        "2:",
        "mov r6, r0",
        "mov r7, r12",
        "vldr s0, [r4]",
        "adds r4, #4",
        "vcvtb.f16.f32 s0, s0",
        "vmov r9, s0",
        "wlstp.16 lr, r10, 4f",
        "3:",
        "vldrb.s16 q0, [r6], #8",
        "vcvt.f16.s16 q0, q0",
        "vmul.f16 q0, q0, r9",
        "vstrw.32 q0, [r7, q1]",
        "vshr.u32 q0, q0, #16",
        "vstrw.32 q0, [r7, q2]",
        "add r7, r7, r8",
        "letp lr, 3b",
        "4:",
        "lsls r6, r3, #31",
        "beq 5f",
        "ldrsb r6, [r0, r10]",
        "mla r7, r10, r5, r12",
        "vmov s0, r6",
        "vcvt.f32.s32 s0, s0",
        "vmov s1, r9",
        "vcvtb.f16.f32 s0, s0",
        "vmul.f16 s0, s0, s1",
        "vstr s0, [r7]",
        "5:",
        "add r0, r0, r1",
        "add r12, r12, #4",
        "subs r2, #1",
        "bne 2b",
        "pop {{r4-r10, pc}}",
    )
}
