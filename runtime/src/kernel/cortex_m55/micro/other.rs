//! Dot products, sums and additions.

use super::store::{Residual, bounds};
use super::{Element, inner};
use crate::model::Activation;

/// Dot product of as many values as both have.
pub(in super::super) fn dot(weights: &[u16], x: &[u16]) -> f32 {
    let count = weights.len().min(x.len());
    // SAFETY: both have as many.
    unsafe { inner::dot_half(weights.as_ptr(), x.as_ptr(), count) }
}

/// Dot product of as many values as both have.
pub(in super::super) fn dot_wide(weights: &[u16], x: &[f32]) -> f32 {
    let count = weights.len().min(x.len());
    // SAFETY: both have as many.
    unsafe { inner::dot_full(weights.as_ptr(), x.as_ptr(), count) }
}

/// Sum of the values.
pub(in super::super) fn sum(values: &[u16]) -> f32 {
    // SAFETY: all of the slice.
    unsafe { inner::sum(values.as_ptr(), values.len()) }
}

/// The activated sum of `input` and `second`, each rounded once. Does nothing where a length does not fit.
pub(in super::super) fn add(input: &[u16], second: Residual<'_>, output: &mut [u16], activation: Activation) {
    let count = input.len();
    let second = match second {
        Residual::None => return,
        Residual::InPlace => output.as_ptr(),
        Residual::Other(values) if values.len() < count => return,
        Residual::Other(values) => values.as_ptr(),
    };
    if count == 0 || output.len() < count {
        return;
    }
    let bounds = bounds(activation).map(|bound| [<u16 as Element>::word(bound); 4]);
    // SAFETY: all have as many; a summand in the output is read before its place is written.
    unsafe { inner::add(input.as_ptr(), second, output.as_mut_ptr(), count, bounds.as_ptr()) }
}
