//! Convolutions of 3×3 with stride 1 by Winograd's tiles (`kernel/winograd`): of 4×4 outputs in f32, of 2×2 in f16, where the
//! larger ones would lose too much.
//!
//! Tiles side by side lie in the lanes. A strip of rows of tiles goes one way: each channel of its input is transformed
//! and stored as 36 (16) values a tile; for some filters each of these products is summed over the channels, by the kernels
//! that sum all other convolutions; the sums, in f32, are transformed back and finished, or, of a pair, go to the
//! intermediate values, which are expanded as those of other pairs.

mod pack;
mod run;
mod strip;
mod transform;

pub(super) use pack::Squared;
pub(super) use run::run;
pub(super) use strip::{Placed, strip};
pub(super) use transform::Strip;
