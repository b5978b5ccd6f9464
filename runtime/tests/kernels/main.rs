//! Every operation on every instruction set of this machine against the f64 reference, on random shapes; guards around
//! every buffer catch a write outside.

mod guarded;
mod networks;
mod planted;
#[path = "../support/mod.rs"]
mod support;
mod winograd;

use guarded::Guarded;
use half::f16;
use lrpet_runtime::kernel::{
    self, Arithmetic, Buffers, Isa, Layer, LayerWeights, Method, Output, PackedConv, Planes, Second,
    WeightMatrix, WinogradTile,
};
use lrpet_runtime::model::{
    Activation, Conv, Linear, Op, PadShortcut, Pool, PoolKind, Shape, Weights, Window,
};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::reference::{self, Bounded, Matrix};

const ISAS: [Isa; 8] = Isa::ALL;
/// Instruction sets whose control code runs on any machine, with inner loops in Rust.
const EVERYWHERE: [Isa; 3] = [Isa::CortexM, Isa::CortexM55, Isa::CortexM55Half];
/// The unit of f16 in that of f32.
const HALF_UNIT: f64 = 8192.0;
/// Random cases of each kind; fewer where an emulator executes them.
const CASES: u32 = if cfg!(target_arch = "aarch64") { 60 } else { 400 };
/// Ranks of each shape of a common network, as many.
const RANKS: usize = if cfg!(target_arch = "aarch64") { 1 } else { 3 };

/// How the second operand and the result are held.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    NoSecond,
    Overwritten,
    Other,
    Logits,
}

/// Values up to `scale`; those of scale 0 are -1, 0 and 1, whose sums are exact in every arithmetic.
fn halves(rng: &mut ChaCha8Rng, count: usize, scale: f32) -> Vec<u16> {
    let value = |rng: &mut ChaCha8Rng| {
        if scale == 0.0 { rng.random_range(-1..2) as f32 } else { rng.random_range(-scale..scale) }
    };
    (0..count).map(|_| f16::from_f32(value(rng)).to_bits()).collect()
}

/// How far a result may be from the reference where products are summed in f16.
#[derive(Clone, Copy)]
struct HalfSums {
    /// Of the error bound of sums in f32; `None` where sums may exceed the range of f16.
    factor: Option<f64>,
    /// What values below f16's normal range lose.
    underflow: f64,
}

/// No products, or products summed in f32 all the same.
const NO_HALF_SUMS: HalfSums = HalfSums { factor: Some(1.0), underflow: 0.0 };

fn wide(halves: &[u16]) -> Vec<f64> {
    halves.iter().map(|bits| f16::from_bits(*bits).to_f64()).collect()
}

/// A layer, what it is given, and where that is held.
struct Task<'a> {
    op: &'a Op<&'a str>,
    input: Shape,
    layer: &'a Layer<'a>,
    x: &'a [u16],
    second: Option<&'a [u16]>,
    place: Place,
}

