//! The portable algorithms in plain Rust.

use super::{Buffers, Isa, Kernel, Layer, Primitives, f16, portable};

/// Plain Rust.
pub(super) struct Portable;

/// Pixels computed together.
const LANES: usize = 4;

impl Primitives<LANES> for Portable {
    type Lanes = [f32; LANES];

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

    #[inline(always)]
    fn splat(value: f32) -> [f32; LANES] {
        [value; LANES]
    }

    #[inline(always)]
    fn load(from: &[f32; LANES]) -> [f32; LANES] {
        *from
    }

    #[inline(always)]
    fn store(lanes: [f32; LANES], to: &mut [f32; LANES]) {
        *to = lanes;
    }

    #[inline(always)]
    fn mul_add([a0, a1, a2, a3]: Self::Lanes, [b0, b1, b2, b3]: Self::Lanes, c: Self::Lanes) -> Self::Lanes {
        let [c0, c1, c2, c3] = c;
        [a0 * b0 + c0, a1 * b1 + c1, a2 * b2 + c2, a3 * b3 + c3]
    }
}

impl Kernel for Portable {
    const ISA: Isa = Isa::Portable;

    fn run(layer: &Layer<'_>, buffers: Buffers<'_>) {
        portable::run::<Portable, 4, LANES>(Self::ISA, layer, buffers);
    }
}
