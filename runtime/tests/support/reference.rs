//! Every operation in f64, with a bound on the error of f32 accumulation in any order.

use half::f16;
use lrpet_runtime::kernel::{Arithmetic, WinogradTile, winograd_error};
use lrpet_runtime::model::{Activation, Header, Op, PoolKind, Shape, Weights, Window};

use super::Network;

/// A value and how far a correct f32 computation may be from it (before its rounding to f16).
#[derive(Clone, Copy, Debug)]
pub struct Bounded {
    pub value: f64,
    pub error: f64,
}

/// Relative error of a sum of `terms` products in f32, in any order, with or without fused operations
/// (Higham, "Accuracy and stability of numerical algorithms", section 3.1), with room for a few operations more.
fn gamma(terms: usize) -> f64 {
    let n = (terms + 4) as f64 * f64::from(f32::EPSILON) / 2.0;
    n / (1.0 - n)
}

/// As [`gamma`], of sums in this arithmetic: in f16 up to 144 products are summed before the sums are added in f32.
fn relative(arithmetic: Arithmetic, terms: usize) -> f64 {
    match arithmetic {
        Arithmetic::F16 => {
            let n = (terms.min(144) + 1) as f64 * 2f64.powi(-11);
            n / (1.0 - n) + gamma(terms)
        }
        _ => gamma(terms),
    }
}

/// Products and their sum, of operands that may themselves be bounded only.
fn dot(arithmetic: Arithmetic, pairs: impl Iterator<Item = (f64, Bounded)>) -> Bounded {
    let (mut value, mut size, mut carried, mut terms) = (0.0, 0.0, 0.0, 0);
    for (w, x) in pairs {
        value += w * x.value;
        carried += w.abs() * x.error;
        size += w.abs() * (x.value.abs() + x.error);
        terms += 1;
    }
    // A subnormal f16 is rounded to a multiple of 2^-24.
    let subnormal = if arithmetic == Arithmetic::F16 { terms as f64 * 2f64.powi(-25) } else { 0.0 };
    Bounded { value, error: carried + relative(arithmetic, terms) * size + subnormal }
}

/// A value that is stored in f16.
fn rounded(x: Bounded) -> Bounded {
    Bounded { error: x.error + (x.value.abs() + x.error) * 2f64.powi(-11) + 2f64.powi(-25), ..x }
}

/// What an activation makes of a value.
fn activated(activation: Activation, sum: Bounded) -> Bounded {
    let Bounded { value, error } = sum;
    match activation {
        Activation::None => sum,
        Activation::Relu => Bounded { value: value.max(0.0), error },
        Activation::Relu6 => Bounded { value: value.clamp(0.0, 6.0), error },
        #[cfg(feature = "std")]
        other => {
            let sum = lrpet_runtime::reference::Bounded { value, error };
            let lrpet_runtime::reference::Bounded { value, error } =
                lrpet_runtime::reference::activated(other, sum);
            Bounded { value, error }
        }
        #[cfg(not(feature = "std"))]
        other => panic!("this build does not apply {other:?}"),
    }
}

/// What a general operation makes of the values that it reads.
#[cfg(feature = "std")]
fn general(net: &Network, op: &Op<String>, inputs: &[(&[f64], Shape)], output: Shape) -> Vec<Bounded> {
    use lrpet_runtime::reference::{Tensors, activated, general};
    let tensor = |suffix: &str| -> Vec<f32> {
        let found = op.layer().and_then(|name| net.weights.get(&format!("{name}{suffix}")));
        found.map_or(Vec::new(), |(dtype, _, data)| match dtype {
            safetensors::Dtype::F16 => {
                data.chunks_exact(2).map(|x| f16::from_le_bytes([x[0], x[1]]).to_f32()).collect()
            }
            _ => data.chunks_exact(4).map(|x| f32::from_le_bytes([x[0], x[1], x[2], x[3]])).collect(),
        })
    };
    let pair = matches!(op.weights(), Some(Weights::Pair { .. }));
    let [weight, bias] = if pair { [".thin.weight", ".expand.bias"] } else { [".weight", ".bias"] };
    let (weight, expand, bias) = (tensor(weight), tensor(".expand.weight"), tensor(bias));
    let scale = tensor(if matches!(op, Op::Activate(_)) { ".slope" } else { ".scale" });
    let tensors = Tensors { weight: &weight, expand: &expand, bias: &bias, scale: &scale };
    let all = general(op, inputs, output, tensors).into_iter();
    all.map(|sum| activated(op.activation(), sum))
        .map(|r| Bounded { value: r.value, error: r.error })
        .collect()
}

