//! Model files of any network with random weights, for what does not depend on training: memory, speed, errors.

use anyhow::{Context, Result, anyhow};
use half::f16;
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::program::{
    PROGRAM_TENSOR, SELF_CHECK_IMAGES, SELF_CHECK_LOGITS, SELF_CHECK_VALUES,
};
use lrpet_runtime::model::{
    Activation, Concat, Conv, Header, InputKind, Inputs, Linear, Model, Op, OutputKind, Shape, Weights,
    Window,
};
use lrpet_runtime::plan::Plan;
use lrpet_runtime::session::{RunError, Session};
use postcard::to_allocvec;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub use crate::random_weights::Values;
use crate::random_weights::{Made, Tensor, serialize, square, weights};

/// Images of the self-check.
const SAMPLES: usize = 3;

/// A small network with random weights: a pair with stride, a dense layer with a residual, its result joined with itself,
/// pooling, a classifier.
///
/// # Errors
/// Where an image of `input` is too small.
pub fn small_model(input: Shape, out_channels: u32, classes: u32) -> Result<Vec<u8>> {
    let conv = |name: &str, input, stride, weights, residual| {
        Op::Conv(Conv {
            name: name.to_owned(),
            input,
            out_channels,
            window: Window::square(3, stride, 1),
            weights,
            residual,
            activation: Activation::Relu,
        })
    };
    let ops = [
        conv("first", 0, 2, Weights::Pair { rank: 3 }, None),
        conv("second", 1, 1, Weights::Dense, Some(1)),
        Op::Concat(Concat {
            inputs: Inputs::new(&[2, 2]).context("two values")?,
            out_channels: out_channels * 2,
        }),
        Op::GlobalAveragePool { input: 3 },
        Op::Linear(Linear {
            name: "fc".to_owned(),
            input: 4,
            out_features: classes,
            weights: Weights::Dense,
            activation: Activation::None,
        }),
    ];
    random_model(input, classes, &ops, 1)
}

/// A network of random convolutions: sizes odd and even, ranks from 1, kernels of 1 to 5 rows and columns, strides of 1
/// to 3, a padding of its own on each side, dense, pair and depthwise, with and without residual. Each of `branches`
/// is two convolutions of the image and a third one that weighs every value of the second, so that one wrong value
/// changes the logits.
///
/// # Errors
/// Never for an image of at most [`MAX_INPUT_CHANNELS`](lrpet_runtime::model::program::MAX_INPUT_CHANNELS) channels.
pub fn random_convolutions(
    input: Shape,
    branches: usize,
    classes: u32,
    values: Values,
    seed: u64,
) -> Result<Vec<u8>> {
    /// Channels of each branch's result.
    const RESULTS: u32 = 8;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut ops: Vec<Op<String>> = Vec::new();
    let conv = |ops: &mut Vec<Op<String>>, rng: &mut ChaCha8Rng, from: (u16, Shape), n, window, same| {
        let form = if same { rng.random_range(0..2) } else { rng.random_range(0..3) };
        let (weights, out_channels) = match form {
            0 => (Weights::Dense, n),
            1 => (Weights::Pair { rank: rng.random_range(1..12) }, n),
            _ => (Weights::Depthwise, from.1.channels),
        };
        let any = [Activation::None, Activation::Relu, Activation::Relu6][rng.random_range(0..3)];
        let activation = if values == Values::Whole { Activation::Relu6 } else { any };
        let name = format!("conv{}", ops.len());
        let residual = same.then_some(from.0);
        let conv = Conv { name, input: from.0, out_channels, window, weights, residual, activation };
        let output = Op::Conv(conv.clone()).output_shape(from.1).context("the window exceeds the image")?;
        ops.push(Op::Conv(conv));
        anyhow::Ok((u16::try_from(ops.len())?, output))
    };
    let mut result = None;
    for _ in 0..branches {
        let first = random_window(&mut rng, input);
        let n = rng.random_range(1..20);
        let a = conv(&mut ops, &mut rng, (0, input), n, first, false)?;
        let b = if rng.random() {
            conv(&mut ops, &mut rng, a, a.1.channels, Window::square(3, 1, 1), true)?
        } else {
            let window = random_window(&mut rng, a.1);
            let n = rng.random_range(1..20);
            conv(&mut ops, &mut rng, a, n, window, false)?
        };
        let whole = [u16::try_from(b.1.height)?, u16::try_from(b.1.width)?];
        ops.push(Op::Conv(Conv {
            name: format!("conv{}", ops.len()),
            input: b.0,
            out_channels: RESULTS,
            window: Window { kernel: whole, stride: [1, 1], padding: [0; 4] },
            weights: Weights::Dense,
            residual: result,
            activation: Activation::None,
        }));
        result = Some(u16::try_from(ops.len())?);
    }
    ops.push(Op::Linear(Linear {
        name: "fc".to_owned(),
        input: result.context("no branch")?,
        out_features: classes,
        weights: Weights::Dense,
        activation: Activation::None,
    }));
    model_of(input, classes, &ops, values, seed)
}

