//! A group of rows of a matrix times pixels, block of registers by block.
#![allow(unsafe_code)]

use super::geometry::{MOST_ROWS, Runs, registers};
use super::matrix::{Group, Matrix, Taps};
use super::sums::{Job, Output, Sums};

/// Where sums go.
#[derive(Clone, Copy)]
pub(super) struct To {
    pub(super) sums: *mut f32,
    /// The first of them: f32, or elements where they are `direct`.
    pub(super) first: usize,
    /// From those of one row to the next's.
    pub(super) row: usize,
    /// See [`Job::direct`].
    pub(super) direct: bool,
}

impl To {
    /// The place of the sum that is `at` behind the first.
    unsafe fn at<B>(&self, at: usize) -> *mut f32 {
        // SAFETY: the caller's promise that it is there.
        unsafe {
            match self.direct {
                true => self.sums.cast::<B>().add(self.first + at).cast(),
                false => self.sums.add(self.first + at),
            }
        }
    }
}

/// A group of rows of a matrix times the pixels in `runs`, from `x` on; `to` is where the sums go; `output` is where the results go instead, from the first on.
pub(super) unsafe fn product<E: Sums>(
    matrix: &Matrix<E::Bits>,
    group: &Group,
    taps: &Taps,
    (x, runs): (*const E::Bits, Runs),
    bias: Option<&[f32]>,
    to: To,
    output: Option<Output>,
) {
    let bias = bias.and_then(|bias| bias.get(group.first..)).unwrap_or(&[0.0; MOST_ROWS]).as_ptr();
    let run = runs.registers * E::LANES;
    let mut column = 0;
    for (offsets, steps) in taps.offsets.chunks(E::CARRY).zip(taps.steps.chunks(E::CARRY)) {
        let Some(first) = offsets.first() else { return };
        let weights = matrix.weights(group, column, E::LANES);
        runs.blocks(registers(group.rows), |block| {
            let at = block.register * E::LANES;
            let beside = block.registers * E::LANES;
            let output = output.filter(|_| column + steps.len() == taps.steps.len()).map(|output| {
                let at = block.run * output.run + at;
                let step = if runs.runs == 1 { beside } else { block.runs * output.run };
                let second =
                    if output.second.is_null() { output.second } else { output.second.wrapping_add(at) };
                Output { to: output.to.wrapping_add(at), second, step, ..output }
            });
            let step = if runs.runs == 1 { [beside; 2] } else { [block.runs * runs.pitch, block.runs * run] };
            // SAFETY: blocks are in the runs, whose pixels and sums are there.
            unsafe {
                let job = Job {
                    weights: weights.as_ptr(),
                    steps: steps.as_ptr(),
                    taps: steps.len(),
                    x: x.add(*first as usize + block.run * runs.pitch + at),
                    pitch: runs.pitch,
                    bias,
                    resume: column > 0,
                    to: to.at::<E::Bits>(block.run * run + at),
                    row: to.row,
                    run,
                    blocks: block.count,
                    step,
                    direct: to.direct,
                    output,
                };
                E::compute(group.rows, block.runs, block.registers, &job);
            }
        });
        column += steps.len();
    }
}
