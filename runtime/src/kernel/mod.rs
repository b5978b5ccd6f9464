//! The operations on feature maps: f16 storage, f32 accumulation, one rounding for each stored value.
//!
//! A feature map is c planes of h·w f16 bits, one after another. Kernels know nothing of arenas and files: they get
//! slices. All scratch comes from the caller, [`scratch()`] says how much; a `team` of threads has its own. There is a folder
//! for each instruction set, one with the algorithms in plain Rust, generic over a few `Primitives`, which serve wherever a
//! set has nothing of its own, one (`tiling`) with what several cut convolutions up by, and one (`winograd`) with the
//! transforms and error bounds of Winograd's convolutions. What runs where:
//!
//! | operation | `x86_64` | `aarch64` | `cortex_m` | `cortex_m55` |
//! |---|---|---|---|---|
//! | convolution and pair, weights packed | `conv` (pixels in the lanes), `channels` (output channels), `winograd` | `conv`, `sums`, `squares` (Winograd) | | |
//! | depthwise, weights packed | `depthwise` (3×3, 5×5), `conv` | `depthwise` (3×3, 5×5), `conv` | | |
//! | the same, weights in place | `portable/conv` | `portable/conv` | `conv`, `depthwise`, `winograd` | `conv`, `micro` |
//! | linear | `linear` | `linear` | `portable/linear` | `other` |
//! | windows of pooling | `portable/pool` | `portable/pool` | `portable/pool` | `portable/pool` |
//! | mean of a plane | `average` | `primitives` | `portable/pool` | `other` |
//! | addition | `portable/elementwise` | `portable/elementwise` | `portable/elementwise` | `other` |
//! | operations from `GeneralConv` on | `general` | `general` | `general` | `general` |
//! | shortcut, copy | `portable/elementwise` | `portable/elementwise` | `portable/elementwise` | `portable/elementwise` |

#[macro_use]
mod primitives;

#[cfg(any(feature = "std", feature = "activations", feature = "general"))]
mod activation;
pub mod f16;
#[cfg(any(feature = "std", feature = "general"))]
pub(crate) mod general;
mod isa;
mod layer;
#[cfg(any(feature = "std", target_arch = "aarch64"))]
mod linear;
mod matrix;
mod operations;
mod portable;
mod rows;
mod scratch;
#[cfg(feature = "std")]
mod share;
mod tiling;

#[cfg(any(feature = "std", target_arch = "aarch64"))]
mod aarch64;
// A device has the kernels of its core; of the others it knows the scratch.
#[cfg_attr(cortex_m55, allow(dead_code, unused_imports))]
mod cortex_m;
#[cfg_attr(target_os = "none", allow(dead_code, unused_imports))]
mod cortex_m55;
#[cfg(feature = "std")]
mod team;
// With memory for transformed weights only.
#[cfg(feature = "std")]
mod winograd;
// Elsewhere only what a plan for x86-64 needs of it is in use.
#[cfg(feature = "std")]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, unused_imports))]
mod x86_64;

#[cfg(feature = "std")]
pub use isa::Method;
pub use isa::{Arithmetic, Isa};
pub use layer::{Buffers, Layer, LayerWeights, Output, Planes, Second};
pub use matrix::{Eights, THIN_SCALE, WeightMatrix};
pub use operations::{Any, Operations, Set};
use primitives::{Primitives, activate};
pub(crate) use rows::{copy_rows, move_rows};
#[cfg(feature = "std")]
pub(crate) use scratch::{cost, cost_in_place};
pub use scratch::{most_scratch, scratch};
pub(crate) use scratch::{scratch_range, strip_scratch};
#[cfg(feature = "std")]
pub use share::run_shared;
#[doc(hidden)]
pub use tiling::Cut;

/// A convolution whose weights were packed for an instruction set and an arithmetic.
#[cfg(all(feature = "std", target_arch = "aarch64"))]
pub use aarch64::PackedConv;
#[cfg(feature = "std")]
pub use team::Team;
#[cfg(feature = "std")]
pub use winograd::{WinogradTile, winograd_error, winograd_error_in_place, winograd_row_error};
#[cfg(all(feature = "std", not(target_arch = "aarch64")))]
pub use x86_64::PackedConv;

/// The operations on one instruction set.
pub trait Kernel {
    /// The instruction set, which this machine must have.
    const ISA: Isa;

    /// Executes one layer.
    fn run(layer: &Layer<'_>, buffers: Buffers<'_>);
}

