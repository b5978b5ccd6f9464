//! Five pixels by four channels, from bias to sum.

use super::super::fives::{FIVE, SUMS};
use super::super::forms::note;
use super::{OUTS, inner};
use crate::kernel::Set;

/// What the loop reads; lengths in bytes. The assembler knows the order of the fields.
#[repr(C)]
pub(super) struct Five {
    pub x: *const f32,
    pub weights: *const u16,
    /// From the weights of a channel to those of the next.
    pub pitch: usize,
    /// Values in twos, and 1 where one is left.
    pub pairs: usize,
    pub odd: usize,
    pub bias: *const f32,
    pub sums: *mut f32,
}

/// Sums of four channels at five pixels, from `bias` on: `x` has the five of each value, `weights` the values of each channel. `sums`
/// has four pixels of each channel, and behind those the fifth, where four would be. Does nothing where a length does not fit.
pub(in super::super) fn five(x: &[f32], weights: &[u16], bias: &[f32], sums: &mut [f32]) {
    let values = weights.len() / OUTS;
    if x.len() < values * FIVE || bias.len() < OUTS || sums.len() < SUMS || note(Set::FIVES) {
        return;
    }
    let arguments = Five {
        x: x.as_ptr(),
        weights: weights.as_ptr(),
        pitch: values * size_of::<u16>(),
        pairs: values / 2,
        odd: values % 2,
        bias: bias.as_ptr(),
        sums: sums.as_mut_ptr(),
    };
    // SAFETY: values, weights, biases and sums are there, checked above.
    unsafe { inner::five(&arguments) }
}
