//! Fully connected layers: f16 weights read in place, once, and widened in registers.
//!
//! Four rows are multiplied at once, so that the vector is widened once for all of them; a row's sum is that of two registers
//! of lanes, whatever rows are computed beside it.
#![allow(unsafe_code, clippy::needless_range_loop)]

use core::arch::aarch64::*;

use super::finish::some;
use crate::kernel::f16;
use crate::kernel::linear::{Rows, Values};

/// Rows multiplied at once.
const ROWS: usize = 4;

/// Values multiplied at once.
const EIGHT: usize = 8;

/// Products in NEON's registers.
pub(super) struct InRegisters;

impl Rows for InRegisters {
    fn product(weights: &[u16], x: Values<'_>, each: &mut impl FnMut(usize, f32)) {
        let columns = x.len();
        if columns == 0 {
            return;
        }
        let fours = weights.chunks_exact(columns * ROWS);
        let rest = fours.remainder();
        let first = weights.len() / (columns * ROWS) * ROWS;
        for (i, rows) in fours.enumerate() {
            // SAFETY: the chunk has so many rows.
            let sums = unsafe { dots::<ROWS>(rows.as_ptr(), columns, x) };
            sums.into_iter().enumerate().for_each(|(row, sum)| each(i * ROWS + row, sum));
        }
        for (i, row) in rest.chunks_exact(columns).enumerate() {
            // SAFETY: it is a row.
            let [sum] = unsafe { dots::<1>(row.as_ptr(), columns, x) };
            each(first + i, sum);
        }
    }
}

/// Eight f16 in f32.
#[inline(always)]
unsafe fn wide(halves: uint16x8_t) -> [float32x4_t; 2] {
    // SAFETY: NEON is part of A64.
    unsafe {
        let halves = vreinterpretq_f16_u16(halves);
        [vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)]
    }
}

/// N rows of `columns` weights, one behind the other, each times `x`.
///
/// # Safety
///
/// The rows and as many values are there.
#[inline(always)]
unsafe fn dots<const N: usize>(rows: *const u16, columns: usize, x: Values<'_>) -> [f32; N] {
    // SAFETY: as the caller promises; NEON is part of A64.
    unsafe {
        let mut sums = [[vdupq_n_f32(0.0); 2]; N];
        let whole = columns / EIGHT * EIGHT;
        for at in (0..whole).step_by(EIGHT) {
            let x = match x {
                Values::Half(x) => wide(vld1q_u16(x.as_ptr().add(at))),
                Values::Full(x) => [vld1q_f32(x.as_ptr().add(at)), vld1q_f32(x.as_ptr().add(at + 4))],
            };
            for n in 0..N {
                let [low, high] = wide(vld1q_u16(rows.add(n * columns + at)));
                sums[n] = [vfmaq_f32(sums[n][0], low, x[0]), vfmaq_f32(sums[n][1], high, x[1])];
            }
        }
        if whole < columns {
            let mut lanes = [0.0; EIGHT];
            for (i, lane) in lanes.iter_mut().enumerate().take(columns - whole) {
                *lane = match x {
                    Values::Half(x) => f16::widen(*x.get_unchecked(whole + i)),
                    Values::Full(x) => *x.get_unchecked(whole + i),
                };
            }
            let x = [vld1q_f32(lanes.as_ptr()), vld1q_f32(lanes.as_ptr().add(4))];
            for n in 0..N {
                let [low, high] = wide(some(rows.add(n * columns + whole), columns - whole));
                sums[n] = [vfmaq_f32(sums[n][0], low, x[0]), vfmaq_f32(sums[n][1], high, x[1])];
            }
        }
        sums.map(|[low, high]| vaddvq_f32(vaddq_f32(low, high)))
    }
}
