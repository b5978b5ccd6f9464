//! The operations from `GeneralConv` on, and the activations, in f64 and close to their definitions, with bounds of what a computation
//! in f32 may be off. Kernels and whole models are held against them; nothing here is fast.

mod conv;
mod layout;
mod reduce;

use std::vec::Vec;

pub use layout::sample;

use crate::model::{Activation, BinaryKind, GeneralPool, Op, PadMode, Reduction, Resize, Shape};

/// An exact value, and how far one that is computed in f32 may be from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounded {
    /// In f64.
    pub value: f64,
    /// Largest difference that roundings explain.
    pub error: f64,
}

/// Unit of rounding of f32.
const UNIT: f64 = f32::EPSILON as f64 / 2.0;

/// Relative error of a sum of `terms` products in f32, in any order, as a share of the sum of their magnitudes.
fn gamma(terms: usize) -> f64 {
    let n = (terms + 4) as f64 * UNIT;
    n / (1.0 - n)
}

impl Bounded {
    fn exact(value: f64) -> Bounded {
        Bounded { value, error: 0.0 }
    }
}

/// A value that an operation reads: its numbers, C×H×W, and its shape.
pub type Map<'a> = (&'a [f64], Shape);

/// Tensors of an operation: those that it does not have are empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tensors<'a> {
    /// Weights of a convolution, thin ones of a pair.
    pub weight: &'a [f32],
    /// Expanding weights of a pair.
    pub expand: &'a [f32],
    /// Bias for each channel.
    pub bias: &'a [f32],
    /// Scale or slope for each channel.
    pub scale: &'a [f32],
}

/// The value at a place; `None` outside the map.
fn at((values, shape): Map<'_>, [c, y, x]: [i64; 3]) -> Option<f64> {
    let [channels, height, width] = shape.axes().map(i64::from);
    let inside = (0..channels).contains(&c) && (0..height).contains(&y) && (0..width).contains(&x);
    if inside { values.get(((c * height + y) * width + x) as usize).copied() } else { None }
}

/// All values of a map, each from its place.
fn fill(shape: Shape, mut value: impl FnMut([i64; 3]) -> Bounded) -> Vec<Bounded> {
    let [channels, height, width] = shape.axes().map(i64::from);
    let mut all = Vec::with_capacity(shape.len());
    for c in 0..channels {
        for y in 0..height {
            for x in 0..width {
                all.push(value([c, y, x]));
            }
        }
    }
    all
}

/// What a general operation computes of `inputs`, of shape `output`, before its activation. Empty for other operations.
pub fn general(
    op: &Op<impl AsRef<str>>,
    inputs: &[Map<'_>],
    output: Shape,
    tensors: Tensors<'_>,
) -> Vec<Bounded> {
    let Some(&first) = inputs.first() else { return Vec::new() };
    let second = inputs.get(1).copied();
    match op {
        Op::GeneralConv(layer) => conv::general(layer, first, second, output, tensors),
        Op::GeneralPool(pool) => self::pool(pool, first, output),
        Op::Reduce(reduce) => reduce::reduce(reduce, first, output),
        Op::Softmax(softmax) => reduce::softmax(softmax.log, first),
        Op::Normalise(normalise) => reduce::normalise(normalise, first, tensors),
        Op::Binary(binary) => fill(output, |place| {
            let of = |map: Map<'_>| {
                let sizes = map.1.axes();
                let own = [0, 1, 2].map(|axis| if sizes[axis] == 1 { 0 } else { place[axis] });
                at(map, own).unwrap_or(0.0)
            };
            let (a, b) = (of(first), of(second.unwrap_or(first)));
            let value = match binary.kind {
                BinaryKind::Add => a + b,
                BinaryKind::Sub => a - b,
                BinaryKind::Mul => a * b,
                BinaryKind::Div => a / b,
            };
            Bounded { value, error: gamma(0) * value.abs() }
        }),
        Op::Affine(_) => fill(output, |place| {
            let parameter = |values: &[f32]| values.get(place[0] as usize).map_or(0.0, |x| f64::from(*x));
            let (product, bias) =
                (at(first, place).unwrap_or(0.0) * parameter(tensors.scale), parameter(tensors.bias));
            Bounded { value: product + bias, error: gamma(2) * (product.abs() + bias.abs()) }
        }),
        Op::Activate(layer) => fill(output, |place| {
            let x = at(first, place).unwrap_or(0.0);
            let slope = tensors.scale.get(place[0] as usize).filter(|_| layer.slope.is_some() && x < 0.0);
            let value = slope.map_or(x, |slope| x * f64::from(*slope));
            Bounded { value, error: slope.map_or(0.0, |_| gamma(0) * value.abs()) }
        }),
        Op::Resize(resize) => self::resize(resize, first, output),
        Op::Pad(pad) => {
            let constant = match pad.mode {
                PadMode::Constant(value) => value,
                _ => 0.0,
            };
            // As it is stored.
            let constant = f64::from(crate::kernel::f16::widen(crate::kernel::f16::narrow(constant)));
            fill(output, |place| Bounded::exact(layout::padded(pad, first, place).unwrap_or(constant)))
        }
        other => layout::moved(other, inputs, output),
    }
}

