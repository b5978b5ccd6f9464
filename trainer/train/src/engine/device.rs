//! Forward and backward passes of a network on a device.

use std::rc::Rc;

use candle_core::{Device, Tensor};
use lrpet_network::network::{Layer, Network};
use lrpet_runtime::model::{Activation, Op, Shape, Weights};

use super::{Engine, Mode, no_forward_pass};
use crate::cuda::norm::{self, Norm, Past, Share, Shift, Statistics};
use crate::cuda::parameters::Geometry;
use crate::cuda::steps;
use crate::cuda::windows::{Dense, Depthwise, Pooling, Shortcut};
use crate::exchange::whole_batch;
use crate::parameters::LayerNames;
use crate::{Exchange, Gradients, Parameters, TrainError};

/// A layer as the device runs it.
struct Node {
    op: Op<String>,
    names: Option<LayerNames>,
    inputs: Vec<usize>,
    /// Shapes of the first input and of the result.
    input: Shape,
    output: Shape,
}

/// A product of a layer with weights, with what its normalisation found.
struct Product {
    y: Option<Tensor>,
    statistics: Option<Statistics>,
}

/// What a training forward pass leaves for the backward pass.
struct Tape {
    /// All values, the images first.
    values: Vec<Tensor>,
    /// The products of the layers that have weights.
    products: Vec<Option<Product>>,
    /// Images of the batch in all processes.
    whole: usize,
}

/// The engine.
pub(crate) struct DeviceEngine {
    nodes: Vec<Node>,
    /// Who has the rest of each batch.
    exchange: Rc<dyn Exchange>,
    tape: Option<Tape>,
}

/// A convolution of either kind.
enum Convolution {
    Dense(Dense),
    Depthwise(Depthwise),
}

impl DeviceEngine {
    /// The engine for `network`; `None` where a layer has no kernel here.
    pub(crate) fn new(network: &Network, exchange: Rc<dyn Exchange>) -> Option<DeviceEngine> {
        let shapes = network.value_shapes()?;
        let known = |(index, layer): (usize, &Layer)| {
            let input = shapes[usize::from(layer.op.inputs().first())];
            let vector = !matches!(layer.op, Op::Linear(_)) || input.pixels() == 1;
            let last = index + 1 < network.layers.len() || shapes[index + 1].pixels() == 1;
            !layer.op.is_general() && layer.op.activation().is_plain() && vector && last
        };
        if !network.layers.iter().enumerate().all(known) {
            return None;
        }
        let node = |(index, layer): (usize, &Layer)| {
            let inputs: Vec<usize> = layer.op.inputs().values().iter().copied().map(usize::from).collect();
            Node {
                op: layer.op.clone(),
                names: LayerNames::of(layer),
                input: shapes[inputs[0]],
                output: shapes[index + 1],
                inputs,
            }
        };
        let nodes = network.layers.iter().enumerate().map(node).collect();
        Some(DeviceEngine { nodes, exchange, tape: None })
    }

    /// The node after which each value is read no more.
    fn last_uses(&self) -> Vec<usize> {
        let mut last = vec![0; self.nodes.len() + 1];
        for (index, node) in self.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|&input| last[input] = index);
        }
        last
    }
}

