//! What serves strips in the place of tiles, against the portable code.

use std::vec::Vec;

use super::super::tiling::{Cut, Form};
use super::super::{Buffers, Isa, Layer, LayerWeights, Output, Planes, Second, WeightMatrix, f16, run};
use super::{Any, Set};
use crate::model::{Activation, Shape, Window};

/// Numbers between -1 and 1, the same on every run, or small whole ones.
fn values(count: usize, seed: u32, whole: bool) -> Vec<u16> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    let number =
        |bits: u32| if whole { (bits % 5) as f32 - 2.0 } else { bits as f32 / (1 << 23) as f32 - 1.0 };
    (0..count).map(|_| f16::narrow(number(next()))).collect()
}

/// A convolution of `channels` channels, padding left and right, on a strip of `output` whose first row has `above` rows of padding.
struct Case {
    channels: u32,
    output: Shape,
    kernel: u16,
    above: u16,
    form: Form,
}

impl Case {
    /// The results of the portable code and of strips in so much scratch, and which way these went.
    fn run(&self, scratch: usize, whole: bool) -> (Vec<u16>, Vec<u16>, usize) {
        let Case { channels, output, kernel, above, form } = *self;
        let rank = form.rank();
        let side = kernel / 2;
        let height = output.height + u32::from(kernel) - 1 - u32::from(above);
        let input = Shape::new(channels, height, output.width);
        let window =
            Window { kernel: [kernel; 2], stride: [1, 1], padding: [above, side, 0, kernel - 1 - side] };
        let (n, columns) = (output.channels as usize, channels as usize * usize::from(kernel * kernel));
        let (x, first) = (values(input.len(), 1, whole), values(rank.max(n) * columns, 2, whole));
        let expand = values(n * rank, 3, whole);
        let bias: Vec<f32> = (0..n).map(|i| (i % 7) as f32 - 3.0).collect();
        let half = |values| WeightMatrix::Half(values);
        let weights = match form {
            Form::Dense => LayerWeights::Dense(half(&first[..n * columns])),
            Form::Depthwise => LayerWeights::Depthwise(&first[..n * usize::from(kernel * kernel)]),
            Form::Pair { rank } => {
                LayerWeights::Pair { thin: half(&first[..rank * columns]), expand: half(&expand), rank }
            }
        };
        let layer = Layer::Conv { input, output, window, weights, bias: &bias, activation: Activation::Relu };
        let mut results = [vec![0u16; output.len()], vec![0u16; output.len()]];
        let (mut cut, mut taken) = (Cut::SQUARES, Set::default());
        for (on_device, result) in [false, true].into_iter().zip(&mut results) {
            let mut scratch = vec![f32::NAN; if on_device { scratch } else { 1 << 16 }];
            let output = Output::Half(result);
            let (second, planes) = (Second::None, Planes::default());
            let buffers = Buffers { input: &x, second, output, scratch: &mut scratch, planes };
            match on_device {
                true => taken = super::taken(|| super::run::<Any>(&layer, buffers, Some(&mut cut))),
                false => run(Isa::Portable, &layer, buffers),
            }
        }
        // A dry run finds the same forms.
        let (mut result, mut scratch) = (vec![0u16; output.len()], vec![0.0; scratch]);
        let (second, planes, output) = (Second::None, Planes::default(), Output::Half(&mut result));
        let dry = Buffers { input: &x, second, output, scratch: &mut scratch, planes };
        assert_eq!(super::forms(&layer, dry, cut), taken);
        assert!(form == Form::Depthwise || taken != Set::default());
        let [expected, found] = results;
        (expected, found, cut.found(self.output.height).map_or(0, |[way, ..]| way))
    }
}

/// All within two roundings to f16, and what roundings of f32 leave of sums that are nothing.
fn close(expected: &[u16], found: &[u16]) {
    for (expected, found) in expected.iter().zip(found) {
        let [expected, found] = [*expected, *found].map(f16::widen);
        assert!((expected - found).abs() <= 1e-4 + 1e-3 * expected, "{expected} {found}");
    }
}

/// Tiles of one row: every width, also where a group of tiles goes beyond the map; whole numbers exactly where there are four
/// products.
#[test]
fn thin_halves_by_tiles_of_one_row() {
    let mut ways = [0; 6];
    for (channels, width, rank) in
        [(16, 32, 6), (16, 28, 5), (32, 16, 12), (64, 8, 25), (24, 13, 7), (9, 20, 3)]
    {
        for (rows, above, scratch) in [(1, 0, 1728), (1, 1, 1728), (2, 1, 2800), (3, 0, 4000)] {
            let case = Case {
                channels,
                output: Shape::new(10, rows, width),
                kernel: 3,
                above,
                form: Form::Pair { rank },
            };
            let (expected, found, way) = case.run(scratch, false);
            close(&expected, &found);
            ways[way] += 1;
            let (expected, found, _) = case.run(scratch, true);
            match way {
                // Sixths are not exact.
                5 => close(&expected, &found),
                _ => assert_eq!(expected, found, "{channels} {width} {rank} {rows} {way}"),
            }
        }
    }
    // Both were in use.
    assert!(ways[4] > 2 && ways[5] > 8, "{ways:?}");
}

/// Pixels five at a time have the bits of the portable code.
#[test]
fn pixels_go_five_by_five() {
    let mut ways = [0; 6];
    for (channels, width, kernel) in [(64, 5, 1), (31, 10, 1), (3, 5, 3), (7, 4, 1), (2, 9, 5), (16, 3, 3)] {
        for (rows, outputs) in [(1, 8), (2, 64), (1, 6)] {
            let output = Shape::new(outputs, rows, width);
            let (expected, found, way) =
                Case { channels, output, kernel, above: 0, form: Form::Dense }.run(400, false);
            assert_eq!(expected, found, "{channels} {width} {kernel} {rows} {outputs}");
            ways[way] += 1;
        }
    }
    assert!(ways[3] > 5, "{ways:?}");
}

/// Rows of five pixels that are convolved channel by channel without a patch have the bits of the portable code.
#[test]
fn depthwise_rows_of_five_pixels() {
    for (channels, above, rows) in [(1, 0, 1), (7, 1, 1), (64, 0, 1), (3, 2, 1), (5, 0, 2)] {
        let case =
            Case { channels, output: Shape::new(channels, rows, 5), kernel: 3, above, form: Form::Depthwise };
        for whole in [false, true] {
            let (expected, found, _) = case.run(600, whole);
            assert_eq!(expected, found, "{channels} {above} {rows}");
        }
    }
}
