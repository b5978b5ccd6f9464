//! One layer of the fused engine, forward and backward.

use lrpet_kernels::{
    Concat, Conv, ConvNorm, Depthwise, InputGradient, Isa, PadShortcut, Pooling, global_average_pool,
    global_average_pool_backward,
};
use lrpet_network::network::{EPSILON, Layer};
use lrpet_runtime::model::{Activate, Activation, Op, PoolKind, Shape, Weights};

use super::buffers::Buffers;
use super::layers::{ConvLayer, ConvPast, Convolved, LinearLayer};
use super::recorder::{Record, Recorder};
use super::{Mode, no_forward_pass};
use crate::exchange::Exchange;
use crate::parameters::LayerNames;
use crate::{Gradients, Parameters, TrainError};

/// A layer in the form that the kernels run.
enum Kernel {
    Conv(Box<ConvNorm>, LayerNames),
    Linear(LayerNames, Activation),
    Pool(Pooling),
    /// Pixels and channels.
    AveragePool(usize, usize),
    Shortcut(PadShortcut),
    Add(Activation),
    Concat(Concat),
    /// A layer as candle operations, which keep what their backward pass needs.
    Candle(Box<Recorder>),
}

/// A layer, the values that it reads, and which of them its backward pass needs.
pub(super) struct Node {
    kernel: Kernel,
    /// Values read.
    pub inputs: Vec<usize>,
    /// Values of one image of the result.
    pub output_len: usize,
    /// Whether the backward pass reads the first input, and the result.
    pub needs: [bool; 2],
}

/// What a forward pass works on.
pub(super) struct Forward<'a> {
    pub parameters: &'a Parameters,
    pub exchange: &'a dyn Exchange,
    pub mode: Mode,
    pub batch: usize,
    /// The values made so far.
    pub values: &'a [Vec<f32>],
}

/// What a backward pass works on.
pub(super) struct Backward<'a> {
    pub parameters: &'a Parameters,
    pub exchange: &'a dyn Exchange,
    pub batch: usize,
    /// All values of the forward pass; empty where no backward pass needs one.
    pub values: &'a [Vec<f32>],
    /// Lengths of the values.
    pub lens: &'a [usize],
    /// Gradients of the values, as far as they are known.
    pub slopes: &'a mut [Option<Vec<f32>>],
    pub buffers: &'a mut Buffers,
    /// Scratch of the convolutions.
    pub partial: &'a mut Vec<f32>,
    pub gradients: &'a mut Gradients,
}

/// What a training forward pass of a layer leaves beside its result.
pub(super) enum Left {
    Convolved(Convolved),
    Record(Record),
}

/// A layer as those that kernels can run: by itself, or, where kernels lack its activation, without it and then that.
pub(super) fn parts(layer: &Layer) -> Vec<Layer> {
    let mut plain = layer.clone();
    let activation = match &mut plain.op {
        Op::Conv(conv) => &mut conv.activation,
        Op::Linear(linear) => &mut linear.activation,
        Op::Add { activation, .. } => activation,
        _ => return vec![plain],
    };
    if activation.is_plain() {
        return vec![plain];
    }
    let activation = std::mem::replace(activation, Activation::None);
    // Its input is the result of the first.
    let second = Op::Activate(Activate { input: 0, activation, slope: None });
    vec![plain, Layer::new(second)]
}

