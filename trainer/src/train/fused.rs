//! Forward and backward passes on the CPU with the fused kernels of [`crate::ops`].
//!
//! Feature maps live in buffers that are reused from step to step, channels-last.

use candle_core::{Device, Tensor};
use lrpet_runtime::model::{Activation, Op, Value, Weights};
use rayon::prelude::*;

use super::buffers::Buffers;
use super::parameters::LayerNames;
use super::{Engine, Gradients, Mode, Parameters, TrainError};
use crate::network::{Layer, Network};
use crate::ops::layout::{to_channels_last, with_values};
use crate::ops::{
    Conv, ConvNorm, EPSILON, InputGradient, Isa, Moments, PadShortcut, Past, global_average_pool,
    global_average_pool_backward,
};

/// A layer in the form that the kernels run.
enum Kernel {
    Conv(Box<ConvNorm>, LayerNames),
    Shortcut(PadShortcut),
    /// Pixels and channels.
    AveragePool(usize, usize),
    Linear(LayerNames),
}

struct Node {
    kernel: Kernel,
    input: usize,
    residual: Option<usize>,
    /// Values of one image of the result.
    output_len: usize,
}

/// What a training forward pass leaves for the backward pass.
struct Tape {
    /// Results of the nodes, the images first.
    values: Vec<Vec<f32>>,
    /// Results of the convolutions before their normalisation, with their statistics.
    convolved: Vec<Option<(Vec<f32>, Moments)>>,
}

/// The engine.
pub(super) struct Fused {
    nodes: Vec<Node>,
    channels: usize,
    classes: usize,
    buffers: Buffers,
    tape: Option<Tape>,
    partial: Vec<f32>,
}

impl Fused {
    /// The engine for `network`; `None` where a layer has no kernel here.
    pub(super) fn new(network: &Network) -> Option<Fused> {
        let shapes = network.value_shapes()?;
        let node = |(index, layer): (usize, &Layer)| {
            let inputs = layer.op.inputs();
            let shape = shapes[usize::from(inputs.first())];
            let kernel = match &layer.op {
                Op::Conv(conv) if conv.weights == Weights::Dense && layer.norm.is_some() => {
                    let plan = Conv::new(shape, conv.out_channels, &conv.window)?;
                    let op = ConvNorm::new(plan, conv.activation, Isa::best());
                    Kernel::Conv(Box::new(op), LayerNames::of(layer)?)
                }
                Op::Linear(linear) if linear.activation == Activation::None => {
                    Kernel::Linear(LayerNames::of(layer)?)
                }
                Op::PadShortcut(shortcut) => {
                    Kernel::Shortcut(PadShortcut::new(shape, shapes[index + 1], shortcut.stride))
                }
                Op::GlobalAveragePool { .. } => Kernel::AveragePool(shape.pixels(), shape.channels as usize),
                _ => return None,
            };
            let value = |value: Value| usize::from(value);
            Some(Node {
                kernel,
                input: value(inputs.first()),
                residual: inputs.second().map(value),
                output_len: shapes[index + 1].len(),
            })
        };
        let nodes: Vec<Node> = network.layers.iter().enumerate().map(node).collect::<Option<_>>()?;
        Some(Fused {
            nodes,
            channels: network.input.channels as usize,
            classes: network.classes as usize,
            buffers: Buffers::default(),
            tape: None,
            partial: Vec::new(),
        })
    }

    /// Takes back what a tape holds.
    fn recycle(&mut self, tape: Tape) {
        let convolved = tape.convolved.into_iter().flatten().map(|(y, _)| y);
        tape.values.into_iter().chain(convolved).for_each(|buffer| self.buffers.give(buffer));
    }

    /// The node after which each value is read no more.
    fn last_uses(&self) -> Vec<usize> {
        let mut last = vec![0; self.nodes.len() + 1];
        for (index, node) in self.nodes.iter().enumerate() {
            last[node.input] = index;
            if let Some(residual) = node.residual {
                last[residual] = index;
            }
        }
        last
    }
}

