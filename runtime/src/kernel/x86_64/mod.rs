//! x86-64 with AVX2 or AVX-512: the portable algorithms on their registers (`primitives`), and convolutions on weights that
//! were packed when the model was loaded, generic over a register type ([`Vector`]; `vectors` has the two).
//!
//! A tile of output rows is computed together: its input is widened into a patch, f32 with zeros for the padding, in
//! which every tap meets its pixels as contiguous runs. The sums of up to 12 channels (or ranks) × 8 registers of pixels
//! then stay in registers over all channels and taps. A pair's intermediate values go to a scratch of a few registers a
//! rank and are expanded from there at once. Sums are made in the order of the portable code, so that both give the same
//! bits.
#![allow(unsafe_code)]

mod average;
mod channels;
mod conv;
mod depthwise;
mod fill;
mod geometry;
mod linear;
mod packed;
mod peak;
mod pixels;
#[cfg(target_arch = "x86_64")]
mod primitives;
mod sums;
#[cfg(target_arch = "x86_64")]
mod vectors;
mod winograd;

use average::average;
use conv::run;
use depthwise::{Planes, planes};
use fill::{Fill, fill};
pub(super) use geometry::scratch;
use linear::InRegisters;
pub use packed::PackedConv;
use peak::multiply_adds;
#[cfg(target_arch = "x86_64")]
pub(super) use primitives::{Avx2, Avx512};
use sums::{Job, Output, finish, sums};
#[cfg(target_arch = "x86_64")]
pub(super) use vectors::{avx2_conv, avx2_multiply_adds, avx512_conv, avx512_multiply_adds};

use crate::kernel::winograd::Registers;
use crate::model::Activation;

/// An instruction set with registers of [`Vector::LANES`] f32.
///
/// # Safety
///
/// Everything here may only be inlined into functions that have the instruction set. Pointers need no alignment beyond
/// that of their type.
unsafe trait Vector: Registers {
    /// f32 in a register.
    const LANES: usize;

    /// [`Vector::LANES`] f32 from memory.
    unsafe fn load(from: *const f32) -> Self::Register;
    /// [`Vector::LANES`] f32 to memory.
    unsafe fn store(register: Self::Register, to: *mut f32);
    /// `count` ≤ [`Vector::LANES`] f16, widened; the other lanes are zero.
    unsafe fn widen(from: *const u16, count: usize) -> Self::Register;
    /// True where `widen_masked` is fast.
    const MASKS: bool;
    /// The f16 of the lanes in `mask`, widened; the other lanes are zero and their memory is not read.
    unsafe fn widen_masked(from: *const u16, mask: u32) -> Self::Register;
    /// As `widen` for every second of 2·`count` − 1 f16.
    unsafe fn widen_even(from: *const u16, count: usize) -> Self::Register;
    /// The lowest `count` ≤ [`Vector::LANES`] lanes to f16, nearest even.
    unsafe fn narrow(register: Self::Register, to: *mut u16, count: usize);
    /// The larger of each lane; `b` where one is NaN.
    unsafe fn max(a: Self::Register, b: Self::Register) -> Self::Register;
    /// The smaller of each lane; `b` where one is NaN.
    unsafe fn min(a: Self::Register, b: Self::Register) -> Self::Register;

    /// Pixels whose sums with `registers` ≤ 4 registers of channels fit the registers.
    fn pixels(registers: usize) -> usize;
    /// [`channels::sums()`], compiled for this instruction set.
    unsafe fn channels<const P: usize, const Q: usize>(job: &channels::Job);
    /// Finishes sums that lie pixel by pixel.
    ///
    /// Those of as many pixels as fill up registers of 8 must be there.
    unsafe fn turn(turned: &Turned);

    /// Tiles whose products with `registers` ≤ 4 registers of filters fit the registers.
    fn tiles(registers: usize) -> usize;
    /// Asks for a line of memory, which need not exist.
    unsafe fn prefetch(at: *const f32);
    /// [`winograd::products()`], compiled for this instruction set.
    unsafe fn products<const P: usize, const Q: usize>(job: &winograd::Job);
    /// Widens planes pixel by pixel.
    unsafe fn spread(spread: &winograd::Spread);
    /// [`winograd::to_tiles()`], compiled for this instruction set.
    unsafe fn to_tiles<const SIDE: usize>(row: &winograd::Row);
    /// [`winograd::from_tiles()`], compiled for this instruction set.
    unsafe fn from_tiles<const SIDE: usize, const OUTPUTS: usize>(sums: &winograd::Sums);

    /// Registers of pixels whose sums with `rows` ≤ 12 rows of weights fit the registers, a power of two up to 8.
    fn registers(rows: usize) -> usize;
    /// [`sums`], compiled for this instruction set.
    unsafe fn sums<const N: usize, const P: usize>(job: &Job);
    /// [`fill()`], compiled for this instruction set.
    unsafe fn fill(fill: &Fill, input: *const u16, to: *mut f32, part: Part);
    /// [`planes()`], compiled for this instruction set.
    unsafe fn depthwise<const K: usize, const S: usize>(planes: &Planes<'_>);
    /// [`activation::apply`](crate::kernel::activation::apply), compiled for this instruction set.
    unsafe fn activate(activation: Activation, values: &mut [f32]);
    /// [`finish`], compiled for this instruction set.
    unsafe fn finish(sums: *mut f32, rows: usize, registers: usize, output: &Output);
}

/// Output rows `y`… `y` + `rows`, of input channels `channel`… `channel` + `channels`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    y: usize,
    rows: usize,
    channel: usize,
    channels: usize,
}

/// Sums of some channels that lie pixel by pixel, and where they go.
#[derive(Clone, Copy)]
struct Turned {
    /// Those of the first pixel, and elements from there to the next one's.
    sums: *const f32,
    step: usize,
    channels: usize,
    pixels: usize,
    to: *mut u16,
    /// What is added, placed as the output is; null for nothing. May be the output itself.
    second: *const u16,
    /// Elements from one channel to the next in the output.
    plane: usize,
    activation: Activation,
}
