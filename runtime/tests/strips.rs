//! Strips of rows: a layer computed some rows at a time, its maps lying among the rows of larger ones, has the bits of one that is
//! computed whole. On every instruction set, those of boards with their inner loops in Rust.

use half::f16;
use lrpet_runtime::kernel::{self, Buffers, Isa, Layer, LayerWeights, Output, Planes, Second, WeightMatrix};
use lrpet_runtime::model::{Activation, Conv, Op, PadShortcut, Pool, PoolKind, Shape, Weights, Window};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const ISAS: [Isa; 7] =
    [Isa::Portable, Isa::CortexM, Isa::CortexM55, Isa::CortexM55Half, Isa::Avx2, Isa::Avx512, Isa::Neon];

fn halves(rng: &mut ChaCha8Rng, count: usize) -> Vec<u16> {
    (0..count).map(|_| f16::from_f32(rng.random_range(-1.0f32..1.0)).to_bits()).collect()
}

/// A map whose planes are `capacity` rows apart, with the rows from `first` on of another, from row `at` on.
fn strided(map: &[u16], shape: Shape, rows: std::ops::Range<usize>, capacity: usize, at: usize) -> Vec<u16> {
    let (width, height) = (shape.width as usize, shape.height as usize);
    let mut to = vec![0x7e00; shape.channels as usize * capacity * width];
    for channel in 0..shape.channels as usize {
        let from = &map[(channel * height + rows.start) * width..(channel * height + rows.end) * width];
        to[(channel * capacity + at) * width..][..from.len()].copy_from_slice(from);
    }
    to
}

/// A layer with its maps, whole.
struct Case<'a> {
    op: Op<&'a str>,
    layer: Layer<'a>,
    input: Shape,
    output: Shape,
    window: Window,
    x: Vec<u16>,
    residual: Option<Vec<u16>>,
}

