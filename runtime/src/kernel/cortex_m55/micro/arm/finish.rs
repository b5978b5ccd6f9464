//! Sums to f16: residual, activation, rounding.

use core::arch::naked_asm;

use super::super::store::Store;

/// Loops over rows, groups and channels. q6 and q7 bounds; r1 the group's output, r2 sums, r3 channels, r4 pixels of the
/// row left, r5 the output, r6 from a channel to the next, r7 the residual, r8 rows left, r9 from a group's sums to the
/// next, r10 from output to residual.
macro_rules! finish {
    ($($name:ident: $ctp:literal $step:literal $body:expr;)*) => {$(
        #[unsafe(naked)]
        unsafe extern "C" fn $name(arguments: *const Store) {
            naked_asm!(
                mve!(),
                "push {{r4-r11, lr}}",
                "vpush {{d12-d15}}",
                "ldrd r2, r9, [r0]",
                "ldr r3, [r0, #20]",
                "vldrw.u32 q6, [r3]",
                "vldrw.u32 q7, [r3, #16]",
                "ldr r3, [r0, #56]",
                "ldr r6, [r0, #28]",
                "ldr r10, [r0, #44]",
                "ldr r8, [r0, #48]",
                "ldr r11, [r0, #32]",
                "2:",
                "ldr r4, [r0, #52]",
                "mov r1, r11",
                "3:",
                concat!("vctp.", $ctp, " r4"),
                "mov r5, r1",
                "add r7, r1, r10",
                "dls lr, r3",
                "4:",
                $body,
                "add r5, r5, r6",
                "le lr, 4b",
                "add r2, r2, r9",
                concat!("add r1, r1, #2*", $step),
                concat!("subs r4, r4, #", $step),
                "bgt 3b",
                "ldr r7, [r0, #36]",
                "add r11, r11, r7",
                "subs r8, #1",
                "bne 2b",
                "vpop {{d12-d15}}",
                "pop {{r4-r11, pc}}",
            )
        }
    )*};
}

/// Four sums.
macro_rules! full {
    ($residual:expr) => {
        concat!(
            "vldrw.u32 q0, [r2], #16\n",
            $residual,
            "vmaxnm.f32 q0, q0, q6\n",
            "vminnm.f32 q0, q0, q7\n",
            "vcvtb.f16.f32 q0, q0\n",
            "vpst\n",
            "vstrht.32 q0, [r5]\n",
        )
    };
}

/// Eight sums, even pixels first.
macro_rules! half {
    ($residual:expr) => {
        concat!(
            "vldrw.u32 q0, [r2], #16\n",
            "vldrw.u32 q1, [r2], #16\n",
            $residual,
            "vmaxnm.f32 q0, q0, q6\n",
            "vmaxnm.f32 q1, q1, q6\n",
            "vminnm.f32 q0, q0, q7\n",
            "vminnm.f32 q1, q1, q7\n",
            "vcvtb.f16.f32 q0, q0\n",
            "vcvtt.f16.f32 q0, q1\n",
            "vpst\n",
            "vstrht.16 q0, [r5]\n",
        )
    };
}

finish! {
    full_plain: "32" "4" full!("");
    full_added: "32" "4" full!(concat!(
        "vpst\n",
        "vldrht.u32 q1, [r7]\n",
        "vcvtb.f32.f16 q1, q1\n",
        "vadd.f32 q0, q0, q1\n",
        "add r7, r7, r6\n",
    ));
    half_plain: "16" "8" half!("");
    half_added: "16" "8" half!(concat!(
        "vpst\n",
        "vldrht.u16 q2, [r7]\n",
        "vcvtb.f32.f16 q3, q2\n",
        "vcvtt.f32.f16 q2, q2\n",
        "vadd.f32 q0, q0, q3\n",
        "vadd.f32 q1, q1, q2\n",
        "add r7, r7, r6\n",
    ));
}

/// # Safety
/// As in [`super::super::store::finish`].
pub(in super::super) unsafe fn full(arguments: &Store) {
    let inner = if arguments.residual.is_null() { full_plain } else { full_added };
    // SAFETY: the caller's lengths.
    unsafe { inner(arguments) }
}

/// # Safety
/// As in [`super::super::store::finish`].
pub(in super::super) unsafe fn half(arguments: &Store) {
    let inner = if arguments.residual.is_null() { half_plain } else { half_added };
    // SAFETY: the caller's lengths.
    unsafe { inner(arguments) }
}