impl Node {
    /// The node of `layer`, one of [`parts`], which reads the values `inputs` of these shapes; `None` where it has no kernel,
    /// or, unless it has the whole batch `alone`, none that several processes can share.
    pub(super) fn new(
        layer: &Layer,
        inputs: Vec<usize>,
        shapes: Vec<Shape>,
        output: Shape,
        alone: bool,
    ) -> Option<Node> {
        let shape = shapes[0];
        let (kernel, needs) = match &layer.op {
            Op::Conv(conv) => {
                // Without a normalisation none is added to.
                let epsilon = layer.norm.as_ref().map_or(EPSILON, |norm| norm.epsilon);
                let op = match conv.weights {
                    Weights::Dense => {
                        let plan = Conv::new(shape, conv.out_channels, &conv.window)?;
                        ConvNorm::new(plan, conv.activation, epsilon, Isa::best())
                    }
                    Weights::Depthwise => {
                        let plan = Depthwise::new(shape, &conv.window)?;
                        ConvNorm::new(plan, conv.activation, epsilon, Isa::best())
                    }
                    Weights::Pair { .. } => return None,
                };
                let masked =
                    conv.activation != Activation::None && (conv.residual.is_some() || layer.norm.is_none());
                (Kernel::Conv(Box::new(op), LayerNames::of(layer)?), [true, masked])
            }
            // In channels-last order, a map is another vector.
            Op::Linear(linear) if shape.pixels() == 1 => {
                if linear.weights != Weights::Dense {
                    return None;
                }
                let masked = linear.activation != Activation::None;
                (Kernel::Linear(LayerNames::of(layer)?, linear.activation), [true, masked])
            }
            Op::Pool(pool) => {
                let largest = pool.kind == PoolKind::Max;
                (Kernel::Pool(Pooling::new(shape, pool, Isa::best())?), [largest, largest])
            }
            Op::GlobalAveragePool { .. } => {
                (Kernel::AveragePool(shape.pixels(), shape.channels as usize), [false, false])
            }
            Op::PadShortcut(shortcut) => {
                (Kernel::Shortcut(PadShortcut::new(shape, output, shortcut.stride)), [false, false])
            }
            Op::Add { activation, .. } => {
                (Kernel::Add(*activation), [false, *activation != Activation::None])
            }
            Op::Concat(_) => {
                let channels = shapes.iter().map(|shape| shape.channels as usize).collect();
                (Kernel::Concat(Concat::new(channels)), [false, false])
            }
            // The statistics of a batch are those of its whole.
            _ if layer.norm.is_some() && !alone => return None,
            _ => {
                let recorder = Recorder::new(layer.clone(), shapes, output);
                (Kernel::Candle(Box::new(recorder)), [false, false])
            }
        };
        Some(Node { kernel, inputs, output_len: output.len(), needs })
    }

    /// Writes the result. `y` gives a buffer as long as the result where the layer needs one for its backward pass.
    pub(super) fn forward(
        &self,
        past: &Forward,
        result: &mut [f32],
        y: impl FnOnce() -> Vec<f32>,
    ) -> Result<Option<Left>, TrainError> {
        let Forward { parameters, exchange, mode, batch, values } = *past;
        let input = |index: usize| values[self.inputs[index]].as_slice();
        let x = input(0);
        match &self.kernel {
            Kernel::Conv(op, names) => {
                let residual = self.inputs.get(1).map(|_| input(1));
                let layer = ConvLayer { op, names, parameters, exchange };
                return Ok(layer.forward(x, residual, mode, y, result)?.map(Left::Convolved));
            }
            Kernel::Linear(names, activation) => {
                LinearLayer { names, activation: *activation, parameters }.forward(x, batch, result)?;
            }
            Kernel::Pool(pool) => pool.forward(x, result),
            Kernel::AveragePool(pixels, channels) => global_average_pool(x, *pixels, *channels, result),
            Kernel::Shortcut(shortcut) => shortcut.forward(x, result),
            Kernel::Add(activation) => lrpet_kernels::add(x, input(1), *activation, result),
            Kernel::Concat(concat) => {
                for index in 0..self.inputs.len() {
                    concat.forward(index, input(index), result);
                }
            }
            Kernel::Candle(recorder) => {
                let inputs = (0..self.inputs.len()).map(input);
                return Ok(recorder.forward(parameters, inputs, mode, batch, result)?.map(Left::Record));
            }
        }
        Ok(None)
    }

