//! The inner loops in assembler.
//!
//! Naked functions, because their loops keep all 32 s-registers in use, which operands of `asm!` cannot say for
//! targets with single precision. `.fpu` because the assembler takes no floating-point instruction outside a function
//! of Rust without it.

/// The FPU, which also goes into the attributes of the binary.
#[cfg(not(fpv5))]
macro_rules! fpu {
    () => {
        ".fpu fpv4-sp-d16"
    };
}

/// The FPU, which also goes into the attributes of the binary.
#[cfg(fpv5)]
macro_rules! fpu {
    () => {
        ".fpu fpv5-sp-d16"
    };
}

/// `$op` on each of some registers: `$to` from `$a` and `$b`.
macro_rules! each {
    ($($op:literal $to:literal $a:literal $b:literal;)*) => {
        concat!($($op, ".f32 s", $to, ", s", $a, ", s", $b, "\n",)*)
    };
}

mod accumulate;
mod depthwise;
mod finish;
mod five;
mod lines;
mod widen;
mod winograd;

use core::arch::asm;

pub(super) use accumulate::accumulate;
pub(super) use depthwise::{depthwise, depthwise_five, fill};
pub(super) use finish::finish;
pub(super) use five::five;
pub(super) use lines::{line_pixels, line_sums, line_weights};
pub(super) use widen::{widen_eights, widen_groups, widen_panel, widen_phases, widen_rows};
pub(super) use winograd::{transform_eights, transform_pixels, transform_sums, transform_weights};

/// True where an f32 or f16 exceeded its range since the last call: FPSCR.OFC, which is cleared.
pub(in super::super::super) fn overflow() -> bool {
    const OFC: u32 = 1 << 2;
    let status: u32;
    // SAFETY: the exception flags are for whoever reads them; nothing traps on these cores.
    unsafe {
        asm!("vmrs {status}, fpscr", "bic {other}, {status}, {ofc}", "vmsr fpscr, {other}",
            status = out(reg) status, other = out(reg) _, ofc = const OFC, options(nomem, nostack));
    }
    status & OFC != 0
}
