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
use super::tiling::{Cut, Form};
use super::{Any, Buffers, Isa, Kernel, Layer, Operations, Set, portable};
use crate::model::{Shape, Window};
use micro::Element;

/// The sum of a row.
pub(super) fn sum(row: &[u16]) -> f32 {
    micro::sum(row)
}

/// Products are summed in f32.
pub(super) struct CortexM55;

/// Products are summed in f16, a bounded number of them, and these sums in f32.
pub(super) struct CortexM55Half;

impl Kernel for CortexM55 {
    const ISA: Isa = Isa::CortexM55;

    fn run(layer: &Layer<'_>, buffers: Buffers<'_>) {
        run::<Any, f32>(layer, buffers, None);
    }
}

impl Kernel for CortexM55Half {
    const ISA: Isa = Isa::CortexM55Half;

    fn run(layer: &Layer<'_>, buffers: Buffers<'_>) {
        run::<Any, u16>(layer, buffers, None);
    }
}

/// Executes one layer, or some rows of it that are cut up as `cut` says; sums products in f16 where `half`.
#[inline(always)]
pub(super) fn run_cut<U: Operations>(
    half: bool,
    layer: &Layer<'_>,
    buffers: Buffers<'_>,
    cut: Option<&mut Cut>,
) {
    if half { run::<U, u16>(layer, buffers, cut) } else { run::<U, f32>(layer, buffers, cut) }
}

fn run<U: Operations, E: Element>(layer: &Layer<'_>, mut buffers: Buffers<'_>, cut: Option<&mut Cut>) {
    match layer {
        Layer::Conv { input, output, window, weights, bias, activation } => {
            let epilogue = portable::Epilogue { bias, activation: *activation };
            conv::run::<U, E>((*input, *output, window), weights, epilogue, &mut buffers, cut);
        }
        Layer::Linear { weights, bias, activation } if U::USED.has(Set::LINEAR.and(Set::LINEAR_PAIR)) => {
            other::linear(weights, portable::Epilogue { bias, activation: *activation }, &mut buffers);
        }
        Layer::GlobalAverage { input } if U::USED.has(Set::GLOBAL_AVERAGE) => {
            other::global_average(*input, &mut buffers)
        }
        Layer::Add { activation } if U::USED.has(Set::ADD) && other::add(*activation, &mut buffers) => {}
        other => portable::other::<U, Native, 4, 4>(other, buffers),
    }
}

/// How a whole convolution is cut up, in so many f32 of scratch; `None` where that cannot be kept.
#[cfg(feature = "std")]
pub(super) fn cut(half: bool, shapes: (Shape, Shape, &Window), form: Form, scratch: usize) -> Option<Cut> {
    conv::cut(lanes(half), shapes, form, scratch)
}

/// Registers of the arithmetic: products in f16 where `half`.
fn lanes(half: bool) -> tile::Lanes {
    if half { <u16 as Element>::LANES } else { <f32 as Element>::LANES }
}

/// Scratch of a convolution, in f32; with products in f16 where `half`.
pub(super) fn scratch(half: bool, input: Shape, output: Shape, window: &Window, form: Form) -> usize {
    tile::scratch(lanes(half), input, output, window, form)
}

/// Scratch of a strip of rows of a convolution that is fitted to `budget` f32.
pub(super) fn strip_scratch(
    half: bool,
    (input, output): (Shape, Shape),
    window: &Window,
    form: Form,
    budget: usize,
) -> usize {
    let geometry = tile::Geometry::new(input, output, window);
    tile::Tile::fit(lanes(half), &geometry, form, budget).scratch(&geometry)
}

/// Estimate of the instructions of a convolution in `scratch` f32.
#[cfg(feature = "std")]
pub(super) fn cost(
    half: bool,
    (input, output): (Shape, Shape),
    window: &Window,
    form: Form,
    scratch: usize,
) -> u64 {
    let geometry = tile::Geometry::new(input, output, window);
    tile::Tile::fit(lanes(half), &geometry, form, scratch).cost(&geometry).into()
}
