//! The backward pass of each operation against differences of its forward pass, in f64, and what only this crate decides against
//! small examples.

use candle_core::{Device, Result, Tensor, Var};
use lrpet_runtime::model::{
    Activate, Activation, Affine, Axis, Binary, BinaryKind, BlockOrder, Blocks, Coordinates, GeneralConv,
    GeneralPool, Inputs, Join, Nearest, Normalise, NormaliseOver, Op, Pad, PadMode, Reduce, Reduction,
    Reshape, Resize, ResizeMode, Shape, Shuffle, Slice, Softmax, Transpose, Weights, Window,
};
use rand::{Rng, SeedableRng};

use super::{apply, convolve, tensors};

fn noise(rng: &mut impl Rng, dims: &[usize]) -> Tensor {
    // No two values are equal, and none lies at a kink.
    let count: usize = dims.iter().product();
    let mut values: Vec<f64> =
        (0..count).map(|at| (at as f64 + rng.random_range(0.2..0.8)) / count as f64).collect();
    rand::seq::SliceRandom::shuffle(&mut values[..], rng);
    let values = values.into_iter().map(|value| value * 8.0 - 4.0).collect::<Vec<_>>();
    Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
}

/// Gradients of a sum of `f`'s values, each times a random number, against central differences along random directions.
fn check_gradient(what: &str, inputs: &[Tensor], f: impl Fn(&[&Tensor]) -> Result<Tensor>) {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(2);
    let variables: Vec<Var> = inputs.iter().map(|input| Var::from_tensor(input).unwrap()).collect();
    let read: Vec<&Tensor> = variables.iter().map(Var::as_tensor).collect();
    let result = f(&read).unwrap();
    let slope = noise(&mut rng, result.dims());
    let sum = |result: &Tensor| (result * &slope).unwrap().sum_all().unwrap();
    let store = sum(&result).backward().unwrap();
    for (slot, input) in inputs.iter().enumerate() {
        let gradient = store.get(&variables[slot]).unwrap();
        for _ in 0..3 {
            let direction = noise(&mut rng, input.dims());
            let expected = (gradient * &direction).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
            let step = 1e-6;
            let at = |step: f64| {
                let mut moved = inputs.to_vec();
                moved[slot] = (input + (&direction * step).unwrap()).unwrap();
                let moved: Vec<&Tensor> = moved.iter().collect();
                sum(&f(&moved).unwrap()).to_scalar::<f64>().unwrap()
            };
            let found = (at(step) - at(-step)) / (2.0 * step);
            let scale = expected.abs().max(1.0);
            assert!((found - expected).abs() < 1e-5 * scale, "{what}, input {slot}: {expected} for {found}");
        }
    }
}

fn check(op: Op<String>, shapes: &[[usize; 3]]) {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let mut inputs: Vec<Tensor> =
        shapes.iter().map(|shape| noise(&mut rng, &[2, shape[0], shape[1], shape[2]])).collect();
    inputs.extend(tensors(&op).iter().map(|_| noise(&mut rng, &[shapes[0][0]])));
    let count = shapes.len();
    let names = tensors(&op);
    let f = |values: &[&Tensor]| {
        let tensor = |name: &str| {
            let place = names.iter().position(|other| *other == name).unwrap();
            Ok(values[count + place].clone())
        };
        apply(&op, &values[..count], tensor)
    };
    check_gradient(&format!("{op:?}"), &inputs, f);
    // What the runtime says of the shape.
    let made = f(&inputs.iter().collect::<Vec<_>>()).unwrap();
    let shape = |dims: &[usize]| Shape::new(dims[0] as u32, dims[1] as u32, dims[2] as u32);
    let expected = op.output_shape(shape(&shapes[0])).unwrap();
    assert_eq!((made.dims()[0], shape(&made.dims()[1..])), (2, expected), "{op:?}");
}

/// Every activation with some numbers, but for the root, which negative values have none of.
const ACTIVATIONS: [Activation; 15] = [
    Activation::None,
    Activation::Relu,
    Activation::Relu6,
    Activation::LeakyRelu { slope: 0.1 },
    Activation::Sigmoid,
    Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
    Activation::HardSwish,
    Activation::Silu,
    Activation::Tanh,
    Activation::Elu { alpha: 1.3 },
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Clip { min: -1.5, max: 2.25 },
    Activation::Softplus,
    Activation::Exp,
];

#[test]
fn gradients_of_activations_are_those_of_their_values() {
    for activation in ACTIVATIONS {
        check(Op::Activate(Activate { input: 0, activation, slope: None }), &[[3, 5, 4]]);
    }
    check(
        Op::Activate(Activate { input: 0, activation: Activation::None, slope: Some("p".into()) }),
        &[[3, 5, 4]],
    );
    let root = Var::new(&[0.25, 4.0], &Device::Cpu).unwrap();
    let store = super::activate(&root, Activation::Sqrt).unwrap().sum_all().unwrap().backward().unwrap();
    assert_eq!(plain(store.get(&root).unwrap()), [1.0, 0.25]);
    // Far from 0 nothing overflows: neither value nor gradient.
    for activation in ACTIVATIONS.into_iter().filter(|activation| *activation != Activation::Exp) {
        let x = Var::new(&[-200f32, 200.0], &Device::Cpu).unwrap();
        let y = super::activate(&x, activation).unwrap();
        let store = y.sum_all().unwrap().backward().unwrap();
        let slope = store.get(&x).map(|slope| slope.to_vec1::<f32>().unwrap()).unwrap_or_default();
        let values = y.to_vec1::<f32>().unwrap();
        assert!(
            values.iter().chain(&slope).all(|value| value.is_finite()),
            "{activation:?}: {values:?} {slope:?}"
        );
    }
}

