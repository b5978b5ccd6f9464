//! Cortex-M with a single-precision FPU: M4F, M7, M33, M55.
//!
//! Convolutions have a tiling and inner loops of their own (`tile`, `conv`, `micro`); everything else is the portable
//! code with VCVTB and VCVTT. The tiling is the same on all of these cores, so that one plan serves them, and the
//! control code runs everywhere: on other machines with inner loops in Rust, which is how the host tests it.

pub(super) mod conv;
pub(super) mod fill;
mod micro;
#[cfg(all(target_arch = "arm", target_os = "none", target_abi = "eabihf"))]
pub(super) mod primitives;
pub(super) mod tile;

#[cfg(not(all(target_arch = "arm", target_os = "none", target_abi = "eabihf")))]
use super::portable::Portable as Native;
use super::{Buffers, Isa, Kernel, Layer, portable};
#[cfg(all(target_arch = "arm", target_os = "none", target_abi = "eabihf"))]
use primitives::CortexM as Native;

pub(super) struct CortexM;

/// Pixels in a group: those that an inner loop computes together.
const PIXELS: usize = 4;

/// Output channels computed together, at most.
const OUTS: usize = 4;

impl Kernel for CortexM {
    const ISA: Isa = Isa::CortexM;

    fn run(layer: &Layer<'_>, mut buffers: Buffers<'_>) {
        match layer {
            Layer::Conv { input, output, window, weights, bias, activation } => {
                let epilogue = portable::Epilogue { bias, activation: *activation };
                conv::run((*input, *output, window), weights, epilogue, &mut buffers);
            }
            other => portable::other::<Native, 4, 4>(other, buffers),
        }
    }
}
