//! Cortex-M55: MVE, whose vectors hold four f32 or eight f16.
//!
//! Convolutions have tiles like those of the other Cortex-M, and inner loops of their own (`micro`). As there, the control
//! code runs everywhere: on other machines with inner loops in Rust. Windows of pooling, shortcuts and logits that are sums
//! or copies are the portable code.

mod conv;
mod micro;
mod other;
mod results;
mod tile;

#[cfg(all(target_arch = "arm", target_os = "none", target_abi = "eabihf"))]
use super::cortex_m::primitives::CortexM as Native;
#[cfg(not(all(target_arch = "arm", target_os = "none", target_abi = "eabihf")))]
use super::portable::Portable as Native;
use super::tiling::Form;
use super::{Buffers, Isa, Kernel, Layer, portable};
use crate::model::{Shape, Window};
use micro::Element;

/// Products are summed in f32.
pub(super) struct CortexM55;

/// Products are summed in f16, a bounded number of them, and these sums in f32.
pub(super) struct CortexM55Half;

impl Kernel for CortexM55 {
    const ISA: Isa = Isa::CortexM55;

    fn run(layer: &Layer<'_>, buffers: Buffers<'_>) {
        run::<f32>(layer, buffers);
    }
}

impl Kernel for CortexM55Half {
    const ISA: Isa = Isa::CortexM55Half;

    fn run(layer: &Layer<'_>, buffers: Buffers<'_>) {
        run::<u16>(layer, buffers);
    }
}

fn run<E: Element>(layer: &Layer<'_>, mut buffers: Buffers<'_>) {
    match layer {
        Layer::Conv { input, output, window, weights, bias, activation } => {
            let epilogue = portable::Epilogue { bias, activation: *activation };
            conv::run::<E>((*input, *output, window), weights, epilogue, &mut buffers);
        }
        Layer::Linear { weights, bias, activation } => {
            other::linear(weights, portable::Epilogue { bias, activation: *activation }, &mut buffers);
        }
        Layer::GlobalAverage { input } => other::global_average(*input, &mut buffers),
        Layer::Add { activation } if other::add(*activation, &mut buffers) => {}
        other => portable::other::<Native, 4, 4>(other, buffers),
    }
}

/// Scratch of a convolution, in f32; with products in f16 where `half`.
pub(super) fn scratch(half: bool, input: Shape, output: Shape, window: &Window, form: Form) -> usize {
    let lanes = if half { <u16 as Element>::LANES } else { <f32 as Element>::LANES };
    tile::scratch(lanes, input, output, window, form)
}