#[test]
fn gradients_of_values_that_are_joined_are_those_of_their_values() {
    for kind in [BinaryKind::Add, BinaryKind::Sub, BinaryKind::Mul, BinaryKind::Div] {
        for [a, b] in
            [[[3, 5, 4], [3, 5, 4]], [[3, 5, 4], [3, 1, 1]], [[1, 5, 4], [3, 5, 1]], [[3, 1, 1], [3, 5, 4]]]
        {
            let output = Shape::new(3, 5, 4);
            check(Op::Binary(Binary { kind, inputs: [0, 1], output, activation: Activation::Silu }), &[a, b]);
        }
    }
    let inputs = Inputs::new(&[0, 1]).unwrap();
    check(Op::Join(Join { inputs, axis: Axis::Channel, size: 5 }), &[[3, 5, 4], [2, 5, 4]]);
    check(Op::Join(Join { inputs, axis: Axis::Width, size: 5 }), &[[3, 5, 4], [3, 5, 1]]);
    check(Op::Affine(Affine { name: "a".into(), input: 0, activation: Activation::Relu }), &[[3, 5, 4]]);
}

#[test]
fn gradients_of_reductions_are_those_of_their_values() {
    for kind in [Reduction::Max, Reduction::Mean, Reduction::Sum] {
        for axes in [[false, true, true], [true, false, false], [false, false, true]] {
            check(Op::Reduce(Reduce { input: 0, kind, axes }), &[[3, 5, 4]]);
        }
    }
    for over in [NormaliseOver::Channels, NormaliseOver::Plane, NormaliseOver::All, NormaliseOver::Groups(2)]
    {
        check(Op::Normalise(Normalise { name: "n".into(), input: 0, epsilon: 1e-3, over }), &[[4, 5, 3]]);
    }
    for log in [false, true] {
        check(Op::Softmax(Softmax { input: 0, log }), &[[5, 2, 3]]);
    }
    for (kind, counted) in
        [(Reduction::Max, [0; 4]), (Reduction::Mean, [0; 4]), (Reduction::Mean, [1, 0, 1, 1])]
    {
        let window = Window { kernel: [3, 2], stride: [2, 1], padding: [1, 1, 2, 1] };
        check(
            Op::GeneralPool(GeneralPool { input: 0, kind, window, dilation: [1, 2], counted }),
            &[[2, 6, 5]],
        );
    }
    // Two of the largest share the gradient.
    let x = Var::new(&[[[[1f32, 3.0, 3.0]]]], &Device::Cpu).unwrap();
    let reduce = Op::Reduce(Reduce { input: 0, kind: Reduction::Max, axes: [false, true, true] });
    let store = apply(&reduce, &[&x], |_| unreachable!()).unwrap().sum_all().unwrap().backward().unwrap();
    assert_eq!(store.get(&x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap(), [0.0, 0.5, 0.5]);
}

#[test]
fn gradients_of_what_moves_values_are_those_of_their_values() {
    let output = Shape::new(2, 3, 2);
    check(Op::Slice(Slice { input: 0, start: [1, 0, 1], step: [1, 2, 2], output }), &[[3, 5, 4]]);
    check(Op::Shuffle(Shuffle { input: 0, groups: 3 }), &[[6, 2, 2]]);
    for mode in [PadMode::Constant(0.0), PadMode::Constant(1.5), PadMode::Reflect, PadMode::Edge] {
        check(Op::Pad(Pad { input: 0, before: [1, 2, 0], after: [0, 1, 3], mode }), &[[3, 5, 4]]);
    }
    for mode in [
        ResizeMode::Nearest(Nearest::RoundDown),
        ResizeMode::Nearest(Nearest::RoundUp),
        ResizeMode::Nearest(Nearest::Floor),
        ResizeMode::Nearest(Nearest::Ceil),
        ResizeMode::Linear,
    ] {
        for coordinates in [
            Coordinates::HalfPixel,
            Coordinates::PytorchHalfPixel,
            Coordinates::AlignCorners,
            Coordinates::Asymmetric,
        ] {
            let resize = Resize { input: 0, size: [9, 3], mode, coordinates, scales: [1.8, 0.75] };
            check(Op::Resize(resize), &[[2, 5, 4]]);
        }
    }
    for order in [BlockOrder::BlockFirst, BlockOrder::ChannelFirst] {
        check(Op::DepthToSpace(Blocks { input: 0, block: 2, order }), &[[8, 2, 3]]);
        check(Op::SpaceToDepth(Blocks { input: 0, block: 2, order }), &[[2, 4, 6]]);
        // One undoes the other.
        let x = noise(&mut rand_chacha::ChaCha8Rng::seed_from_u64(5), &[2, 8, 2, 3]);
        let there = Op::DepthToSpace(Blocks { input: 0, block: 2, order });
        let back = Op::SpaceToDepth(Blocks { input: 0, block: 2, order });
        let y = apply(&there, &[&x], |_| unreachable!()).unwrap();
        let z = apply(&back, &[&y], |_| unreachable!()).unwrap();
        assert_eq!((z - x).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap(), 0.0);
    }
    check(Op::Reshape(Reshape { input: 0, output: Shape::new(10, 1, 6) }), &[[3, 5, 4]]);
    let axes = [Axis::Width, Axis::Channel, Axis::Height];
    check(Op::Transpose(Transpose { input: 0, axes }), &[[3, 5, 4]]);
}

#[test]
fn gradients_of_general_convolutions_are_those_of_their_values() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
    for (c, n, groups, stride, dilation, transposed) in [
        (4, 6, 1, [1, 1], [2, 1], None),
        (4, 6, 2, [2, 1], [1, 2], None),
        (4, 4, 4, [1, 2], [2, 2], None),
        (4, 8, 4, [2, 2], [1, 1], None),
        (4, 6, 1, [2, 2], [1, 1], Some([1, 0])),
        (4, 6, 2, [3, 2], [1, 2], Some([0, 1])),
        (4, 4, 4, [1, 1], [1, 1], Some([0, 0])),
    ] {
        let window = Window { kernel: [3, 2], stride, padding: [1, 1, 2, 0] };
        let conv = GeneralConv {
            name: "c".to_owned(),
            input: 0,
            out_channels: n,
            window,
            dilation,
            groups,
            transposed,
            weights: Weights::Dense,
            residual: None,
            activation: Activation::None,
        };
        let x = noise(&mut rng, &[2, c, 7, 8]);
        let weight = noise(&mut rng, &[n as usize, c / groups as usize, 3, 2]);
        check_gradient(&format!("{conv:?}"), &[x.clone(), weight.clone()], |values| {
            convolve(&conv, values[0], values[1])
        });
        let made = convolve(&conv, &x, &weight).unwrap();
        let expected = Op::GeneralConv(conv.clone()).output_shape(Shape::new(c as u32, 7, 8)).unwrap();
        assert_eq!(
            made.dims()[1..],
            [expected.channels, expected.height, expected.width].map(|size| size as usize)
        );
        // By the definition, in plain loops.
        let (x, weight) = (plain(&x), plain(&weight));
        let sums = by_definition(&conv, (&x, [c, 7, 8]), &weight, expected);
        for (found, right) in plain(&made).iter().zip(&sums) {
            assert!((found - right).abs() < 1e-9, "{conv:?}: {found} and not {right}");
        }
    }
}

