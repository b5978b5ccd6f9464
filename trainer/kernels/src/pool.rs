//! Pooling over windows of channels-last feature maps, forward and backward.

use std::ops::Range;

use lrpet_runtime::model::{Pool, PoolKind, Shape};
use rayon::prelude::*;

use super::isa::{Isa, multiversion};

/// A pooling. A padded position never wins a maximum and is not counted by an average.
#[derive(Clone, Debug)]
pub struct Pooling {
    kind: PoolKind,
    isa: Isa,
    plan: Plan,
}

/// The parts of the windows that are inside the image.
#[derive(Clone, Debug)]
struct Plan {
    /// Input rows under each output row, input columns under each output column.
    rows: Vec<Range<usize>>,
    cols: Vec<Range<usize>>,
    /// Rows, columns and channels of the input.
    input: [usize; 3],
}

impl Pooling {
    /// The pooling `pool` of a value of shape `input`, for the instruction set `isa`; `None` where the window does not
    /// fit it.
    pub fn new(input: Shape, pool: &Pool, isa: Isa) -> Option<Pooling> {
        let (oh, ow) = pool.window.output(input.height, input.width)?;
        let axis = |axis: usize, size: u32, outputs: u32| -> Vec<Range<usize>> {
            let [kernel, stride, before] =
                [pool.window.kernel[axis], pool.window.stride[axis], pool.window.padding[axis]]
                    .map(u32::from);
            let inside = |at: u32| at.saturating_sub(before).min(size) as usize;
            (0..outputs).map(|at| inside(at * stride)..inside(at * stride + kernel)).collect()
        };
        let (rows, cols) = (axis(0, input.height, oh), axis(1, input.width, ow));
        let input = [input.height, input.width, input.channels].map(|size| size as usize);
        Some(Pooling { kind: pool.kind, isa, plan: Plan { rows, cols, input } })
    }

    fn lens(&self) -> [usize; 2] {
        let Plan { rows, cols, input } = &self.plan;
        [input.iter().product(), rows.len() * cols.len() * input[2]]
    }

    /// Writes the result of a batch.
    pub fn forward(&self, x: &[f32], y: &mut [f32]) {
        let [input, output] = self.lens();
        (y.par_chunks_exact_mut(output), x.par_chunks_exact(input)).into_par_iter().for_each(|(y, x)| {
            match self.kind {
                PoolKind::Max => largest(self.isa, &self.plan, x, y),
                PoolKind::Average => average(self.isa, &self.plan, x, y),
            }
        });
    }

    /// Adds the gradient of the input `x` to `dx`; `y` is the result and `dy` its gradient. Where several values of a
    /// window are the largest, the first in row-major order gets the gradient.
    pub fn backward(&self, x: &[f32], y: &[f32], dy: &[f32], dx: &mut [f32]) {
        let [input, output] = self.lens();
        match self.kind {
            PoolKind::Max => (dx.par_chunks_exact_mut(input), x.par_chunks_exact(input))
                .into_par_iter()
                .zip((y.par_chunks_exact(output), dy.par_chunks_exact(output)))
                .for_each(|((dx, x), (y, dy))| {
                    let mut left = vec![0.0; self.plan.input[2]];
                    largest_back(self.isa, &self.plan, x, y, dy, &mut left, dx);
                }),
            PoolKind::Average => (dx.par_chunks_exact_mut(input), dy.par_chunks_exact(output))
                .into_par_iter()
                .for_each(|(dx, dy)| average_back(self.isa, &self.plan, dy, dx)),
        }
    }
}

impl Plan {
    /// Calls `f` with each window and the place of its result's first channel.
    #[inline(always)]
    fn for_each_window(&self, mut f: impl FnMut(Window, usize)) {
        let channels = self.input[2];
        let mut to = 0;
        for rows in &self.rows {
            for cols in &self.cols {
                f(Window { plan: self, rows, cols }, to);
                to += channels;
            }
        }
    }
}

/// The part of a window that is inside the image.
struct Window<'a> {
    plan: &'a Plan,
    rows: &'a Range<usize>,
    cols: &'a Range<usize>,
}

impl Window<'_> {
    fn count(&self) -> usize {
        self.rows.len() * self.cols.len()
    }

    /// Calls `f` with the place of each pixel's channels.
    #[inline(always)]
    fn for_each_pixel(&self, mut f: impl FnMut(Range<usize>)) {
        let [_, width, channels] = self.plan.input;
        for row in self.rows.clone() {
            for col in self.cols.clone() {
                let from = (row * width + col) * channels;
                f(from..from + channels);
            }
        }
    }
}

multiversion! {
    fn largest(plan: &Plan, x: &[f32], y: &mut [f32]) {
        plan.for_each_window(|window, to| {
            let y = &mut y[to..][..plan.input[2]];
            y.fill(f32::NEG_INFINITY);
            window.for_each_pixel(|pixel| {
                for (most, value) in y.iter_mut().zip(&x[pixel]) {
                    // A NaN wins, so that it does not go unseen.
                    *most = if *value > *most || value.is_nan() { *value } else { *most };
                }
            });
        });
    }
}

multiversion! {
    fn largest_back(plan: &Plan, x: &[f32], y: &[f32], dy: &[f32], left: &mut [f32], dx: &mut [f32]) {
        let channels = plan.input[2];
        let left = &mut left[..channels];
        plan.for_each_window(|window, to| {
            let y = &y[to..][..channels];
            left.copy_from_slice(&dy[to..][..channels]);
            window.for_each_pixel(|pixel| {
                let (x, dx) = (&x[pixel.clone()], &mut dx[pixel]);
                for i in 0..channels.min(x.len()).min(dx.len()) {
                    let hit = x[i] == y[i];
                    dx[i] += if hit { left[i] } else { 0.0 };
                    left[i] = if hit { 0.0 } else { left[i] };
                }
            });
        });
    }
}

multiversion! {
    fn average(plan: &Plan, x: &[f32], y: &mut [f32]) {
        plan.for_each_window(|window, to| {
            let y = &mut y[to..][..plan.input[2]];
            y.fill(0.0);
            window.for_each_pixel(|pixel| {
                for (sum, value) in y.iter_mut().zip(&x[pixel]) {
                    *sum += *value;
                }
            });
            let count = window.count().max(1) as f32;
            for sum in y {
                *sum /= count;
            }
        });
    }
}

multiversion! {
    fn average_back(plan: &Plan, dy: &[f32], dx: &mut [f32]) {
        plan.for_each_window(|window, to| {
            let dy = &dy[to..][..plan.input[2]];
            let share = 1.0 / window.count().max(1) as f32;
            window.for_each_pixel(|pixel| {
                for (dx, dy) in dx[pixel].iter_mut().zip(dy) {
                    *dx += *dy * share;
                }
            });
        });
    }
}
