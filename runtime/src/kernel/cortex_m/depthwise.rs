//! Depthwise 3×3 convolutions into activations: all channels of a tile at once.

use super::conv::Area;
use super::fill::Filler;
use super::micro::{self, Depthwise};
use super::tile::Geometry;
use crate::kernel::portable::Epilogue;
use crate::kernel::{Output, Second};

/// Estimate of the instructions of one channel of a tile of so many rows and columns; `None` of other layers.
#[cfg(feature = "std")]
pub(super) fn cost(geometry: &Geometry, [rows, columns]: [usize; 2]) -> Option<u32> {
    if geometry.kernel != [3, 3] || geometry.stride[1] > 2 {
        return None;
    }
    // A single row straight from the map.
    let narrow = (rows, columns, geometry.input.width, geometry.stride[1]) == (1, 5, 5, 1);
    if narrow && geometry.before[1] == 1 {
        return Some(180);
    }
    let line = 14 + 3 * geometry.pitch(columns).saturating_mul(geometry.phases());
    let lines = geometry.patch_rows(rows).saturating_mul(line);
    Some((70 + rows.saturating_mul(20 + 23 * columns)).saturating_add(lines) as u32)
}

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
    let output = output.get_mut(area.y * width + area.x..).unwrap_or_default();
    micro::depthwise_five(&tile, output) || micro::depthwise(&tile, patch, output)
}