#[cfg(not(feature = "std"))]
fn general(_: &Network, op: &Op<String>, _: &[(&[f64], Shape)], _: Shape) -> Vec<Bounded> {
    panic!("this build does not run {}", op.kind())
}

fn exact(value: f64) -> Bounded {
    Bounded { value, error: 0.0 }
}

/// Bias, residual, activation.
pub fn finish(sum: Bounded, bias: f64, residual: f64, activation: Activation) -> Bounded {
    let value = sum.value + bias + residual;
    let error = sum.error + gamma(2) * (sum.value.abs() + sum.error + bias.abs() + residual.abs());
    activated(activation, Bounded { value, error })
}

/// Weights in f64 as the model stores them.
pub enum Matrix {
    Dense(Vec<f64>),
    Pair { thin: Vec<f64>, expand: Vec<f64>, rank: usize },
    Depthwise(Vec<f64>),
}

/// Taps inside the image: (index into kernel, y, x).
fn taps(window: &Window, shape: Shape, oy: usize, ox: usize) -> Vec<(usize, usize, usize)> {
    let [kh, kw] = window.kernel.map(usize::from);
    let [sy, sx] = window.stride.map(usize::from);
    let [top, left, _, _] = window.padding.map(usize::from);
    let mut taps = Vec::new();
    for ky in 0..kh {
        for kx in 0..kw {
            let (y, x) = ((oy * sy + ky).wrapping_sub(top), (ox * sx + kx).wrapping_sub(left));
            if y < shape.height as usize && x < shape.width as usize {
                taps.push((ky * kw + kx, y, x));
            }
        }
    }
    taps
}

/// A convolution, every product made.
#[allow(clippy::too_many_arguments)]
pub fn conv(
    x: &[f64],
    input: Shape,
    output: Shape,
    window: &Window,
    matrix: &Matrix,
    bias: &[f64],
    residual: Option<&[f64]>,
    activation: Activation,
    arithmetic: Arithmetic,
) -> Vec<Bounded> {
    let own = |_, _| None;
    conv_with(x, input, output, window, matrix, bias, residual, activation, arithmetic, own)
}

/// A convolution by Winograd's tiles: the same values with other errors. In f16, of values up to 1: the bound of f32 in units of
/// f16 (`γₙ` of up to 145 roundings grows by 1.08 more), and for each product of a tile what values below f16's normal range lose.
#[allow(clippy::too_many_arguments)]
pub fn conv_by_tiles(
    tile: WinogradTile,
    x: &[f64],
    input: Shape,
    output: Shape,
    window: &Window,
    matrix: &Matrix,
    bias: &[f64],
    residual: Option<&[f64]>,
    activation: Activation,
    arithmetic: Arithmetic,
) -> Vec<Bounded> {
    let filters = match matrix {
        Matrix::Dense(weights) | Matrix::Depthwise(weights) => weights,
        Matrix::Pair { thin, .. } => thin,
    };
    let errors = winograd_error(tile, x, input, window, filters);
    let (unit, underflow) = match arithmetic {
        Arithmetic::F16 => (8192.0 * 1.08, f64::from(16 * (5 * input.channels + 4)) * 2f64.powi(-25)),
        _ => (1.0, 0.0),
    };
    let pixels = output.pixels();
    let of_tiles = |row: usize, pixel: usize| Some(errors[row * pixels + pixel] * unit + underflow);
    conv_with(x, input, output, window, matrix, bias, residual, activation, arithmetic, of_tiles)
}