/// Largest or mean value of a window's taps.
fn pool(pool: &GeneralPool, input: Map<'_>, output: Shape) -> Vec<Bounded> {
    let [top, left, bottom, right] = pool.counted.map(i64::from);
    let (rows, columns) = (i64::from(input.1.height), i64::from(input.1.width));
    fill(output, |[c, y, x]| {
        let (mut inside, mut counted) = (Vec::new(), 0usize);
        for [y, x] in conv::taps(&pool.window, pool.dilation, y, x) {
            inside.extend(at(input, [c, y, x]));
            let counts = (-top..rows + bottom).contains(&y) && (-left..columns + right).contains(&x);
            counted += usize::from(counts);
        }
        match pool.kind {
            Reduction::Max => Bounded::exact(inside.into_iter().fold(-65504.0, f64::max)),
            _ => {
                let count = counted.max(1) as f64;
                let size = inside.iter().map(|value| value.abs()).sum::<f64>() / count;
                Bounded { value: inside.iter().sum::<f64>() / count, error: gamma(inside.len()) * size }
            }
        }
    })
}

/// Pixels between pixels. Coordinates are computed in f32, as ONNX's engines do: which pixel is nearest depends on it.
fn resize(layer: &Resize, input: Map<'_>, output: Shape) -> Vec<Bounded> {
    let lengths = [[input.1.height, output.height], [input.1.width, output.width]];
    fill(output, |[c, y, x]| {
        let [down, across] = [0, 1].map(|axis| layout::sample(layer, axis, [y, x][axis], lengths[axis]));
        let (mut value, mut size) = (0.0, 0.0);
        for (row, share) in down {
            for (column, part) in across {
                let term = at(input, [c, row, column]).unwrap_or(0.0) * share * part;
                (value, size) = (value + term, size + term.abs());
            }
        }
        let moves = layer.mode == crate::model::ResizeMode::Linear;
        // A share is off by a rounding of its coordinate.
        let around = |pairs: [(i64, f64); 2], other: [(i64, f64); 2], transposed: bool| {
            let mut largest = 0.0f64;
            for (i, _) in pairs {
                for (j, _) in other {
                    let place = if transposed { [c, j, i] } else { [c, i, j] };
                    largest = largest.max(at(input, place).unwrap_or(0.0).abs());
                }
            }
            largest
        };
        let largest = around(down, across, false);
        let reach = f64::from(input.1.height.max(input.1.width)) + 1.0;
        let error = if moves { gamma(8) * size + 16.0 * UNIT * reach * largest } else { 0.0 };
        Bounded { value, error }
    })
}

/// An activation in f64.
pub fn activate(activation: Activation, x: f64) -> f64 {
    let hard = |alpha: f64, beta: f64| (alpha * x + beta).clamp(0.0, 1.0);
    match activation {
        Activation::None => x,
        Activation::Relu => x.max(0.0),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::LeakyRelu { slope } => {
            if x < 0.0 {
                f64::from(slope) * x
            } else {
                x
            }
        }
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::HardSigmoid { alpha, beta } => hard(alpha.into(), beta.into()),
        Activation::HardSwish => x * hard(1.0 / 6.0, 0.5),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Tanh => x.tanh(),
        Activation::Elu { alpha } => {
            if x < 0.0 {
                f64::from(alpha) * x.exp_m1()
            } else {
                x
            }
        }
        Activation::Gelu => x / 2.0 * libm::erfc(-x / core::f64::consts::SQRT_2),
        Activation::GeluTanh => {
            let z = (2.0 / core::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            x / (1.0 + (-2.0 * z).exp())
        }
        Activation::Clip { min, max } => x.max(min.into()).min(max.into()),
        Activation::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        Activation::Exp => x.min(88.0).exp(),
        Activation::Sqrt => x.sqrt(),
    }
}

/// The activation of a value that is off by at most its error.
pub fn activated(activation: Activation, sum: Bounded) -> Bounded {
    let Bounded { value: x, error } = sum;
    let value = activate(activation, x);
    // The steepest slope of each.
    let slope = match activation {
        Activation::LeakyRelu { slope } => f64::from(slope).abs().max(1.0),
        Activation::Elu { alpha } => f64::from(alpha).abs().max(1.0),
        Activation::HardSigmoid { alpha, .. } => f64::from(alpha).abs(),
        Activation::HardSwish | Activation::Silu | Activation::Gelu | Activation::GeluTanh => 1.5,
        _ => 1.0,
    };
    let carried = match activation {
        Activation::Exp => activate(activation, x + error) - value,
        Activation::Sqrt => value - (x - error).max(0.0).sqrt(),
        _ => slope * error,
    };
    // What the approximations are off, and where an argument's rounding is magnified.
    let own = match activation {
        Activation::None | Activation::Relu | Activation::Relu6 | Activation::Clip { .. } => 0.0,
        Activation::Exp => (4e-7 + x.abs().min(88.0) * 2.0 * UNIT) * value.abs(),
        Activation::HardSigmoid { alpha, beta } => {
            4.0 * UNIT * ((f64::from(alpha) * x).abs() + f64::from(beta).abs())
        }
        Activation::HardSwish => 4.0 * UNIT * x.abs() * (x.abs() / 6.0 + 0.5).min(1.5),
        _ => 1e-5 * value.abs() + 1e-9,
    };
    Bounded { value, error: carried.abs() + own }
}
