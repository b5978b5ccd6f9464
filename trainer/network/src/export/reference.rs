//! A plain interpreter of a folded network in f64: slow, and close to the definitions of the operations. The runtime and
//! faster machines are held against it.

use half::f16;
use lrpet_runtime::model::{Activation, Conv, Op, PadShortcut, Pool, PoolKind, Shape, Weights, Window};
use lrpet_runtime::reference;
use rayon::prelude::*;

use super::{ExportError, Folded, LayerWeights, Machine};

/// How results are kept between operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// As computed.
    F64,
    /// Rounded to f16, as the runtime stores the image and each operation's result; the logits are not rounded.
    F16,
}

/// Logits of one image, given as normalised values C×H×W.
///
/// # Panics
/// Where `image` does not have the input's size.
pub fn logits(network: &Folded, image: &[f32], storage: Storage) -> Vec<f64> {
    values(network, image, storage).pop().unwrap_or_default()
}

/// Every value of the program for one image (normalised, C×H×W): the image, then each operation's result.
///
/// # Panics
/// Where `image` does not have the input's size.
pub fn values(network: &Folded, image: &[f32], storage: Storage) -> Vec<Vec<f64>> {
    assert_eq!(image.len(), network.input.len(), "one value for each channel of each pixel");
    let shapes = network.value_shapes();
    let store = |value: f64| if storage == Storage::F16 { f16::from_f64(value).to_f64() } else { value };
    let mut values: Vec<Vec<f64>> = vec![image.iter().map(|&value| store(f64::from(value))).collect()];
    for (index, op) in network.ops.iter().enumerate() {
        let mut result = sums(network, &shapes, index, &values);
        let last = index + 1 == network.ops.len();
        for value in &mut result {
            let activated = activate(*value, activation(op));
            *value = if last { activated } else { store(activated) };
        }
        values.push(result);
    }
    values
}

/// The interpreter as a [`Machine`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Interpreter;

impl Machine for Interpreter {
    fn forward(
        &self,
        network: &Folded,
        images: Vec<f32>,
        store: &mut dyn FnMut(&mut [f32]),
    ) -> Result<Vec<f32>, ExportError> {
        let shapes = network.value_shapes();
        let image = |values: &[f32]| vec![values.iter().map(|&value| f64::from(value)).collect()];
        // For each image the values so far.
        let mut values: Vec<Vec<Vec<f64>>> = images.chunks_exact(network.input.len()).map(image).collect();
        let mut results = images;
        for (index, op) in network.ops.iter().enumerate() {
            let compute = |values: &Vec<Vec<f64>>| {
                let sums = sums(network, &shapes, index, values);
                sums.into_iter().map(|value| activate(value, activation(op)) as f32).collect()
            };
            results = values.par_iter().map(compute).collect::<Vec<Vec<f32>>>().concat();
            if index + 1 < network.ops.len() {
                store(&mut results);
                for (values, result) in values.iter_mut().zip(results.chunks_exact(shapes[index + 1].len())) {
                    values.push(result.iter().map(|&value| f64::from(value)).collect());
                }
            }
        }
        Ok(results)
    }
}

/// What operation `index` computes of `values`, before its activation; `shapes` are the network's.
pub fn sums(network: &Folded, shapes: &[Shape], index: usize, values: &[Vec<f64>]) -> Vec<f64> {
    let (op, output) = (&network.ops[index], shapes[index + 1]);
    let inputs = op.inputs();
    let first = usize::from(inputs.first());
    let input = Map { values: &values[first], shape: shapes[first] };
    let weights = || &network.weights[op.name()];
    let mut result = match op {
        Op::Conv(layer) => conv(input, layer, weights(), output),
        Op::Linear(_) => linear(input, weights()),
        Op::Pool(layer) => pool(input, layer, output),
        Op::GlobalAveragePool { .. } => {
            let pixels = input.shape.pixels();
            input.values.chunks_exact(pixels).map(|plane| plane.iter().sum::<f64>() / pixels as f64).collect()
        }
        Op::PadShortcut(layer) => pad_shortcut(input, layer, output),
        Op::Add { .. } => input.values.to_vec(),
        Op::Concat(_) => {
            let joined = inputs.values().iter().flat_map(|&value| &values[usize::from(value)]);
            return joined.copied().collect();
        }
        _ => return bounded(network, shapes, index, values).into_iter().map(|sum| sum.value).collect(),
    };
    if let Some(summand) = inputs.second() {
        let summand = &values[usize::from(summand)];
        result.iter_mut().zip(summand).for_each(|(value, summand)| *value += summand);
    }
    result
}

