//! Conversions between f16 (IEEE 754 binary16, as its bits) and f32 in integer and f32 arithmetic, without branches
//! in the common path, so that they vectorise. Cores with a conversion instruction use it instead.

#[cfg(all(target_arch = "arm", target_os = "none", target_abi = "eabihf"))]
pub use super::cortex_m::primitives::{narrow_one as narrow, widen_one as widen};

/// Largest finite f16, 65504.
pub const MAX: u16 = 0x7bff;

/// The f32 of the same value; exact.
#[cfg(not(all(target_arch = "arm", target_os = "none", target_abi = "eabihf")))]
#[inline(always)]
pub fn widen(half: u16) -> f32 {
    let magnitude = u32::from(half & 0x7fff) << 13;
    let sign = u32::from(half & 0x8000) << 16;
    // The exponents' biases differ by 112.
    let normal = magnitude + (112 << 23);
    // A subnormal m·2^-24 as (1 + m·2^-10)·2^-14 less 2^-14.
    let subnormal = (f32::from_bits(magnitude + (113 << 23)) - f32::from_bits(113 << 23)).to_bits();
    let bits = match magnitude >> 23 {
        0 => subnormal,
        31.. => normal + (112 << 23),
        _ => normal,
    };
    f32::from_bits(sign | bits)
}

/// The nearest f16 (ties to even); what exceeds the range becomes ±65504, a NaN stays one.
#[cfg(not(all(target_arch = "arm", target_os = "none", target_abi = "eabihf")))]
#[inline(always)]
pub fn narrow(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    // Adding 0.5 leaves the multiple of 2^-24 in the last bits: the f32 addition rounds.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0x3f00_0000);
    let odd = (magnitude >> 13) & 1;
    let normal = magnitude.wrapping_sub(112 << 23).wrapping_add(0xfff + odd) >> 13;
    let half = match magnitude {
        0..0x3880_0000 => subnormal as u16,
        0x3880_0000..0x477f_f000 => normal as u16,
        0x477f_f000..=0x7f80_0000 => MAX,
        _ => 0x7e00,
    };
    sign | half
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_half_widens_exactly_and_comes_back() {
        for bits in 0..=u16::MAX {
            let reference = half::f16::from_bits(bits);
            let wide = widen(bits);
            if reference.is_nan() {
                assert!(wide.is_nan() && narrow(wide) & 0x7fff == 0x7e00, "{bits:#x}");
            } else {
                assert_eq!(wide.to_bits(), reference.to_f32().to_bits(), "{bits:#x}");
                let back = if reference.is_infinite() { bits & 0x8000 | MAX } else { bits };
                assert_eq!(narrow(wide), back, "{bits:#x}");
            }
        }
    }

    /// Checks `narrow` against the `half` crate, with the range saturated.
    fn agrees(value: f32) {
        let reference = half::f16::from_f32(value);
        let expected =
            if reference.is_infinite() { (reference.to_bits() & 0x8000) | MAX } else { reference.to_bits() };
        if value.is_nan() {
            assert!(half::f16::from_bits(narrow(value)).is_nan());
        } else {
            assert_eq!(narrow(value), expected, "{value:e} ({:#x})", value.to_bits());
        }
    }

    #[test]
    fn the_neighbours_of_every_half_and_every_tie_round_to_nearest_even() {
        for bits in 0..0x7c00u16 {
            let (low, high) = (widen(bits), if bits == MAX { 65536.0 } else { widen(bits + 1) });
            let tie = (low + high) / 2.0;
            for value in [low, tie] {
                for near in [value.to_bits().saturating_sub(1), value.to_bits(), value.to_bits() + 1] {
                    agrees(f32::from_bits(near));
                    agrees(-f32::from_bits(near));
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn any_f32_rounds_to_the_nearest(bits: u32) {
            agrees(f32::from_bits(bits));
        }
    }
}
