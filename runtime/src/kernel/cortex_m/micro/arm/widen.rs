//! f16 to f32: rows of pixels, and weights side by side.

use core::arch::naked_asm;

use super::super::{WidenGroups, WidenPhases, WidenRows};
use crate::kernel::{Operations, Set, THIN_SCALE};

/// Widens r2 values from r0 to r1, which both go behind them; uses r3 and r12.
macro_rules! widen {
    () => {
        concat!(
            "subs r2, #8\n",
            "blo 14f\n",
            // VLDM needs words.
            "tst r0, #2\n",
            "bne 13f\n",
            "12:\n",
            "vldmia r0!, {{s8-s11}}\n",
            widen!(Eight),
            "bhs 12b\n",
            "b 14f\n",
            "13:\n",
            "ldr r3, [r0], #4\n",
            "ldr r12, [r0], #4\n",
            "vmov s8, s9, r3, r12\n",
            "ldr r3, [r0], #4\n",
            "ldr r12, [r0], #4\n",
            "vmov s10, s11, r3, r12\n",
            widen!(Eight),
            "bhs 13b\n",
            // The last three bits of the count still say how many are left.
            "14:\n",
            "lsls r2, r2, #30\n",
            "bcc 15f\n",
            "ldr r3, [r0], #4\n",
            "ldr r12, [r0], #4\n",
            "vmov s8, s9, r3, r12\n",
            "vcvtb.f32.f16 s0, s8\n",
            "vcvtt.f32.f16 s1, s8\n",
            "vcvtb.f32.f16 s2, s9\n",
            "vcvtt.f32.f16 s3, s9\n",
            "vstmia r1!, {{s0-s3}}\n",
            "15:\n",
            "lsls r2, r2, #1\n",
            "bcc 16f\n",
            "ldr r3, [r0], #4\n",
            "vmov s8, r3\n",
            "vcvtb.f32.f16 s0, s8\n",
            "vcvtt.f32.f16 s1, s8\n",
            "vstmia r1!, {{s0-s1}}\n",
            "16:\n",
            "cbz r2, 17f\n",
            "ldrh r3, [r0], #2\n",
            "vmov s8, r3\n",
            "vcvtb.f32.f16 s0, s8\n",
            "vstmia r1!, {{s0}}\n",
            "17:\n",
        )
    };
    (Eight) => {
        concat!(
            "vcvtb.f32.f16 s0, s8\n",
            "vcvtt.f32.f16 s1, s8\n",
            "vcvtb.f32.f16 s2, s9\n",
            "vcvtt.f32.f16 s3, s9\n",
            "vcvtb.f32.f16 s4, s10\n",
            "vcvtt.f32.f16 s5, s10\n",
            "vcvtb.f32.f16 s6, s11\n",
            "vcvtt.f32.f16 s7, s11\n",
            "vstmia r1!, {{s0-s7}}\n",
            "subs r2, #8\n",
        )
    };
}

/// # Safety
/// `count` elements in both.
#[unsafe(naked)]
pub(in super::super) unsafe extern "C" fn widen(from: *const u16, to: *mut f32, count: usize) {
    naked_asm!(fpu!(), widen!(), "bx lr")
}

/// # Safety
/// As in [`super::super::widen_rows`].
#[unsafe(naked)]
pub(in super::super) unsafe extern "C" fn widen_rows(arguments: *const WidenRows) {
    naked_asm!(
        fpu!(),
        "push {{r4-r10, lr}}",
        "ldm r0, {{r1, r4-r10}}",
        "movs r0, #0",
        "vmov s12, r0",
        "2:",
        "movs r2, r7",
        "beq 4f",
        "3:",
        "vstmia r1!, {{s12}}",
        "subs r2, #1",
        "bne 3b",
        "4:",
        "mov r0, r4",
        "mov r2, r8",
        widen!(),
        "movs r2, r9",
        "beq 6f",
        "5:",
        "vstmia r1!, {{s12}}",
        "subs r2, #1",
        "bne 5b",
        "6:",
        "add r1, r1, r10",
        "add r4, r4, r5",
        "subs r6, #1",
        "bne 2b",
        "pop {{r4-r10, pc}}",
    )
}