/// What a general operation computes of `values`, before its activation, and how far sums in f32 may be off.
pub(super) fn bounded(
    network: &Folded,
    shapes: &[Shape],
    index: usize,
    values: &[Vec<f64>],
) -> Vec<reference::Bounded> {
    let op = &network.ops[index];
    let inputs = op.inputs();
    let inputs = inputs.values().iter().map(|&value| usize::from(value));
    let inputs: Vec<_> = inputs.map(|value| (values[value].as_slice(), shapes[value])).collect();
    let weights = op.layer().map(|name| &network.weights[name]);
    let tensors = weights.map_or(reference::Tensors::default(), |weights| reference::Tensors {
        weight: &weights.weight,
        expand: weights.expand.as_deref().unwrap_or_default(),
        bias: &weights.bias,
        scale: &weights.weight,
    });
    reference::general(op, &inputs, shapes[index + 1], tensors)
}

/// What follows an operation's sums.
pub fn activation(op: &Op<String>) -> Activation {
    op.activation()
}

/// A feature map.
#[derive(Clone, Copy)]
struct Map<'a> {
    values: &'a [f64],
    shape: Shape,
}

impl Map<'_> {
    /// Value at a pixel, none outside the image.
    fn at(&self, channel: usize, y: i64, x: i64) -> Option<f64> {
        let (height, width) = (self.shape.height as usize, self.shape.width as usize);
        let y = usize::try_from(y).ok().filter(|&y| y < height)?;
        let x = usize::try_from(x).ok().filter(|&x| x < width)?;
        Some(self.values[(channel * height + y) * width + x])
    }
}

/// Pixels under each tap of the window at output pixel (y, x), in row-major order of taps.
fn taps(window: &Window, y: usize, x: usize) -> impl Iterator<Item = (i64, i64)> + use<> {
    let Window { kernel: [height, width], stride, padding } = *window;
    let top = y as i64 * i64::from(stride[0]) - i64::from(padding[0]);
    let left = x as i64 * i64::from(stride[1]) - i64::from(padding[1]);
    (0..i64::from(height)).flat_map(move |dy| (0..i64::from(width)).map(move |dx| (top + dy, left + dx)))
}

/// Fills an output map from a function of channel, row and column.
fn fill(shape: Shape, value: impl Fn(usize, usize, usize) -> f64) -> Vec<f64> {
    let (height, width) = (shape.height as usize, shape.width as usize);
    (0..shape.len()).map(|at| value(at / (height * width), at / width % height, at % width)).collect()
}

/// Convolution with bias; a pair is the thin convolution and then a 1×1 one.
fn conv(input: Map<'_>, layer: &Conv<String>, weights: &LayerWeights, output: Shape) -> Vec<f64> {
    let depthwise = layer.weights == Weights::Depthwise;
    let n = output.channels as usize;
    let mut result = match &weights.expand {
        None => correlate(input, &weights.weight, &layer.window, depthwise, output),
        Some(expand) => {
            let shape = Shape { channels: (expand.len() / n) as u32, ..output };
            let thin = correlate(input, &weights.weight, &layer.window, false, shape);
            correlate(Map { values: &thin, shape }, expand, &Window::square(1, 1, 0), false, output)
        }
    };
    for (plane, &bias) in result.chunks_exact_mut(output.pixels()).zip(&weights.bias) {
        plane.iter_mut().for_each(|value| *value += f64::from(bias));
    }
    result
}

