//! Matrices of weights in the order in which the kernels read them.

use std::vec::Vec;

use super::element::Element;
use super::geometry::{MOST_ROWS, Runs};

/// Rows of a matrix whose sums are made together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub(super) first: usize,
    pub(super) rows: usize,
    /// Where its weights begin.
    pub(super) at: usize,
}

/// A matrix in groups of rows, each stored column by column, a column in whole registers.
#[derive(Debug)]
pub(super) struct Matrix<B> {
    pub(super) groups: Vec<Group>,
    weights: Vec<B>,
}

impl<B: Copy + Default> Matrix<B> {
    /// No rows.
    pub(super) fn empty() -> Self {
        Matrix { groups: Vec::new(), weights: Vec::new() }
    }

    /// From f16 bits in row-major order, in the groups that take the fewest instructions for pixels in `runs`.
    pub(super) fn new<E: Element<Bits = B>>(bits: &[u16], rows: usize, runs: Runs) -> Self {
        let sizes = sizes(rows, |rows| runs.cost(rows, E::LANES));
        Self::with_groups::<E>(bits, rows, sizes)
    }

    pub(super) fn with_groups<E: Element<Bits = B>>(
        bits: &[u16],
        rows: usize,
        sizes: impl IntoIterator<Item = usize>,
    ) -> Self {
        let columns = bits.len() / rows.max(1);
        let mut matrix = Self::empty();
        let mut first = 0;
        for rows in sizes {
            matrix.groups.push(Group { first, rows, at: matrix.weights.len() });
            for column in 0..columns {
                let values = bits.iter().skip(first * columns + column).step_by(columns).take(rows);
                matrix.weights.extend(values.map(|bits| E::element(*bits)));
                let whole = matrix.weights.len().next_multiple_of(E::LANES);
                matrix.weights.resize(whole, B::default());
            }
            first += rows;
        }
        matrix
    }

    /// One row of taps behind the other, each in whole registers, for [`super::depthwise`].
    pub(super) fn of_channels<E: Element<Bits = B>>(bits: &[u16], rows: usize) -> Self {
        let taps = (bits.len() / rows.max(1)).max(1);
        let mut weights = Vec::new();
        for row in bits.chunks(taps) {
            weights.extend(row.iter().map(|bits| E::element(*bits)));
            weights.resize(weights.len().next_multiple_of(E::LANES), B::default());
        }
        Matrix { groups: Vec::new(), weights }
    }

    /// All weights.
    pub(super) fn all(&self) -> &[B] {
        &self.weights
    }

    /// Weights of a group from column `column` on.
    pub(super) fn weights(&self, group: &Group, column: usize, lanes: usize) -> &[B] {
        let column = group.at + column * group.rows.next_multiple_of(lanes);
        self.weights.get(column..).unwrap_or_default()
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.weights.as_slice()) + size_of_val(self.groups.as_slice())
    }
}

/// Cuts `rows` into groups of up to [`MOST_ROWS`] rows that cost the least in all, the larger ones first.
pub(super) fn sizes(rows: usize, cost: impl Fn(usize) -> usize) -> Vec<usize> {
    let costs: Vec<usize> = (0..=MOST_ROWS).map(cost).collect();
    // The least cost of each number of rows, and its last group.
    let mut best = Vec::with_capacity(rows + 1);
    best.push((0, 0));
    for rows in 1..=rows {
        let last = (1..=rows.min(MOST_ROWS)).map(|last| (best[rows - last].0 + costs[last], last));
        best.push(last.min().unwrap_or_default());
    }
    let mut sizes = Vec::new();
    let mut left = rows;
    while left > 0 {
        sizes.push(best[left].1);
        left -= best[left].1;
    }
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    sizes
}

/// Where the pixels of each column of a matrix lie.
#[derive(Debug)]
pub(super) struct Taps {
    /// Elements from the first pixel.
    pub(super) offsets: Vec<u32>,
    /// Bytes from one column's to the next's.
    pub(super) steps: Vec<isize>,
}

impl Taps {
    pub(super) fn new<E: Element>(offsets: Vec<u32>) -> Taps {
        let next = offsets.iter().skip(1).chain(offsets.last());
        let elements = offsets.iter().zip(next).map(|(at, next)| i64::from(*next) - i64::from(*at));
        let steps = elements.map(|step| step as isize * size_of::<E::Bits>() as isize).collect();
        Taps { offsets, steps }
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.offsets.as_slice()) + size_of_val(self.steps.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_fall_into_the_cheapest_groups() {
        let runs = |runs, registers| Runs { runs, registers, pitch: 0 };
        let groups = |rows, r| sizes(rows, |rows| Runs::cost(r, rows, 4));
        for rows in 1..60 {
            for r in [runs(1, 1), runs(8, 8), runs(8, 7), runs(3, 2)] {
                let groups = groups(rows, r);
                assert_eq!(groups.iter().sum::<usize>(), rows);
                assert!(groups.iter().all(|group| (1..=MOST_ROWS).contains(group)));
            }
        }
        // Where a row has many registers, groups that leave room for them; where it has two, many rows.
        assert_eq!(groups(3, runs(8, 8)), [3]);
        assert_eq!(groups(12, runs(8, 4)), [6, 6]);
        assert_eq!(groups(25, runs(8, 2)), [12, 12, 1]);
    }
}
