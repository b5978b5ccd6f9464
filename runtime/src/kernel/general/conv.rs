//! Convolutions with groups and dilation, and transposed ones: a row of sums at a time.

use super::{Map, Operands, Output, finish, sizes};
use crate::kernel::f16;
use crate::model::{GeneralConv, Weights};

/// One convolution, its sizes as numbers that are at least 1.
struct Conv<'a> {
    input: Map<'a>,
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    /// Above and at the left.
    padding: [usize; 2],
    transposed: bool,
}

pub(super) fn run(layer: &GeneralConv<&str>, operands: &mut Operands<'_>, output: &mut Output<'_>) {
    let [n, height, width] = sizes(operands.output);
    let [channels, ..] = operands.input.sizes();
    let [top, left, ..] = layer.window.padding.map(usize::from);
    let conv = Conv {
        input: operands.input,
        kernel: layer.window.kernel.map(|size| usize::from(size).max(1)),
        stride: layer.window.stride.map(|size| usize::from(size).max(1)),
        dilation: layer.dilation.map(usize::from),
        padding: [top, left],
        transposed: layer.transposed.is_some(),
    };
    let groups = (layer.groups as usize).max(1);
    let (columns, outs) = ((channels / groups).max(1), (n / groups).max(1));
    let filter = columns * conv.kernel.iter().product::<usize>();
    let [weights, expand] = operands.weights;
    let rank = if let Weights::Pair { rank } = layer.weights { rank as usize } else { 0 };
    let Some((sums, middle)) = operands.scratch.split_at_mut_checked(width) else { return };
    let Some(middle) = middle.get_mut(..rank * width) else { return };
    let (second, in_place) = (operands.second, operands.in_place);
    for y in 0..height {
        // All intermediate values of a row, which every channel of the result needs.
        for (row, filter) in middle.chunks_exact_mut(width).zip(weights.chunks_exact(filter.max(1))) {
            row.fill(0.0);
            conv.row(filter, 0, y, row);
        }
        for channel in 0..n {
            let bias = operands.bias.get(channel).copied().unwrap_or(0.0);
            sums.fill(bias);
            if rank > 0 {
                let row = expand.get(channel * rank..(channel + 1) * rank).unwrap_or_default();
                for (weight, middle) in row.iter().zip(middle.chunks_exact(width)) {
                    add(sums, f16::widen(*weight), middle.iter().copied());
                }
            } else if let Some(filter) = weights.get(channel * filter..(channel + 1) * filter) {
                conv.row(filter, (channel / outs) * columns, y, sums);
            }
            let at = (channel * height + y) * width;
            residual(sums, (second, in_place), at, output);
            finish(output, at, sums, layer.activation);
        }
    }
}

/// Adds the residual's values from `at` on.
fn residual(sums: &mut [f32], (second, in_place): (Option<Map<'_>>, bool), at: usize, output: &Output<'_>) {
    let values = match (second, output) {
        (Some(second), _) => second.values.get(at..).unwrap_or_default(),
        (None, Output::Half(values)) if in_place => values.get(at..).unwrap_or_default(),
        _ => return,
    };
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += f16::widen(*value));
}

/// Adds `weight` times each value.
#[inline(always)]
fn add(sums: &mut [f32], weight: f32, values: impl Iterator<Item = f32>) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
}

impl Conv<'_> {
    /// Adds to row `y` of a channel's sums: its filter over the channels from `first` on.
    fn row(&self, filter: &[u16], first: usize, y: usize, sums: &mut [f32]) {
        let [_, height, width] = self.input.sizes();
        let [kernel_height, kernel_width] = self.kernel;
        for (at, taps) in filter.chunks_exact((kernel_height * kernel_width).max(1)).enumerate() {
            for (ky, taps) in taps.chunks_exact(kernel_width.max(1)).enumerate() {
                let Some(row) = self.input_row(y, ky).filter(|row| *row < height) else { continue };
                let from = ((first + at) * height + row) * width;
                let Some(line) = self.input.values.get(from..from + width) else { continue };
                for (kx, tap) in taps.iter().enumerate() {
                    self.tap(f16::widen(*tap), kx * self.dilation[1], line, sums);
                }
            }
        }
    }

    /// The row of the input that a row of taps meets; `None` where it meets none.
    fn input_row(&self, y: usize, ky: usize) -> Option<usize> {
        let ([stride, _], [top, _]) = (self.stride, self.padding);
        let reach = ky * self.dilation[0];
        if !self.transposed {
            return (y * stride + reach).checked_sub(top);
        }
        let spread = (y + top).checked_sub(reach)?;
        spread.is_multiple_of(stride).then(|| spread.checked_div(stride)).flatten()
    }

    /// Adds a tap `reach` columns from the first to a row of sums.
    fn tap(&self, weight: f32, reach: usize, line: &[u16], sums: &mut [f32]) {
        let ([_, stride], [_, left]) = (self.stride, self.padding);
        // Begin in one row, and in the other by as many strides as it takes not to be before its first.
        let (before, behind) = (left.saturating_sub(reach), reach.saturating_sub(left));
        let stride = stride.max(1);
        if self.transposed {
            // Column i of the input goes to i·stride + reach − left.
            let skipped = before.div_ceil(stride);
            let begin = behind + skipped * stride - before;
            let to = sums.get_mut(begin..).unwrap_or_default().iter_mut().step_by(stride);
            let from = line.get(skipped..).unwrap_or_default();
            to.zip(from).for_each(|(sum, value)| *sum += weight * f16::widen(*value));
            return;
        }
        let skipped = before.div_ceil(stride);
        let to = sums.get_mut(skipped..).unwrap_or_default();
        let from = line.get(behind + skipped * stride - before..).unwrap_or_default();
        match stride {
            1 => add(to, weight, from.iter().map(|value| f16::widen(*value))),
            stride => add(to, weight, from.iter().step_by(stride).map(|value| f16::widen(*value))),
        }
    }
}