/// A network of pairs with 3×3 windows and stride 1, of the channels and ranks at which a device may make their thin half by
/// tiles: one after another, paddings of their own, with and without residual; the last layers weigh every value.
///
/// # Errors
/// Where an image of `input` is smaller than 6×6.
pub fn random_pairs(input: Shape, classes: u32, values: Values, seed: u64) -> Result<Vec<u8>> {
    /// Channels between the pairs.
    const CHANNELS: u32 = 24;
    let conv = |name: &str, from, window, weights, residual| {
        let activation = if values == Values::Whole { Activation::Relu6 } else { Activation::Relu };
        let (name, out_channels) = (name.to_owned(), CHANNELS);
        Op::Conv(Conv { name, input: from, out_channels, window, weights, residual, activation })
    };
    let pair = |rank| Weights::Pair { rank };
    let uneven = Window { kernel: [3, 3], stride: [1, 1], padding: [0, 2, 1, 0] };
    let mut ops = vec![
        conv("widen", 0, Window::square(1, 1, 0), Weights::Dense, None),
        conv("seven", 1, Window::square(3, 1, 1), pair(7), None),
        conv("added", 2, Window::square(3, 1, 1), pair(12), Some(1)),
        conv("uneven", 3, uneven, pair(9), None),
        conv("inside", 4, Window::square(3, 1, 0), pair(10), None),
    ];
    let last =
        ops.iter().try_fold(input, |shape, op| op.output_shape(shape)).context("the image is too small")?;
    let whole = [u16::try_from(last.height)?, u16::try_from(last.width)?];
    let window = Window { kernel: whole, stride: [1, 1], padding: [0; 4] };
    let (weights, activation) = (Weights::Dense, Activation::None);
    ops.push(conv("all", 5, window, weights, None));
    ops.push(Op::Linear(Linear {
        name: "fc".to_owned(),
        input: 6,
        out_features: classes,
        weights,
        activation,
    }));
    model_of(input, classes, &ops, values, seed)
}

/// Kernel, stride and a padding smaller than the kernel that fit `input`; every other one of the kind that networks use.
fn random_window(rng: &mut ChaCha8Rng, input: Shape) -> Window {
    let [height, width] = [input.height, input.width].map(|size| size.min(5) as u16);
    if rng.random() && height.min(width) >= 3 {
        let kernel = [1, 3][rng.random_range(0..2)];
        return Window::square(kernel, rng.random_range(1..3), kernel / 2);
    }
    let kernel = [rng.random_range(1..=height), rng.random_range(1..=width)];
    let stride = [rng.random_range(1..4), rng.random_range(1..4)];
    let padding = [0, 1, 0, 1].map(|axis: usize| rng.random_range(0..kernel[axis]));
    Window { kernel, stride, padding }
}

/// `ops` with the layers that have a rank made pairs.
pub fn factor(ops: Vec<Op<String>>, rank: impl Fn(&str) -> Option<u64>) -> Vec<Op<String>> {
    let pair = |mut op: Op<String>| {
        let rank = rank(op.name());
        if let (Some(rank), Op::Conv(Conv { weights, .. }) | Op::Linear(Linear { weights, .. })) =
            (rank, &mut op)
        {
            *weights = Weights::Pair { rank: rank as u32 };
        }
        op
    };
    ops.into_iter().map(pair).collect()
}

/// A model file of `ops` with random weights of a size that keeps activations near 1. The self-check holds random
/// images and the logits that this crate's runtime computes from them here.
///
/// # Errors
/// Where the operations do not chain.
pub fn random_model(input: Shape, classes: u32, ops: &[Op<String>], seed: u64) -> Result<Vec<u8>> {
    model_of(input, classes, ops, Values::Real, seed)
}

/// As [`random_model`] of values as they are, with a result of values of the shape `output`.
///
/// # Errors
/// Where the operations do not chain.
pub fn random_map(input: Shape, output: Shape, ops: &[Op<String>], seed: u64) -> Result<Vec<u8>> {
    let header = Header::classifier(input, &[0.0], &[1.0], output.len() as u32).context("one mean")?;
    let (kind, result) = (InputKind::Values, OutputKind::Values);
    let header = Header { kind, result, output, ..header };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut tensors = network(header, ops, Values::Real, &mut rng)?;
    let count = SAMPLES * input.len();
    let values: Vec<f16> = (0..count).map(|_| f16::from_f32(rng.random_range(-2.0..2.0))).collect();
    let wide: Vec<f32> = values.iter().map(|value| value.to_f32()).collect();
    let run = |session: &mut Session<'_>, values: &[f32], result: &mut [f32]| {
        session.run_values(values, result, &mut ())
    };
    let results = results(&serialize(&tensors)?, &wide, input, output.len() as u32, run)?;
    let [channels, height, width] = input.axes().map(|size| size as usize);
    let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensors.push(Tensor::f16(SELF_CHECK_VALUES, vec![SAMPLES, channels, height, width], data));
    tensors.push(Tensor::f32(SELF_CHECK_LOGITS, vec![SAMPLES, output.len()], &results));
    serialize(&tensors)
}