/// r0 values, r1 where they go, r2 left, r3 and r12 two words of them; r4 the channel, r5 where it goes, r6 from a channel
/// to the next, r7 from a group to the next, r8 channels left, r9 pixels.
///
/// # Safety
/// As in [`super::super::widen_groups`].
#[unsafe(naked)]
pub(in super::super) unsafe extern "C" fn widen_groups(arguments: *const WidenGroups) {
    naked_asm!(
        fpu!(),
        "push {{r4-r9, lr}}",
        "ldm r0, {{r4-r7}}",
        "ldrd r9, r8, [r0, #16]",
        "2:",
        "mov r0, r4",
        "mov r1, r5",
        "subs r2, r9, #4",
        "blo 4f",
        "3:",
        "ldr r3, [r0], #4",
        "ldr r12, [r0], #4",
        "vmov s8, s9, r3, r12",
        "vcvtb.f32.f16 s0, s8",
        "vcvtt.f32.f16 s1, s8",
        "vcvtb.f32.f16 s2, s9",
        "vcvtt.f32.f16 s3, s9",
        "vstmia r1, {{s0-s3}}",
        "add r1, r1, r7",
        "subs r2, #4",
        "bhs 3b",
        "4:",
        "adds r2, #4",
        "beq 6f",
        "5:",
        "ldrh r3, [r0], #2",
        "vmov s8, r3",
        "vcvtb.f32.f16 s0, s8",
        "vstmia r1!, {{s0}}",
        "subs r2, #1",
        "bne 5b",
        "6:",
        "add r4, r4, r6",
        "adds r5, #16",
        "subs r8, #1",
        "bne 2b",
        "pop {{r4-r9, pc}}",
    )
}

/// `$count` times zero to `$to`, which goes behind them.
macro_rules! zeros {
    ($field:literal, $to:literal) => {
        concat!(
            "ldr r3, [r0, #",
            $field,
            "]\n",
            "cbz r3, 12f\n",
            "11:\n",
            "vstmia ",
            $to,
            "!, {{s12}}\n",
            "subs r3, #1\n",
            "bne 11b\n",
            "12:\n",
        )
    };
}

/// One value from r5 to `$to` where `$field` is not 0; both go behind it.
macro_rules! single {
    ($field:literal, $to:literal) => {
        concat!(
            "ldr r3, [r0, #",
            $field,
            "]\n",
            "cbz r3, 12f\n",
            "ldrh r3, [r5], #2\n",
            "vmov s8, r3\n",
            "vcvtb.f32.f16 s0, s8\n",
            "vstmia ",
            $to,
            "!, {{s0}}\n",
            "12:\n",
        )
    };
}

/// r1 even elements, r2 odd ones, r5 what is widened; r6 rows left, r7 to r9 where the row begins in each of them.
///
/// # Safety
/// As in [`super::super::phases`].
#[unsafe(naked)]
pub(in super::super) unsafe extern "C" fn widen_phases(arguments: *const WidenPhases) {
    naked_asm!(
        fpu!(),
        "push {{r4-r10, lr}}",
        "movs r3, #0",
        "vmov s12, r3",
        "ldm r0, {{r7-r9}}",
        "ldr r10, [r0, #12]",
        "ldr lr, [r0, #16]",
        "ldr r6, [r0, #20]",
        "2:",
        "mov r1, r7",
        "mov r2, r8",
        "mov r5, r9",
        zeros!(24, "r1"),
        zeros!(28, "r2"),
        single!(32, "r2"),
        "ldr r3, [r0, #36]",
        "subs r3, #4",
        "blo 4f",
        "3:",
        "ldr r4, [r5], #4",
        "ldr r12, [r5], #4",
        "vmov s8, s9, r4, r12",
        "ldr r4, [r5], #4",
        "ldr r12, [r5], #4",
        "vmov s10, s11, r4, r12",
        "vcvtb.f32.f16 s0, s8",
        "vcvtb.f32.f16 s1, s9",
        "vcvtb.f32.f16 s2, s10",
        "vcvtb.f32.f16 s3, s11",
        "vcvtt.f32.f16 s4, s8",
        "vcvtt.f32.f16 s5, s9",
        "vcvtt.f32.f16 s6, s10",
        "vcvtt.f32.f16 s7, s11",
        // The even ones last: they stay where both have one place.
        "vstmia r2!, {{s4-s7}}",
        "vstmia r1!, {{s0-s3}}",
        "subs r3, #4",
        "bhs 3b",
        "4:",
        "adds r3, #4",
        "beq 6f",
        "5:",
        "ldr r4, [r5], #4",
        "vmov s8, r4",
        "vcvtb.f32.f16 s0, s8",
        "vcvtt.f32.f16 s1, s8",
        "vstmia r2!, {{s1}}",
        "vstmia r1!, {{s0}}",
        "subs r3, #1",
        "bne 5b",
        "6:",
        single!(40, "r1"),
        zeros!(44, "r1"),
        zeros!(48, "r2"),
        "add r7, r7, lr",
        "add r8, r8, lr",
        "add r9, r9, r10",
        "subs r6, #1",
        "bne 2b",
        "pop {{r4-r10, pc}}",
    )
}