impl Engine for DeviceEngine {
    fn forward(
        &mut self,
        parameters: &Parameters,
        images: &Tensor,
        mode: Mode,
    ) -> Result<Tensor, TrainError> {
        self.tape = None;
        let batch = images.dim(0)?;
        let mut values = vec![images.transpose(0, 1)?.contiguous()?];
        let mut products = Vec::new();
        let last_uses = self.last_uses();
        let nothing = Tensor::zeros(0, images.dtype(), &Device::Cpu)?;
        let training = matches!(mode, Mode::Train { .. });
        let shared = training && self.exchange.size() > 1;
        let whole = if shared { whole_batch(&*self.exchange, batch)? } else { batch };
        let share = Share { exchange: &*self.exchange, images: batch, whole };
        for (index, node) in self.nodes.iter().enumerate() {
            let (value, product) = node.forward(parameters, &values, share, mode)?;
            values.push(value);
            if training {
                products.push(product);
            } else {
                for (value, _) in last_uses.iter().enumerate().filter(|&(_, last)| *last == index) {
                    if value <= index {
                        values[value] = nothing.clone();
                    }
                }
            }
        }
        let logits = values.last().expect("the images at least");
        let logits = logits.reshape(((), batch))?.t()?.contiguous()?;
        if training {
            self.tape = Some(Tape { values, products, whole });
        }
        Ok(logits)
    }

    fn backward(&mut self, parameters: &Parameters, gradient: &Tensor) -> Result<Gradients, TrainError> {
        let Some(mut tape) = self.tape.take() else {
            return Err(no_forward_pass());
        };
        let mut gradients = Gradients::new();
        let mut slopes: Vec<Option<Tensor>> = vec![None; tape.values.len()];
        let logits = tape.values.last().expect("the images at least");
        // Memory of its own: the way back writes on its slopes.
        slopes[self.nodes.len()] = Some(gradient.t()?.force_contiguous()?.reshape(logits.shape())?);
        let images = gradient.dim(0)?;
        let share = Share { exchange: &*self.exchange, images, whole: tape.whole };
        for (index, node) in self.nodes.iter().enumerate().rev() {
            if let Some(slope) = slopes[index + 1].take() {
                node.backward(parameters, (&tape, share), index, slope, &mut slopes, &mut gradients)?;
            }
            // Nothing before reads what this node made.
            tape.values.truncate(index + 1);
            tape.products.truncate(index);
        }
        Ok(gradients)
    }
}

impl Node {
    fn convolution(&self, batch: usize) -> Result<Option<Convolution>, TrainError> {
        let Op::Conv(conv) = &self.op else { return Ok(None) };
        let geometry = Geometry::new(self.input, self.output, &conv.window, batch)?;
        Ok(Some(match conv.weights {
            Weights::Depthwise => Convolution::Depthwise(Depthwise(geometry)),
            _ => Convolution::Dense(Dense(geometry)),
        }))
    }

    fn shortcut(&self, stride: u16, batch: usize) -> Result<Shortcut, TrainError> {
        let geometry = Geometry::new(self.input, self.output, &Shortcut::window(stride), batch)?;
        Ok(Shortcut::new(geometry, self.output.channels))
    }

    /// The result, and for a layer with weights its product.
    fn forward(
        &self,
        parameters: &Parameters,
        values: &[Tensor],
        share: Share,
        mode: Mode,
    ) -> Result<(Tensor, Option<Product>), TrainError> {
        let batch = share.images;
        let x = &values[self.inputs[0]];
        let second = self.inputs.get(1).map(|&second| &values[second]);
        let value = match &self.op {
            Op::Conv(_) | Op::Linear(_) => {
                let layer = Weighted::of(self, parameters)?;
                let y = match self.convolution(batch)? {
                    Some(Convolution::Dense(op)) => op.forward(x, &layer.weight)?,
                    Some(Convolution::Depthwise(op)) => op.forward(x, &layer.weight)?,
                    None => layer.weight.matmul(&x.reshape(((), batch))?)?.reshape(((), batch, 1, 1))?,
                };
                let (z, product) = layer.finish(y, second, mode, share)?;
                return Ok((z, Some(product)));
            }
            Op::Pool(pool) => {
                let geometry = Geometry::new(self.input, self.output, &pool.window, batch)?;
                Pooling(geometry, pool.kind).forward(x)?
            }
            Op::GlobalAveragePool { .. } => steps::mean(x)?,
            Op::PadShortcut(shortcut) => self.shortcut(shortcut.stride, batch)?.forward(x)?,
            Op::Add { activation, .. } => steps::add(x, second.unwrap_or(x), *activation)?,
            Op::Concat(_) => {
                let joined: Vec<&Tensor> = self.inputs.iter().map(|&input| &values[input]).collect();
                Tensor::cat(&joined, 0)?
            }
            other => unreachable!("{} is not of this engine", other.kind()),
        };
        Ok((value, None))
    }