/// Executes one layer on `isa`, or on plain code where this machine lacks it.
pub fn run(isa: Isa, layer: &Layer<'_>, buffers: Buffers<'_>) {
    run_of::<Any>(isa, layer, buffers);
}

/// As [`run`], of a layer that is one of `U`.
#[allow(clippy::extra_unused_type_parameters, reason = "kernels of hosts are all there")]
pub(crate) fn run_of<U: Operations>(isa: Isa, layer: &Layer<'_>, buffers: Buffers<'_>) {
    match isa {
        #[cfg(all(target_arch = "x86_64", feature = "std"))]
        Isa::Avx2 if isa.is_available() => x86_64::Avx2::run(layer, buffers),
        #[cfg(all(target_arch = "x86_64", feature = "std"))]
        Isa::Avx512 if isa.is_available() => x86_64::Avx512::run(layer, buffers),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon | Isa::NeonF16 => aarch64::Neon::run(layer, buffers),
        // Off the device too, with inner loops in Rust: its scratch is not that of the portable code.
        #[cfg(not(all(target_arch = "arm", target_os = "none", target_abi = "eabihf")))]
        Isa::CortexM => cortex_m::CortexM::run(layer, buffers),
        #[cfg(not(target_os = "none"))]
        Isa::CortexM55 => cortex_m55::CortexM55::run(layer, buffers),
        #[cfg(not(target_os = "none"))]
        Isa::CortexM55Half => cortex_m55::CortexM55Half::run(layer, buffers),
        #[cfg(all(target_arch = "arm", target_os = "none", target_abi = "eabihf"))]
        _ => native::<U>(layer, buffers, None),
        #[cfg(not(all(target_arch = "arm", target_os = "none", target_abi = "eabihf")))]
        _ => portable::Portable::run(layer, buffers),
    }
}

/// Adds to each of `sums` the rows of its plane, of a map of `width` columns and `rows` rows whose planes lie `plane` values apart.
/// In the end the sums have the bits of those of [`Layer::GlobalAverage`] on this instruction set.
pub(crate) fn add_rows(isa: Isa, [rows, width, plane]: [usize; 3], map: &[u16], sums: &mut [f32]) {
    for (sum, plane) in sums.iter_mut().zip(map.chunks(plane.max(1))) {
        let plane = plane.get(..rows * width).unwrap_or_default();
        portable::add_rows(plane, width, sum, |row| sum_of_row(isa, row));
    }
}

/// The sum of a row, in the order in which `isa` adds.
fn sum_of_row(isa: Isa, row: &[u16]) -> f32 {
    match isa {
        #[cfg(cortex_m55)]
        _ => cortex_m55::sum(row),
        #[cfg(all(target_arch = "arm", target_os = "none", target_abi = "eabihf", not(cortex_m55)))]
        _ => portable::sum_of_row::<cortex_m::primitives::CortexM, 4>(row),
        #[cfg(not(target_os = "none"))]
        Isa::CortexM55 | Isa::CortexM55Half => cortex_m55::sum(row),
        #[cfg(not(all(target_arch = "arm", target_os = "none", target_abi = "eabihf")))]
        isa => {
            // Only the number of parts is that of the instruction set's registers: all widen to the same values.
            let widen = |from: &[u16], to: &mut [f32]| {
                to.iter_mut().zip(from).for_each(|(to, from)| *to = f16::widen(*from));
            };
            match isa {
                Isa::Avx512 => portable::sum_of::<16>(row, widen),
                Isa::Avx2 | Isa::Neon | Isa::NeonF16 => portable::sum_of::<8>(row, widen),
                _ => portable::sum_of::<4>(row, widen),
            }
        }
    }
}

/// How a convolution of a Cortex-M is cut up, in so many f32 of scratch, where its result is stored (`half`) or logits; `None` of
/// other layers and where that cannot be kept.
#[cfg(feature = "std")]
pub(crate) fn cut(isa: Isa, layer: &Layer<'_>, scratch: usize, half: bool) -> Option<Cut> {
    let Layer::Conv { input, output, window, weights, .. } = layer else { return None };
    let shapes = (*input, *output, window);
    match isa {
        Isa::CortexM => cortex_m::conv::cut(shapes, weights, scratch, half),
        Isa::CortexM55 => cortex_m55::cut(false, shapes, weights.form(), scratch),
        Isa::CortexM55Half => cortex_m55::cut(true, shapes, weights.form(), scratch),
        _ => None,
    }
}

