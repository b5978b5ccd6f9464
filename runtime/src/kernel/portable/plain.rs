//! The portable algorithms in plain Rust.

use super::super::{Buffers, Isa, Kernel, Layer, Primitives, f16, portable};

/// Plain Rust.
pub(in crate::kernel) struct Portable;

/// Pixels computed together.
const LANES: usize = 4;

impl Primitives<LANES> for Portable {
    array_lanes!(LANES);

    #[inline(always)]
    fn widen(from: &[u16], to: &mut [f32]) {
        from.iter().zip(to).for_each(|(&from, to)| *to = f16::widen(from));
    }

    #[inline(always)]
    fn widen_one(from: u16) -> f32 {
        f16::widen(from)
    }

    #[inline(always)]
    fn narrow(from: &[f32], to: &mut [u16]) {
        from.iter().zip(to).for_each(|(&from, to)| *to = f16::narrow(from));
    }
}

impl Kernel for Portable {
    const ISA: Isa = Isa::Portable;

    fn run(layer: &Layer<'_>, buffers: Buffers<'_>) {
        portable::run::<Portable, 4, LANES>(Self::ISA, layer, buffers);
    }
}