    /// Adds to the slopes of this node's inputs, and to the gradients of its parameters, from the `slope` of its
    /// result.
    fn backward(
        &self,
        parameters: &Parameters,
        (tape, share): (&Tape, Share),
        index: usize,
        slope: Tensor,
        slopes: &mut [Option<Tensor>],
        gradients: &mut Gradients,
    ) -> Result<(), TrainError> {
        let (first, second) = (self.inputs[0], self.inputs.get(1).copied());
        let (x, z) = (&tape.values[first], &tape.values[index + 1]);
        let batch = share.images;
        match &self.op {
            Op::Conv(_) | Op::Linear(_) => {
                let layer = Weighted::of(self, parameters)?;
                let product = tape.products[index].as_ref().expect("kept by the training forward pass");
                let residual = second.map(|second| slopes[second].take());
                let slope = layer.back(product, z, slope, residual, gradients, share)?;
                if let Some(second) = second {
                    slopes[second] = slope.residual;
                }
                // The images need no gradient.
                let wanted = first != 0;
                let old = slopes[first].take();
                let (weight_slope, found) = match self.convolution(batch)? {
                    Some(Convolution::Dense(op)) => op.backward(x, &layer.weight, &slope.y, wanted, old)?,
                    Some(Convolution::Depthwise(op)) => {
                        op.backward(x, &layer.weight, &slope.y, wanted, old)?
                    }
                    None => {
                        let y = slope.y.reshape(((), batch))?;
                        let weight_slope = y.matmul(&x.reshape(((), batch))?.t()?)?;
                        let found = layer.weight.t()?.matmul(&y)?.reshape(x.shape())?;
                        (weight_slope, Some(steps::sum(old, found)?))
                    }
                };
                slopes[first] = found;
                gradients.insert(layer.names.weight.clone(), weight_slope);
            }
            Op::Pool(pool) => {
                let geometry = Geometry::new(self.input, self.output, &pool.window, batch)?;
                let old = slopes[first].take();
                slopes[first] = Some(Pooling(geometry, pool.kind).backward(x, &slope, old)?);
            }
            Op::GlobalAveragePool { .. } => {
                let old = slopes[first].take();
                slopes[first] = Some(steps::mean_back(x, &slope, old)?);
            }
            Op::PadShortcut(shortcut) => {
                let op = self.shortcut(shortcut.stride, batch)?;
                let old = slopes[first].take();
                slopes[first] = Some(op.backward(x, &slope, old)?);
            }
            Op::Add { activation, .. } => {
                for &input in &self.inputs {
                    // Each input's slope in its own memory: the nodes before write on it.
                    let found = steps::before(&slope, z, *activation)?;
                    let old = slopes[input].take();
                    slopes[input] = Some(steps::sum(old, found)?);
                }
            }
            Op::Concat(_) => {
                let mut start = 0;
                for &input in &self.inputs {
                    let channels = tape.values[input].dim(0)?;
                    // Parts of one memory that do not overlap.
                    let found = slope.narrow(0, start, channels)?;
                    let old = slopes[input].take();
                    slopes[input] = Some(steps::sum(old, found)?);
                    start += channels;
                }
            }
            other => unreachable!("{} is not of this engine", other.kind()),
        }
        Ok(())
    }
}

/// A layer's parameters.
struct Weighted<'a> {
    names: &'a LayerNames,
    weight: Tensor,
    activation: Activation,
    follows: Follows,
}