impl Engine for Fused {
    fn forward(
        &mut self,
        parameters: &Parameters,
        images: &Tensor,
        mode: Mode,
    ) -> Result<Tensor, TrainError> {
        let batch = images.dim(0)?;
        self.buffers.start(batch);
        if let Some(tape) = self.tape.take() {
            self.recycle(tape);
        }
        let mut first = self.buffers.take(images.elem_count());
        with_values(images, |images| {
            let length = images.len() / batch.max(1);
            (first.par_chunks_exact_mut(length), images.par_chunks_exact(length))
                .into_par_iter()
                .for_each(|(to, from)| to_channels_last(from, self.channels, to));
        })?;
        let mut values = vec![first];
        let mut convolved = Vec::new();
        let last_uses = self.last_uses();
        for (index, node) in self.nodes.iter().enumerate() {
            let mut result = self.buffers.take(batch * node.output_len);
            let mut past = None;
            let x = &values[node.input];
            match &node.kernel {
                Kernel::Conv(op, names) => {
                    let residual = node.residual.map(|residual| values[residual].as_slice());
                    let layer = ConvLayer { op, names, parameters };
                    match mode {
                        Mode::Train { momentum } => {
                            let mut y = self.buffers.take(result.len());
                            let moments = layer.train(x, residual, momentum, &mut y, &mut result)?;
                            past = Some((y, moments));
                        }
                        Mode::Infer => layer.infer(x, residual, &mut result)?,
                    }
                }
                Kernel::Shortcut(shortcut) => shortcut.forward(x, &mut result),
                Kernel::AveragePool(pixels, channels) => {
                    result.copy_from_slice(&global_average_pool(x, *pixels, *channels));
                }
                Kernel::Linear(names) => {
                    let logits = linear(parameters, names, x, batch)?;
                    result.copy_from_slice(&logits.flatten_all()?.to_vec1::<f32>()?);
                }
            }
            values.push(result);
            convolved.push(past);
            if mode == Mode::Infer {
                for (value, last) in last_uses.iter().enumerate() {
                    if *last == index && value <= index {
                        self.buffers.give(std::mem::take(&mut values[value]));
                    }
                }
            }
        }
        let logits = values.last().expect("the images at least").clone();
        let tape = Tape { values, convolved };
        match mode {
            Mode::Train { .. } => self.tape = Some(tape),
            Mode::Infer => self.recycle(tape),
        }
        Ok(Tensor::from_vec(logits, (batch, self.classes), &Device::Cpu)?)
    }

    fn backward(&mut self, parameters: &Parameters, gradient: &Tensor) -> Result<Gradients, TrainError> {
        let Some(mut tape) = self.tape.take() else {
            return Err(TrainError::Setting(
                "a backward pass needs a training forward pass before it".to_owned(),
            ));
        };
        let batch = gradient.dim(0)?;
        let mut gradients = Gradients::new();
        let mut slopes: Vec<Option<Vec<f32>>> = vec![None; tape.values.len()];
        slopes[self.nodes.len()] = Some(gradient.flatten_all()?.to_vec1()?);
        for (index, node) in self.nodes.iter().enumerate().rev() {
            let Some(mut slope) = slopes[index + 1].take() else {
                continue; // nothing reads this value
            };
            let x = &tape.values[node.input];
            match &node.kernel {
                Kernel::Conv(op, names) => {
                    let (y, moments) =
                        tape.convolved[index].take().expect("kept by the training forward pass");
                    let layer = ConvLayer { op, names, parameters };
                    let past = Past {
                        x,
                        y: &y,
                        z: &tape.values[index + 1],
                        moments: &moments,
                        residual: node.residual.is_some(),
                    };
                    let old = slopes[node.input].take();
                    let add = old.is_some();
                    let mut dx = match old {
                        _ if node.input == 0 => Vec::new(),
                        Some(old) => old,
                        None => self.buffers.take(x.len()),
                    };
                    let target = match (node.input, add) {
                        (0, _) => InputGradient::Skip,
                        (_, true) => InputGradient::Add(&mut dx),
                        (_, false) => InputGradient::Write(&mut dx),
                    };
                    layer.backward(&past, &mut slope, target, &mut self.partial, &mut gradients)?;
                    if node.input != 0 {
                        slopes[node.input] = Some(dx);
                    }
                    self.buffers.give(y);
                    if let Some(residual) = node.residual {
                        self.buffers.add(&mut slopes[residual], std::mem::take(&mut slope));
                    }
                }
                Kernel::Shortcut(shortcut) => {
                    let target = &mut slopes[node.input];
                    let dx = target.get_or_insert_with(|| {
                        let mut zeros = self.buffers.take(x.len());
                        zeros.fill(0.0);
                        zeros
                    });
                    shortcut.backward(&slope, dx);
                }
                Kernel::AveragePool(pixels, channels) => {
                    let mut dx = self.buffers.take(x.len());
                    global_average_pool_backward(&slope, *pixels, *channels, &mut dx);
                    self.buffers.add(&mut slopes[node.input], dx);
                }
                Kernel::Linear(names) => {
                    let dx = linear_backward(parameters, names, x, &slope, batch, &mut gradients)?;
                    self.buffers.add(&mut slopes[node.input], dx);
                }
            }
            self.buffers.give(slope);
            self.buffers.give(std::mem::take(&mut tape.values[index + 1]));
        }
        self.recycle(tape);
        Ok(gradients)
    }
}

/// A convolution with the parameters that it uses.
struct ConvLayer<'a> {
    op: &'a ConvNorm,
    names: &'a LayerNames,
    parameters: &'a Parameters,
}