impl Case<'_> {
    fn whole(&self, isa: Isa) -> Vec<u16> {
        let mut output = self.residual.clone().unwrap_or(vec![0; self.output.len()]);
        let mut scratch = vec![f32::NAN; kernel::scratch(isa, &self.op, self.input)];
        let second = if self.residual.is_some() { Second::InPlace } else { Second::None };
        let buffers = Buffers {
            input: &self.x,
            second,
            output: Output::Half(&mut output),
            scratch: &mut scratch,
            // Said, so that every product is made here too.
            planes: Planes { input: self.input.pixels(), output: self.output.pixels() },
        };
        kernel::run(isa, &self.layer, buffers);
        output
    }

    /// Rows `from` to before `to` of the result, with the input and the result in maps of some more rows.
    fn strip(&self, isa: Isa, from: usize, to: usize, more: [usize; 4]) -> Vec<u16> {
        let [kernel, stride, above] =
            [self.window.kernel[0], self.window.stride[0], self.window.padding[0]].map(usize::from);
        let height = self.input.height as usize;
        let (begin, end) = (from * stride, (to - 1) * stride + kernel);
        let rows = begin.saturating_sub(above)..end.saturating_sub(above).min(height);
        let [_, left, _, right] = self.window.padding;
        let (top, bottom) = (above.saturating_sub(begin), end.saturating_sub(above + height));
        let window = Window { padding: [top as u16, left, bottom as u16, right], ..self.window };
        let input = Shape { height: rows.len() as u32, ..self.input };
        let output = Shape { height: (to - from) as u32, ..self.output };
        let layer = match self.layer {
            Layer::Conv { weights, bias, activation, .. } => {
                Layer::Conv { input, output, window, weights, bias, activation }
            }
            Layer::Pool { kind, .. } => Layer::Pool { input, output, window, kind },
            Layer::PadShortcut { stride, .. } => Layer::PadShortcut { input, output, stride },
            _ => unreachable!(),
        };
        let [above_in, below_in, above_out, below_out] = more;
        let capacity = [above_in + rows.len() + below_in, above_out + (to - from) + below_out];
        let widths = [input.width as usize, output.width as usize];
        let x = strided(&self.x, self.input, rows, capacity[0], above_in);
        let initial = self.residual.clone().unwrap_or(vec![0; self.output.len()]);
        let mut result = strided(&initial, self.output, from..to, capacity[1], above_out);
        let before = result.clone();
        let second = if self.residual.is_some() { Second::InPlace } else { Second::None };
        let mut scratch = vec![f32::NAN; kernel::scratch(isa, &self.op, self.input)];
        let buffers = Buffers {
            input: &x[above_in * widths[0]..],
            second,
            output: Output::Half(&mut result[above_out * widths[1]..]),
            scratch: &mut scratch,
            planes: Planes { input: capacity[0] * widths[0], output: capacity[1] * widths[1] },
        };
        kernel::run(isa, &layer, buffers);
        // Nothing else is written.
        let mut found = Vec::new();
        for (plane, before) in
            result.chunks(capacity[1] * widths[1]).zip(before.chunks(capacity[1] * widths[1]))
        {
            let strip = above_out * widths[1]..(above_out + to - from) * widths[1];
            assert_eq!(plane[..strip.start], before[..strip.start]);
            assert_eq!(plane[strip.end..], before[strip.end..]);
            found.extend_from_slice(&plane[strip]);
        }
        found
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn strips_have_the_bits_of_the_whole(seed: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let input = Shape::new(rng.random_range(1..20), rng.random_range(1..20), rng.random_range(1..24));
        let most = input.height.min(input.width).min(5) as u16;
        let kernel = [rng.random_range(1..=most), rng.random_range(1..=most)];
        let stride = [rng.random_range(1..4), rng.random_range(1..4)];
        let padding = [0, 1, 0, 1].map(|axis: usize| rng.random_range(0..kernel[axis]));
        let window = Window { kernel, stride, padding };
        let (height, width) = window.output(input.height, input.width).unwrap();
        let form = rng.random_range(0..5);
        let n = if form >= 2 { input.channels } else { rng.random_range(1..20) };
        let (c, taps) = (input.channels as usize, usize::from(kernel[0] * kernel[1]));
        let rank = rng.random_range(1..6);
        let (first, expand) = match form {
            0 => (halves(&mut rng, n as usize * c * taps), Vec::new()),
            1 => (halves(&mut rng, rank * c * taps), halves(&mut rng, n as usize * rank)),
            _ => (halves(&mut rng, n as usize * taps), Vec::new()),
        };
        let bias: Vec<f32> = (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
        let (weights, kind) = match form {
            0 => (LayerWeights::Dense(WeightMatrix::Half(&first)), Weights::Dense),
            1 => (LayerWeights::Pair { thin: WeightMatrix::Half(&first), expand: WeightMatrix::Half(&expand), rank }, Weights::Pair { rank: rank as u32 }),
            _ => (LayerWeights::Depthwise(&first), Weights::Depthwise),
        };
        let activation = Activation::Relu;
        let conv = Conv { name: "", input: 0, out_channels: n, window, weights: kind, residual: None, activation };
        let shortcut = PadShortcut { input: 0, out_channels: n + 3, stride: stride[0] };
        let case = match form {
            3 => {
                let output = Shape::new(n, height, width);
                let pool = if rng.random() { PoolKind::Max } else { PoolKind::Average };
                let op = Op::Pool(Pool { input: 0, kind: pool, window });
                (op, Layer::Pool { input, output, window, kind: pool }, output, window)
            }
            4 => {
                let stride = stride[0];
                let output = Op::PadShortcut::<&str>(shortcut).output_shape(input).unwrap();
                let window = Window::square(1, stride, 0);
                (Op::PadShortcut(shortcut), Layer::PadShortcut { input, output, stride }, output, window)
            }
            _ => {
                let output = Shape::new(n, height, width);
                (Op::Conv(conv), Layer::Conv { input, output, window, weights, bias: &bias, activation }, output, window)
            }
        };
        let (op, layer, output, window) = case;
        let x = halves(&mut rng, input.len());
        let residual = (form < 3 && rng.random()).then(|| halves(&mut rng, output.len()));
        let case = Case { op, layer, input, output, window, x, residual };
        for isa in ISAS {
            let whole = case.whole(isa);
            let mut from = 0;
            while from < output.height as usize {
                let to = rng.random_range(from + 1..=output.height as usize);
                let more = [0; 4].map(|_: usize| rng.random_range(0..3));
                let (plane, row) = (output.pixels(), output.width as usize);
                let expected: Vec<u16> =
                    whole.chunks(plane).flat_map(|plane| plane[from * row..to * row].to_vec()).collect();
                let found = case.strip(isa, from, to, more);
                if isa == Isa::CortexM55Half {
                    // How many products it sums in f16 at once depends on the tile, and so on the rows.
                    let value = |bits: &u16| f16::from_bits(*bits).to_f32();
                    let close = |(a, b): (&u16, &u16)| (value(a) - value(b)).abs() <= 0.02 + 0.01 * value(b).abs();
                    prop_assert!(found.iter().zip(&expected).all(close), "{:?} {}..{}", case.op, from, to);
                } else {
                    prop_assert_eq!(found, expected, "{} {:?} {}..{}", isa.name(), case.op, from, to);
                }
                from = to;
            }
        }
    }
}
