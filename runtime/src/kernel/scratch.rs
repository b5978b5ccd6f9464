//! The scratch of each operation on each instruction set.

use super::tiling::Form;
use super::{Isa, cortex_m, cortex_m55, portable};
#[cfg(feature = "std")]
use super::{aarch64, x86_64};
use crate::model::{Op, Shape, Weights};

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
    // A constant there, so that the compiler leaves out the others' geometry.
    let isa = if Isa::ALONE { Isa::NATIVE } else { isa };
    let scratch = match op {
        Op::Conv(conv) => {
            let Some(output) = op.output_shape(input) else { return [usize::MAX; 2] };
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
            portable::linear_scratch(isa, input.channels as usize, linear.out_features as usize, rank)
        }
        Op::Pool(_) | Op::GlobalAveragePool { .. } | Op::PadShortcut(_) | Op::Add { .. } | Op::Concat(_) => 0,
    };
    [scratch; 2]
}
