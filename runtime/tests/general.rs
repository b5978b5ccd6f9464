//! Operations from `GeneralConv` on, and activations, against their definitions in f64: on random shapes, layer by layer and as programs.

mod support;

use half::f16;
use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::{
    Activate, Activation, Affine, Axis, Binary, BinaryKind, BlockOrder, Blocks, Coordinates, GeneralConv,
    GeneralPool, Inputs, Join, Model, Nearest, Normalise, NormaliseOver, Op, Pad, PadMode, Reduce, Reduction,
    Reshape, Resize, ResizeMode, Shape, Shuffle, Slice, Softmax, Transpose, Weights, Window,
};
use lrpet_runtime::plan::Plan;
use lrpet_runtime::session::Session;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::values::{end, of_values};
use support::{Network, reference};

/// Every activation with some numbers, but for the root, which negative sums have none of.
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
    Activation::Elu { alpha: 1.5 },
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Clip { min: -0.75, max: 1.25 },
    Activation::Softplus,
    Activation::Exp,
];

fn pick<T: Copy>(rng: &mut ChaCha8Rng, from: &[T]) -> T {
    from[rng.random_range(0..from.len())]
}

fn divisor(rng: &mut ChaCha8Rng, of: u32) -> u32 {
    let all: Vec<u32> = (1..=of).filter(|n| of.is_multiple_of(*n)).collect();
    pick(rng, &all)
}

fn window(rng: &mut ChaCha8Rng) -> (Window, [u16; 2]) {
    let mut pair = |most: u16| [rng.random_range(1..=most), rng.random_range(1..=most)];
    let (kernel, stride, dilation) = (pair(4), pair(3), pair(3));
    let padding = std::array::from_fn(|_| rng.random_range(0..4));
    (Window { kernel, stride, padding }, dilation)
}

/// How many kinds of operations [`operation`] draws.
const KINDS: usize = 17;

