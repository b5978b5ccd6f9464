//! Padded copies of feature maps, which the sweeps walk over.

use std::cell::RefCell;

use super::lanes::LANES;
use super::sweep::Pitch;

/// A zero-bordered copy of a channels-last feature map. The border may be cropped: a window that never reaches the
/// last rows or columns of the map leaves them out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// Rows and columns of the copy.
    pub rows: usize,
    pub cols: usize,
    /// Border above and left of the map.
    pub top: usize,
    pub left: usize,
    /// Rows, columns and channels of the map.
    pub map: [usize; 3],
    /// Values of one pixel of the copy, at least the map's channels; the ones above are zero.
    pub pixel: usize,
}

impl Frame {
    /// Values of the copy.
    pub(super) fn len(&self) -> usize {
        self.rows * self.cols * self.pixel
    }

    /// Distances between its pixels.
    pub(super) fn pitch(&self) -> Pitch {
        Pitch { pixel: self.pixel, row: self.cols * self.pixel, image: self.len() }
    }

    /// Copies whole batches of maps and writes the borders.
    ///
    /// # Panics
    /// Where `to` is shorter than the copies of `from`.
    pub(super) fn fill_all(&self, from: &[f32], to: &mut [f32]) {
        for (from, to) in from.chunks_exact(self.map.iter().product()).zip(to.chunks_exact_mut(self.len())) {
            self.fill(from, to);
        }
    }

    /// Copies the map `from` and writes the border.
    ///
    /// # Panics
    /// Where `from` or `to` is shorter than its shape.
    pub(super) fn fill(&self, from: &[f32], to: &mut [f32]) {
        let [map_rows, map_cols, channels] = self.map;
        let pitch = self.cols * self.pixel;
        let visible_rows = map_rows.min(self.rows.saturating_sub(self.top));
        let visible_cols = map_cols.min(self.cols.saturating_sub(self.left));
        let top = self.top.min(self.rows);
        to[..top * pitch].fill(0.0);
        to[(top + visible_rows) * pitch..self.len()].fill(0.0);
        for row in 0..visible_rows {
            let from = &from[row * map_cols * channels..][..visible_cols * channels];
            let to = &mut to[(top + row) * pitch..][..pitch];
            let left = self.left.min(self.cols) * self.pixel;
            to[..left].fill(0.0);
            let (inner, right) = to[left..].split_at_mut(visible_cols * self.pixel);
            right.fill(0.0);
            if self.pixel == channels {
                inner.copy_from_slice(from);
            } else {
                for (to, from) in inner.chunks_exact_mut(self.pixel).zip(from.chunks_exact(channels)) {
                    let (values, rest) = to.split_at_mut(channels);
                    values.copy_from_slice(from);
                    rest.fill(0.0);
                }
            }
        }
    }
}

/// Lends `lens.len()` scratch slices that belong to the calling thread; their content is left over from earlier calls.
/// Not for nested use.
pub(super) fn with_scratch<const N: usize, R>(lens: [usize; N], f: impl FnOnce([&mut [f32]; N]) -> R) -> R {
    thread_local! {
        static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    SCRATCH.with_borrow_mut(|scratch| {
        let total: usize = lens.iter().map(|len| len.next_multiple_of(LANES)).sum();
        if scratch.len() < total {
            scratch.resize(total, 0.0);
        }
        let mut rest = scratch.as_mut_slice();
        f(lens.map(|len| {
            let (slice, after) = std::mem::take(&mut rest).split_at_mut(len.next_multiple_of(LANES));
            rest = after;
            &mut slice[..len]
        }))
    })
}

/// Lends `len` values that the calling thread keeps from call to call, with any content: fresh pages for the packed
/// weights of a wide layer would cost as much as packing them.
pub(super) fn with_packed<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        static PACKED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    let mut packed = PACKED.take();
    if packed.len() < len {
        packed.resize(len, 0.0);
    }
    let result = f(&mut packed[..len]);
    PACKED.set(packed);
    result
}
