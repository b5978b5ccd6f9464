//! The primitives of every instruction set of this machine against the portable conversions.

use std::vec::Vec;

use super::*;

/// Not a value that a conversion here gives.
const MARK: f32 = -12345.678;

#[cfg_attr(target_arch = "x86_64", inline(always))]
fn check<P: Primitives<L>, const L: usize>() {
    let halves: Vec<u16> = (0..=u16::MAX).filter(|bits| bits & 0x7c00 != 0x7c00).collect();
    let mut wide = vec![0.0; halves.len()];
    P::widen(&halves, &mut wide);
    for (half, wide) in halves.iter().zip(&wide) {
        assert_eq!(wide.to_bits(), f16::widen(*half).to_bits());
        assert_eq!(P::widen_one(*half).to_bits(), wide.to_bits());
    }
    // Around every f16, half way to the next, and out of range.
    let factors = [1.0, 1.0001, 1.000_488_3, 0.9997, 3.0];
    for factor in factors {
        let values: Vec<f32> = wide.iter().map(|x| x * factor).collect();
        let mut narrow = vec![0; values.len()];
        P::narrow(&values, &mut narrow);
        for (value, narrow) in values.iter().zip(narrow) {
            assert_eq!(narrow, f16::narrow(*value), "{value:e}");
        }
    }
    // Every length, and nothing behind it.
    for length in 0..70 {
        let mut to = [MARK; 80];
        P::widen(&halves[1000..][..length], &mut to[..length]);
        assert!(
            to[..length].iter().zip(&wide[1000..]).all(|(a, b)| a == b)
                && to[length..].iter().all(|x| *x == MARK)
        );
        let mut to = [0x7eee; 80];
        P::narrow(&wide[1000..][..length], &mut to[..length]);
        assert!(to[..length] == halves[1000..][..length] && to[length..].iter().all(|x| *x == 0x7eee));
        for stride in 1..5 {
            let mut to = [MARK; 280];
            P::widen_strided(&halves[1000..][..length], &mut to[..length * stride], stride);
            for (i, x) in to.iter().enumerate() {
                let written = i % stride == 0 && i < length * stride;
                assert_eq!(*x, if written { wide[1000 + i / stride] } else { MARK });
            }
        }
    }
    let ramp: [f32; L] = core::array::from_fn(|i| i as f32);
    let mut to = [MARK; L];
    P::store(P::mul_add(P::load(&ramp), P::splat(2.0), P::splat(0.5)), &mut to);
    assert!(to.iter().enumerate().all(|(i, x)| *x == 2.0 * i as f32 + 0.5));
}

#[test]
fn primitives_of_plain_code() {
    check::<portable::Portable, 4>();
}

#[cfg(target_arch = "aarch64")]
#[test]
fn primitives_of_neon() {
    check::<aarch64::Neon, 8>();
}

#[cfg(all(target_arch = "x86_64", feature = "std"))]
#[test]
#[allow(unsafe_code)]
fn primitives_of_x86() {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn avx2() {
        check::<x86_64::Avx2, 16>();
    }
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
    fn avx512() {
        check::<x86_64::Avx512, 32>();
    }
    if Isa::Avx2.is_available() {
        // SAFETY: the machine has these features.
        unsafe { avx2() };
    }
    if Isa::Avx512.is_available() {
        // SAFETY: the machine has these features.
        unsafe { avx512() };
    }
}

/// The mean of a map has the same bits however many of its rows come at a time.
#[test]
fn sums_of_rows_are_those_of_the_mean() {
    let isas =
        [Isa::Portable, Isa::CortexM, Isa::CortexM55, Isa::CortexM55Half, Isa::Avx2, Isa::Avx512, Isa::Neon];
    for [channels, height, width] in [[3u32, 8, 8], [2, 5, 1], [1, 1, 40], [4, 7, 7], [2, 25, 5], [1, 3, 33]]
    {
        let input = crate::model::Shape::new(channels, height, width);
        let (rows, width) = (height as usize, width as usize);
        let map: Vec<u16> =
            (0..input.len()).map(|i| f16::narrow((i * 7919 % 997) as f32 / 31.0 - 9.0)).collect();
        for isa in
            isas.into_iter().filter(|isa| isa.is_available() || !matches!(isa, Isa::Avx2 | Isa::Avx512))
        {
            let mut whole = vec![0; channels as usize];
            let (output, planes) = (Output::Half(&mut whole), Planes::default());
            let buffers = Buffers { input: &map, second: Second::None, output, scratch: &mut [], planes };
            run(isa, &Layer::GlobalAverage { input }, buffers);
            for step in 1..=rows {
                let mut sums = vec![0.0; channels as usize];
                for from in (0..rows).step_by(step) {
                    let count = step.min(rows - from);
                    add_rows(isa, [count, width, rows * width], &map[from * width..], &mut sums);
                }
                let means: Vec<u16> =
                    sums.iter().map(|sum| f16::narrow(sum / input.pixels() as f32)).collect();
                assert_eq!(means, whole, "{} {input} {step}", isa.name());
            }
        }
    }
}
