//! Planted errors: what a wrong kernel would compute is told from what it should, on every instruction set of this machine.

use half::f16;
use lrpet_runtime::kernel::{
    Arithmetic, Isa, Layer, LayerWeights, Method, PackedConv, WeightMatrix, WinogradTile,
};
use lrpet_runtime::model::{Activation, Conv, Op, Shape, Weights, Window};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::support::reference::{self, Matrix};
use super::{EVERYWHERE, ISAS, NO_HALF_SUMS, Place, Task, halves, wide};

/// What is wrong.
#[derive(Clone, Copy, Debug)]
enum Defect {
    /// A tap of one filter.
    Tap,
    /// Two filters in each other's place.
    Channels,
    /// A bias.
    Bias,
}

/// Weights, row by row, in the rows of the first half; those of a pair's second half; biases.
#[derive(Clone)]
struct Parameters {
    first: Vec<u16>,
    rows: usize,
    expand: Vec<u16>,
    bias: Vec<f32>,
}

impl Parameters {
    /// The same with an error, in row `at` and behind it; `None` where rows are alike.
    fn with(&self, defect: Defect, at: usize) -> Option<Parameters> {
        let mut wrong = self.clone();
        let columns = self.first.len() / self.rows;
        let row = at % self.rows * columns;
        match defect {
            Defect::Tap => {
                let weight = wrong.first[row..row + columns].iter_mut().find(|bits| **bits & 0x7fff != 0)?;
                *weight ^= 0x8000;
            }
            Defect::Channels => {
                let other = (at + 1) % self.rows * columns;
                (0..columns).for_each(|i| wrong.first.swap(row + i, other + i));
            }
            Defect::Bias => wrong.bias[at % self.bias.len()] += 1.0,
        }
        (wrong.first != self.first || wrong.bias != self.bias).then_some(wrong)
    }

    fn weights(&self, form: usize) -> LayerWeights<'_> {
        match form {
            0 => LayerWeights::Dense(WeightMatrix::Half(&self.first)),
            1 => LayerWeights::Pair {
                thin: WeightMatrix::Half(&self.first),
                expand: WeightMatrix::Half(&self.expand),
                rank: self.rows,
            },
            _ => LayerWeights::Depthwise(&self.first),
        }
    }
}

/// Plants errors in a convolution of whole numbers, whose sums are exact in every arithmetic: all but the sound one must be found.
/// Returns how often each instruction set was tried.
fn planted(
    (c, h, w, n): (u32, u32, u32, u32),
    window: Window,
    form: usize,
    rank: u32,
) -> [usize; ISAS.len()] {
    let input = Shape::new(c, h, w);
    let (n, stored) = match form {
        0 => (n, Weights::Dense),
        1 => (n, Weights::Pair { rank }),
        _ => (c, Weights::Depthwise),
    };
    let activation = Activation::None;
    let op = Op::Conv(Conv {
        name: "",
        input: 0,
        out_channels: n,
        window,
        weights: stored,
        residual: None,
        activation,
    });
    let output = op.output_shape(input).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(u64::from(c * h + n));
    let taps = window.taps() as usize;
    let (rows, columns) = match form {
        0 => (n as usize, c as usize * taps),
        1 => (rank as usize, c as usize * taps),
        _ => (c as usize, taps),
    };
    let sound = Parameters {
        first: halves(&mut rng, rows * columns, 0.0),
        rows,
        // Each rank is in some result.
        expand: (0..n as usize * rows * usize::from(form == 1))
            .map(|i| f16::from_f32(if i % rows == i / rows % rows { 1.0 } else { 0.0 }).to_bits())
            .collect(),
        bias: (0..n).map(|_| rng.random_range(-1..2) as f32).collect(),
    };
    let x = halves(&mut rng, input.len(), 0.0);
    let matrix = match form {
        0 => Matrix::Dense(wide(&sound.first)),
        1 => Matrix::Pair { thin: wide(&sound.first), expand: wide(&sound.expand), rank: rows },
        _ => Matrix::Depthwise(wide(&sound.first)),
    };
    let bias: Vec<f64> = sound.bias.iter().map(|bias| f64::from(*bias)).collect();
    let expected =
        reference::conv(&wide(&x), input, output, &window, &matrix, &bias, None, activation, Arithmetic::F32);
    let mut tried = [0; ISAS.len()];
    let defects = [Defect::Tap, Defect::Channels, Defect::Bias];
    let wrong = defects.into_iter().flat_map(|defect| [0, 1, 5].map(|at| (defect, sound.with(defect, at))));
    let wrong = wrong.filter_map(|(defect, wrong)| Some((Some(defect), wrong?)));
    for (defect, parameters) in std::iter::once((None, sound.clone())).chain(wrong) {
        let weights = parameters.weights(form);
        let layer = Layer::Conv { input, output, window, weights, bias: &parameters.bias, activation };
        let task = Task { op: &op, input, layer: &layer, x: &x, second: None, place: Place::NoSecond };
        let mut found = |at: usize, packed: Option<&PackedConv>, how: &str| {
            let isa = ISAS[at];
            let (output, _) = task.run(isa, packed, expected.len());
            let fault = task.fault(output.checked(), &[], &expected, NO_HALF_SUMS);
            let what = format!("{}, {how}, {c}x{h}x{w}, {window:?}, form {form}", isa.name());
            assert_eq!(fault.is_some(), defect.is_some(), "{what}: {defect:?}: {fault:?}");
            tried[at] += 1;
        };
        for (at, isa) in ISAS.into_iter().enumerate() {
            if !isa.is_available() && !EVERYWHERE.contains(&isa) {
                continue;
            }
            found(at, None, "in place");
            for arithmetic in [Arithmetic::F32, Arithmetic::F16] {
                for method in [Method::Direct, Method::Tiles(WinogradTile::Two)] {
                    if let Some(conv) = PackedConv::new(isa, arithmetic, method, &layer) {
                        found(at, Some(&conv), &format!("{arithmetic:?}, {method:?}"));
                    }
                }
            }
        }
    }
    tried
}

#[test]
fn planted_errors_are_found() {
    let (three, one) = (|stride| Window::square(3, stride, 1), |stride| Window::square(1, stride, 0));
    let mut tried = [0; ISAS.len()];
    for (shape, window, rank) in [
        ((5, 9, 11, 7), three(1), 6),
        ((6, 14, 14, 12), three(1), 7),
        ((7, 13, 15, 6), three(2), 6),
        ((12, 7, 7, 9), one(1), 7),
        ((9, 8, 16, 10), one(2), 6),
        ((6, 12, 20, 6), Window::square(5, 1, 2), 6),
    ] {
        for form in 0..3 {
            let counts = planted(shape, window, form, rank);
            tried.iter_mut().zip(counts).for_each(|(all, count)| *all += count);
        }
    }
    for (isa, tried) in ISAS.into_iter().zip(tried) {
        assert_eq!(tried > 0, isa.is_available() || EVERYWHERE.contains(&isa), "{}", isa.name());
        assert!(isa != Isa::Portable || tried > 100, "{tried}");
    }
}
