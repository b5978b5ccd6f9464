//! Poolings and joins against their definitions, on random shapes.

use lrpet_runtime::model::{Activation, Pool, PoolKind};
use proptest::prelude::*;

use super::tests::{geometry, random};
use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn poolings_match_their_definitions((input, _, window, batch) in geometry(), seed: u64) {
        let (oh, ow) = window.output(input.height, input.width).unwrap();
        let [oh, ow, c, h, w] =
            [oh, ow, input.channels, input.height, input.width].map(|size| size as usize);
        let (x_len, y_len) = (c * h * w, c * oh * ow);
        // Few different values (and no negative zero), so that a window often has its largest more than once.
        let x: Vec<f32> = random(batch * x_len, seed).iter().map(|value| (value * 3.0).round() + 0.0).collect();
        let dy = random(batch * y_len, seed ^ 1);
        let held = random(batch * x_len, seed ^ 2);
        for kind in [PoolKind::Max, PoolKind::Average] {
            let (mut y, mut dx) = (vec![0.0f64; batch * y_len], held.iter().map(|x| f64::from(*x)).collect::<Vec<_>>());
            for at in 0..batch * y_len {
                let (image, row, col, channel) = (at / y_len, at / (ow * c) % oh, at / c % ow, at % c);
                let mut inside = Vec::new();
                for tap in 0..window.taps() as usize {
                    let [kw, sh, sw] = [window.kernel[1], window.stride[0], window.stride[1]].map(usize::from);
                    let [top, left] = [window.padding[0], window.padding[1]].map(usize::from);
                    let (r, q) = (row * sh + tap / kw, col * sw + tap % kw);
                    if (top..top + h).contains(&r) && (left..left + w).contains(&q) {
                        inside.push(image * x_len + ((r - top) * w + q - left) * c + channel);
                    }
                }
                match kind {
                    PoolKind::Max => {
                        // max_by gives the last of equals, so the list is turned round.
                        let largest = inside.iter().rev().max_by(|a, b| x[**a].total_cmp(&x[**b]));
                        y[at] = largest.map_or(f64::NEG_INFINITY, |from| f64::from(x[*from]));
                        largest.iter().for_each(|from| dx[**from] += f64::from(dy[at]));
                    }
                    PoolKind::Average => {
                        let share = 1.0 / inside.len().max(1) as f64;
                        y[at] = share * inside.iter().map(|from| f64::from(x[*from])).sum::<f64>();
                        inside.iter().for_each(|from| dx[*from] += share * f64::from(dy[at]));
                    }
                }
            }
            for isa in Isa::available() {
                let pool = Pooling::new(input, &Pool { input: 0, kind, window }, isa).unwrap();
                let (mut found, mut found_dx) = (vec![f32::NAN; batch * y_len], held.clone());
                pool.forward(&x, &mut found);
                pool.backward(&x, &found, &dy, &mut found_dx);
                let close = |a: f32, b: f64| f64::from(a) == b || (f64::from(a) - b).abs() < 1e-5;
                prop_assert!(found.iter().zip(&y).all(|(a, b)| close(*a, *b)), "{kind:?} forward");
                prop_assert!(found_dx.iter().zip(&dx).all(|(a, b)| close(*a, *b)), "{kind:?} backward");
            }
        }
    }

    #[test]
    fn concatenation_and_sum_match_their_definitions(
        channels in prop::collection::vec(1usize..40, 1..5), pixels in 1usize..600, seed: u64,
        activation in prop_oneof![Just(Activation::None), Just(Activation::Relu), Just(Activation::Relu6)],
    ) {
        let total: usize = channels.iter().sum();
        let concat = Concat::new(channels.clone());
        let mut joined = vec![f32::NAN; pixels * total];
        let parts: Vec<Vec<f32>> =
            (0..).zip(&channels).map(|(part, channels)| random(pixels * channels, seed ^ part)).collect();
        for (index, part) in parts.iter().enumerate() {
            concat.forward(index, part, &mut joined);
        }
        let expected: Vec<f32> = (0..pixels)
            .flat_map(|pixel| parts.iter().zip(&channels).flat_map(move |(part, c)| &part[pixel * c..][..*c]))
            .copied()
            .collect();
        prop_assert_eq!(&joined, &expected);
        for (index, part) in parts.iter().enumerate() {
            let mut back = vec![f32::NAN; part.len()];
            concat.backward(index, &joined, &mut back, false);
            prop_assert_eq!(&back, part);
            concat.backward(index, &joined, &mut back, true);
            prop_assert!(back.iter().zip(part).all(|(back, part)| *back == 2.0 * part));
        }

        let scaled = |seed: u64| random(joined.len(), seed).iter().map(|value| 5.0 * value).collect::<Vec<_>>();
        let (a, b, dz) = (scaled(seed ^ 10), scaled(seed ^ 11), scaled(seed ^ 12));
        let (mut sum, mut slope) = (vec![f32::NAN; a.len()], dz.clone());
        add(&a, &b, activation, &mut sum);
        mask(&sum, activation, &mut slope);
        for at in 0..a.len() {
            let plain = a[at] + b[at];
            let (value, passes) = match activation {
                Activation::None => (plain, true),
                Activation::Relu => (plain.max(0.0), plain > 0.0),
                Activation::Relu6 => (plain.clamp(0.0, 6.0), plain > 0.0 && plain < 6.0),
                other => panic!("not drawn: {other:?}"),
            };
            prop_assert_eq!(sum[at], value);
            prop_assert_eq!(slope[at], if passes { dz[at] } else { 0.0 });
        }
    }
}

/// A NaN in a window must not disappear behind its other values.
#[test]
fn nan_wins_a_maximum() {
    let window = lrpet_runtime::model::Window::square(2, 2, 0);
    let pool = Pool { input: 0, kind: PoolKind::Max, window };
    for isa in Isa::available() {
        let pool = Pooling::new(lrpet_runtime::model::Shape::new(1, 2, 2), &pool, isa).unwrap();
        for at in 0..4 {
            let (mut x, mut y) = ([1.0, -1.0, 2.0, 0.5], [0.0]);
            x[at] = f32::NAN;
            pool.forward(&x, &mut y);
            assert!(y[0].is_nan());
        }
    }
}