fn plain(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Every product of an input, a weight and the output to which it belongs, added up.
fn by_definition(
    conv: &GeneralConv<String>,
    (x, [c, h, w]): (&[f64], [usize; 3]),
    weight: &[f64],
    output: Shape,
) -> Vec<f64> {
    let (n, groups) = (conv.out_channels as usize, conv.groups as usize);
    let [kh, kw] = conv.window.kernel.map(usize::from);
    let stride = conv.window.stride.map(i64::from);
    let dilation = conv.dilation.map(i64::from);
    let [top, left, ..] = conv.window.padding.map(i64::from);
    let (oh, ow) = (output.height as i64, output.width as i64);
    let mut sums = vec![0.0; 2 * output.len()];
    for (batch, o) in (0..2).flat_map(|batch| (0..n).map(move |o| (batch, o))) {
        for i in 0..c / groups {
            let channel = o / (n / groups) * (c / groups) + i;
            for (row, column) in (0..kh).flat_map(|row| (0..kw).map(move |column| (row, column))) {
                let factor = weight[((o * (c / groups) + i) * kh + row) * kw + column];
                let (down, across) = (row as i64 * dilation[0] - top, column as i64 * dilation[1] - left);
                let pixels = |h: i64, w: i64| (0..h).flat_map(move |y| (0..w).map(move |x| (y, x)));
                let mut add = |iy: i64, ix: i64, oy: i64, ox: i64| {
                    if (0..h as i64).contains(&iy)
                        && (0..w as i64).contains(&ix)
                        && (0..oh).contains(&oy)
                        && (0..ow).contains(&ox)
                    {
                        let value = x[((batch * c + channel) * h + iy as usize) * w + ix as usize];
                        sums[((batch * n + o) * oh as usize + oy as usize) * ow as usize + ox as usize] +=
                            factor * value;
                    }
                };
                if conv.transposed.is_some() {
                    pixels(h as i64, w as i64)
                        .for_each(|(y, x)| add(y, x, y * stride[0] + down, x * stride[1] + across));
                } else {
                    pixels(oh, ow).for_each(|(y, x)| add(y * stride[0] + down, x * stride[1] + across, y, x));
                }
            }
        }
    }
    sums
}