/// Each filter over all channels of the input, or filter n over channel n alone.
fn correlate(input: Map<'_>, weight: &[f32], window: &Window, depthwise: bool, output: Shape) -> Vec<f64> {
    let taps = window.taps() as usize;
    let filter_len = taps * if depthwise { 1 } else { input.shape.channels as usize };
    let mut result = vec![0.0; output.len()];
    let planes = result.par_chunks_exact_mut(output.pixels()).zip(weight.par_chunks_exact(filter_len));
    planes.enumerate().for_each(|(n, (plane, filter))| {
        for (at, &weight) in filter.iter().enumerate() {
            let channel = if depthwise { n } else { at / taps };
            add_shifted(input, channel, window, at % taps, f64::from(weight), plane, output.width as usize);
        }
    });
    result
}

/// Adds to each pixel of `plane`, rows of `width`, `weight` times the value that the tap meets there.
fn add_shifted(
    input: Map<'_>,
    channel: usize,
    window: &Window,
    tap: usize,
    weight: f64,
    plane: &mut [f64],
    width: usize,
) {
    let [sy, sx] = window.stride.map(usize::from);
    let [top, left, _, _] = window.padding.map(usize::from);
    let (ky, kx) = (tap / usize::from(window.kernel[1]), tap % usize::from(window.kernel[1]));
    let (rows, columns) = (input.shape.height as usize, input.shape.width as usize);
    // Columns of the result where the tap is inside the image.
    let first = left.saturating_sub(kx).div_ceil(sx);
    let end = (columns + left).saturating_sub(kx).div_ceil(sx).min(width);
    for (y, to) in plane.chunks_exact_mut(width).enumerate() {
        let Some(row) = (y * sy + ky).checked_sub(top).filter(|&row| row < rows) else { continue };
        if first < end {
            let from = &input.values[(channel * rows + row) * columns + first * sx + kx - left..];
            to[first..end].iter_mut().zip(from.iter().step_by(sx)).for_each(|(to, x)| *to += weight * x);
        }
    }
}

fn linear(input: Map<'_>, weights: &LayerWeights) -> Vec<f64> {
    let multiply = |weight: &[f32], x: &[f64]| -> Vec<f64> {
        weight
            .chunks_exact(x.len())
            .map(|row| row.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum())
            .collect()
    };
    let first = multiply(&weights.weight, input.values);
    let result = match &weights.expand {
        None => first,
        Some(expand) => multiply(expand, &first),
    };
    result.iter().zip(&weights.bias).map(|(value, &bias)| value + f64::from(bias)).collect()
}

/// Largest value or mean of the taps inside the image.
fn pool(input: Map<'_>, layer: &Pool, output: Shape) -> Vec<f64> {
    fill(output, |channel, y, x| {
        let inside: Vec<f64> =
            taps(&layer.window, y, x).filter_map(|(y, x)| input.at(channel, y, x)).collect();
        match layer.kind {
            PoolKind::Max => inside.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            PoolKind::Average => inside.iter().sum::<f64>() / inside.len() as f64,
        }
    })
}

fn pad_shortcut(input: Map<'_>, layer: &PadShortcut, output: Shape) -> Vec<f64> {
    let before = ((layer.out_channels - input.shape.channels) / 2) as usize;
    let stride = usize::from(layer.stride);
    fill(output, |channel, y, x| {
        let source = channel.checked_sub(before).filter(|&source| source < input.shape.channels as usize);
        source.and_then(|source| input.at(source, (y * stride) as i64, (x * stride) as i64)).unwrap_or(0.0)
    })
}

/// The activation of a sum.
pub fn activate(value: f64, activation: Activation) -> f64 {
    reference::activate(activation, value)
}
