//! Depthwise 3×3 with sums in f32: four pixels at a time go from the patch to the output without a sum in between. One call
//! serves some channels of a tile.

use super::inner;
use super::store::{Rows, bounds};
use crate::model::Activation;

/// Weights of a channel.
const TAPS: usize = 9;

/// Some channels of a tile; lengths in elements.
pub(in super::super) struct Depthwise<'a> {
    /// 1, or 2: then each patch row has its even elements before its odd ones.
    pub stride: usize,
    /// Patch rows from an output row to the next.
    pub step: usize,
    /// Elements of one phase of a patch row, and of a channel of the patch.
    pub pitch: usize,
    pub channel: usize,
    /// Of each channel nine words, which hold f32.
    pub weights: &'a [u32],
    /// One a channel: as many channels as these are computed.
    pub bias: &'a [f32],
    pub shape: Rows,
    pub activation: Activation,
}

/// What the loops read and count down; lengths in bytes. The assembler knows the order of the fields.
#[repr(C)]
pub(super) struct Arguments {
    pub x: *const f32,
    /// From a kernel row to the next, from the even to the odd phase, from an output row's pixels to those of the next, from a
    /// channel to the next.
    pub row: usize,
    pub phase: usize,
    pub x_row: usize,
    pub channel: usize,
    pub weights: *const u32,
    pub bias: *const f32,
    pub output: *mut u16,
    pub width: usize,
    pub plane: usize,
    pub rows: usize,
    pub columns: usize,
    pub channels: usize,
    /// Least and largest result, 16 bytes each.
    pub bounds: *const [[u32; 4]; 2],
    /// The loops' own: the row's pixels and output, rows left.
    row_x: usize,
    row_output: usize,
    row_left: usize,
}

/// Convolves the channels of a tile in `patch` into `output`, which begins with their first pixel. Does nothing where a length
/// does not fit.
pub(in super::super) fn depthwise(tile: &Depthwise<'_>, patch: &[f32], output: &mut [u16]) {
    const F32: usize = size_of::<f32>();
    let Depthwise { stride, step, pitch, channel, weights, bias, shape, activation } = *tile;
    let (channels, Rows { rows, columns, width, plane }) = (bias.len(), shape);
    if channels == 0 || rows == 0 || columns == 0 || columns > width || !(1..=2).contains(&stride) {
        return;
    }
    // The last taps: two elements behind the pixels, or one in the even phase, and the odd phase behind it.
    let row = stride * pitch;
    let across = if stride == 1 { columns + 2 } else { pitch + columns };
    let reach = (channels - 1) * channel + ((rows - 1) * step + 2) * row + across;
    let fits = reach <= patch.len()
        && (stride == 1 || columns < pitch)
        && weights.len() == channels * TAPS
        && (channels - 1) * plane + (rows - 1) * width + columns <= output.len();
    if !fits {
        return;
    }
    let bounds = bounds(activation).map(|bound| [bound.to_bits(); 4]);
    let mut arguments = Arguments {
        x: patch.as_ptr(),
        row: row * F32,
        phase: pitch * F32,
        x_row: step * row * F32,
        channel: channel * F32,
        weights: weights.as_ptr(),
        bias: bias.as_ptr(),
        output: output.as_mut_ptr(),
        width: width * size_of::<u16>(),
        plane: plane * size_of::<u16>(),
        rows,
        columns,
        channels,
        bounds: &bounds,
        row_x: 0,
        row_output: 0,
        row_left: 0,
    };
    // SAFETY: pixels, weights and outputs up to what is met are there, checked above.
    unsafe { inner::depthwise(stride, &mut arguments) }
}