/// What follows the product: γ, β, running mean and variance, with ε and momentum, or a bias, zeros where there is none.
enum Follows {
    Norm([Tensor; 4], f64, f64),
    Bias(Tensor),
}

impl<'a> Weighted<'a> {
    fn of(node: &'a Node, parameters: &Parameters) -> Result<Weighted<'a>, TrainError> {
        let names = node.names.as_ref().expect("a layer with a matrix has names");
        let get = |name: &String| Ok::<_, TrainError>(parameters.get(name)?.as_detached_tensor());
        let follows = match (&names.norm, &names.bias) {
            (Some(norm), _) => {
                let (gamma, beta) = (norm.gamma(parameters)?.detach(), norm.beta(parameters)?.detach());
                let tensors = [gamma, beta, get(&norm.mean)?, get(&norm.variance)?];
                Follows::Norm(tensors, norm.epsilon, norm.momentum)
            }
            (None, Some(bias)) => Follows::Bias(get(bias)?),
            (None, None) => {
                let weight = parameters.get(&names.weight)?;
                Follows::Bias(Tensor::zeros(weight.dim(0)?, weight.dtype(), weight.device())?)
            }
        };
        let activation = match &node.op {
            Op::Conv(conv) => conv.activation,
            Op::Linear(linear) => linear.activation,
            _ => Activation::None,
        };
        Ok(Weighted { names, weight: get(&names.weight)?, activation, follows })
    }

    /// The result from the product `y`.
    fn finish(
        &self,
        y: Tensor,
        residual: Option<&Tensor>,
        mode: Mode,
        share: Share,
    ) -> Result<(Tensor, Product), TrainError> {
        match &self.follows {
            Follows::Norm(tensors, epsilon, own) => {
                let norm = norm_of(tensors, *epsilon);
                let statistics = match mode {
                    Mode::Train { momentum } => {
                        Statistics::of_batch(&y, &norm, momentum.unwrap_or(*own), share)?
                    }
                    Mode::Infer => Statistics::running(&norm)?,
                };
                let z = norm::finish(&y, &Shift::Norm(&statistics, &norm), residual, self.activation)?;
                Ok((z, Product { y: Some(y), statistics: Some(statistics) }))
            }
            Follows::Bias(bias) => {
                let z = norm::finish(&y, &Shift::Bias(bias), residual, self.activation)?;
                Ok((z, Product { y: None, statistics: None }))
            }
        }
    }

    /// The way back from `slope` to the product; adds the gradients of γ and β or of the bias.
    fn back(
        &self,
        product: &Product,
        z: &Tensor,
        slope: Tensor,
        residual: Option<Option<Tensor>>,
        gradients: &mut Gradients,
        share: Share,
    ) -> Result<norm::Slopes, TrainError> {
        let past = Past { y: product.y.as_ref(), z, activation: self.activation };
        let (mut found, beta) = match (&self.follows, &product.statistics, &self.names.norm, &self.names.bias)
        {
            (Follows::Norm(tensors, epsilon, _), Some(statistics), Some(names), _) => {
                let norm = norm_of(tensors, *epsilon);
                let found = norm::back(&past, &Shift::Norm(statistics, &norm), slope, residual, share)?;
                (found, (&names.beta, &names.gamma))
            }
            (Follows::Bias(bias), _, _, name) => {
                (norm::back(&past, &Shift::Bias(bias), slope, residual, share)?, (name, &None))
            }
            _ => unreachable!("the forward pass found statistics where there is a normalisation"),
        };
        if let Some(name) = beta.0 {
            gradients.insert(name.clone(), found.beta.clone());
        }
        if let (Some(name), Some(gamma)) = (beta.1, found.gamma.take()) {
            gradients.insert(name.clone(), gamma);
        }
        Ok(found)
    }
}

fn norm_of([gamma, beta, mean, variance]: &[Tensor; 4], epsilon: f64) -> Norm<'_> {
    Norm { gamma, beta, mean, variance, epsilon }
}