/// Whether [`run`] executes `layer` by tiles of one row, in `scratch` f32 of scratch and with a result that is stored (`half`) or logits:
/// then the roundings of its thin half are those of [`winograd_row_error`], and not of [`winograd_error_in_place`].
#[cfg(feature = "std")]
pub fn goes_by_rows(isa: Isa, layer: &Layer<'_>, scratch: usize, half: bool) -> bool {
    let Layer::Conv { input, output, window, weights, .. } = layer else { return false };
    isa == Isa::CortexM && cortex_m::conv::by_rows((*input, *output, window), weights, scratch, half)
}

/// What a convolution that is so cut up takes of [`Set::FORMS`]: nothing is computed.
#[cfg(feature = "std")]
pub(crate) fn forms(isa: Isa, layer: &Layer<'_>, buffers: Buffers<'_>, cut: Cut) -> Set {
    if isa == Isa::CortexM { cortex_m::forms(layer, buffers, cut) } else { Set::default() }
}

/// What `run` takes of [`Set::FORMS`] on this thread.
#[cfg(test)]
pub(crate) fn taken(run: impl FnOnce()) -> Set {
    cortex_m::taken(run)
}

/// Executes some rows of a layer, cut up as they were before; keeps how, where that was not known yet.
pub(crate) fn run_strip<U: Operations>(isa: Isa, layer: &Layer<'_>, buffers: Buffers<'_>, cut: &mut Cut) {
    match isa {
        #[cfg(all(target_arch = "arm", target_os = "none", target_abi = "eabihf"))]
        _ => native::<U>(layer, buffers, Some(cut)),
        #[cfg(not(all(target_arch = "arm", target_os = "none", target_abi = "eabihf")))]
        Isa::CortexM => cortex_m::run::<U>(layer, buffers, Some(cut)),
        #[cfg(not(target_os = "none"))]
        Isa::CortexM55 => cortex_m55::run_cut::<U>(false, layer, buffers, Some(cut)),
        #[cfg(not(target_os = "none"))]
        Isa::CortexM55Half => cortex_m55::run_cut::<U>(true, layer, buffers, Some(cut)),
        #[cfg(not(all(target_arch = "arm", target_os = "none", target_abi = "eabihf")))]
        _ => run(isa, layer, buffers),
    }
}

/// Executes one layer as this device does. Once in its flash, wherever it is called from.
#[cfg(all(target_arch = "arm", target_os = "none", target_abi = "eabihf"))]
#[inline(never)]
fn native<U: Operations>(layer: &Layer<'_>, buffers: Buffers<'_>, cut: Option<&mut Cut>) {
    #[cfg(not(cortex_m55))]
    cortex_m::run::<U>(layer, buffers, cut);
    #[cfg(cortex_m55)]
    cortex_m55::run_cut::<U>(cfg!(feature = "cortex-m55-f16"), layer, buffers, cut);
}

/// Executes a packed convolution, shared by a team where there is one; false, and nothing done, where this machine lacks
/// its instruction set or the buffers do not fit it. With [`Arithmetic::F32`] and [`Method::Direct`] the result has the bits
/// that [`run`] gives.
#[cfg(feature = "std")]
pub fn run_packed(isa: Isa, conv: &PackedConv, buffers: &mut Buffers<'_>, team: Option<&mut Team>) -> bool {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 if isa.is_available() => x86_64::avx2_conv(conv, buffers, team),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 if isa.is_available() => x86_64::avx512_conv(conv, buffers, team),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon | Isa::NeonF16 if isa.is_available() => conv.run(isa, buffers, team),
        _ => {
            let _ = (conv, buffers, team);
            false
        }
    }
}

/// Does `rounds` rounds of multiply-adds that wait for nothing and touch no memory, and returns their number: timed, the
/// peak of this core. `None` on an instruction set without kernels for packed weights, or that this machine lacks, or
/// that lacks the arithmetic.
#[cfg(feature = "std")]
pub fn multiply_adds(isa: Isa, arithmetic: Arithmetic, rounds: u32) -> Option<u64> {
    match isa {
        _ if !isa.has(arithmetic) => None,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 if isa.is_available() => Some(x86_64::avx2_multiply_adds(rounds)),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 if isa.is_available() => Some(x86_64::avx512_multiply_adds(rounds)),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon | Isa::NeonF16 if isa.is_available() => Some(aarch64::multiply_adds(arithmetic, rounds)),
        _ => {
            let _ = rounds;
            None
        }
    }
}

#[cfg(test)]
mod tests;
