//! Memory for feature maps and their gradients.

use rayon::prelude::*;

/// Buffers of one batch size, kept between steps: fresh pages from the system would cost as much as the arithmetic.
#[derive(Default)]
pub(super) struct Buffers {
    batch: usize,
    free: Vec<Vec<f32>>,
}

impl Buffers {
    /// Lets go of the buffers of another batch size.
    pub(super) fn start(&mut self, batch: usize) {
        if self.batch != batch {
            self.free.clear();
            self.batch = batch;
        }
    }

    /// A buffer of `len` values, with any content.
    pub(super) fn take(&mut self, len: usize) -> Vec<f32> {
        match self.free.iter().rposition(|buffer| buffer.len() == len) {
            Some(found) => self.free.swap_remove(found),
            None => vec![0.0; len],
        }
    }

    /// Takes a buffer back.
    pub(super) fn give(&mut self, buffer: Vec<f32>) {
        if !buffer.is_empty() {
            self.free.push(buffer);
        }
    }

    /// Adds a gradient to what a value has already.
    pub(super) fn add(&mut self, total: &mut Option<Vec<f32>>, more: Vec<f32>) {
        match total {
            None => *total = Some(more),
            Some(total) => {
                let size = 1 << 14;
                (total.par_chunks_mut(size), more.par_chunks(size)).into_par_iter().for_each(
                    |(total, more)| {
                        total.iter_mut().zip(more).for_each(|(total, more)| *total += *more);
                    },
                );
                self.give(more);
            }
        }
    }
}
