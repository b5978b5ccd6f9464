//! The algorithms in plain Rust, generic over [`Primitives`], output channels (`N`) and lanes (`L`) computed together.
//!
//! Everything here is `#[cfg_attr(target_arch = "x86_64", inline(always))]`, so that it takes on the instruction set of the function it is called from.

#[cfg(not(all(target_arch = "arm", target_os = "none", target_abi = "eabihf")))]
mod conv;
mod elementwise;
mod linear;
#[cfg(not(all(target_arch = "arm", target_os = "none", target_abi = "eabihf")))]
mod plain;
mod pool;
mod tile;

#[cfg(not(all(target_arch = "arm", target_os = "none", target_abi = "eabihf")))]
use super::{Any, Isa};
use super::{Buffers, Layer, LayerWeights, Operations, Output, Primitives, Second, Set, activate, f16};
use crate::model::Activation;

#[cfg(not(all(target_arch = "arm", target_os = "none", target_abi = "eabihf")))]
pub(super) use plain::Portable;
pub(super) use pool::add_rows;
#[cfg(feature = "std")]
pub(super) use pool::halved;
#[cfg(not(all(target_arch = "arm", target_os = "none", target_abi = "eabihf")))]
pub(super) use pool::sum_of;
#[cfg(all(target_arch = "arm", target_os = "none", target_abi = "eabihf", not(cortex_m55)))]
pub(super) use pool::sum_of_row;
pub(super) use tile::{conv_scratch, linear_scratch};

/// Executes one layer; `N` and `L` are those of the instruction set's geometry. A Cortex-M has convolutions of its own.
#[cfg(not(all(target_arch = "arm", target_os = "none", target_abi = "eabihf")))]
#[cfg_attr(target_arch = "x86_64", inline(always))]
#[cfg_attr(not(target_arch = "x86_64"), inline(never))]
pub(super) fn run<P: Primitives<L>, const N: usize, const L: usize>(
    isa: Isa,
    layer: &Layer<'_>,
    mut buffers: Buffers<'_>,
) {
    match layer {
        Layer::Conv { input, output, window, weights, bias, activation } => {
            let epilogue = Epilogue { bias, activation: *activation };
            conv::run::<P, N, L>(isa, (*input, *output, window), weights, epilogue, &mut buffers);
        }
        other => self::other::<Any, P, N, L>(other, buffers),
    }
}

/// Executes one layer that is no convolution.
#[cfg_attr(target_arch = "x86_64", inline(always))]
#[cfg_attr(not(target_arch = "x86_64"), inline(never))]
pub(super) fn other<U: Operations, P: Primitives<L>, const N: usize, const L: usize>(
    layer: &Layer<'_>,
    mut buffers: Buffers<'_>,
) {
    match layer {
        Layer::Linear { weights, bias, activation } if U::USED.has(Set::LINEAR.and(Set::LINEAR_PAIR)) => {
            linear::run::<U, P, N, L>(weights, Epilogue { bias, activation: *activation }, &mut buffers);
        }
        Layer::Pool { input, output, window, kind } if U::USED.has(Set::POOL) => {
            pool::window(*input, *output, window, *kind, &mut buffers);
        }
        Layer::GlobalAverage { input } if U::USED.has(Set::GLOBAL_AVERAGE) => {
            pool::global_average::<P, L>(*input, &mut buffers);
        }
        Layer::PadShortcut { input, output, stride } if U::USED.has(Set::PAD_SHORTCUT) => {
            elementwise::pad_shortcut(*input, *output, usize::from(*stride), &mut buffers);
        }
        Layer::Add { activation } if U::USED.has(Set::ADD) => {
            elementwise::add::<P, L>(*activation, &mut buffers)
        }
        Layer::Copy if U::USED.has(Set::CONCAT.and(Set::STREAMS)) => {
            elementwise::copy::<P, L>(&mut buffers);
        }
        // A convolution, or what the program has not.
        _ => {}
    }
}

/// What follows a layer's sums.
#[derive(Clone, Copy)]
pub(super) struct Epilogue<'a> {
    pub(super) bias: &'a [f32],
    pub(super) activation: Activation,
}

/// Values finished together; small enough for the stack of a microcontroller.
const FINISH: usize = 16;

/// Adds the residual, activates and stores `sums` as the output values from `start` on.
#[cfg_attr(target_arch = "x86_64", inline(always))]
#[cfg_attr(not(target_arch = "x86_64"), inline(never))]
pub(super) fn finish<P: Primitives<L>, const L: usize>(
    sums: &mut [f32],
    start: usize,
    activation: Activation,
    second: Second<'_>,
    output: &mut Output<'_>,
) {
    let mut addend = [0.0; FINISH];
    let mut at = start;
    for sums in sums.chunks_mut(FINISH) {
        let range = at..at + sums.len();
        at = range.end;
        let residual = match (second, &output) {
            (Second::Other(values), _) => values.get(range.clone()),
            (Second::InPlace, Output::Half(values)) => values.get(range.clone()),
            _ => None,
        };
        if let (Some(residual), Some(addend)) = (residual, addend.get_mut(..sums.len())) {
            P::widen(residual, addend);
            sums.iter_mut().zip(addend).for_each(|(sum, addend)| *sum += *addend);
        }
        activate(activation, sums);
        match output {
            Output::Half(values) => {
                if let Some(values) = values.get_mut(range) {
                    P::narrow(sums, values);
                }
            }
            Output::Full(values) => {
                if let Some(values) = values.get_mut(range) {
                    values
                        .iter_mut()
                        .zip(sums)
                        .for_each(|(value, sum)| *value = sum.clamp(f32::MIN, f32::MAX));
                }
            }
        }
    }
}