/// A random operation of a kind over value `input` of shape `shape`; `others` are values with their shapes.
fn operation(rng: &mut ChaCha8Rng, kind: usize, input: u16, shapes: &[Shape], name: String) -> Op<String> {
    let shape = shapes[usize::from(input)];
    let [c, h, w] = shape.axes();
    let activation = pick(rng, &ACTIVATIONS);
    match kind {
        0 => {
            let (window, dilation) = window(rng);
            let transposed =
                rng.random_bool(0.4).then(|| window.stride.map(|stride| rng.random_range(0..stride)));
            let pair = transposed.is_none() && rng.random_bool(0.3);
            let groups = if pair { 1 } else { divisor(rng, c) };
            let weights = if pair { Weights::Pair { rank: rng.random_range(1..4) } } else { Weights::Dense };
            let out_channels = groups * rng.random_range(1..4);
            let mut conv = GeneralConv {
                name,
                input,
                out_channels,
                window,
                dilation,
                groups,
                transposed,
                weights,
                residual: None,
                activation,
            };
            let output = Op::GeneralConv(conv.clone()).output_shape(shape);
            let same = shapes.iter().position(|other| Some(*other) == output);
            conv.residual = same.map(|value| value as u16);
            Op::GeneralConv(conv)
        }
        1 => {
            let (window, dilation) = window(rng);
            let kind = pick(rng, &[Reduction::Max, Reduction::Mean]);
            let counted = window.padding.map(|padding| rng.random_range(0..=padding));
            Op::GeneralPool(GeneralPool { input, kind, window, dilation, counted })
        }
        2 => {
            let kind = pick(rng, &[Reduction::Max, Reduction::Mean, Reduction::Sum]);
            let mut axes = [rng.random(), rng.random(), rng.random()];
            axes[rng.random_range(0..3)] = true;
            Op::Reduce(Reduce { input, kind, axes })
        }
        3 => {
            let kind = pick(rng, &[BinaryKind::Add, BinaryKind::Sub, BinaryKind::Mul, BinaryKind::Div]);
            let goes = |other: &Shape| {
                shape.axes().iter().zip(other.axes()).all(|(a, b)| *a == b || *a == 1 || b == 1)
            };
            let fits: Vec<u16> =
                (0..shapes.len()).filter(|at| goes(&shapes[*at])).map(|at| at as u16).collect();
            let second = pick(rng, &fits);
            let mut output = shape.axes();
            output.iter_mut().zip(shapes[usize::from(second)].axes()).for_each(|(a, b)| *a = b.max(*a));
            let inputs = if rng.random() { [input, second] } else { [second, input] };
            Op::Binary(Binary { kind, inputs, output: Shape::of(output), activation })
        }
        4 => Op::Affine(Affine { name, input, activation }),
        5 => match rng.random_bool(0.3) {
            true => Op::Activate(Activate { input, activation: Activation::None, slope: Some(name) }),
            false => Op::Activate(Activate { input, activation, slope: None }),
        },
        6 => Op::Softmax(Softmax { input, log: rng.random() }),
        7 => {
            let mut slice = Slice { input, start: [0; 3], step: [1; 3], output: shape };
            let mut sizes = [0; 3];
            for (axis, size) in shape.axes().into_iter().enumerate() {
                slice.start[axis] = rng.random_range(0..size);
                slice.step[axis] = rng.random_range(1..4);
                let most = (size - slice.start[axis]).div_ceil(slice.step[axis]);
                sizes[axis] = rng.random_range(1..=most);
            }
            Op::Slice(Slice { output: Shape::of(sizes), ..slice })
        }
        8 => Op::Shuffle(Shuffle { input, groups: divisor(rng, c) }),
        9 => {
            let mode = pick(rng, &[PadMode::Constant(0.3), PadMode::Reflect, PadMode::Edge]);
            let most = shape.axes().map(|size| if mode == PadMode::Reflect { size.min(4) } else { 4 });
            let mut pads = || most.map(|most| rng.random_range(0..most));
            Op::Pad(Pad { input, before: pads(), after: pads(), mode })
        }
        10 => {
            let size = [rng.random_range(1..=2 * h), rng.random_range(1..=3 * w)];
            let scales = [size[0] as f32 / h as f32, size[1] as f32 / w as f32];
            let roundings = [Nearest::RoundDown, Nearest::RoundUp, Nearest::Floor, Nearest::Ceil];
            let nearest = ResizeMode::Nearest(pick(rng, &roundings));
            let all = [
                Coordinates::HalfPixel,
                Coordinates::PytorchHalfPixel,
                Coordinates::AlignCorners,
                Coordinates::Asymmetric,
            ];
            Op::Resize(Resize {
                input,
                size,
                mode: pick(rng, &[nearest, ResizeMode::Linear]),
                coordinates: pick(rng, &all),
                scales,
            })
        }
        11 => {
            let block = pick(rng, &[1, 2, 3]);
            let order = pick(rng, &[BlockOrder::BlockFirst, BlockOrder::ChannelFirst]);
            Op::DepthToSpace(Blocks { input, block, order })
        }
        12 => {
            let block = pick(rng, &[1, 2, 3]);
            let order = pick(rng, &[BlockOrder::BlockFirst, BlockOrder::ChannelFirst]);
            Op::SpaceToDepth(Blocks { input, block, order })
        }
        13 => {
            let groups = NormaliseOver::Groups(divisor(rng, c));
            let over =
                pick(rng, &[NormaliseOver::Channels, NormaliseOver::Plane, NormaliseOver::All, groups]);
            Op::Normalise(Normalise { name, input, epsilon: pick(rng, &[1e-5, 1e-3]), over })
        }
        14 => {
            let size = shape.len() as u32;
            let channels = divisor(rng, size);
            let height = divisor(rng, size / channels);
            Op::Reshape(Reshape { input, output: Shape::new(channels, height, size / channels / height) })
        }
        15 => {
            let axis = pick(rng, &[Axis::Channel, Axis::Height, Axis::Width]);
            let mut other = shape.axes();
            let fits = |at: &usize| {
                other[axis.index()] = shapes[*at].size(axis);
                shapes[*at].axes() == other
            };
            let fits: Vec<usize> = (0..shapes.len()).filter(fits).collect();
            let values: Vec<usize> =
                (0..rng.random_range(1..7)).map(|_| pick(rng, &fits)).chain([input.into()]).collect();
            let size = values.iter().map(|at| shapes[*at].size(axis)).sum();
            let values: Vec<u16> = values.iter().map(|at| *at as u16).collect();
            Op::Join(Join { inputs: Inputs::new(&values).unwrap(), axis, size })
        }
        _ => {
            let (a, b, c) = (Axis::Channel, Axis::Height, Axis::Width);
            let orders = [[a, b, c], [a, c, b], [b, a, c], [b, c, a], [c, a, b], [c, b, a]];
            Op::Transpose(Transpose { input, axes: pick(rng, &orders) })
        }
    }
}

