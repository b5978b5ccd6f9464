//! The folded network in f32 on candle tensors, in batches: what the runtime's f16 is compared with.

use candle_core::{Device, Result, Tensor};
use lrpet_data::{Images, Loader, LoaderOptions};
use lrpet_network::export::reference::Interpreter;
use lrpet_network::export::{ExportError, Folded, Logits, Machine};
use lrpet_runtime::model::{Activation, Conv, Op, PadShortcut, Pool, PoolKind, Weights, Window};

use crate::conv2d::conv2d;

/// Images a batch; more gains nothing on a CPU.
const BATCH: usize = 64;

/// A folded network on a device.
#[derive(Debug)]
pub struct Engine<'a> {
    network: &'a Folded,
    device: &'a Device,
    /// Weights of each operation that has some.
    weights: Vec<Option<Parameters>>,
}

/// A layer's weights as candle takes them.
#[derive(Debug)]
struct Parameters {
    /// `[n, c, kh, kw]`, or the thin half `[r, c, kh, kw]`; a linear layer has kh = kw = 1.
    weight: Tensor,
    /// `[n, r, 1, 1]`.
    expand: Option<Tensor>,
    /// `[1, n, 1, 1]`.
    bias: Tensor,
}

impl<'a> Engine<'a> {
    /// Moves the weights to `device`.
    ///
    /// # Errors
    /// candle's, where memory or the device fails.
    pub fn new(network: &'a Folded, device: &'a Device) -> Result<Engine<'a>> {
        let shapes = network.value_shapes();
        let parameters = |(index, op): (usize, &Op<String>)| -> Result<Option<Parameters>> {
            let Some(layer) = network.weights.get(op.name()) else { return Ok(None) };
            let kernel = match op {
                Op::Conv(conv) => conv.window.kernel.map(usize::from),
                _ => [1, 1],
            };
            let n = shapes[index + 1].channels as usize;
            let rows = layer.expand.as_ref().map_or(n, |expand| expand.len() / n);
            let columns = layer.weight.len() / rows / (kernel[0] * kernel[1]);
            let tensor = |values: &[f32], shape: [usize; 4]| Tensor::from_slice(values, &shape, device);
            Ok(Some(Parameters {
                weight: tensor(&layer.weight, [rows, columns, kernel[0], kernel[1]])?,
                expand: layer.expand.as_ref().map(|expand| tensor(expand, [n, rows, 1, 1])).transpose()?,
                bias: tensor(&layer.bias, [1, n, 1, 1])?,
            }))
        };
        let weights = network.ops.iter().enumerate().map(parameters).collect::<Result<_>>()?;
        Ok(Engine { network, device, weights })
    }

    /// Logits `[N, classes]` of a batch of normalised images `[N, C, H, W]`.
    ///
    /// # Errors
    /// candle's.
    pub fn forward(&self, images: &Tensor) -> Result<Tensor> {
        self.forward_storing(images, |value| Ok(value.clone()))
    }

    /// [`Engine::forward`] with every operation's result but the logits as `store` makes it.
    ///
    /// # Errors
    /// candle's, and those of `store`.
    pub fn forward_storing(
        &self,
        images: &Tensor,
        mut store: impl FnMut(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let mut values = vec![images.clone()];
        for (op, weights) in self.network.ops.iter().zip(&self.weights) {
            let inputs = op.inputs();
            let x = &values[usize::from(inputs.first())];
            // What is added to the result.
            let mut summand = inputs.second();
            let (mut y, activation) = match (op, weights) {
                (Op::Conv(layer), Some(weights)) => (conv(x, layer, weights)?, layer.activation),
                (Op::Linear(layer), Some(weights)) => {
                    // All values of a map, one after another.
                    let x = x.flatten_from(1)?.unsqueeze(2)?.unsqueeze(3)?;
                    (apply(&x, weights, |x, weight| convolve(x, weight, &POINT, 1))?, layer.activation)
                }
                (Op::Pool(layer), _) => (pool(x, layer)?, Activation::None),
                (Op::GlobalAveragePool { .. }, _) => (x.mean_keepdim((2, 3))?, Activation::None),
                (Op::PadShortcut(layer), _) => (pad_shortcut(x, layer)?, Activation::None),
                (Op::Add { activation, .. }, _) => (x.clone(), *activation),
                (Op::Concat(_), _) => {
                    summand = None;
                    let joined: Vec<&Tensor> =
                        inputs.values().iter().map(|&value| &values[usize::from(value)]).collect();
                    (Tensor::cat(&joined, 1)?, Activation::None)
                }
                (Op::Conv(_) | Op::Linear(_), None) => {
                    candle_core::bail!("layer {} has no weights", op.name())
                }
                (other, _) => {
                    candle_core::bail!("layer {}: candle does not run a {}", other.name(), other.kind())
                }
            };
            if let Some(summand) = summand {
                y = (y + &values[usize::from(summand)])?;
            }
            let y = match activation {
                Activation::None => y,
                Activation::Relu => y.relu()?,
                Activation::Relu6 => y.clamp(0.0, 6.0)?,
                other => candle_core::bail!("layer {}: candle does not apply {}", op.name(), other.name()),
            };
            let last = values.len() == self.network.ops.len();
            values.push(if last { y } else { store(&y)? });
        }
        values.pop().expect("a network has layers").flatten_from(1)
    }

    /// Logits of every image of `data`, or of all its values, whose shape is the input's.
    ///
    /// # Errors
    /// candle's.
    pub fn logits(&self, data: impl Into<Images>) -> Result<Logits> {
        let data = data.into();
        let options = LoaderOptions::plain(BATCH, self.network.normalization.clone());
        let shape = self.network.input;
        let [channels, height, width] = [shape.channels, shape.height, shape.width].map(|size| size as usize);
        let mut values = Vec::with_capacity(data.len() * self.network.classes as usize);
        for batch in Loader::new(data, options).epoch(0, 0) {
            let batch = batch.map_err(candle_core::Error::wrap)?;
            let shape = (batch.labels.len(), channels, height, width);
            let images = Tensor::from_vec(batch.images, shape, self.device)?;
            values.extend(self.forward(&images)?.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(Logits { values, classes: self.network.classes as usize })
    }
}

/// candle on the CPU, as what export tries roundings on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Candle;

impl Machine for Candle {
    fn forward(
        &self,
        network: &Folded,
        images: Vec<f32>,
        store: &mut dyn FnMut(&mut [f32]),
    ) -> std::result::Result<Vec<f32>, ExportError> {
        // What candle has no operation for is interpreted.
        if network.ops.iter().any(|op| op.is_general() || !op.activation().is_plain()) {
            return Interpreter.forward(network, images, store);
        }
        let compute = || -> candle_core::Result<Vec<f32>> {
            let device = Device::Cpu;
            let input = network.input;
            let [channels, height, width] =
                [input.channels, input.height, input.width].map(|size| size as usize);
            let shape = (images.len() / input.len(), channels, height, width);
            let images = Tensor::from_vec(images, shape, &device)?;
            let logits = Engine::new(network, &device)?.forward_storing(&images, |value| {
                let (shape, mut values) = (value.shape().clone(), value.flatten_all()?.to_vec1::<f32>()?);
                store(&mut values);
                Tensor::from_vec(values, shape, &device)
            })?;
            logits.flatten_all()?.to_vec1()
        };
        compute().map_err(|error| ExportError::Machine(format!("candle: {error}")))
    }
}

/// The window of a 1×1 convolution.
const POINT: Window = Window::square(1, 1, 0);

fn conv(x: &Tensor, layer: &Conv<String>, weights: &Parameters) -> Result<Tensor> {
    let groups = if layer.weights == Weights::Depthwise { x.dim(1)? } else { 1 };
    apply(x, weights, |x, weight| convolve(x, weight, &layer.window, groups))
}

/// First weight by `first`, then the expand convolution where there is one, then the bias.
fn apply(
    x: &Tensor,
    weights: &Parameters,
    first: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let y = first(x, &weights.weight)?;
    let y = match &weights.expand {
        Some(expand) => convolve(&y, expand, &POINT, 1)?,
        None => y,
    };
    y.broadcast_add(&weights.bias)
}

/// The trainer's convolution, or one filter a channel.
fn convolve(x: &Tensor, weight: &Tensor, window: &Window, groups: usize) -> Result<Tensor> {
    if groups == 1 { conv2d(x, weight, window) } else { depthwise(x, weight, window) }
}

/// One filter a channel: the sum over the taps of what lies under each, times its weight. candle's grouped convolution takes one step
/// for each of hundreds of channels.
fn depthwise(x: &Tensor, weight: &Tensor, window: &Window) -> Result<Tensor> {
    let [rows, columns] = window.kernel.map(usize::from);
    let [down, across] = window.stride.map(usize::from);
    let (padded, channels) = (pad(x, window)?, x.dim(1)?);
    // Rows and columns under a tap, up to the last that is taken.
    let span = |axis: usize, kernel: usize, stride: usize| -> Result<usize> {
        Ok((padded.dim(axis)? - kernel) / stride * stride + 1)
    };
    let (height, width) = (span(2, rows, down)?, span(3, columns, across)?);
    let mut sum: Option<Tensor> = None;
    for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
        let tap = padded.narrow(2, row, height)?.narrow(3, column, width)?.contiguous()?;
        let value = weight.narrow(2, row, 1)?.narrow(3, column, 1)?.reshape((1, channels, 1, 1))?;
        let product = every(&every(&tap, 2, down)?, 3, across)?.broadcast_mul(&value)?;
        sum = Some(match sum {
            Some(sum) => (sum + product)?,
            None => product,
        });
    }
    sum.map_or_else(|| candle_core::bail!("a kernel without taps"), Ok)
}

/// Zeros around each plane.
fn pad(x: &Tensor, window: &Window) -> Result<Tensor> {
    let [top, left, bottom, right] = window.padding.map(usize::from);
    x.pad_with_zeros(2, top, bottom)?.pad_with_zeros(3, left, right)
}

/// Every `stride`-th entry of an axis.
fn every(x: &Tensor, axis: usize, stride: usize) -> Result<Tensor> {
    if stride == 1 {
        return Ok(x.clone());
    }
    let indices: Vec<u32> = (0..x.dim(axis)? as u32).step_by(stride).collect();
    x.index_select(&Tensor::new(indices, x.device())?, axis)
}

/// Pooling over the taps inside the image.
fn pool(x: &Tensor, layer: &Pool) -> Result<Tensor> {
    let pair = |[down, across]: [u16; 2]| (usize::from(down), usize::from(across));
    let (kernel, stride) = (pair(layer.window.kernel), pair(layer.window.stride));
    let padded = pad(x, &layer.window)?;
    if layer.window.padding == [0; 4] {
        return match layer.kind {
            PoolKind::Max => padded.max_pool2d_with_stride(kernel, stride),
            PoolKind::Average => padded.avg_pool2d_with_stride(kernel, stride),
        };
    }
    // 1 inside the image, 0 in the padding.
    let inside = pad(&x.ones_like()?, &layer.window)?;
    match layer.kind {
        PoolKind::Max => {
            let low = inside.affine(f64::from(f32::MAX), -f64::from(f32::MAX))?;
            (padded + low)?.max_pool2d_with_stride(kernel, stride)
        }
        PoolKind::Average => {
            let share = inside.avg_pool2d_with_stride(kernel, stride)?;
            padded.avg_pool2d_with_stride(kernel, stride)? / share
        }
    }
}

fn pad_shortcut(x: &Tensor, layer: &PadShortcut) -> Result<Tensor> {
    let stride = usize::from(layer.stride);
    let added = layer.out_channels as usize - x.dim(1)?;
    every(&every(x, 2, stride)?, 3, stride)?.pad_with_zeros(1, added / 2, added - added / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrpet_network::lrpet::RankPlan;
    use lrpet_network::{Checkpoint, Network, Normalization};

    #[test]
    fn linear_layers_take_maps() {
        let network = |layers: &str| {
            let head = "version = 1\nname = \"maps\"\ninput = { channels = 2, height = 3, width = 4 }\noutput = { classes = 5 }\n";
            Network::from_text("maps.toml", &format!("{head}{layers}")).unwrap()
        };
        let linear = "[[layer]]\nop = \"linear\"\nname = \"fc\"\nout = 5\n";
        let conv = "[[layer]]\nop = \"conv\"\nname = \"conv\"\nout = 3\nkernel = 2\nactivation = \"relu\"\n";
        for network in [network(linear), network(&format!("{conv}{linear}"))] {
            let (checkpoint, plan) = (Checkpoint::random(&network, 1), RankPlan::dense(&network));
            let normalization = Normalization { mean: vec![0.5; 2], std: vec![0.5; 2] };
            let folded = Folded::new(&network, &checkpoint, &plan, normalization, false).unwrap().0;
            let images: Vec<f32> = (0..3 * 24).map(|at| (at * 7 % 11) as f32 / 11.0 - 0.5).collect();
            let compute =
                |machine: &dyn Machine| machine.forward(&folded, images.clone(), &mut |_| ()).unwrap();
            let (found, expected) = (compute(&Candle), compute(&Interpreter));
            assert_eq!(found.len(), 15);
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-5, "{found} and not {expected}");
            }
        }
    }
}