/// A convolution whose sums over the input have the errors that `error` gives for a row of weights and a pixel, or their own.
#[allow(clippy::too_many_arguments)]
fn conv_with(
    x: &[f64],
    input: Shape,
    output: Shape,
    window: &Window,
    matrix: &Matrix,
    bias: &[f64],
    residual: Option<&[f64]>,
    activation: Activation,
    arithmetic: Arithmetic,
    error_of: impl Fn(usize, usize) -> Option<f64>,
) -> Vec<Bounded> {
    let (n, c, k) = (output.channels as usize, input.channels as usize, window.taps() as usize);
    let (width, pixels) = (output.width as usize, output.pixels());
    let at =
        |channel: usize, y: usize, xx: usize| x[channel * input.pixels() + y * input.width as usize + xx];
    let mut result = vec![exact(0.0); n * pixels];
    for pixel in 0..pixels {
        let taps = taps(window, input, pixel / width, pixel % width);
        let row = |weights: &[f64], row: usize| {
            let products = (0..c).flat_map(|channel| taps.iter().map(move |tap| (channel, tap)));
            let products = products.map(|(channel, &(tap, y, x))| {
                (weights[(row * c + channel) * k + tap], exact(at(channel, y, x)))
            });
            let Bounded { value, error } = dot(arithmetic, products);
            // Taps in the padding are terms too.
            let own = error * relative(arithmetic, c * k) / relative(arithmetic, c * taps.len());
            Bounded { value, error: error_of(row, pixel).unwrap_or(own) }
        };
        let middle: Vec<Bounded> = match matrix {
            Matrix::Pair { thin, rank, .. } => {
                let exact =
                    |r| if arithmetic == Arithmetic::F16 { rounded(row(thin, r)) } else { row(thin, r) };
                (0..*rank).map(exact).collect()
            }
            _ => Vec::new(),
        };
        for channel in 0..n {
            let sum = match matrix {
                Matrix::Dense(weights) => row(weights, channel),
                Matrix::Pair { expand, rank, .. } => {
                    let pairs = middle.iter().enumerate().map(|(r, x)| (expand[channel * rank + r], *x));
                    dot(arithmetic, pairs)
                }
                Matrix::Depthwise(weights) => dot(
                    arithmetic,
                    taps.iter().map(|&(tap, y, x)| (weights[channel * k + tap], exact(at(channel, y, x)))),
                ),
            };
            // The bias is where the sum begins: it is a term like the others.
            let begun = Bounded { error: sum.error + gamma(c * k) * bias[channel].abs(), ..sum };
            let i = channel * pixels + pixel;
            result[i] =
                finish(begun, bias[channel], residual.map_or(0.0, |residual| residual[i]), activation);
        }
    }
    result
}

pub fn pool(x: &[f64], input: Shape, output: Shape, window: &Window, kind: PoolKind) -> Vec<Bounded> {
    let width = output.width as usize;
    let planes = x.chunks(input.pixels());
    planes
        .flat_map(|plane| {
            (0..output.pixels()).map(move |pixel| {
                let taps = taps(window, input, pixel / width, pixel % width);
                let values = taps.iter().map(|(_, y, x)| plane[y * input.width as usize + x]);
                match kind {
                    PoolKind::Max => exact(values.fold(f64::NEG_INFINITY, f64::max)),
                    PoolKind::Average => mean(values, taps.len()),
                }
            })
        })
        .collect()
}

pub fn mean(values: impl Iterator<Item = f64>, count: usize) -> Bounded {
    dot(Arithmetic::F32, values.map(|value| (1.0 / count as f64, exact(value))))
}

pub fn pad_shortcut(x: &[f64], input: Shape, output: Shape, stride: usize) -> Vec<f64> {
    let before = (output.channels - input.channels) as usize / 2;
    let mut result = vec![0.0; output.len()];
    for channel in 0..input.channels as usize {
        for y in 0..output.height as usize {
            for xx in 0..output.width as usize {
                let to = (channel + before) * output.pixels() + y * output.width as usize + xx;
                result[to] = x[channel * input.pixels() + y * stride * input.width as usize + xx * stride];
            }
        }
    }
    result
}

/// Rounded as an activation is stored.
pub fn stored(value: f64) -> f64 {
    f16::from_f64(value.clamp(-65504.0, 65504.0)).to_f64()
}

