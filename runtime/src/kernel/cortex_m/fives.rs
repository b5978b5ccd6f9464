//! Dense convolutions of few pixels: five of them by four channels stay in registers from bias to sum.
//!
//! A strip of one row has as many pixels as the map is wide. Loops over four of them compute eight where there are five, and
//! widened weights of a block take scratch that a strip does not have. Here the values that five pixels are made of lie side by
//! side, and weights are widened as they are met: for each five anew, so that this pays where the pixels are few. The products
//! of a sum are added in the same order as in tiles: both give the same bits.

use super::conv::{Area, Conv};
use super::micro;
use super::tile::{Geometry, Products};
use super::{OUTS, PIXELS};
use crate::kernel::portable::Epilogue;
use crate::kernel::tiling::Form;
use crate::kernel::{Buffers, Operations, f16};

/// Pixels that are computed together.
pub(super) const FIVE: usize = 5;

/// Sums of four channels, of which each has two groups of four pixels.
pub(super) const SUMS: usize = 2 * PIXELS * OUTS;

/// A layer whose pixels go five by five.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fives {
    /// Values that a pixel is made of: channels by taps.
    values: usize,
}

impl Fives {
    /// Of a layer that takes fewer instructions so than `direct`, in at most `budget` f32 of scratch.
    pub fn fit(
        geometry: &Geometry,
        form: Form,
        budget: usize,
        (direct, products): (u32, Products),
    ) -> Option<Fives> {
        let outputs = geometry.output.channels as usize;
        if form != Form::Dense || outputs == 0 || !outputs.is_multiple_of(OUTS) {
            return None;
        }
        let fives = Fives { values: (geometry.input.channels as usize).saturating_mul(geometry.taps()) };
        (fives.scratch() <= budget && fives.cost(geometry, products) < direct).then_some(fives)
    }

    /// Its scratch in f32: the values of five pixels, and sums.
    pub fn scratch(self) -> usize {
        self.values.saturating_mul(FIVE).saturating_add(SUMS)
    }

    /// Estimate of the instructions of a layer.
    pub fn cost(self, geometry: &Geometry, products: Products) -> u32 {
        let each = products.twenty();
        let (values, columns) = (self.values as u32, geometry.output.width.div_ceil(FIVE as u32));
        let fill = values.saturating_mul(if geometry.is_pointwise() { 12 } else { 70 });
        let calls = geometry.output.channels.div_ceil(OUTS as u32);
        let one = calls.saturating_mul(values.saturating_mul(each).saturating_add(400)).saturating_add(fill);
        one.saturating_mul(geometry.output.height).saturating_mul(columns)
    }
}

impl Conv {
    /// A dense layer.
    pub(super) fn dense_in_fives<U: Operations>(
        &self,
        weights: &[u16],
        epilogue: Epilogue<'_>,
        buffers: &mut Buffers<'_>,
    ) {
        let geometry = &self.geometry;
        let (height, width) = (geometry.output.height as usize, geometry.output.width as usize);
        let values = geometry.input.channels as usize * geometry.taps();
        let Some((patch, sums)) = buffers.scratch.split_at_mut_checked(values * FIVE) else { return };
        let Some(sums) = sums.get_mut(..SUMS) else { return };
        for y in 0..height {
            for x in (0..width).step_by(FIVE) {
                let columns = FIVE.min(width - x);
                let area = Area { y, x, rows: 1, columns, groups: columns.div_ceil(PIXELS) };
                fill(geometry, &area, buffers.input, patch);
                let channels = (0..).step_by(OUTS).zip(epilogue.bias.chunks_exact(OUTS));
                for ((first, bias), weights) in channels.zip(weights.chunks_exact((OUTS * values).max(1))) {
                    micro::five(patch, weights, bias, sums);
                    let (output, second) = (&mut buffers.output, buffers.second);
                    self.store::<U>(&area, sums, first..first + OUTS, epilogue, output, second);
                }
            }
        }
    }
}

/// The values of five pixels, in the order of the weights; zeros for the padding and for pixels that are not there.
fn fill(geometry: &Geometry, area: &Area, input: &[u16], patch: &mut [f32]) {
    let plane = geometry.planes[0].max(1);
    if geometry.is_pointwise() {
        let from = input.get(area.x..).unwrap_or_default();
        let shape = [0, area.columns, FIVE - area.columns];
        return micro::widen_rows(from, plane, geometry.input.channels as usize, patch, shape);
    }
    let (height, width) = (geometry.input.height as usize, geometry.input.width as usize);
    let ([kh, kw], [sy, sx], [above, left]) = (geometry.kernel, geometry.stride, geometry.before);
    let first = area.x * sx;
    let lines = patch.chunks_exact_mut((kw * FIVE).max(1)).enumerate();
    for ((line, to), plane) in
        lines.zip(input.chunks(plane).flat_map(|plane| core::iter::repeat_n(plane, kh)))
    {
        let row = (area.y * sy + line % kh.max(1)).wrapping_sub(above);
        let row = if row < height { plane.get(row * width..).unwrap_or_default() } else { &[] };
        let row = row.get(..width).unwrap_or(row);
        for (tap, to) in to.chunks_exact_mut(FIVE).enumerate() {
            for (pixel, to) in to.iter_mut().enumerate() {
                let column = (first + tap + pixel * sx).wrapping_sub(left);
                *to = row.get(column).map_or(0.0, |value| f16::widen(*value));
            }
        }
    }
}