/// Loops over pairs of elements of some rows. r0, r4, r5, r6 the rows, r2 elements left, r3 where they go.
macro_rules! panel {
    ($($name:ident ($from:ty $(, $scales:ty)?): $begin:expr, $two:expr, $one:expr;)*) => {$(
        #[unsafe(naked)]
        unsafe extern "C" fn $name(
            from: *const $from,
            pitch: usize,
            count: usize,
            to: *mut f32,
            $(scales: $scales,)?
        ) {
            naked_asm!(
                fpu!(),
                $begin,
                "push {{r4-r8, lr}}",
                "add r4, r0, r1",
                "add r5, r4, r1",
                "add r6, r5, r1",
                "subs r2, #2",
                "blo 3f",
                "2:",
                $two,
                "subs r2, #2",
                "bhs 2b",
                "3:",
                "adds r2, #2",
                "beq 4f",
                $one,
                "4:",
                "pop {{r4-r8, pc}}",
            )
        }
    )*};
}

panel! {
    panel_2(u16): "", concat!(
        "ldr r7, [r0], #4\nldr r8, [r4], #4\nvmov s8, s9, r7, r8\n",
        "vcvtb.f32.f16 s0, s8\nvcvtb.f32.f16 s1, s9\nvcvtt.f32.f16 s2, s8\nvcvtt.f32.f16 s3, s9\n",
        "vstmia r3!, {{s0-s3}}\n",
    ), concat!(
        "ldrh r7, [r0]\nldrh r8, [r4]\nvmov s8, s9, r7, r8\n",
        "vcvtb.f32.f16 s0, s8\nvcvtb.f32.f16 s1, s9\nvstmia r3!, {{s0-s1}}\n",
    );
    panel_4(u16): "", concat!(
        "ldr r7, [r0], #4\nldr r8, [r4], #4\nldr r12, [r5], #4\nldr lr, [r6], #4\n",
        "vmov s8, s9, r7, r8\nvmov s10, s11, r12, lr\n",
        "vcvtb.f32.f16 s0, s8\nvcvtb.f32.f16 s1, s9\nvcvtb.f32.f16 s2, s10\nvcvtb.f32.f16 s3, s11\n",
        "vcvtt.f32.f16 s4, s8\nvcvtt.f32.f16 s5, s9\nvcvtt.f32.f16 s6, s10\nvcvtt.f32.f16 s7, s11\n",
        "vstmia r3!, {{s0-s7}}\n",
    ), concat!(
        "ldrh r7, [r0]\nldrh r8, [r4]\nldrh r12, [r5]\nldrh lr, [r6]\n",
        "vmov s8, s9, r7, r8\nvmov s10, s11, r12, lr\n",
        "vcvtb.f32.f16 s0, s8\nvcvtb.f32.f16 s1, s9\nvcvtb.f32.f16 s2, s10\nvcvtb.f32.f16 s3, s11\n",
        "vstmia r3!, {{s0-s3}}\n",
    );
}

/// # Safety
/// As in [`super::super::widen_panel`].
pub(in super::super) unsafe fn widen_panel<U: Operations>(
    from: *const u16,
    pitch: usize,
    rows: usize,
    count: usize,
    to: *mut f32,
) {
    let pitch = pitch * size_of::<u16>();
    // SAFETY: the caller's lengths.
    unsafe {
        match rows {
            1 if U::USED.has(Set::PANEL[0]) => widen(from, to, count),
            2 if U::USED.has(Set::PANEL[1]) => panel_2(from, pitch, count, to),
            4 if U::USED.has(Set::PANEL[2]) => panel_4(from, pitch, count, to),
            _ => {}
        }
    }
}

