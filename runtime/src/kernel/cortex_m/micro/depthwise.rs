//! Depthwise 3×3: a channel's part of the image is widened, and four output pixels at a time go from the patch to the
//! output without a sum in between. One call serves all channels of a tile.

use super::{PIXELS, WidenPhases, WidenRows, inner, phases};
use crate::model::Activation;

/// Weights of a channel.
const TAPS: usize = 9;

/// All channels of a tile; lengths in elements.
pub(in super::super) struct Depthwise<'a> {
    pub channels: usize,
    /// From the first pixel on that lies under the tile.
    pub input: &'a [u16],
    /// From a channel to the next of the input, and of the output.
    pub planes: [usize; 2],
    /// Rows of the image under the tile, and from one to the next.
    pub inside: usize,
    pub from_row: usize,
    /// Patch rows above the image; elements of a row, in the image's order, from which on and up to which they lie in it.
    pub above: usize,
    pub begin: usize,
    pub end: usize,
    /// 1, or 2: then each patch row has its even elements before its odd ones.
    pub stride: usize,
    /// Elements of one phase of a patch row.
    pub pitch: usize,
    /// Patch rows from an output row to the next.
    pub step: usize,
    pub weights: &'a [u16],
    pub bias: &'a [f32],
    /// Output rows and columns, and from an output row to the next.
    pub rows: usize,
    pub columns: usize,
    pub width: usize,
    pub activation: Activation,
}

/// What the loops read and count down; lengths in bytes. The assembler knows the order of the fields.
#[repr(C)]
pub(super) struct Arguments {
    pub x: *const f32,
    /// From an output row to the next, from a kernel row to the next, and from the even to the odd phase.
    pub x_row: usize,
    pub row: usize,
    pub phase: usize,
    pub rows: usize,
    pub groups: usize,
    /// Pixels of a row behind its last whole group.
    pub rest: usize,
    pub output: *mut u16,
    pub gap: usize,
    pub plane: usize,
    pub weights: *const u16,
    pub bias: *const f32,
    pub channels: usize,
    /// 0 none, 1 ReLU, 2 ReLU6; and the same as bounds.
    activation: usize,
    low: f32,
    high: f32,
    /// What widens a channel, and what it is given: of this the field that the next channel changes, and by how much.
    fill: usize,
    filled: usize,
    pub from: *mut *const u16,
    pub from_plane: usize,
}

#[cfg(not(all(target_arch = "arm", target_os = "none", target_abi = "eabihf")))]
impl Arguments {
    /// What is given to the loops that fill a patch of stride 1.
    pub fn fill_rows(&self) -> *const WidenRows {
        core::ptr::with_exposed_provenance(self.filled)
    }

    /// The same of stride 2.
    pub fn fill_phases(&self) -> *const WidenPhases {
        core::ptr::with_exposed_provenance(self.filled)
    }

    pub fn activation(&self) -> Activation {
        [Activation::None, Activation::Relu, Activation::Relu6][self.activation]
    }
}

