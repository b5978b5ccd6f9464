//! The scratch of each operation on each instruction set.

use super::tiling::Form;
use super::{Isa, cortex_m, cortex_m55, portable};
#[cfg(feature = "std")]
use super::{aarch64, x86_64};
use crate::model::{Conv, LayerInfo, Op, Shape, Weights};

/// Scratch that `op` needs over an input of shape `input`, in f32; `usize::MAX` where it exceeds the address space.
pub fn scratch(isa: Isa, op: &Op<impl AsRef<str>>, input: Shape) -> usize {
    scratch_range(isa, op, input)[0]
}

/// Scratch beyond which `op` gains nothing, in f32: at least what [`scratch`] asks for.
pub fn most_scratch(isa: Isa, op: &Op<impl AsRef<str>>, input: Shape) -> usize {
    scratch_range(isa, op, input)[1]
}

/// Both of them.
pub(crate) fn scratch_range(isa: Isa, op: &Op<impl AsRef<str>>, input: Shape) -> [usize; 2] {
    op.output_shape(input).map_or([usize::MAX; 2], |output| of_shapes(isa, op, input, output))
}

/// As [`scratch`] for up to `rows` rows of the result of `layer` at a time; of a convolution on a Cortex-M fitted to `given` bytes,
/// unless these are 0.
pub(crate) fn strip_scratch(isa: Isa, layer: &LayerInfo<'_>, rows: usize, given: usize) -> usize {
    let (input, output) = strip_shapes(layer, rows);
    let isa = if Isa::ALONE { Isa::NATIVE } else { isa };
    let budget = given / size_of::<f32>();
    match &layer.op {
        Op::Conv(conv) if budget > 0 => {
            let (window, form) = (&conv.window, Form::of(conv.weights));
            let shapes = (input, output);
            match isa {
                Isa::CortexM => return cortex_m::tile::strip_scratch(input, output, window, form, budget),
                Isa::CortexM55 => return cortex_m55::strip_scratch(false, shapes, window, form, budget),
                Isa::CortexM55Half => return cortex_m55::strip_scratch(true, shapes, window, form, budget),
                _ => {}
            }
        }
        _ => {}
    }
    of_shapes(isa, &layer.op, input, output)[0]
}

/// The rows of its first input that up to `rows` rows of the result of `layer` need, and those rows.
fn strip_shapes(layer: &LayerInfo<'_>, rows: usize) -> (Shape, Shape) {
    let rows = (rows as u32).clamp(1, layer.output.height.max(1));
    let input = match layer.op {
        Op::Conv(Conv { window, .. }) => {
            let [kernel, stride] = [window.kernel[0], window.stride[0]].map(u32::from);
            (rows - 1).saturating_mul(stride).saturating_add(kernel).min(layer.input.height)
        }
        _ => layer.input.height,
    };
    (Shape { height: input, ..layer.input }, Shape { height: rows, ..layer.output })
}

/// Estimate of the instructions that `rows` rows of the result of `layer` take on `isa`, in so many bytes of scratch; with tiles of
/// 2×2 pixels where they serve and `squares` are allowed.
#[cfg(feature = "std")]
pub(crate) fn cost(isa: Isa, layer: &LayerInfo<'_>, rows: usize, (scratch, squares): (usize, bool)) -> u64 {
    /// What a call takes beside its tiles, measured on the M4F.
    const CALL: u64 = 600;
    let (shapes, scratch) = (strip_shapes(layer, rows), scratch / size_of::<f32>());
    let (input, output) = shapes;
    if let Op::Conv(conv) = &layer.op {
        let (window, form) = (&conv.window, Form::of(conv.weights));
        match isa {
            Isa::CortexM => {
                return CALL + cortex_m::tile::cost(input, output, window, form, (scratch, squares));
            }
            Isa::CortexM55 => return CALL + cortex_m55::cost(false, shapes, window, form, scratch),
            Isa::CortexM55Half => return CALL + cortex_m55::cost(true, shapes, window, form, scratch),
            _ => {}
        }
    }
    if let Op::GlobalAveragePool { .. } = layer.op {
        // Every row is widened and added up.
        return u64::from(layer.input.channels) * rows as u64 * (4 * u64::from(layer.input.width) + 40);
    }
    let cost = crate::model::cost::stored(&layer.op, layer.input);
    let share = u64::from(output.height) * cost.macs / u64::from(layer.output.height.max(1));
    share + 2 * cost.weight_bytes + 4 * output.len() as u64
}

/// What `op` costs in a stream, where weights are read in place, for what it costs as a layer, whose weights a host has packed: of the
/// layers of ResNet-8 and MobileNetV2 2 to 10 times as long with AVX-512, measured. 1 where nothing is packed.
#[cfg(feature = "std")]
pub(crate) fn cost_in_place(isa: Isa, op: &Op<impl AsRef<str>>) -> u64 {
    match (isa, op) {
        (Isa::Avx2 | Isa::Avx512 | Isa::Neon | Isa::NeonF16, Op::Conv(_)) => 5,
        _ => 1,
    }
}

fn of_shapes(isa: Isa, op: &Op<impl AsRef<str>>, input: Shape, output: Shape) -> [usize; 2] {
    // A constant there, so that the compiler leaves out the others' geometry.
    let isa = if Isa::ALONE { Isa::NATIVE } else { isa };
    let scratch = match op {
        Op::Conv(conv) => {
            let form = Form::of(conv.weights);
            match isa {
                Isa::CortexM => return cortex_m::tile::scratch(input, output, &conv.window, form),
                Isa::CortexM55 => cortex_m55::scratch(false, input, output, &conv.window, form),
                Isa::CortexM55Half => cortex_m55::scratch(true, input, output, &conv.window, form),
                _ => {
                    let scratch = portable::conv_scratch(isa, input, output, &conv.window, form);
                    #[cfg(feature = "std")]
                    let scratch = scratch.max(x86_64::scratch(isa, input, output, &conv.window, form));
                    #[cfg(feature = "std")]
                    let scratch = scratch.max(aarch64::scratch(isa, input, output, &conv.window, form));
                    scratch
                }
            }
        }
        Op::Linear(linear) => {
            let rank = if let Weights::Pair { rank } = linear.weights { rank as usize } else { 0 };
            portable::linear_scratch(isa, input.len(), linear.out_features as usize, rank)
        }
        #[cfg(any(feature = "std", feature = "general"))]
        general => super::general::scratch(general, output),
        #[cfg(not(any(feature = "std", feature = "general")))]
        _ => 0,
    };
    [scratch; 2]
}
