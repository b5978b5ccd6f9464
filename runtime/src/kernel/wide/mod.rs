//! Convolutions for processors with wide registers and many of them, on weights that were packed when the model was
//! loaded.
//!
//! A tile of output rows is computed together: its input is widened into a patch, f32 with zeros for the padding, in
//! which every tap meets its pixels as contiguous runs. The sums of up to 12 channels (or ranks) × 8 registers of pixels
//! then stay in registers over all channels and taps. A pair's intermediate values go to a scratch of a few registers a
//! rank and are expanded from there at once. Sums are made in the order of the portable code, so that both give the same
//! bits.
#![allow(unsafe_code)]

mod average;
mod conv;
mod fill;
mod geometry;
mod pack;
mod peak;
mod sums;

pub(super) use average::average;
pub(super) use conv::run;
pub(super) use fill::fill;
pub(super) use geometry::scratch;
pub use pack::PackedConv;
pub(super) use peak::multiply_adds;
pub(super) use sums::{Job, Output, finish, sums};

/// An instruction set with registers of [`Vector::LANES`] f32.
///
/// # Safety
///
/// Everything here may only be inlined into functions that have the instruction set. Pointers need no alignment beyond
/// that of their type.
pub(super) unsafe trait Vector {
    /// A register.
    type Register: Copy;
    /// f32 in a register.
    const LANES: usize;

    /// The same value in every lane.
    unsafe fn splat(value: f32) -> Self::Register;
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
    /// a·b + c, rounded once.
    unsafe fn mul_add(a: Self::Register, b: Self::Register, c: Self::Register) -> Self::Register;
    /// a + b.
    unsafe fn add(a: Self::Register, b: Self::Register) -> Self::Register;
    /// The larger of each lane; `b` where one is NaN.
    unsafe fn max(a: Self::Register, b: Self::Register) -> Self::Register;
    /// The smaller of each lane; `b` where one is NaN.
    unsafe fn min(a: Self::Register, b: Self::Register) -> Self::Register;

    /// Registers of pixels whose sums with `rows` ≤ 12 rows of weights fit the registers, a power of two up to 8.
    fn registers(rows: usize) -> usize;
    /// [`sums`], compiled for this instruction set.
    unsafe fn sums<const N: usize, const P: usize>(job: &Job);
    /// [`fill()`], compiled for this instruction set.
    unsafe fn fill(conv: &PackedConv, input: *const u16, to: *mut f32, part: (usize, usize, usize));
    /// [`finish`], compiled for this instruction set.
    unsafe fn finish(sums: *const f32, rows: usize, registers: usize, output: &Output);
}
