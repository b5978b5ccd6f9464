//! A64: the portable algorithms with NEON, and convolutions on packed weights.
//!
//! The wide kernels broadcast a weight for each multiply-add of a few registers; A64 multiplies by an element of a
//! register instead, and has 32 registers of 4 f32 or 8 f16. So here four (eight) weights of a tap come with one load, the
//! sums of N rows of weights × P registers of pixels stay in registers over all channels and taps (N·P up to 24), and the
//! pixels of a row come up to four registers a load. Sums go to a small buffer of f32, from which they are finished.
//!
//! Depthwise layers of the common windows keep the sums of several rows in registers (`depthwise`); convolutions of 3×3 with
//! stride 1 go by Winograd's tiles (`squares`) where that takes fewer instructions.
//!
//! With f32 arithmetic all other sums are made in the order of the portable code, so that both give the same bits. With f16
//! arithmetic (`Arithmetic::F16`, cores with FEAT_FP16) at most `CARRY` products are summed in f16 before they are
//! added to sums in f32.

#[cfg(feature = "std")]
mod geometry;

#[cfg(all(target_arch = "aarch64", feature = "std"))]
mod conv;
#[cfg(all(target_arch = "aarch64", feature = "std"))]
mod depthwise;
#[cfg(all(target_arch = "aarch64", feature = "std"))]
mod element;
#[cfg(all(target_arch = "aarch64", feature = "std"))]
mod fill;
#[cfg(all(target_arch = "aarch64", feature = "std"))]
mod finish;
#[cfg(all(target_arch = "aarch64", feature = "std"))]
mod kernels;
#[cfg(all(target_arch = "aarch64", feature = "std"))]
mod linear;
#[cfg(all(target_arch = "aarch64", feature = "std"))]
mod load;
#[cfg(all(target_arch = "aarch64", feature = "std"))]
mod matrix;
#[cfg(all(target_arch = "aarch64", feature = "std"))]
mod pack;
#[cfg(all(target_arch = "aarch64", feature = "std"))]
mod packed;
#[cfg(all(target_arch = "aarch64", feature = "std"))]
mod peak;
#[cfg(all(target_arch = "aarch64", feature = "std"))]
mod planes;
#[cfg(target_arch = "aarch64")]
mod primitives;
#[cfg(all(target_arch = "aarch64", feature = "std"))]
mod product;
#[cfg(all(target_arch = "aarch64", feature = "std"))]
mod squares;
#[cfg(all(target_arch = "aarch64", feature = "std"))]
mod sums;

#[cfg(feature = "std")]
pub(super) use geometry::scratch;
#[cfg(all(target_arch = "aarch64", feature = "std"))]
pub use packed::PackedConv;
#[cfg(all(target_arch = "aarch64", feature = "std"))]
pub(super) use peak::multiply_adds;
#[cfg(target_arch = "aarch64")]
pub(super) use primitives::Neon;