/// The scales of rows of 8 bits, to s12–s15.
macro_rules! scales {
    () => {
        "ldr r12, [sp]\nvldmia r12, {{s12-s15}}"
    };
}

/// The next element of four rows, to `$a`–`$d`, as whole numbers.
macro_rules! four {
    ($a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "ldrsb r7, [r0], #1\nldrsb r8, [r4], #1\nldrsb r12, [r5], #1\nldrsb lr, [r6], #1\n",
            "vmov s",
            $a,
            ", s",
            $b,
            ", r7, r8\nvmov s",
            $c,
            ", s",
            $d,
            ", r12, lr\n",
        )
    };
}

/// The next element of two rows, to `$a` and `$b`.
macro_rules! two {
    ($a:literal $b:literal) => {
        concat!("ldrsb r7, [r0], #1\nldrsb r8, [r4], #1\nvmov s", $a, ", s", $b, ", r7, r8\n")
    };
}

/// As 128ths.
macro_rules! parts {
    ($($s:literal)*) => { concat!($("vcvt.f32.s32 s", $s, ", s", $s, ", #7\n",)*) };
}

/// Times a scale each.
macro_rules! scaled {
    ($($s:literal $scale:literal;)*) => {
        concat!(
            $("vcvt.f32.s32 s", $s, ", s", $s, "\n",)*
            $("vmul.f32 s", $s, ", s", $s, ", s", $scale, "\n",)*
        )
    };
}

panel! {
    thin_4(i8, &[f32; 4]): scales!(),
        concat!(four!(0 1 2 3), four!(4 5 6 7), parts!(0 1 2 3 4 5 6 7), "vstmia r3!, {{s0-s7}}\n"),
        concat!(four!(0 1 2 3), parts!(0 1 2 3), "vstmia r3!, {{s0-s3}}\n");
    scaled_4(i8, &[f32; 4]): scales!(),
        concat!(
            four!(0 1 2 3), four!(4 5 6 7),
            scaled!(0 12; 1 13; 2 14; 3 15; 4 12; 5 13; 6 14; 7 15;), "vstmia r3!, {{s0-s7}}\n",
        ),
        concat!(four!(0 1 2 3), scaled!(0 12; 1 13; 2 14; 3 15;), "vstmia r3!, {{s0-s3}}\n");
    scaled_2(i8, &[f32; 4]): scales!(),
        concat!(two!(0 1), two!(2 3), scaled!(0 12; 1 13; 2 12; 3 13;), "vstmia r3!, {{s0-s3}}\n"),
        concat!(two!(0 1), scaled!(0 12; 1 13;), "vstmia r3!, {{s0-s1}}\n");
    scaled_1(i8, &[f32; 4]): scales!(),
        concat!(
            "ldrsb r7, [r0], #1\nldrsb r8, [r0], #1\nvmov s0, s1, r7, r8\n",
            scaled!(0 12; 1 12;), "vstmia r3!, {{s0-s1}}\n",
        ),
        concat!("ldrsb r7, [r0], #1\nvmov s0, r7\n", scaled!(0 12;), "vstmia r3!, {{s0}}\n");
}

/// # Safety
/// As in [`super::super::widen_panel`].
pub(in super::super) unsafe fn widen_eights<U: Operations>(
    from: *const i8,
    pitch: usize,
    rows: usize,
    count: usize,
    to: *mut f32,
    scales: Option<&[f32; 4]>,
) {
    let some = scales.unwrap_or(&[THIN_SCALE; 4]);
    // SAFETY: the caller's lengths.
    unsafe {
        match (rows, scales) {
            (1, _) if U::USED.has(Set::PANEL[0]) => scaled_1(from, pitch, count, to, some),
            (2, _) if U::USED.has(Set::PANEL[1]) => scaled_2(from, pitch, count, to, some),
            _ if !U::USED.has(Set::PANEL[2]) => {}
            (4, Some(scales)) if U::USED.has(Set::SCALED) => scaled_4(from, pitch, count, to, scales),
            (4, None) if U::USED.has(Set::THIN) => thin_4(from, pitch, count, to, some),
            _ => {}
        }
    }
}