/// The input value of an image of bytes, planes of normalised pixels as stored.
pub fn normalise(header: &Header, image: &[u8]) -> Vec<f64> {
    let c = header.input.channels as usize;
    let plane = |channel: usize| {
        image.iter().skip(channel).step_by(c).map(move |x| {
            let (mean, std) = header.normalisation(channel);
            stored(f64::from((f32::from(*x) / 255.0 - mean) / std))
        })
    };
    (0..c).flat_map(plane).collect()
}

fn matrix(net: &Network, name: &str, weights: Weights) -> (Matrix, Vec<f64>) {
    let halves = |suffix: &str| -> Vec<f64> {
        let (_, _, data) = &net.weights[&format!("{name}{suffix}")];
        data.chunks(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f64()).collect()
    };
    let bias = |suffix: &str| -> Vec<f64> {
        let (_, _, data) = &net.weights[&format!("{name}{suffix}")];
        data.chunks(4).map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect()
    };
    match weights {
        Weights::Dense => (Matrix::Dense(halves(".weight")), bias(".bias")),
        Weights::Depthwise => (Matrix::Depthwise(halves(".weight")), bias(".bias")),
        Weights::Pair { rank } => {
            let (thin, expand) = (halves(".thin.weight"), halves(".expand.weight"));
            (Matrix::Pair { thin, expand, rank: rank as usize }, bias(".expand.bias"))
        }
    }
}

/// Logits of a whole network, each activation rounded as it is stored.
pub fn run(net: &Network, input: &[f64]) -> Vec<f64> {
    values(net, input).pop().expect("a network has values")
}

/// All values of a network, the input first: each but the logits rounded as it is stored.
pub fn values(net: &Network, input: &[f64]) -> Vec<Vec<f64>> {
    bounded(net, input).0
}

/// The same, and the last with its bound.
pub fn bounded(net: &Network, input: &[f64]) -> (Vec<Vec<f64>>, Vec<Bounded>) {
    let mut bounds = Vec::new();

    const F32: Arithmetic = Arithmetic::F32;
    let mut values = vec![input.to_vec()];
    for (i, op) in net.ops.iter().enumerate() {
        let inputs = op.inputs();
        let first = usize::from(inputs.first());
        let (x, shape, output) = (&values[first], net.shapes[first], net.shapes[i + 1]);
        let second = inputs.second().map(|second| values[usize::from(second)].as_slice());
        let result: Vec<Bounded> = match op {
            Op::Conv(layer) => {
                let (matrix, bias) = matrix(net, &layer.name, layer.weights);
                conv(x, shape, output, &layer.window, &matrix, &bias, second, layer.activation, F32)
            }
            Op::Linear(layer) => {
                let vector = Shape::vector(shape.len() as u32);
                let (matrix, bias) = matrix(net, &layer.name, layer.weights);
                conv(x, vector, output, &Window::square(1, 1, 0), &matrix, &bias, None, layer.activation, F32)
            }
            Op::Pool(layer) => pool(x, shape, output, &layer.window, layer.kind),
            Op::GlobalAveragePool { .. } => {
                x.chunks(shape.pixels()).map(|plane| mean(plane.iter().copied(), shape.pixels())).collect()
            }
            Op::PadShortcut(layer) => {
                let result = pad_shortcut(x, shape, output, usize::from(layer.stride));
                result.into_iter().map(exact).collect()
            }
            Op::Add { activation, .. } => {
                let second = second.expect("an addition has two summands");
                x.iter().zip(second).map(|(a, b)| finish(exact(*a), 0.0, *b, *activation)).collect()
            }
            Op::Concat(_) => {
                let joined = inputs.values().iter().flat_map(|&value| &values[usize::from(value)]);
                joined.copied().map(exact).collect()
            }
            other => {
                let inputs = inputs.values().iter().map(|&value| usize::from(value));
                let inputs: Vec<_> = inputs.map(|at| (values[at].as_slice(), net.shapes[at])).collect();
                general(net, other, &inputs, output)
            }
        };
        let last = i + 1 == net.ops.len();
        values.push(result.iter().map(|r| if last { r.value } else { stored(r.value) }).collect());
        bounds = result;
    }
    (values, bounds)
}