impl Task<'_> {
    /// Executes the layer, on packed weights if there are some, with the least scratch; `count` values come out, halves or
    /// logits.
    fn run(&self, isa: Isa, packed: Option<&PackedConv>, count: usize) -> (Guarded<u16>, Guarded<f32>) {
        let planned = kernel::scratch(isa, self.op, self.input);
        let scratch = packed.map_or(planned, |conv| planned.max(conv.scratch()));
        self.run_in(scratch, isa, packed, count)
    }

    /// The same with `scratch` f32 of scratch.
    fn run_in(
        &self,
        scratch: usize,
        isa: Isa,
        packed: Option<&PackedConv>,
        count: usize,
    ) -> (Guarded<u16>, Guarded<f32>) {
        let initial = match self.place {
            Place::Overwritten => self.second.unwrap().to_vec(),
            _ => vec![0x7e00; count],
        };
        let mut scratch = Guarded::new(&vec![f32::NAN; scratch], 12345.0);
        let mut output = Guarded::new(&initial, 0x5a5a);
        let mut logits = Guarded::new(&vec![f32::NAN; count], 54321.0);
        let mut buffers = Buffers {
            planes: Planes::default(),
            input: self.x,
            second: match (self.place, self.second) {
                (Place::Overwritten, _) => Second::InPlace,
                (_, Some(second)) => Second::Other(second),
                _ => Second::None,
            },
            output: match self.place {
                Place::Logits => Output::Full(logits.values()),
                _ => Output::Half(output.values()),
            },
            scratch: scratch.values(),
        };
        match packed {
            Some(conv) => assert!(kernel::run_packed(isa, conv, &mut buffers, None), "{}", isa.name()),
            None => kernel::run(isa, self.layer, buffers),
        }
        scratch.all.iter_mut().filter(|x| x.is_nan()).for_each(|x| *x = 0.0);
        scratch.checked();
        (output, logits)
    }

    /// Fails where a value is farther from the expected one than it may be.
    fn check(&self, output: &[u16], logits: &[f32], expected: &[Bounded], summed: HalfSums, what: &str) {
        if let Some(fault) = self.fault(output, logits, expected, summed) {
            panic!("{what}: {fault}");
        }
    }

    /// What the first value is that is farther from the expected one than it may be.
    fn fault(
        &self,
        output: &[u16],
        logits: &[f32],
        expected: &[Bounded],
        summed: HalfSums,
    ) -> Option<String> {
        let factor = summed.factor?;
        for (i, Bounded { value, error }) in expected.iter().enumerate() {
            let error = error * factor + summed.underflow;
            let (got, bound) = match self.place {
                // One rounding: half a unit in the last place, of a subnormal at least.
                Place::Logits => (f64::from(logits[i]), error),
                _ => (
                    f16::from_bits(output[i]).to_f64(),
                    error + (value.abs() + error) * 2f64.powi(-11) + 2f64.powi(-25),
                ),
            };
            let value = if self.place == Place::Logits { *value } else { value.clamp(-65504.0, 65504.0) };
            // What is no number is farther from it than anything.
            let near = (got - value).abs() <= bound;
            if !near {
                return Some(format!("element {i}: {got} and not {value} ± {bound}"));
            }
        }
        None
    }
}

/// Runs `layer` on every instruction set and compares.
#[allow(clippy::too_many_arguments)]
fn compare(
    op: &Op<&str>,
    input: Shape,
    layer: &Layer<'_>,
    x: &[u16],
    second: Option<&[u16]>,
    place: Place,
    expected: &[Bounded],
    half: HalfSums,
) {
    compare_forms(op, input, layer, x, second, place, (expected, [expected; 2]), half);
}

/// The same where other forms, of more scratch than the layer must have, have bounds of their own: tiles of 2×2 pixels or whatever else
/// there is, and tiles of one row.
#[allow(clippy::too_many_arguments)]
fn compare_forms(
    op: &Op<&str>,
    input: Shape,
    layer: &Layer<'_>,
    x: &[u16],
    second: Option<&[u16]>,
    place: Place,
    (expected, [other, rows]): (&[Bounded], [&[Bounded]; 2]),
    half: HalfSums,
) {
    let task = Task { op, input, layer, x, second, place };
    for isa in ISAS.into_iter().filter(|isa| isa.is_available() || EVERYWHERE.contains(isa)) {
        let summed = if isa == Isa::CortexM55Half { half } else { NO_HALF_SUMS };
        let (output, logits) = task.run(isa, None, expected.len());
        let (output, logits) = (output.checked(), logits.checked());
        // Packed weights change nothing, not even a rounding, where every product is made.
        let packed = PackedConv::new(isa, Arithmetic::F32, Method::Direct, layer);
        if let Some(conv) = packed.filter(|_| place != Place::Logits) {
            let (packed, _) = task.run(isa, Some(&conv), expected.len());
            assert_eq!(packed.checked(), output, "{}: packed", isa.name());
        }
        task.check(output, logits, expected, summed, isa.name());
        // More scratch than it must have: other tiles, and other forms.
        let (least, most) = (kernel::scratch(isa, op, input), kernel::most_scratch(isa, op, input));
        for scratch in
            [least + most.saturating_sub(least) / 2, most].into_iter().filter(|words| *words > least)
        {
            let (output, logits) = task.run_in(scratch, isa, None, expected.len());
            let by_rows = kernel::goes_by_rows(isa, layer, scratch, place != Place::Logits);
            let other = if by_rows { rows } else { other };
            task.check(output.checked(), logits.checked(), other, summed, isa.name());
        }
    }
}