/// What the runtime makes of `input`.
fn run(net: &mut Network, input: &[f32], isa: Isa) -> Vec<f32> {
    let file = net.file(0);
    let model = Model::new_checked(file.bytes()).unwrap_or_else(|error| panic!("{error}\n{:?}", net.ops));
    let plan = Plan::new(model.program(), isa).unwrap();
    let mut arena = AlignedBytes::zeroed(plan.arena_bytes);
    arena.as_mut_slice().fill(0xff);
    let mut session = Session::with_isa(&model, arena.as_mut_slice(), isa).unwrap();
    let mut result = vec![f32::NAN; session.classes()];
    session.run_values(input, &mut result, &mut ()).unwrap();
    result
}

fn isas() -> Vec<Isa> {
    [Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Neon, Isa::NeonF16]
        .into_iter()
        .filter(|isa| isa.is_available())
        .collect()
}

/// As the runtime stores it: a value in f32, rounded.
fn stored(value: f64) -> f64 {
    f16::from_f32(value.clamp(-65504.0, 65504.0) as f32).to_f64()
}

/// Values as they are stored, away from 0, by which some operations divide.
fn values(rng: &mut ChaCha8Rng, count: usize) -> Vec<f32> {
    let one = |_| {
        let x: f32 = rng.random_range(0.05..3.0);
        f16::from_f32(if rng.random() { x } else { -x }).to_f32()
    };
    (0..count).map(one).collect()
}

/// Each kind, alone and before another that copies: a result that is not rounded, and one that is.
#[test]
fn every_operation_is_what_it_is_defined_to_be() {
    let mut rng = ChaCha8Rng::seed_from_u64(21);
    for kind in 0..KINDS {
        let mut done = 0;
        for attempt in 0.. {
            assert!(attempt < 4000, "kind {kind} is seldom drawn");
            if done == 40 {
                break;
            }
            let sizes = std::array::from_fn(|axis| rng.random_range(1..[13, 9, 10][axis]));
            let shape = Shape::of(sizes);
            let mut net = of_values(shape, attempt);
            // Values of other shapes, which some operations read beside the first.
            let axes = [rng.random(), rng.random(), true];
            net.push(Op::Reduce(Reduce { input: 0, kind: Reduction::Max, axes }));
            let input = if rng.random_bool(0.8) { 0 } else { 1 };
            let op = operation(&mut rng, kind, input, &net.shapes, "layer".into());
            let shapes: Vec<Shape> =
                op.inputs().values().iter().map(|at| net.shapes[usize::from(*at)]).collect();
            let fits = op
                .output_shape(shapes[0])
                .is_some_and(|output| output.len() < 20_000 && op.joins(output, &shapes));
            let read = op.inputs().values().contains(&1);
            if !fits {
                continue;
            }
            if !read {
                // Nothing may be left unread.
                net = of_values(shape, attempt);
            }
            done += 1;
            net.push(op.clone());
            let x = values(&mut rng, shape.len());
            let wide: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
            end(&mut net);
            let (_, expected) = reference::bounded(&net, &wide);
            for isa in isas() {
                let found = run(&mut net, &x, isa);
                assert_eq!(found.len(), expected.len());
                for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    let found = f64::from(*found);
                    let off = (found - expected.value).abs();
                    assert!(
                        off <= expected.error,
                        "{op:?} over {shape}: value {i} is {found}, not {expected:?}"
                    );
                }
            }
            // The same behind a rounding.
            let output = *net.shapes.last().unwrap();
            net.push(Op::Reshape(Reshape { input: net.ops.len() as u16, output }));
            end(&mut net);
            let found = run(&mut net, &x, Isa::detect());
            for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let found = f64::from(*found);
                let [low, high] = [-1.0, 1.0].map(|side| stored(expected.value + side * expected.error));
                assert!(
                    (low..=high).contains(&found),
                    "{op:?} over {shape}: stored {i} is {found}, not {expected:?}"
                );
            }
        }
    }
}

/// Each activation behind the fast layers, on every instruction set that this machine has.
#[test]
fn activations_follow_convolutions_sums_and_linear_layers() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for (i, activation) in ACTIVATIONS.into_iter().enumerate() {
        let shape = Shape::new(3 + i as u32 % 3, 9, 11);
        let mut net = of_values(shape, i as u64);
        let conv = |name: &str, input, n, weights, residual| {
            let mut op = support::conv(name, input, n, Window::square(3, 1, 1), weights, residual);
            if let Op::Conv(conv) = &mut op {
                conv.activation = activation;
            }
            op
        };
        let a = net.push(conv("a", 0, 8, Weights::Dense, None));
        let b = net.push(conv("b", a, 8, Weights::Pair { rank: 3 }, Some(a)));
        let c = net.push(conv("c", b, 8, Weights::Depthwise, None));
        let d = net.push(Op::Add { inputs: [c, b], activation });
        let mut linear = support::linear("fc", d, 5, Weights::Dense);
        if let Op::Linear(linear) = &mut linear {
            linear.activation = activation;
        }
        net.push(linear);
        end(&mut net);
        let x = values(&mut rng, shape.len());
        let wide: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
        let (all, _) = reference::bounded(&net, &wide);
        let expected = all.last().unwrap();
        let largest = expected.iter().fold(1.0f64, |most, x| x.abs().max(most));
        for isa in isas() {
            let found = run(&mut net, &x, isa);
            for (found, expected) in found.iter().zip(expected) {
                // Roundings to f16 of four layers.
                let off = (f64::from(*found) - expected).abs() / largest;
                assert!(off < 1e-2, "{activation:?} on {}: {found}, not {expected}", isa.name());
            }
        }
    }
}

