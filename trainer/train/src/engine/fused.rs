//! Forward and backward passes on the CPU with the fused kernels of [`lrpet_kernels`].
//!
//! Feature maps live in buffers that are reused from step to step, channels-last. A buffer goes back as soon as no
//! layer, forward or backward, needs its value any more.

use std::rc::Rc;

use candle_core::{Device, Tensor};
use lrpet_kernels::layout::{to_channels_first, to_channels_last};
use lrpet_network::network::Network;
use lrpet_runtime::model::Shape;
use rayon::prelude::*;

use super::buffers::Buffers;
use super::node::{Backward, Forward, Left, Node, parts};
use super::{Engine, Mode, no_forward_pass};
use crate::exchange::Exchange;
use crate::values::with_values;
use crate::{Gradients, Parameters, TrainError};

/// What a training forward pass leaves for the backward pass.
struct Tape {
    /// The images, then the results of the nodes; empty where no backward pass needs one.
    values: Vec<Vec<f32>>,
    /// What each layer left: of convolutions the results before their normalisation.
    left: Vec<Option<Left>>,
}

/// The engine.
pub(crate) struct Fused {
    nodes: Vec<Node>,
    /// Who has the rest of each batch.
    exchange: Rc<dyn Exchange>,
    /// Values of one image of each value.
    lens: Vec<usize>,
    /// The node after which each value is read no more by a forward pass; `None` for the logits.
    last_uses: Vec<Option<usize>>,
    /// Whether a backward pass reads each value.
    kept: Vec<bool>,
    channels: usize,
    /// Shape of the result.
    output: Shape,
    buffers: Buffers,
    tape: Option<Tape>,
    partial: Vec<f32>,
}

impl Fused {
    /// The engine for `network`; `None` where a layer has no kernel here.
    pub(crate) fn new(network: &Network, exchange: Rc<dyn Exchange>) -> Option<Fused> {
        let shapes = network.value_shapes()?;
        let output = *shapes.last()?;
        let alone = exchange.size() == 1;
        let mut nodes: Vec<Node> = Vec::new();
        let mut lens = vec![network.input.len()];
        // For each value of the network the engine's, which are more.
        let mut places = vec![0];
        for (layer, &output) in network.layers.iter().zip(&shapes[1..]) {
            let read = layer.op.inputs();
            let mut inputs: Vec<usize> =
                read.values().iter().map(|&value| places[usize::from(value)]).collect();
            let mut read: Vec<Shape> =
                read.values().iter().map(|&value| shapes[usize::from(value)]).collect();
            for part in parts(layer) {
                nodes.push(Node::new(&part, inputs, read, output, alone)?);
                lens.push(output.len());
                (inputs, read) = (vec![lens.len() - 1], vec![output]);
            }
            places.push(lens.len() - 1);
        }
        let mut last_uses = vec![None; lens.len()];
        let mut kept = vec![false; lens.len()];
        for (index, node) in nodes.iter().enumerate() {
            for &input in &node.inputs {
                last_uses[input] = Some(index);
            }
            kept[node.inputs[0]] |= node.needs[0];
            kept[index + 1] |= node.needs[1];
        }
        Some(Fused {
            nodes,
            exchange,
            lens,
            last_uses,
            kept,
            channels: network.input.channels as usize,
            output,
            buffers: Buffers::default(),
            tape: None,
            partial: Vec::new(),
        })
    }

    /// Brings the values of a result that is a map into another order, image by image.
    fn reorder(&self, from: &[f32], to: &mut [f32], order: fn(&[f32], usize, &mut [f32])) {
        let (length, channels) = (self.output.len(), self.output.channels as usize);
        for (from, to) in from.chunks_exact(length).zip(to.chunks_exact_mut(length)) {
            order(from, channels, to);
        }
    }

    /// Takes back what a tape holds.
    fn recycle(&mut self, tape: Tape) {
        tape.values.into_iter().for_each(|buffer| self.buffers.give(buffer));
        for left in tape.left.into_iter().flatten() {
            if let Left::Convolved((y, _)) = left {
                self.buffers.give(y);
            }
        }
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
        let mut left = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let mut result = self.buffers.take(batch * node.output_len);
            let past = Forward { parameters, exchange: &*self.exchange, mode, batch, values: &values };
            let y = || self.buffers.take(batch * node.output_len);
            left.push(node.forward(&past, &mut result, y)?);
            values.push(result);
            for (value, last) in self.last_uses.iter().enumerate() {
                if *last == Some(index) && !(self.kept[value] && matches!(mode, Mode::Train { .. })) {
                    self.buffers.give(std::mem::take(&mut values[value]));
                }
            }
        }
        let mut logits = values.last().expect("the images at least").clone();
        if self.output.pixels() > 1 {
            let last = &values[values.len() - 1];
            self.reorder(last, &mut logits, to_channels_first);
        }
        let tape = Tape { values, left };
        match mode {
            Mode::Train { .. } => self.tape = Some(tape),
            Mode::Infer => self.recycle(tape),
        }
        Ok(Tensor::from_vec(logits, (batch, self.output.len()), &Device::Cpu)?)
    }

    fn backward(&mut self, parameters: &Parameters, gradient: &Tensor) -> Result<Gradients, TrainError> {
        let Some(mut tape) = self.tape.take() else {
            return Err(no_forward_pass());
        };
        let batch = gradient.dim(0)?;
        let lens: Vec<usize> = self.lens.iter().map(|len| batch * len).collect();
        let mut gradients = Gradients::new();
        let mut slopes: Vec<Option<Vec<f32>>> = vec![None; tape.values.len()];
        let mut slope: Vec<f32> = gradient.flatten_all()?.to_vec1()?;
        if self.output.pixels() > 1 {
            let first = slope.clone();
            self.reorder(&first, &mut slope, to_channels_last);
        }
        slopes[self.nodes.len()] = Some(slope);
        for (index, node) in self.nodes.iter().enumerate().rev() {
            let Some(slope) = slopes[index + 1].take() else {
                continue; // nothing reads this value
            };
            let left = tape.left[index].take();
            let mut back = Backward {
                parameters,
                exchange: &*self.exchange,
                batch,
                values: &tape.values,
                lens: &lens,
                slopes: &mut slopes,
                buffers: &mut self.buffers,
                partial: &mut self.partial,
                gradients: &mut gradients,
            };
            node.backward(&mut back, index + 1, left.as_ref(), slope)?;
            if let Some(Left::Convolved((y, _))) = left {
                self.buffers.give(y);
            }
            self.buffers.give(std::mem::take(&mut tape.values[index + 1]));
        }
        slopes.into_iter().flatten().for_each(|slope| self.buffers.give(slope));
        self.recycle(tape);
        Ok(gradients)
    }
}