fn activation() -> impl Strategy<Value = Activation> {
    let slope = 0.125;
    let others = [
        Activation::Silu,
        Activation::HardSwish,
        Activation::Sigmoid,
        Activation::LeakyRelu { slope },
        Activation::Gelu,
        Activation::Tanh,
        Activation::Elu { alpha: 1.0 },
        Activation::Clip { min: -0.5, max: 3.0 },
        Activation::Softplus,
    ];
    let plain = prop_oneof![Just(Activation::None), Just(Activation::Relu), Just(Activation::Relu6)];
    prop_oneof![2 => plain, 1 => proptest::sample::select(others.to_vec())]
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![Just(Place::NoSecond), Just(Place::Overwritten), Just(Place::Other), Just(Place::Logits)]
}

/// Kernel, stride and a padding smaller than the kernel, each side its own.
fn window() -> impl Strategy<Value = Window> {
    ((1u16..6, 1u16..6), (1u16..4, 1u16..4)).prop_flat_map(|((kh, kw), (sy, sx))| {
        (0..kh, 0..kw, 0..kh, 0..kw).prop_map(move |(top, left, bottom, right)| Window {
            kernel: [kh, kw],
            stride: [sy, sx],
            padding: [top, left, bottom, right],
        })
    })
}

/// What a convolution is given.
#[derive(Clone, Copy, Debug)]
struct Case {
    /// c, h, w, n.
    shape: (u32, u32, u32, u32),
    window: Window,
    /// 0 dense, 1 pair, 2 depthwise.
    form: usize,
    rank: u32,
    activation: Activation,
    place: Place,
    scale: f32,
    seed: u64,
}

