//! The scratch of each operation on each instruction set.

use super::tiling::Form;
use super::{Isa, cortex_m, cortex_m55, portable};
#[cfg(feature = "std")]
use super::{aarch64, x86_64};
use crate::model::{Op, Shape, Weights};

/// Scratch that `op` needs over an input of shape `input`, in f32; `usize::MAX` where it exceeds the address space.
pub fn scratch(isa: Isa, op: &Op<impl AsRef<str>>, input: Shape) -> usize {
    // A constant there, so that the compiler leaves out the others' geometry.
    let isa = if Isa::ALONE { Isa::NATIVE } else { isa };
    match op {
        Op::Conv(conv) => {
            let Some(output) = op.output_shape(input) else { return usize::MAX };
            let form = Form::of(conv.weights);
            match isa {
                Isa::CortexM => return cortex_m::tile::scratch(input, output, &conv.window, form),
                Isa::CortexM55 => return cortex_m55::scratch(false, input, output, &conv.window, form),
                Isa::CortexM55Half => return cortex_m55::scratch(true, input, output, &conv.window, form),
                _ => {}
            }
            let scratch = portable::conv_scratch(isa, input, output, &conv.window, form);
            #[cfg(feature = "std")]
            let scratch = scratch.max(x86_64::scratch(isa, input, output, &conv.window, form));
            #[cfg(feature = "std")]
            let scratch = scratch.max(aarch64::scratch(isa, input, output, &conv.window, form));
            scratch
        }
        Op::Linear(linear) => {
            let rank = if let Weights::Pair { rank } = linear.weights { rank as usize } else { 0 };
            portable::linear_scratch(isa, input.channels as usize, linear.out_features as usize, rank)
        }
        Op::Pool(_) | Op::GlobalAveragePool { .. } | Op::PadShortcut(_) | Op::Add { .. } | Op::Concat(_) => 0,
    }
}