/// Convolves all channels of a tile in `patch`, whose padding it clears, into `output`, which begins with the tile's first
/// pixel. f16 overflow becomes an infinity and is seen by [`super::overflow`]. False, and nothing done, where a length does
/// not fit.
pub(in super::super) fn depthwise(tile: &Depthwise<'_>, patch: &mut [f32], output: &mut [u16]) -> bool {
    const F32: usize = size_of::<f32>();
    const F16: usize = size_of::<u16>();
    let Depthwise {
        channels, inside, from_row, above, begin, end, stride, pitch, rows, columns, width, ..
    } = *tile;
    let [plane, out_plane] = tile.planes;
    if channels == 0 || inside == 0 || rows == 0 || columns == 0 || begin >= end || columns > width {
        return false;
    }
    let row = stride * pitch;
    // The last row's last taps: two elements behind the pixels, or one in each phase.
    let across = if stride == 1 { columns + 2 } else { pitch + columns };
    let reach = (rows - 1) * tile.step * row + 2 * row + across;
    let fits = (1..=2).contains(&stride)
        && end <= row
        && columns < pitch + stride - 1
        && reach.max((above + inside) * row) <= patch.len()
        && (channels - 1) * plane + (inside - 1) * from_row + (end - begin) <= tile.input.len()
        && channels * TAPS <= tile.weights.len()
        && channels <= tile.bias.len()
        && (channels - 1) * out_plane + (rows - 1) * width + columns <= output.len();
    if !fits {
        return false;
    }
    patch.fill(0.0);
    let mut fill_rows = WidenRows {
        to: patch.as_mut_ptr().wrapping_add(above * row + begin),
        from: tile.input.as_ptr(),
        pitch: from_row * F16,
        rows: inside,
        before: 0,
        inside: end - begin,
        behind: 0,
        gap: (row - (end - begin)) * F32,
    };
    let Some(image) = patch.get_mut(above * row..) else { return false };
    let Some(mut fill_phases) =
        phases((tile.input, from_row), inside, image, (row / stride, true), [begin, end])
            .filter(|_| stride == 2)
            .or_else(|| (stride == 1).then(WidenPhases::nothing))
    else {
        return false;
    };
    // Zeros are there.
    fill_phases.even = fill_phases.even.wrapping_add(fill_phases.before[0]);
    fill_phases.odd = fill_phases.odd.wrapping_add(fill_phases.before[1]);
    (fill_phases.before, fill_phases.behind) = ([0; 2], [0; 2]);
    let (filled, from) = match stride {
        1 => ((&raw mut fill_rows).expose_provenance(), &raw mut fill_rows.from),
        _ => ((&raw mut fill_phases).expose_provenance(), &raw mut fill_phases.from),
    };
    let (activation, [low, high]) = bounds(tile.activation);
    let mut arguments = Arguments {
        x: patch.as_ptr(),
        x_row: tile.step * row * F32,
        row: row * F32,
        phase: pitch * F32,
        rows,
        groups: columns / PIXELS,
        rest: columns % PIXELS,
        output: output.as_mut_ptr(),
        gap: (width - columns) * F16,
        plane: out_plane * F16,
        weights: tile.weights.as_ptr(),
        bias: tile.bias.as_ptr(),
        channels,
        activation,
        low,
        high,
        fill: inner::fill(stride),
        filled,
        from,
        from_plane: plane * F16,
    };
    // SAFETY: pixels, weights, patch and output up to what is met are there, checked above.
    unsafe { inner::depthwise(stride, &mut arguments) }
    true
}

/// An activation as a number and as bounds.
fn bounds(activation: Activation) -> (usize, [f32; 2]) {
    match activation {
        Activation::None => (0, [f32::NEG_INFINITY, f32::INFINITY]),
        Activation::Relu => (1, [0.0, f32::INFINITY]),
        _ => (2, [0.0, 6.0]),
    }
}

/// Pixels of a row that is convolved without a patch.
const FIVE: usize = 5;

/// What the loop over channels of a row of five pixels reads; lengths in bytes. The assembler knows the order of the fields.
#[repr(C)]
pub(super) struct Five {
    /// The first of three rows, be it there or not.
    pub x: *const u16,
    pub row: usize,
    /// A bit for each row that is there.
    pub rows: usize,
    pub output: *mut u16,
    pub weights: *const u16,
    pub bias: *const f32,
    pub channels: usize,
    pub plane: usize,
    /// From behind the pixels of a channel to those of the next.
    pub gap: usize,
    activation: usize,
    low: f32,
    high: f32,
}

#[cfg(not(all(target_arch = "arm", target_os = "none", target_abi = "eabihf")))]
impl Five {
    pub fn activation(&self) -> Activation {
        [Activation::None, Activation::Relu, Activation::Relu6][self.activation]
    }
}

/// As [`depthwise`] of a single row of a map of five columns, with one of padding on each side: straight from the map, with the same
/// products. False, and nothing done, of other tiles.
pub(in super::super) fn depthwise_five(tile: &Depthwise<'_>, output: &mut [u16]) -> bool {
    const F16: usize = size_of::<u16>();
    let Depthwise { channels, inside, from_row, above, .. } = *tile;
    let [plane, out_plane] = tile.planes;
    let narrow = (tile.rows, tile.columns, tile.stride) == (1, FIVE, 1)
        && (tile.begin, tile.end) == (1, FIVE + 1)
        && inside > 0
        && above + inside <= 3;
    let fits = narrow
        && channels > 0
        && (channels - 1) * plane + (inside - 1) * from_row + FIVE <= tile.input.len()
        && channels * TAPS <= tile.weights.len()
        && channels <= tile.bias.len()
        && out_plane >= FIVE
        && (channels - 1) * out_plane + FIVE <= output.len();
    if !fits {
        return false;
    }
    let (activation, [low, high]) = bounds(tile.activation);
    let arguments = Five {
        x: tile.input.as_ptr().wrapping_sub(above * from_row),
        row: from_row * F16,
        rows: ((1 << inside) - 1) << above,
        output: output.as_mut_ptr(),
        weights: tile.weights.as_ptr(),
        bias: tile.bias.as_ptr(),
        channels,
        plane: plane * F16,
        gap: (out_plane - FIVE) * F16,
        activation,
        low,
        high,
    };
    // SAFETY: the pixels of rows that are there, weights, biases and places are there, checked above.
    unsafe { inner::depthwise_five(&arguments) }
    true
}
