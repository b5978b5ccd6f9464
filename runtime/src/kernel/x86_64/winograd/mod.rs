//! Convolutions of 3×3 with stride 1, and the thin halves of such pairs, by Winograd's tiles
//! ([`crate::kernel::winograd`]): 36 products where the sums have 144.
//!
//! Channels lie in the lanes everywhere, so that no lane is idle whatever the map. Some rows of tiles are computed together.
//! Their input is widened pixel by pixel, 8 or 16 channels at a time, and transformed. For each block of up to four
//! registers of filters the products are then made, one after another of a tile's 36 as a matrix of its own (filters ×
//! channels × tiles), transformed back and turned over into the output, or, of a pair, expanded from where they lie.
//!
//! The results are not those of the portable code to the bit; [`crate::kernel::winograd_error`] bounds them.
#![allow(unsafe_code)]

mod pack;
mod run;
mod sums;
mod transform;

pub(super) use pack::{Cut, Winograd, fit};
pub(super) use run::run;
pub(super) use sums::{Job, products};
pub(super) use transform::{Row, Spread, Sums, from_tiles, to_tiles};

use crate::kernel::tiling::CACHE_LINE;

/// f32 of a cache line.
const LINE: usize = CACHE_LINE / size_of::<f32>();

/// Most registers of filters whose products are made together.
const MOST_REGISTERS: usize = 4;

/// Most tiles of these.
const MOST_TILES: usize = 12;
