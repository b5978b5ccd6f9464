//! Cortex-M with a single-precision FPU: M4F, M7, M33, M55.
//!
//! Convolutions have a tiling and inner loops of their own (`tile`, `conv`, `micro`); everything else is the portable
//! code with VCVTB and VCVTT. The tiling is the same on all of these cores, so that one plan serves them, and the
//! control code runs everywhere: on other machines with inner loops in Rust, which is how the host tests it.

pub(super) mod conv;
mod depthwise;
pub(super) mod fill;
mod fives;
mod forms;
mod lines;
mod micro;
mod parts;
#[cfg(all(target_arch = "arm", target_os = "none", target_abi = "eabihf"))]
pub(super) mod primitives;
#[cfg(test)]
mod tests;
pub(super) mod tile;
mod winograd;

#[cfg(feature = "std")]
use super::Set;
#[cfg(not(all(target_arch = "arm", target_os = "none", target_abi = "eabihf")))]
use super::portable::Portable as Native;
use super::tiling::Cut;
#[cfg(not(all(target_arch = "arm", target_os = "none", target_abi = "eabihf")))]
use super::{Any, Isa, Kernel};
use super::{Buffers, Layer, Operations, portable};
#[cfg(all(target_arch = "arm", target_os = "none", target_abi = "eabihf"))]
use primitives::CortexM as Native;

/// On other machines, where a layer runs with inner loops in Rust.
#[cfg(not(all(target_arch = "arm", target_os = "none", target_abi = "eabihf")))]
pub(super) struct CortexM;

/// Pixels in a group: those that an inner loop computes together.
const PIXELS: usize = 4;

/// Output channels computed together, at most.
const OUTS: usize = 4;

/// The first and the number of channels that are computed together, of `count`: fours, then two, then one. (A loop for three
/// would take 0.4 KB of flash each, for what a network seldom has.)
fn together(count: usize) -> impl Iterator<Item = (usize, usize)> {
    let next = move |first: usize| match count - first {
        0 => None,
        OUTS.. => Some((first, OUTS)),
        left => Some((first, left.min(2))),
    };
    core::iter::successors(next(0), move |(first, some)| next(first + some))
}

#[cfg(not(all(target_arch = "arm", target_os = "none", target_abi = "eabihf")))]
impl Kernel for CortexM {
    const ISA: Isa = Isa::CortexM;

    fn run(layer: &Layer<'_>, buffers: Buffers<'_>) {
        run::<Any>(layer, buffers, None);
    }
}

/// What a layer that is cut up as `cut` says takes of [`Set::FORMS`]: nothing is computed.
#[cfg(feature = "std")]
pub(super) fn forms(layer: &Layer<'_>, buffers: Buffers<'_>, mut cut: Cut) -> Set {
    forms::taken(true, || run::<Any>(layer, buffers, Some(&mut cut)))
}

/// What `run` takes of [`Set::FORMS`] on this thread.
#[cfg(test)]
pub(super) fn taken(run: impl FnOnce()) -> Set {
    forms::taken(false, run)
}

/// Executes one layer, or some rows of it that are cut up as `cut` says.
pub(super) fn run<U: Operations>(layer: &Layer<'_>, mut buffers: Buffers<'_>, cut: Option<&mut Cut>) {
    match layer {
        Layer::Conv { input, output, window, weights, bias, activation } => {
            let epilogue = portable::Epilogue { bias, activation: *activation };
            conv::run::<U>((*input, *output, window), weights, epilogue, &mut buffers, cut);
        }
        other => portable::other::<U, Native, 4, 4>(other, buffers),
    }
}
