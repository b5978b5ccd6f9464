//! What the portable algorithms need from an instruction set, and what is the same on all.

use crate::model::Activation;

/// Lanes of an instruction set whose vectors are arrays in Rust, for its [`Primitives`].
macro_rules! array_lanes {
    ($lanes:expr) => {
        type Lanes = [f32; $lanes];

        #[inline(always)]
        fn splat(value: f32) -> Self::Lanes {
            [value; $lanes]
        }

        #[inline(always)]
        fn load(from: &[f32; $lanes]) -> Self::Lanes {
            *from
        }

        #[inline(always)]
        fn store(lanes: Self::Lanes, to: &mut [f32; $lanes]) {
            *to = lanes;
        }

        #[inline(always)]
        fn mul_add(
            [a0, a1, a2, a3]: Self::Lanes,
            [b0, b1, b2, b3]: Self::Lanes,
            c: Self::Lanes,
        ) -> Self::Lanes {
            let [c0, c1, c2, c3] = c;
            [a0 * b0 + c0, a1 * b1 + c1, a2 * b2 + c2, a3 * b3 + c3]
        }
    };
}

/// What the portable algorithms need from an instruction set with `L` lanes.
pub(super) trait Primitives<const L: usize> {
    /// `L` f32 in registers.
    type Lanes: Copy;
    /// f16 bits → f32, element by element; the slices have one length.
    fn widen(from: &[u16], to: &mut [f32]);
    /// f16 bits → f32.
    #[cfg_attr(all(target_arch = "arm", target_os = "none", target_abi = "eabihf"), allow(dead_code))]
    fn widen_one(from: u16) -> f32;
    /// f16 bits → f32, into every `stride`-th element of `to`.
    #[cfg_attr(all(target_arch = "arm", target_os = "none", target_abi = "eabihf"), allow(dead_code))]
    #[inline(always)]
    fn widen_strided(from: &[u16], to: &mut [f32], stride: usize) {
        let to = to.iter_mut().step_by(stride.max(1));
        from.iter().zip(to).for_each(|(from, to)| *to = Self::widen_one(*from));
    }
    /// f32 → f16 bits, nearest even, saturating at ±65504; the slices have one length.
    fn narrow(from: &[f32], to: &mut [u16]);
    /// The same value in every lane.
    fn splat(value: f32) -> Self::Lanes;
    /// From memory.
    fn load(from: &[f32; L]) -> Self::Lanes;
    /// To memory.
    fn store(lanes: Self::Lanes, to: &mut [f32; L]);
    /// a·b + c in each lane, rounded once or twice.
    fn mul_add(a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes;
}

/// What comes after a layer's sums.
#[inline(always)]
pub(super) fn activate(activation: Activation, values: &mut [f32]) {
    // Comparisons, not f32::max: one select each on every core.
    match activation {
        Activation::None => {}
        Activation::Relu => values.iter_mut().for_each(|x| *x = if *x > 0.0 { *x } else { 0.0 }),
        Activation::Relu6 => values.iter_mut().for_each(|x| {
            let positive = if *x > 0.0 { *x } else { 0.0 };
            *x = if positive < 6.0 { positive } else { 6.0 };
        }),
        #[cfg(any(feature = "std", feature = "activations"))]
        other => super::activation::apply(other, values),
        // A program with others was refused.
        #[cfg(not(any(feature = "std", feature = "activations")))]
        _ => {}
    }
}