/// Program and weights of `ops` behind `header`.
fn network(header: Header, ops: &[Op<String>], values: Values, rng: &mut ChaCha8Rng) -> Result<Vec<Tensor>> {
    let header = header.of_ops(ops).context("too many operations")?;
    let mut program = to_allocvec(&header)?;
    // Of bytes as they are drawn for a self-check: (b / 255 − 0.5) / 0.25 has the mean square 4 / 3.
    let mut made = vec![Made { shape: header.input, square: 4.0 / 3.0 }];
    let mut tensors = Vec::new();
    for op in ops {
        program.extend(to_allocvec(op)?);
        let inputs = op.inputs();
        let inputs = inputs.values().iter().map(|value| made.get(usize::from(*value)).copied());
        let inputs = inputs.collect::<Option<Vec<_>>>().context("a value is read before it is made")?;
        let from = *inputs.first().context("an operation reads nothing")?;
        let shape = op.output_shape(from.shape);
        let shape = shape.with_context(|| format!("{} does not take {}", op.name(), from.shape))?;
        made.push(Made { shape, square: square(op, &inputs, shape) });
        tensors.extend(weights(op, from, values, rng)?);
    }
    tensors.push(Tensor::bytes(PROGRAM_TENSOR, vec![program.len()], program));
    Ok(tensors)
}

fn model_of(input: Shape, classes: u32, ops: &[Op<String>], values: Values, seed: u64) -> Result<Vec<u8>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let channels = input.channels as usize;
    let header = Header::classifier(input, &vec![0.5; channels], &vec![0.25; channels], classes);
    let header = header.context("means of all channels")?;
    let mut tensors = network(header, ops, values, &mut rng)?;

    let mut images: Vec<u8> = Vec::with_capacity(SAMPLES * input.len());
    for _ in 0..SAMPLES {
        // Noise about a level of its own for each channel, or all images would look the same to a network that averages.
        let levels: Vec<u8> = (0..channels).map(|_| rng.random()).collect();
        let mut byte = |level: &u8| match values {
            Values::Whole => [0, 255][rng.random_range(0..2)],
            Values::Real if rng.random() => *level,
            Values::Real => rng.random(),
        };
        images.extend((0..input.pixels()).flat_map(|_| levels.iter().map(&mut byte).collect::<Vec<_>>()));
    }
    let run = |session: &mut Session<'_>, image: &[u8], logits: &mut [f32]| {
        session.run_image(image, logits, &mut ())
    };
    let logits = results(&serialize(&tensors)?, &images, input, classes, run)?;
    let [height, width] = [input.height, input.width].map(|size| size as usize);
    tensors.push(Tensor::bytes(SELF_CHECK_IMAGES, vec![SAMPLES, height, width, channels], images));
    tensors.push(Tensor::f32(SELF_CHECK_LOGITS, vec![SAMPLES, classes as usize], &logits));
    serialize(&tensors)
}

/// Results of the portable kernels for each of `inputs`, of shape `input`, which `run` runs.
fn results<T>(
    file: &[u8],
    inputs: &[T],
    input: Shape,
    classes: u32,
    run: impl Fn(&mut Session<'_>, &[T], &mut [f32]) -> Result<(), RunError>,
) -> Result<Vec<f32>> {
    let owned = |error: &dyn std::fmt::Display| anyhow!("{error}");
    let mut copy = aligned(file.len());
    let copy = &mut bytemuck::cast_slice_mut(&mut copy)[..file.len()];
    copy.copy_from_slice(file);
    let model = Model::new_checked(copy).map_err(|error| owned(&error))?;
    let plan = Plan::new(model.program(), Isa::Portable).map_err(|error| owned(&error))?;
    let mut arena = aligned(plan.arena_bytes);
    let arena = bytemuck::cast_slice_mut(&mut arena);
    let mut session = Session::with_isa(&model, arena, Isa::Portable).map_err(|error| owned(&error))?;
    let mut all = Vec::new();
    let mut logits = vec![0.0; classes as usize];
    for one in inputs.chunks(input.len()) {
        run(&mut session, one, &mut logits).map_err(|error| owned(&error))?;
        all.extend_from_slice(&logits);
    }
    Ok(all)
}

/// Zeroed memory for `bytes` bytes, aligned as model files and arenas are.
fn aligned(bytes: usize) -> Vec<u128> {
    vec![0; bytes.div_ceil(size_of::<u128>())]
}
