//! A map into tiles, and tiles into a map.
#![allow(unsafe_code, clippy::needless_range_loop)]

use super::super::Vector;
use crate::kernel::winograd::{input, output};

/// Planes to be widened pixel by pixel.
#[derive(Clone, Copy)]
pub(in crate::kernel::x86_64) struct Spread {
    /// The first pixel of the first plane, elements from one plane to the next, and the number of planes, 8 at most.
    pub(in crate::kernel::x86_64) from: *const u16,
    pub(in crate::kernel::x86_64) plane: usize,
    pub(in crate::kernel::x86_64) planes: usize,
    pub(in crate::kernel::x86_64) pixels: usize,
    /// 8 elements for the first pixel, zeros for planes that are none, and elements from there to the next one's.
    pub(in crate::kernel::x86_64) to: *mut f32,
    pub(in crate::kernel::x86_64) step: usize,
}

/// A row of tiles, a register of channels of it.
#[derive(Clone, Copy)]
pub(in crate::kernel::x86_64) struct Row {
    /// For each row of the tiles' inputs its first pixel, and elements from there to the next: 0 for a row of the padding, which
    /// has one pixel of zeros.
    pub(super) rows: [(*const f32, usize); 6],
    /// Pixels of these rows, and of the padding before them.
    pub(super) width: usize,
    pub(super) before: usize,
    pub(super) tiles: usize,
    /// Room for the columns that are transformed: a register for each input of a tile's side, for all columns of the tiles.
    pub(super) columns: *mut f32,
    /// Where the first tile's first value goes, elements from there to the next tile's and to the next value.
    pub(super) to: *mut f32,
    pub(super) pitch: usize,
    pub(super) step: usize,
}

/// Transforms a row of tiles: its columns, which neighbours share, then the rows of each tile.
///
/// # Safety
///
/// The pointers have what the fields state. To be inlined into a function that has the instruction set.
#[inline(always)]
pub(in crate::kernel::x86_64) unsafe fn to_tiles<V: Vector, const SIDE: usize>(row: &Row) {
    let outputs = SIDE - 2;
    let count = row.tiles * outputs + 2;
    let (first, end) = (row.before.min(count), (row.before + row.width).min(count));
    // SAFETY: the caller's promises are those that the accesses need, one by one.
    unsafe {
        for x in (0..first).chain(end..count) {
            for i in 0..SIDE {
                V::store(V::splat(0.0), row.columns.add((x * SIDE + i) * V::LANES));
            }
        }
        for x in first..end {
            let mut d = [V::splat(0.0); SIDE];
            for i in 0..SIDE {
                let (from, step) = row.rows[i];
                d[i] = V::load(from.add((x - row.before) * step));
            }
            let column = input::<V, SIDE>(&d);
            for i in 0..SIDE {
                V::store(column[i], row.columns.add((x * SIDE + i) * V::LANES));
            }
        }
        for tile in 0..row.tiles {
            let (from, to) =
                (row.columns.add(tile * outputs * SIDE * V::LANES), row.to.add(tile * row.pitch));
            for i in 0..SIDE {
                let mut d = [V::splat(0.0); SIDE];
                for j in 0..SIDE {
                    d[j] = V::load(from.add((j * SIDE + i) * V::LANES));
                }
                let values = input::<V, SIDE>(&d);
                for j in 0..SIDE {
                    V::store(values[j], to.add((i * SIDE + j) * row.step));
                }
            }
        }
    }
}

/// A row of tiles, the sums of the products of some registers of filters of it.
#[derive(Clone, Copy)]
pub(in crate::kernel::x86_64) struct Sums {
    /// Of the first tile the first product's sums, and elements from there to the next product's.
    pub(super) from: *const f32,
    pub(super) step: usize,
    /// Registers of filters; the next tile's sums lie behind them.
    pub(super) registers: usize,
    pub(super) tiles: usize,
    /// Rows and columns of the output that there are.
    pub(super) rows: usize,
    pub(super) width: usize,
    /// What is added for each filter of the registers.
    pub(super) bias: *const f32,
    /// Where the first pixel's sums go, and elements from there to the next pixel's; rows are `width` pixels.
    pub(super) to: *mut f32,
    pub(super) pixel: usize,
}

/// Transforms a row of tiles back.
///
/// # Safety
///
/// The pointers have what the fields state. To be inlined into a function that has the instruction set.
#[inline(always)]
pub(in crate::kernel::x86_64) unsafe fn from_tiles<V: Vector, const SIDE: usize, const OUTPUTS: usize>(
    sums: &Sums,
) {
    let pitch = sums.registers * V::LANES;
    for tile in 0..sums.tiles {
        let columns = OUTPUTS.min(sums.width - tile * OUTPUTS);
        for q in 0..sums.registers {
            // SAFETY: the caller's promises are those that the accesses need, one by one.
            unsafe {
                let from = sums.from.add(tile * pitch + q * V::LANES);
                let to = sums.to.add(tile * OUTPUTS * sums.pixel + q * V::LANES);
                let bias = V::load(sums.bias.add(q * V::LANES));
                let mut half = [[V::splat(0.0); SIDE]; OUTPUTS];
                for j in 0..SIDE {
                    let mut m = [V::splat(0.0); SIDE];
                    for i in 0..SIDE {
                        m[i] = V::load(from.add((i * SIDE + j) * sums.step));
                    }
                    let column = output::<V, SIDE, OUTPUTS>(&m);
                    for y in 0..OUTPUTS {
                        half[y][j] = column[y];
                    }
                }
                for y in 0..OUTPUTS {
                    let row = output::<V, SIDE, OUTPUTS>(&half[y]);
                    if y < sums.rows {
                        for x in 0..OUTPUTS {
                            if x < columns {
                                let to = to.add((y * sums.width + x) * sums.pixel);
                                V::store(V::add(row[x], bias), to);
                            }
                        }
                    }
                }
            }
        }
    }
}
