//! Fully connected layers over whole rows of weights: what instruction sets share that multiply several rows at once.
// Elsewhere nothing has rows multiplied.
#![cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]

use super::primitives::activate;
use super::{Buffers, LayerWeights, Output, f16};
use crate::model::Activation;

/// A vector to multiply.
#[derive(Clone, Copy)]
pub(super) enum Values<'a> {
    Half(&'a [u16]),
    Full(&'a [f32]),
}

impl Values<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Values::Half(values) => values.len(),
            Values::Full(values) => values.len(),
        }
    }
}

/// Products of rows and a vector on an instruction set.
pub(super) trait Rows {
    /// Gives `each` the index and the product with `x` of each row of `weights`. To be inlined into a function that has the
    /// instruction set.
    fn product(weights: &[u16], x: Values<'_>, each: &mut impl FnMut(usize, f32));
}

/// Computes a linear layer; a pair's intermediate values go to the scratch. To be inlined as the products are.
#[cfg_attr(target_arch = "x86_64", inline(always))]
pub(super) fn linear<R: Rows>(
    weights: &LayerWeights<'_>,
    bias: &[f32],
    activation: Activation,
    buffers: &mut Buffers<'_>,
) {
    let x = Values::Half(buffers.input);
    let output = &mut buffers.output;
    let mut store = |row: usize, sum: f32| {
        let mut value = [sum + bias.get(row).copied().unwrap_or_default()];
        activate(activation, &mut value);
        let [value] = value;
        match output {
            Output::Half(to) => to.get_mut(row).into_iter().for_each(|to| *to = f16::narrow(value)),
            Output::Full(to) => {
                to.get_mut(row).into_iter().for_each(|to| *to = value.clamp(f32::MIN, f32::MAX));
            }
        }
    };
    match weights {
        LayerWeights::Dense(weights) => R::product(weights.halves(), x, &mut store),
        LayerWeights::Pair { thin, expand, rank } => {
            let Some(middle) = buffers.scratch.get_mut(..*rank) else { return };
            R::product(thin.halves(), x, &mut |row, sum| {
                middle.get_mut(row).into_iter().for_each(|to| *to = sum);
            });
            R::product(expand.halves(), Values::Full(middle), &mut store);
        }
        // No linear layer is one.
        LayerWeights::Depthwise(_) => {}
    }
}
