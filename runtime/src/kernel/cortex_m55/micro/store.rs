//! What comes after sums: expansion of a pair's intermediate values, residual, activation, rounding to f16.

use super::{Element, OUTS};
use crate::model::Activation;

/// What is added before activation.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Residual<'a> {
    None,
    /// What the output holds.
    InPlace,
    /// Begins where the output does.
    Other(&'a [u16]),
}

/// The output pixels of a tile; lengths in elements.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Rows {
    pub rows: usize,
    pub columns: usize,
    /// From a row to the next.
    pub width: usize,
    /// From a channel to the next.
    pub plane: usize,
}

impl Rows {
    /// Elements up to behind the last of `outs` channels.
    fn reach(&self, outs: usize) -> usize {
        (outs - 1) * self.plane + (self.rows - 1) * self.width + self.columns
    }
}

/// Where results go.
#[derive(Debug)]
pub(in super::super) struct Epilogue<'a> {
    /// Begins with the first pixel of the first channel.
    pub output: &'a mut [u16],
    pub residual: Residual<'a>,
    pub shape: Rows,
    pub activation: Activation,
}

/// What the loops here read; lengths in bytes. The assembler knows the order of the fields.
#[repr(C)]
pub(in super::super) struct Store {
    /// Intermediate values, or sums.
    pub from: *const u8,
    /// From the last value of a group to the next group.
    pub from_group: usize,
    pub weights: *const u32,
    pub ranks: usize,
    /// Of each channel, 16 bytes.
    pub start: *const u8,
    /// Least and largest result, 16 bytes each.
    pub bounds: *const u8,
    /// From the first to the last channel's output.
    pub last: usize,
    /// From a channel to the next.
    pub plane: usize,
    pub output: *mut u16,
    pub width: usize,
    /// Null where there is none.
    pub residual: *const u16,
    /// From the output to the residual.
    pub distance: usize,
    pub rows: usize,
    /// Pixels of a row.
    pub columns: usize,
    pub outs: usize,
}

/// Least and largest result.
pub(super) fn bounds(activation: Activation) -> [f32; 2] {
    match activation {
        Activation::None => [-65504.0, 65504.0],
        Activation::Relu => [0.0, 65504.0],
        _ => [0.0, 6.0],
    }
}

/// The rank-r values of a pair and what is made of them.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Expand<'a, E> {
    /// For each group of pixels, one vector a rank.
    pub middle: &'a [E],
    pub ranks: usize,
    /// For each rank, one weight a channel.
    pub panel: &'a [u32],
    /// One a channel.
    pub bias: &'a [f32],
}

/// Where the residual begins, null where there is none; `None` where it is too short.
fn residual(epilogue: &mut Epilogue<'_>, reach: usize) -> Option<*const u16> {
    match epilogue.residual {
        Residual::None => Some(core::ptr::null()),
        Residual::InPlace => Some(epilogue.output.as_mut_ptr()),
        Residual::Other(values) => (values.len() >= reach).then_some(values.as_ptr()),
    }
}

/// For each group of pixels and each channel of `bias` (1 to as many as are computed together): the sum over the ranks
/// of weight · values, with bias, residual and activation, into the output. Does nothing where a length does not fit.
pub(in super::super) fn expand<E: Element>(from: Expand<'_, E>, mut epilogue: Epilogue<'_>) {
    let Expand { middle, ranks, panel, bias } = from;
    let (pixels, outs) = (E::LANES.pixels, bias.len());
    let Rows { rows, columns, width, plane } = epilogue.shape;
    if rows == 0 || columns == 0 || columns > width || ranks == 0 || !(1..=E::LANES.outs).contains(&outs) {
        return;
    }
    let reach = epilogue.shape.reach(outs);
    let read = rows * columns.div_ceil(pixels) * ranks * pixels;
    let Some(residual) = residual(&mut epilogue, reach) else { return };
    let output = epilogue.output.as_mut_ptr();
    if reach > epilogue.output.len() || read > middle.len() || panel.len() != ranks * outs {
        return;
    }
    let start: [[u32; 4]; OUTS] =
        core::array::from_fn(|out| [bias.get(out).map_or(0, |bias| E::word(*bias)); 4]);
    let [low, high] = bounds(epilogue.activation).map(|bound| [E::word(bound); 4]);
    let bounds = [low, high];
    let arguments = Store {
        from: middle.as_ptr().cast(),
        from_group: 0,
        weights: panel.as_ptr(),
        ranks,
        start: start.as_ptr().cast(),
        bounds: bounds.as_ptr().cast(),
        last: (outs - 1) * plane * 2,
        plane: plane * 2,
        output,
        width: width * 2,
        residual,
        distance: residual.addr().wrapping_sub(output.addr()),
        rows,
        columns,
        outs,
    };
    // SAFETY: values, weights, outputs and residuals that are met are there, checked above; a residual in the output is
    // read before its place is written.
    unsafe { E::expand(&arguments) }
}

/// Residual, activation and rounding of the sums of `outs` channels, of which `sums` has those of each group
/// `sums_group` f32 apart. Does nothing where a length does not fit.
pub(in super::super) fn finish<E: Element>(
    (sums, sums_group, outs): (&[f32], usize, usize),
    mut epilogue: Epilogue<'_>,
) {
    let Rows { rows, columns, width, plane } = epilogue.shape;
    let pixels = E::LANES.pixels;
    if rows == 0 || columns == 0 || columns > width || outs == 0 || sums_group < outs * pixels {
        return;
    }
    let reach = epilogue.shape.reach(outs);
    let kept = (rows * columns.div_ceil(pixels) - 1) * sums_group + outs * pixels;
    let Some(residual) = residual(&mut epilogue, reach) else { return };
    let output = epilogue.output.as_mut_ptr();
    if reach > epilogue.output.len() || kept > sums.len() {
        return;
    }
    let bounds = bounds(epilogue.activation).map(|bound| [bound.to_bits(); 4]);
    let arguments = Store {
        from: sums.as_ptr().cast(),
        from_group: (sums_group - outs * pixels) * size_of::<f32>(),
        weights: core::ptr::null(),
        ranks: 0,
        start: core::ptr::null(),
        bounds: bounds.as_ptr().cast(),
        last: 0,
        plane: plane * 2,
        output,
        width: width * 2,
        residual,
        distance: residual.addr().wrapping_sub(output.addr()),
        rows,
        columns,
        outs,
    };
    // SAFETY: sums, outputs and residuals that are met are there, checked above; a residual in the output is read
    // before its place is written.
    unsafe { E::finish(&arguments) }
}