impl ConvLayer<'_> {
    fn norm_values(&self) -> Result<[Vec<f32>; 4], TrainError> {
        let norm = self.names.norm.as_ref().expect("a fused convolution has a normalisation");
        let value = |name: &String| self.parameters.values(name);
        Ok([value(&norm.gamma)?, value(&norm.beta)?, value(&norm.mean)?, value(&norm.variance)?])
    }

    /// Writes the convolution and the whole result, and moves the running statistics.
    fn train(
        &self,
        x: &[f32],
        residual: Option<&[f32]>,
        momentum: f64,
        y: &mut [f32],
        z: &mut [f32],
    ) -> Result<Moments, TrainError> {
        let norm = self.names.norm.as_ref().expect("a fused convolution has a normalisation");
        let weight = self.parameters.get(&self.names.weight)?;
        let moments = with_values(weight, |weight| self.op.convolve(x, weight, y))?;
        let [gamma, beta, mean, variance] = self.norm_values()?;
        self.op.normalise(y, &moments, &gamma, &beta, residual, z);
        let moved = |old: Vec<f32>, new: &[f64], factor: f64| -> Vec<f32> {
            let step = |(old, new): (f32, &f64)| {
                (f64::from(old) * (1.0 - momentum) + new * factor * momentum) as f32
            };
            old.into_iter().zip(new).map(step).collect()
        };
        // Running variances are unbiased, as PyTorch's.
        let unbiased = moments.count as f64 / (moments.count as f64 - 1.0).max(1.0);
        self.parameters.set(&norm.mean, moved(mean, &moments.mean, 1.0))?;
        self.parameters.set(&norm.variance, moved(variance, &moments.variance, unbiased))?;
        Ok(moments)
    }

    fn infer(&self, x: &[f32], residual: Option<&[f32]>, z: &mut [f32]) -> Result<(), TrainError> {
        let [gamma, beta, mean, variance] = self.norm_values()?;
        let (scale, shift): (Vec<f32>, Vec<f32>) = (0..gamma.len())
            .map(|channel| {
                let scale = f64::from(gamma[channel]) / (f64::from(variance[channel]) + EPSILON).sqrt();
                (scale as f32, (f64::from(beta[channel]) - f64::from(mean[channel]) * scale) as f32)
            })
            .unzip();
        let weight = self.parameters.get(&self.names.weight)?;
        with_values(weight, |weight| self.op.infer(x, weight, &scale, &shift, residual, z))?;
        Ok(())
    }

    fn backward(
        &self,
        past: &Past,
        slope: &mut [f32],
        dx: InputGradient,
        partial: &mut Vec<f32>,
        gradients: &mut Gradients,
    ) -> Result<(), TrainError> {
        let norm = self.names.norm.as_ref().expect("a fused convolution has a normalisation");
        let [gamma, beta, ..] = self.norm_values()?;
        let weight = self.parameters.get(&self.names.weight)?;
        let found =
            with_values(weight, |weight| self.op.backward(past, weight, &gamma, &beta, slope, dx, partial))?;
        let channels = gamma.len();
        let tensor = |values: Vec<f32>, shape: &[usize]| Tensor::from_vec(values, shape, &Device::Cpu);
        gradients.insert(self.names.weight.clone(), tensor(found.weight, weight.dims())?);
        gradients.insert(norm.gamma.clone(), tensor(found.gamma, &[channels])?);
        gradients.insert(norm.beta.clone(), tensor(found.beta, &[channels])?);
        Ok(())
    }
}

/// x·Wᵀ + b of a batch of vectors.
fn linear(
    parameters: &Parameters,
    names: &LayerNames,
    x: &[f32],
    batch: usize,
) -> Result<Tensor, TrainError> {
    let weight = parameters.get(&names.weight)?;
    let x = Tensor::from_slice(x, (batch, weight.dim(1)?), &Device::Cpu)?;
    let result = x.matmul(&weight.t()?)?;
    match &names.bias {
        Some(bias) => Ok(result.broadcast_add(parameters.get(bias)?)?),
        None => Ok(result),
    }
}

/// Adds the gradients of a linear layer's parameters; returns its input's.
fn linear_backward(
    parameters: &Parameters,
    names: &LayerNames,
    x: &[f32],
    slope: &[f32],
    batch: usize,
    gradients: &mut Gradients,
) -> Result<Vec<f32>, TrainError> {
    let weight = parameters.get(&names.weight)?;
    let (rows, columns) = weight.dims2()?;
    let x = Tensor::from_slice(x, (batch, columns), &Device::Cpu)?;
    let slope = Tensor::from_slice(slope, (batch, rows), &Device::Cpu)?;
    gradients.insert(names.weight.clone(), slope.t()?.matmul(&x)?);
    if let Some(bias) = &names.bias {
        gradients.insert(bias.clone(), slope.sum(0)?);
    }
    Ok(slope.matmul(weight)?.flatten_all()?.to_vec1()?)
}
