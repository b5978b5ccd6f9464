//! Depthwise 3×3 convolutions into activations: all channels of a tile at once.

use super::conv::Area;
use super::fill::Filler;
use super::micro::{self, Depthwise};
use super::tile::Geometry;
use crate::kernel::portable::Epilogue;
use crate::kernel::{Output, Second};

/// Convolves a tile in `patch`; false, and nothing done, where the layer is none of these.
pub(super) fn run(
    geometry: &Geometry,
    area: &Area,
    weights: &[u16],
    epilogue: Epilogue<'_>,
    (input, output, second): (&[u16], &mut Output<'_>, Second<'_>),
    patch: &mut [f32],
) -> bool {
    let filler = Filler::new(geometry, area);
    let stride = geometry.stride[1];
    let (Output::Half(output), Second::None) = (output, second) else { return false };
    // Others than these are applied by what stores sums.
    if !epilogue.activation.is_plain() || geometry.kernel != [3, 3] || stride > 2 || !filler.in_rows() {
        return false;
    }
    let (width, from) =
        (geometry.output.width as usize, filler.first * geometry.input.width as usize + filler.column);
    let tile = Depthwise {
        channels: geometry.output.channels as usize,
        input: input.get(from..).unwrap_or_default(),
        planes: geometry.planes,
        inside: filler.inside,
        from_row: filler.step * geometry.input.width as usize,
        above: filler.above,
        begin: filler.begin,
        end: filler.end,
        stride,
        pitch: filler.pitch,
        step: geometry.row_step(),
        weights,
        bias: epilogue.bias,
        rows: area.rows,
        columns: area.columns,
        width,
        activation: epilogue.activation,
    };
    micro::depthwise(&tile, patch, output.get_mut(area.y * width + area.x..).unwrap_or_default())
}
