//! Fully connected layers: f16 weights read in place, once, at the speed of memory.
//!
//! Several rows are multiplied at once, so that the vector is widened once for all of them; a row's sum is that of two
//! registers of lanes, whatever rows are computed beside it.
#![allow(unsafe_code, clippy::needless_range_loop)]

use core::marker::PhantomData;

use super::Vector;
use crate::kernel::linear::{Rows, Values};

/// Rows multiplied at once.
const ROWS: usize = 4;

/// Most lanes of a register.
const MOST_LANES: usize = 16;

/// Products in the registers of an instruction set.
pub(super) struct InRegisters<V>(PhantomData<V>);

impl<V: Vector> Rows for InRegisters<V> {
    #[inline(always)]
    fn product(weights: &[u16], x: Values<'_>, each: &mut impl FnMut(usize, f32)) {
        let columns = x.len();
        if columns == 0 {
            return;
        }
        for (i, rows) in weights.chunks(columns * ROWS).enumerate() {
            // SAFETY: the chunk has so many whole rows.
            let sums = unsafe {
                match rows.len() / columns {
                    ROWS.. => dots::<V, ROWS>(rows.as_ptr(), columns, x),
                    3 => alone(dots::<V, 3>(rows.as_ptr(), columns, x)),
                    2 => alone(dots::<V, 2>(rows.as_ptr(), columns, x)),
                    1 => alone(dots::<V, 1>(rows.as_ptr(), columns, x)),
                    _ => return,
                }
            };
            for (row, sum) in sums.into_iter().enumerate().take(rows.len() / columns) {
                each(i * ROWS + row, sum);
            }
        }
    }
}

/// Some sums, with zeros behind them.
fn alone<const N: usize>(sums: [f32; N]) -> [f32; ROWS] {
    let mut all = [0.0; ROWS];
    all.iter_mut().zip(sums).for_each(|(to, sum)| *to = sum);
    all
}

/// N rows of `columns` weights, one behind the other, each times `x`.
///
/// # Safety
///
/// The rows and as many values are there. To be inlined into a function that has the instruction set.
#[inline(always)]
unsafe fn dots<V: Vector, const N: usize>(rows: *const u16, columns: usize, x: Values<'_>) -> [f32; N] {
    // SAFETY: as the caller promises.
    unsafe {
        let mut sums = [[V::splat(0.0); 2]; N];
        let mut at = 0;
        while at + 2 * V::LANES <= columns {
            for half in 0..2 {
                let at = at + half * V::LANES;
                let x = values::<V>(x, at, V::LANES);
                for n in 0..N {
                    let weights = V::widen(rows.add(n * columns + at), V::LANES);
                    sums[n][half] = V::mul_add(weights, x, sums[n][half]);
                }
            }
            at += 2 * V::LANES;
        }
        while at < columns {
            let count = V::LANES.min(columns - at);
            let x = values::<V>(x, at, count);
            for n in 0..N {
                let weights = V::widen(rows.add(n * columns + at), count);
                sums[n][0] = V::mul_add(weights, x, sums[n][0]);
            }
            at += count;
        }
        let mut results = [0.0; N];
        for n in 0..N {
            let mut lanes = [0.0; MOST_LANES];
            V::store(V::add(sums[n][0], sums[n][1]), lanes.as_mut_ptr());
            // Halves on halves: four additions deep.
            for width in [8, 4, 2, 1] {
                for i in 0..width {
                    lanes[i] += lanes[i + width];
                }
            }
            results[n] = lanes[0];
        }
        results
    }
}

/// `count` values from the one at `at` on, and zeros in the other lanes.
#[inline(always)]
unsafe fn values<V: Vector>(x: Values<'_>, at: usize, count: usize) -> V::Register {
    // SAFETY: the caller says that they are there.
    unsafe {
        match x {
            Values::Half(x) => V::widen(x.as_ptr().add(at), count),
            Values::Full(x) if count == V::LANES => V::load(x.as_ptr().add(at)),
            Values::Full(x) => {
                let mut lanes = [0.0; MOST_LANES];
                lanes.iter_mut().zip(x.get(at..).unwrap_or_default()).for_each(|(to, x)| *to = *x);
                V::load(lanes.as_ptr())
            }
        }
    }
}
