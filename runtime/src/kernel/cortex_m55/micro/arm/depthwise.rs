//! Depthwise 3×3.
//!
//! q0 sums, q1 pixels, q4 the channel's bias, q6 and q7 bounds; r0 the output of a row, and the arguments between rows; lr
//! pixels left, of which the last group's are predicated. The arguments' address is on the stack.

use core::arch::naked_asm;

use super::super::depthwise::Arguments;

/// Loops over channels and rows: `$weights` loads those at r0, `$row` sets the pointers to the pixels from r1 on, and `$group`
/// multiplies those of four pixels.
macro_rules! depthwise {
    ($($name:ident: $weights:expr, $row:expr, $group:expr;)*) => {$(
        #[unsafe(naked)]
        unsafe extern "C" fn $name(arguments: *mut Arguments) {
            naked_asm!(
                mve!(),
                "push {{r4-r11, lr}}",
                "vpush {{d8-d15}}",
                "push {{r0, r1}}",
                "ldr r1, [r0, #52]",
                "vldrw.u32 q6, [r1]",
                "vldrw.u32 q7, [r1, #16]",
                // A channel.
                "2:",
                "ldr r0, [sp]",
                "ldrd r1, r2, [r0, #24]",
                "ldr r3, [r1], #4",
                "vdup.32 q4, r3",
                "str r1, [r0, #24]",
                "ldr r1, [r0]",
                "ldr r3, [r0, #40]",
                "strd r1, r2, [r0, #56]",
                "str r3, [r0, #64]",
                "ldr r0, [r0, #20]",
                $weights,
                "ldr r0, [sp]",
                "ldr r1, [r0, #20]",
                "add r1, #36",
                "str r1, [r0, #20]",
                // A row.
                "3:",
                $row,
                "ldr lr, [r0, #44]",
                "ldr r0, [r0, #60]",
                "dlstp.32 lr, lr",
                "4:",
                "vmov q0, q4",
                $group,
                "vmaxnm.f32 q0, q0, q6",
                "vminnm.f32 q0, q0, q7",
                "vcvtb.f16.f32 q0, q0",
                "vstrh.32 q0, [r0], #8",
                "letp lr, 4b",
                "ldr r0, [sp]",
                "ldrd r1, r2, [r0, #56]",
                "ldr r3, [r0, #12]",
                "add r1, r3",
                "ldr r3, [r0, #32]",
                "add r2, r3",
                "strd r1, r2, [r0, #56]",
                "ldr r1, [r0, #64]",
                "subs r1, #1",
                "str r1, [r0, #64]",
                "bne 3b",
                "ldr r1, [r0]",
                "ldr r2, [r0, #16]",
                "add r1, r2",
                "str r1, [r0]",
                "ldr r1, [r0, #28]",
                "ldr r2, [r0, #36]",
                "add r1, r2",
                "str r1, [r0, #28]",
                "ldr r1, [r0, #48]",
                "subs r1, #1",
                "str r1, [r0, #48]",
                "bne 2b",
                "add sp, #8",
                "vpop {{d8-d15}}",
                "pop {{r4-r11, pc}}",
            )
        }
    )*};
}

/// Three taps of a row of pixels at `$x`, one apart, by weights in core registers.
macro_rules! line {
    ($x:literal $a:literal $b:literal $c:literal) => {
        concat!(
            "vldrw.u32 q1, [",
            $x,
            "], #16\n",
            "vfma.f32 q0, q1, ",
            $a,
            "\n",
            "vldrw.u32 q1, [",
            $x,
            ", #-12]\n",
            "vfma.f32 q0, q1, ",
            $b,
            "\n",
            "vldrw.u32 q1, [",
            $x,
            ", #-8]\n",
            "vfma.f32 q0, q1, ",
            $c,
            "\n",
        )
    };
}

/// The same two apart: even ones at `$even`, odd ones at `$odd`, whose weight fills a vector register.
macro_rules! phases {
    ($even:literal $odd:literal $a:literal $b:literal $c:literal) => {
        concat!(
            "vldrw.u32 q1, [",
            $even,
            "], #16\n",
            "vfma.f32 q0, q1, ",
            $a,
            "\n",
            "vldrw.u32 q1, [",
            $odd,
            "], #16\n",
            "vfma.f32 q0, q1, ",
            $b,
            "\n",
            "vldrw.u32 q1, [",
            $even,
            ", #-12]\n",
            "vfma.f32 q0, q1, ",
            $c,
            "\n",
        )
    };
}

depthwise! {
    // Rows r1 to r3, weights r4 to r12.
    one:
        "ldm r0, {{r4-r12}}",
        "ldr r1, [r0, #56]\nldr r3, [r0, #4]\nadd r2, r1, r3\nadd r3, r2, r3",
        concat!(line!("r1" "r4" "r5" "r6"), line!("r2" "r7" "r8" "r9"), line!("r3" "r10" "r11" "r12"));
    // Rows in r1 to r6, even and odd in turns; weights of even pixels r7 to r12, of odd ones q2, q3, q5.
    two:
        concat!(
            "ldr r7, [r0]\nldr r1, [r0, #4]\nvdup.32 q2, r1\nldr r8, [r0, #8]\n",
            "ldr r9, [r0, #12]\nldr r1, [r0, #16]\nvdup.32 q3, r1\nldr r10, [r0, #20]\n",
            "ldr r11, [r0, #24]\nldr r1, [r0, #28]\nvdup.32 q5, r1\nldr r12, [r0, #32]\n",
        ),
        concat!(
            "ldr r1, [r0, #56]\nldrd r5, r6, [r0, #4]\n",
            "add r2, r1, r6\nadd r3, r1, r5\nadd r4, r2, r5\nadd r6, r4, r5\nadd r5, r3, r5\n",
        ),
        concat!(
            phases!("r1" "r2" "r7" "q2" "r8"), phases!("r3" "r4" "r9" "q3" "r10"), phases!("r5" "r6" "r11" "q5" "r12"),
        );
}

/// # Safety
/// As in [`super::super::depthwise::depthwise`].
pub(in super::super) unsafe fn depthwise(stride: usize, arguments: &mut Arguments) {
    // SAFETY: the caller's lengths.
    unsafe {
        match stride {
            1 => one(arguments),
            _ => two(arguments),
        }
    }
}
