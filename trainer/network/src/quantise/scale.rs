//! The scales that weights of 8 bits may have: m·2^e with m from 8 to 15. An i8 times one of them is an f16, exactly.

use lrpet_runtime::kernel::THIN_SCALE;

/// Largest magnitude of a byte that is written.
pub const LARGEST_BYTE: i8 = 127;
/// Scale of every row of a thin half.
pub const THIN: f64 = THIN_SCALE as f64;
/// Smallest scale, 2^-21.
const LEAST: f64 = 1.0 / 2_097_152.0;
/// Largest scale.
const MOST: f64 = 480.0;

/// The smallest scale that is at least `value`; 480 where none is.
pub fn at_least(value: f64) -> f64 {
    if value <= LEAST {
        return LEAST;
    }
    let unit = value.log2().floor().exp2() / 8.0;
    // Of a value just below a power of two the logarithm may be that power's.
    let unit = if unit * 8.0 > value { unit / 2.0 } else { unit };
    // 16 units are 8 of the next ones.
    ((value / unit).ceil() * unit).min(MOST)
}

/// The next smaller scale; the smallest has none.
pub fn below(scale: f64) -> Option<f64> {
    let unit = scale.log2().floor().exp2() / 8.0;
    let unit = if scale > unit * 8.0 { unit } else { unit / 2.0 };
    Some(scale - unit).filter(|next| *next >= LEAST)
}

#[cfg(test)]
mod tests {
    use half::f16;
    use lrpet_runtime::model::is_scale;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_byte_times_every_scale_is_an_f16() {
        let (mut scale, mut count) = (MOST, 0);
        loop {
            assert!(is_scale(scale as f32), "{scale}");
            for byte in -127..=127 {
                let value = f64::from(byte) * scale;
                assert_eq!(f16::from_f64(value).to_f64(), value, "{byte} · {scale}");
            }
            count += 1;
            let Some(next) = below(scale) else { break };
            assert!(next < scale);
            scale = next;
        }
        // 2^-21 to 2^9, without the last binade's end: 8 scales for each power of two.
        assert_eq!((scale, count), (LEAST, 29 * 8 + 8));
    }

    proptest! {
        #[test]
        fn the_scale_is_the_smallest_that_holds_a_value(exponent in -25.0..9.5_f64) {
            let value = exponent.exp2();
            let scale = at_least(value);
            prop_assert!(is_scale(scale as f32));
            prop_assert!(scale >= value.min(MOST));
            if let Some(below) = below(scale) {
                prop_assert!(below < value);
            }
        }
    }
}