fn convolution(case: Case) {
    let Case { shape: (c, h, w, n), window, form, rank, activation, place, scale, seed } = case;
    let input = Shape::new(c, h, w);
    let (weights, n) = match form {
        0 => (Weights::Dense, n),
        1 => (Weights::Pair { rank }, n),
        _ => (Weights::Depthwise, c),
    };
    let residual = if place == Place::Overwritten || place == Place::Other { Some(1) } else { None };
    let op = Op::Conv(Conv { name: "", input: 0, out_channels: n, window, weights, residual, activation });
    let Some(output) = op.output_shape(input) else { return };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let x = halves(&mut rng, input.len(), scale);
    // Sums of whole numbers stay whole with whole biases.
    let (of_weights, whole) = if scale == 0.0 { (0.0, 1) } else { (1.0, 1024) };
    let bias: Vec<f32> = (0..n).map(|_| rng.random_range(-whole..=whole) as f32 / whole as f32).collect();
    let columns = c as usize * window.taps() as usize;
    let (n, r) = (n as usize, rank as usize);
    let first = halves(
        &mut rng,
        match form {
            0 => n * columns,
            1 => r * columns,
            _ => n * window.taps() as usize,
        },
        of_weights,
    );
    let expand = halves(&mut rng, n * r, of_weights);
    let (stored, matrix) = match form {
        0 => (LayerWeights::Dense(WeightMatrix::Half(&first)), Matrix::Dense(wide(&first))),
        1 => (
            LayerWeights::Pair {
                thin: WeightMatrix::Half(&first),
                expand: WeightMatrix::Half(&expand),
                rank: r,
            },
            Matrix::Pair { thin: wide(&first), expand: wide(&expand), rank: r },
        ),
        _ => (LayerWeights::Depthwise(&first), Matrix::Depthwise(wide(&first))),
    };
    let second = residual.map(|_| halves(&mut rng, output.len(), scale));
    let wide_bias: Vec<f64> = bias.iter().map(|b| f64::from(*b)).collect();
    let wide_second = second.as_deref().map(wide);
    let (x64, count) = (wide(&x), output.len());
    let expected = |arithmetic| {
        let second = wide_second.as_deref();
        reference::conv(&x64, input, output, &window, &matrix, &wide_bias, second, activation, arithmetic)
    };
    let layer = Layer::Conv { input, output, window, weights: stored, bias: &bias, activation };
    let half = HalfSums {
        factor: if scale == 0.0 { Some(1.0) } else { (scale <= 1.0).then_some(HALF_UNIT) },
        underflow: if scale == 0.0 { 0.0 } else { ((columns + 4) * (r + 1)) as f64 * 2f64.powi(-25) },
    };
    let second = second.as_deref();
    let direct = expected(Arithmetic::F32);
    let [squares, rows] = match &matrix {
        Matrix::Pair { thin, expand, .. } if WinogradTile::serves(&window) => {
            winograd::in_place(&direct, &x64, (input, &window), thin, expand)
        }
        _ => [direct.clone(), direct.clone()],
    };
    compare_forms(&op, input, &layer, &x, second, place, (&direct, [&squares, &rows]), half);
    let by_tiles = |tile, arithmetic| {
        let second = wide_second.as_deref();
        reference::conv_by_tiles(
            tile, &x64, input, output, &window, &matrix, &wide_bias, second, activation, arithmetic,
        )
    };
    if WinogradTile::serves(&window) && place != Place::Logits {
        let task = Task { op: &op, input, layer: &layer, x: &x, second, place };
        winograd::by_tiles(&task, |tile| by_tiles(tile, Arithmetic::F32));
    }
    // With f16 arithmetic, where no sum exceeds its range.
    if Isa::NeonF16.is_available() && scale <= 1.0 && place != Place::Logits {
        let packed = PackedConv::new(Isa::NeonF16, Arithmetic::F16, Method::Direct, &layer);
        let task = Task { op: &op, input, layer: &layer, x: &x, second, place };
        if let Some(conv) = packed {
            let (output, _) = task.run(Isa::NeonF16, Some(&conv), count);
            task.check(output.checked(), &[], &expected(Arithmetic::F16), NO_HALF_SUMS, "f16 arithmetic");
        }
        winograd::by_half_tiles(&task, |tile| by_tiles(tile, Arithmetic::F16));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn convolutions(
        (c, h, w, n) in (1u32..20, 1u32..40, 1u32..40, 1u32..20),
        window in window(),
        form in 0usize..3, rank in 1u32..12,
        activation in activation(), place in place(), scale in prop_oneof![Just(1.0f32), Just(0.0), Just(1e-4), Just(3e3)],
        seed: u64,
    ) {
        let shape = (c, h, w, n);
        convolution(Case { shape, window, form, rank, activation, place, scale, seed });
    }

    /// The windows of separable networks, on maps down to 1×1.
    #[test]
    fn depthwise_layers(
        (c, h, w) in (1u32..90, prop_oneof![1u32..8, 8u32..60], prop_oneof![1u32..8, 8u32..60]),
        kernel in prop_oneof![Just(3u16), Just(5)], stride in 1u16..3, padded: bool,
        activation in activation(), place in place(), scale in prop_oneof![Just(1.0f32), Just(0.0), Just(3e3)],
        seed: u64,
    ) {
        let c = c.min(6000 / (h * w)).max(1);
        let window = Window::square(kernel, stride, if padded { kernel / 2 } else { 0 });
        convolution(Case { shape: (c, h, w, c), window, form: 2, rank: 1, activation, place, scale, seed });
    }

    #[test]
    fn linear_layers(
        c in 1u32..300, n in 1u32..40, rank in 0u32..20, activation in activation(), logits: bool, seed: u64,
    ) {
        let (input, output) = (Shape::vector(c), Shape::vector(n));
        let weights = if rank == 0 { Weights::Dense } else { Weights::Pair { rank } };
        let op = Op::Linear(Linear { name: "", input: 0, out_features: n, weights, activation });
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let x = halves(&mut rng, c as usize, 2.0);
        let bias: Vec<f32> = (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
        let (c, n, r) = (c as usize, n as usize, rank as usize);
        let first = halves(&mut rng, if rank == 0 { n * c } else { r * c }, 1.0);
        let expand = halves(&mut rng, n * r, 1.0);
        let (stored, matrix) = if rank == 0 {
            (LayerWeights::Dense(WeightMatrix::Half(&first)), Matrix::Dense(wide(&first)))
        } else {
            (
                LayerWeights::Pair { thin: WeightMatrix::Half(&first), expand: WeightMatrix::Half(&expand), rank: r },
                Matrix::Pair { thin: wide(&first), expand: wide(&expand), rank: r },
            )
        };
        let wide_bias: Vec<f64> = bias.iter().map(|b| f64::from(*b)).collect();
        let one = Window::square(1, 1, 0);
        let expected = reference::conv(
            &wide(&x), input, output, &one, &matrix, &wide_bias, None, activation, Arithmetic::F32,
        );
        let layer = Layer::Linear { weights: stored, bias: &bias, activation };
        let place = if logits { Place::Logits } else { Place::NoSecond };
        compare(&op, input, &layer, &x, None, place, &expected, NO_HALF_SUMS);
    }

    #[test]
    fn pooling((c, h, w) in (1u32..5, 1u32..30, 1u32..30), window in window(), max: bool, seed: u64) {
        let input = Shape::new(c, h, w);
        let kind = if max { PoolKind::Max } else { PoolKind::Average };
        let op = Op::Pool(Pool { input: 0, kind, window });
        let Some(output) = op.output_shape(input) else { return Ok(()) };
        let x = halves(&mut ChaCha8Rng::seed_from_u64(seed), input.len(), 10.0);
        let expected = reference::pool(&wide(&x), input, output, &window, kind);
        compare(&op, input, &Layer::Pool { input, output, window, kind }, &x, None, Place::NoSecond, &expected, NO_HALF_SUMS);
        let expected: Vec<Bounded> =
            wide(&x).chunks(input.pixels()).map(|plane| reference::mean(plane.iter().copied(), plane.len())).collect();
        let op = Op::GlobalAveragePool { input: 0 };
        compare(&op, input, &Layer::GlobalAverage { input }, &x, None, Place::NoSecond, &expected, NO_HALF_SUMS);
    }

    #[test]
    fn shortcuts_and_sums(
        (c, more, h, w) in (1u32..6, 0u32..7, 1u32..20, 1u32..20), stride in 1u16..4,
        activation in activation(), in_place: bool, seed: u64,
    ) {
        let input = Shape::new(c, h, w);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let x = halves(&mut rng, input.len(), 60000.0);
        let op = Op::PadShortcut(PadShortcut { input: 0, out_channels: c + more, stride });
        let output = op.output_shape(input).unwrap();
        let exact = |value| Bounded { value, error: 0.0 };
        let expected: Vec<Bounded> =
            reference::pad_shortcut(&wide(&x), input, output, usize::from(stride)).into_iter().map(exact).collect();
        compare(&op, input, &Layer::PadShortcut { input, output, stride }, &x, None, Place::NoSecond, &expected, NO_HALF_SUMS);

        let y = halves(&mut rng, input.len(), 60000.0);
        let sum = |(a, b): (f64, f64)| reference::finish(exact(a), 0.0, b, activation);
        let expected: Vec<Bounded> = wide(&x).into_iter().zip(wide(&y)).map(sum).collect();
        let place = if in_place { Place::Overwritten } else { Place::Other };
        let op = Op::Add { inputs: [0, 1], activation };
        compare(&op, input, &Layer::Add { activation }, &x, Some(&y), place, &expected, NO_HALF_SUMS);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES / 8, failure_persistence: None, ..ProptestConfig::default() })]

    /// Where output channels, not pixels, fill the registers.
    #[test]
    fn many_channels_on_small_maps(
        (c, h, w, n) in (24u32..70, 1u32..10, 1u32..10, 24u32..100),
        kernel in prop_oneof![Just(1u16), Just(3)], stride in 1u16..3, form in 0usize..2, rank in 8u32..50,
        activation in activation(), place in place(), scale in prop_oneof![Just(1.0f32), Just(0.0)], seed: u64,
    ) {
        let window = Window::square(kernel, stride, kernel / 2);
        convolution(Case { shape: (c, h, w, n), window, form, rank, activation, place, scale, seed });
    }
}

#[test]
fn what_exceeds_the_range_saturates() {
    let input = Shape::new(1, 3, 5);
    let window = Window::square(1, 1, 0);
    let activation = Activation::None;
    let (x, weight) = (vec![f16::MAX.to_bits(); 15], [f16::MAX.to_bits(), f16::MIN.to_bits()]);
    let (n, weights) = (2, Weights::Dense);
    let op =
        Op::Conv(Conv { name: "", input: 0, out_channels: n, window, weights, residual: None, activation });
    let output = Shape::new(n, 3, 5);
    let bias = [f32::MAX, f32::MIN];
    let layer = Layer::Conv {
        input,
        output,
        window,
        weights: LayerWeights::Dense(WeightMatrix::Half(&weight)),
        bias: &bias,
        activation,
    };
    let mut expected = vec![Bounded { value: 65504.0, error: 0.0 }; 15];
    expected.extend([Bounded { value: -65504.0, error: 0.0 }; 15]);
    compare(&op, input, &layer, &x, None, Place::NoSecond, &expected, NO_HALF_SUMS);
}