    /// From `slope`, the gradient of the result, which is value `value`: adds the gradients of the inputs and of the
    /// parameters. Gradients of the image are not made.
    pub(super) fn backward(
        &self,
        back: &mut Backward,
        value: usize,
        left: Option<&Left>,
        mut slope: Vec<f32>,
    ) -> Result<(), TrainError> {
        let (x, z) = (back.values[self.inputs[0]].as_slice(), back.values[value].as_slice());
        let first = self.inputs[0];
        match &self.kernel {
            Kernel::Conv(op, names) => {
                let layer = ConvLayer { op, names, parameters: back.parameters, exchange: back.exchange };
                let residual = self.inputs.get(1).copied();
                let convolved = match left {
                    Some(Left::Convolved(convolved)) => Some(convolved),
                    _ => None,
                };
                let past = ConvPast { x, z, convolved, residual: residual.is_some() };
                let old = back.slopes[first].take();
                let add = old.is_some();
                let mut dx = match old {
                    _ if first == 0 => Vec::new(),
                    Some(old) => old,
                    None => back.buffers.take(back.lens[first]),
                };
                let target = match (first, add) {
                    (0, _) => InputGradient::Skip,
                    (_, true) => InputGradient::Add(&mut dx),
                    (_, false) => InputGradient::Write(&mut dx),
                };
                layer.backward(&past, &mut slope, target, back.partial, back.gradients)?;
                if first != 0 {
                    back.slopes[first] = Some(dx);
                }
                if let Some(residual) = residual {
                    back.buffers.add(&mut back.slopes[residual], std::mem::take(&mut slope));
                }
            }
            Kernel::Linear(names, activation) => {
                let layer = LinearLayer { names, activation: *activation, parameters: back.parameters };
                let dx = layer.backward(x, z, back.batch, &mut slope, back.gradients)?;
                back.buffers.add(&mut back.slopes[first], dx);
            }
            Kernel::Pool(pool) => pool.backward(x, z, &slope, back.sum(first)),
            Kernel::AveragePool(pixels, channels) => {
                let mut dx = back.buffers.take(back.lens[first]);
                global_average_pool_backward(&slope, *pixels, *channels, &mut dx);
                back.buffers.add(&mut back.slopes[first], dx);
            }
            Kernel::Shortcut(shortcut) => shortcut.backward(&slope, back.sum(first)),
            Kernel::Add(activation) => {
                lrpet_kernels::mask(z, *activation, &mut slope);
                let mut copy = back.buffers.take(slope.len());
                copy.copy_from_slice(&slope);
                back.buffers.add(&mut back.slopes[first], copy);
                back.buffers.add(&mut back.slopes[self.inputs[1]], std::mem::take(&mut slope));
            }
            Kernel::Concat(concat) => {
                for (index, &input) in self.inputs.iter().enumerate() {
                    let old = back.slopes[input].take();
                    let accumulate = old.is_some();
                    let mut dx = old.unwrap_or_else(|| back.buffers.take(back.lens[input]));
                    concat.backward(index, &slope, &mut dx, accumulate);
                    back.slopes[input] = Some(dx);
                }
            }
            Kernel::Candle(recorder) => {
                let Some(Left::Record(record)) = left else {
                    return Err(no_forward_pass());
                };
                let slopes = &mut *back.slopes;
                let add = |buffers: &mut Buffers, slot: usize, dx: Vec<f32>| match self.inputs[slot] {
                    0 => buffers.give(dx),
                    input => buffers.add(&mut slopes[input], dx),
                };
                recorder.backward(back.parameters, record, &slope, back.gradients, back.buffers, add)?;
            }
        }
        back.buffers.give(slope);
        Ok(())
    }
}

impl Backward<'_> {
    /// The gradient of a value so far, zeros where there is none.
    fn sum(&mut self, value: usize) -> &mut Vec<f32> {
        self.slopes[value].get_or_insert_with(|| {
            let mut zeros = self.buffers.take(self.lens[value]);
            zeros.fill(0.0);
            zeros
        })
    }
}
