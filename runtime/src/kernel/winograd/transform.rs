//! The transforms of one side of a tile, on registers in whose lanes anything may lie.
#![allow(unsafe_code)]

use super::matrices::{FAR, NEAR};

/// The arithmetic of an instruction set's registers.
///
/// # Safety
///
/// Everything here may only be inlined into functions that have the instruction set.
pub(in crate::kernel) unsafe trait Registers {
    /// A register of f32.
    type Register: Copy;

    /// The same value in every lane.
    unsafe fn splat(value: f32) -> Self::Register;
    /// a + b.
    unsafe fn add(a: Self::Register, b: Self::Register) -> Self::Register;
    /// a − b.
    unsafe fn sub(a: Self::Register, b: Self::Register) -> Self::Register;
    /// a·b.
    unsafe fn mul(a: Self::Register, b: Self::Register) -> Self::Register;
    /// a·b + c, rounded once.
    unsafe fn mul_add(a: Self::Register, b: Self::Register, c: Self::Register) -> Self::Register;
}

/// Roundings that meet in a value of [`input`] for a tile, both sides done, fused or not.
pub(super) const INPUT_ROUNDINGS: usize = 8;
/// Roundings that meet in a value of [`output`] for a tile, both sides done, fused or not.
pub(super) const OUTPUT_ROUNDINGS: usize = 10;

/// Bᵀ times one side of a tile: 4 inputs of F(2×2), 6 of F(4×4).
///
/// # Safety
///
/// To be inlined into a function that has the instruction set.
#[inline(always)]
pub(in crate::kernel) unsafe fn input<R: Registers, const SIDE: usize>(
    d: &[R::Register; SIDE],
) -> [R::Register; SIDE] {
    const { assert!(SIDE == 4 || SIDE == 6) };
    let mut t = *d;
    // SAFETY: no memory is touched; the caller has the instruction set.
    unsafe {
        if SIDE == 4 {
            t[0] = R::sub(d[0], d[2]);
            t[1] = R::add(d[1], d[2]);
            t[2] = R::sub(d[2], d[1]);
            t[3] = R::sub(d[1], d[3]);
            return t;
        }
        const N: f32 = (NEAR * NEAR) as f32;
        const F: f32 = (FAR * FAR) as f32;
        let (product, sum) = (R::splat(N * F), R::splat(-N - F));
        t[0] = R::mul_add(product, d[0], R::mul_add(sum, d[2], d[4]));
        t[5] = R::mul_add(product, d[1], R::mul_add(sum, d[3], d[5]));
        // Even and odd powers of a point and its opposite.
        let (even, odd) = (R::mul_add(R::splat(-F), d[2], d[4]), R::mul_add(R::splat(-F), d[1], d[3]));
        t[1] = R::mul_add(R::splat(NEAR as f32), odd, even);
        t[2] = R::mul_add(R::splat(-NEAR as f32), odd, even);
        let (even, odd) = (R::mul_add(R::splat(-N), d[2], d[4]), R::mul_add(R::splat(-N), d[1], d[3]));
        t[3] = R::mul_add(R::splat(FAR as f32), odd, even);
        t[4] = R::mul_add(R::splat(-FAR as f32), odd, even);
    }
    t
}

/// Aᵀ times one side of a tile's sums of products: 2 outputs of F(2×2), 4 of F(4×4).
///
/// # Safety
///
/// To be inlined into a function that has the instruction set.
#[inline(always)]
pub(in crate::kernel) unsafe fn output<R: Registers, const SIDE: usize, const OUTPUTS: usize>(
    m: &[R::Register; SIDE],
) -> [R::Register; OUTPUTS] {
    const { assert!((SIDE == 4 || SIDE == 6) && OUTPUTS + 2 == SIDE) };
    // SAFETY: no memory is touched; the caller has the instruction set.
    unsafe {
        let mut y = [m[0]; OUTPUTS];
        let (sum, difference) = (R::add(m[1], m[2]), R::sub(m[1], m[2]));
        if SIDE == 4 {
            y[0] = R::add(m[0], sum);
            y[1] = R::sub(difference, m[3]);
            return y;
        }
        const N: f32 = NEAR as f32;
        const F: f32 = FAR as f32;
        let (far_sum, far_difference) = (R::add(m[3], m[4]), R::sub(m[3], m[4]));
        y[0] = R::add(m[0], R::add(sum, far_sum));
        y[1] = R::mul_add(R::splat(N), difference, R::mul(R::splat(F), far_difference));
        y[2] = R::mul_add(R::splat(N * N), sum, R::mul(R::splat(F * F), far_sum));
        let far = R::mul_add(R::splat(F * F * F), far_difference, m[5]);
        y[3] = R::mul_add(R::splat(N * N * N), difference, far);
        y
    }
}

#[cfg(test)]
mod tests {
    use super::super::WinogradTile;
    use super::super::matrices::{inputs, outputs};
    use super::*;

    /// One f32.
    struct Scalar;

    // SAFETY: every machine has these.
    unsafe impl Registers for Scalar {
        type Register = f32;
        unsafe fn splat(value: f32) -> f32 {
            value
        }
        unsafe fn add(a: f32, b: f32) -> f32 {
            a + b
        }
        unsafe fn sub(a: f32, b: f32) -> f32 {
            a - b
        }
        unsafe fn mul(a: f32, b: f32) -> f32 {
            a * b
        }
        unsafe fn mul_add(a: f32, b: f32, c: f32) -> f32 {
            a.mul_add(b, c)
        }
    }

    fn check<const SIDE: usize, const OUTPUTS: usize>(tile: WinogradTile) {
        assert_eq!((tile.inputs(), tile.outputs()), (SIDE, OUTPUTS));
        // One unit after another: the columns of the matrices, exactly.
        for at in 0..SIDE {
            let unit: [f32; SIDE] = core::array::from_fn(|i| f32::from(u8::from(i == at)));
            // SAFETY: every machine has these instructions.
            let (t, y) = unsafe { (input::<Scalar, SIDE>(&unit), output::<Scalar, SIDE, OUTPUTS>(&unit)) };
            for (i, t) in t.into_iter().enumerate() {
                assert_eq!(f64::from(t), inputs(tile)[i][at], "{tile:?} Bᵀ {i} {at}");
            }
            for (i, y) in y.into_iter().enumerate() {
                assert_eq!(f64::from(y), outputs(tile)[i][at], "{tile:?} Aᵀ {i} {at}");
            }
        }
    }

    #[test]
    fn transforms_are_the_matrices() {
        check::<4, 2>(WinogradTile::Two);
        check::<6, 4>(WinogradTile::Four);
    }
}
