//! Convolutions whose output channels (or ranks) lie in the lanes, for many channels on small maps.
//!
//! Kernels with pixels in the lanes leave lanes idle where a map fills no whole registers, and read all weights once for
//! each tile; a patch of many channels makes tiles of one row. Here a register holds the weights of 8 or 16 channels for a
//! tap, f16 in memory, and each is multiplied by up to 9 pixels, wherever these lie: no lane is idle but behind the last
//! channel, and weights are read once for 9 pixels. The patch is plain f32 with zeros for the padding. Sums are made in
//! the order of the portable code. They go to a buffer, pixel by pixel, that is turned over when it is rounded; a pair
//! expands its intermediate values from where they are.
#![allow(unsafe_code)]

mod pack;
mod run;
mod sums;

pub(super) use pack::{Blocks, Channels, Tile, fit};
pub(super) use run::{Target, product, run};
pub(super) use sums::{Job, sums};

/// Most registers of channels whose sums are held together.
const MOST_REGISTERS: usize = 4;

/// Most pixels of these.
const MOST_PIXELS: usize = 9;

/// Pixels and channels that are turned over together.
pub(super) const TURN: usize = 8;

/// Registers of channels whose sums are held together, of a matrix of `registers`: with 32 registers three for nine pixels,
/// or all four of 64 channels for six; with 16 two for six.
pub(super) fn together(lanes: usize, registers: usize) -> usize {
    match (lanes, registers) {
        (16, 4) => 4,
        (16, _) => 3,
        _ => 2,
    }
}

/// Cuts `count` into parts of like size of at most `most`: first and size of each.
pub(super) fn like(count: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let parts = count.div_ceil(most.max(1)).max(1);
    let first = move |part: usize| part * (count / parts) + part.min(count % parts);
    (0..parts).map(move |part| (first(part), first(part + 1) - first(part)))
}