/// Programs of all kinds: what they make is the same on every instruction set up to roundings, and no value is written over another
/// that is still read.
#[test]
fn random_programs_run_everywhere() {
    let mut drawn = [0; KINDS];
    for seed in 0..60 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let shape = Shape::new(4, rng.random_range(2..9), rng.random_range(2..9));
        let mut net = of_values(shape, seed);
        for _ in 0..30 {
            let kind = rng.random_range(0..KINDS);
            // What divides or grows makes numbers that say nothing.
            let input = rng.random_range(0..net.shapes.len()) as u16;
            let name = format!("layer{}", net.ops.len());
            let op = operation(&mut rng, kind, input, &net.shapes, name);
            let wild = matches!(op.activation(), Activation::Exp)
                || matches!(op, Op::Binary(Binary { kind: BinaryKind::Div | BinaryKind::Mul, .. }));
            let shapes: Vec<Shape> =
                op.inputs().values().iter().map(|at| net.shapes[usize::from(*at)]).collect();
            let fits = op
                .output_shape(shapes[0])
                .is_some_and(|output| output.len() < 3_000 && op.joins(output, &shapes));
            if fits && !wild {
                drawn[kind] += 1;
                net.push(op);
            }
        }
        // All that nothing reads, joined as vectors.
        let read: Vec<u16> = net.ops.iter().flat_map(|op| op.inputs().values().to_vec()).collect();
        let unread: Vec<u16> = (1..=net.ops.len() as u16).filter(|value| !read.contains(value)).collect();
        let vectors: Vec<u16> = unread
            .into_iter()
            .map(|input| {
                let output = Shape::vector(net.shapes[usize::from(input)].len() as u32);
                net.push(Op::Reshape(Reshape { input, output }))
            })
            .collect();
        if vectors.is_empty() {
            continue;
        }
        let size = vectors.iter().map(|value| net.shapes[usize::from(*value)].channels).sum();
        net.push(Op::Join(Join { inputs: Inputs::new(&vectors).unwrap(), axis: Axis::Channel, size }));
        end(&mut net);
        let x = values(&mut rng, shape.len());
        let wide: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
        let (all, _) = reference::bounded(&net, &wide);
        let expected = all.last().unwrap();
        let first = run(&mut net, &x, Isa::Portable);
        let largest =
            expected.iter().fold(1.0f64, |most, x| if x.is_finite() { x.abs().max(most) } else { most });
        for isa in isas() {
            let found = run(&mut net, &x, isa);
            // General operations are the same code everywhere.
            assert_eq!(found, first, "{}", isa.name());
        }
        let off = first.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs() / largest);
        let far = off.filter(|off| *off > 0.05).count();
        // A rounding may be magnified by a normalisation of values that hardly differ.
        assert!(far * 20 <= expected.len(), "seed {seed}: {far} of {} values", expected.len());
    }
    assert!(drawn.iter().all(|count| *count > 10), "{drawn:?}");
}

/// A picture of more channels than are normalised one by one: the first mean and deviation are those of all.
#[test]
fn pictures_of_many_channels_have_one_normalisation() {
    let mut net = Network::new(Shape::new(7, 3, 2), 7, 3);
    net.header.version = 2;
    net.push(Op::GlobalAveragePool { input: 0 });
    let file = net.file(2);
    let model = Model::new_checked(file.bytes()).unwrap();
    let check = model.self_check().unwrap();
    let plan = Plan::new(model.program(), Isa::detect()).unwrap();
    let mut arena = AlignedBytes::zeroed(plan.arena_bytes);
    let mut session = Session::new(&model, arena.as_mut_slice()).unwrap();
    let mut logits = [0.0; 7];
    session.run_image(check.image(1), &mut logits, &mut ()).unwrap();
    for (found, expected) in logits.iter().zip(check.logits(1)) {
        assert!((found - expected).abs() < 1e-3, "{found}, not {expected}");
    }
}
