//! Forward and backward passes on the CPU with the fused kernels of [`lrpet_kernels`].
//!
//! Feature maps live in buffers that are reused from step to step, channels-last. A buffer goes back as soon as no
//! layer, forward or backward, needs its value any more.

use std::rc::Rc;

use candle_core::{Device, Tensor};
use lrpet_kernels::layout::to_channels_last;
use lrpet_network::network::Network;
use rayon::prelude::*;

use super::buffers::Buffers;
use super::layers::Convolved;
use super::node::{Backward, Forward, Node};
use super::{Engine, Mode, no_forward_pass};
use crate::exchange::Exchange;
use crate::values::with_values;
use crate::{Gradients, Parameters, TrainError};

/// What a training forward pass leaves for the backward pass.
struct Tape {
    /// The images, then the results of the nodes; empty where no backward pass needs one.
    values: Vec<Vec<f32>>,
    /// Results of the convolutions before their normalisation.
    convolved: Vec<Option<Convolved>>,
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
    classes: usize,
    buffers: Buffers,
    tape: Option<Tape>,
    partial: Vec<f32>,
}

impl Fused {
    /// The engine for `network`; `None` where a layer has no kernel here.
    pub(crate) fn new(network: &Network, exchange: Rc<dyn Exchange>) -> Option<Fused> {
        let shapes = network.value_shapes()?;
        let layers = network.layers.iter().enumerate();
        let nodes: Vec<Node> =
            layers.map(|(index, layer)| Node::new(layer, index + 1, &shapes)).collect::<Option<_>>()?;
        let mut last_uses = vec![None; shapes.len()];
        let mut kept = vec![false; shapes.len()];
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
            lens: shapes.iter().map(|shape| shape.len()).collect(),
            last_uses,
            kept,
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
        for (index, node) in self.nodes.iter().enumerate() {
            let mut result = self.buffers.take(batch * node.output_len);
            let past = Forward { parameters, exchange: &*self.exchange, mode, batch, values: &values };
            let y = || self.buffers.take(batch * node.output_len);
            convolved.push(node.forward(&past, &mut result, y)?);
            values.push(result);
            for (value, last) in self.last_uses.iter().enumerate() {
                if *last == Some(index) && !(self.kept[value] && matches!(mode, Mode::Train { .. })) {
                    self.buffers.give(std::mem::take(&mut values[value]));
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
            return Err(no_forward_pass());
        };
        let batch = gradient.dim(0)?;
        let lens: Vec<usize> = self.lens.iter().map(|len| batch * len).collect();
        let mut gradients = Gradients::new();
        let mut slopes: Vec<Option<Vec<f32>>> = vec![None; tape.values.len()];
        slopes[self.nodes.len()] = Some(gradient.flatten_all()?.to_vec1()?);
        for (index, node) in self.nodes.iter().enumerate().rev() {
            let Some(slope) = slopes[index + 1].take() else {
                continue; // nothing reads this value
            };
            let convolved = tape.convolved[index].take();
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
            node.backward(&mut back, index + 1, convolved.as_ref(), slope)?;
            if let Some((y, _)) = convolved {
                self.buffers.give(y);
            }
            self.buffers.give(std::mem::take(&mut tape.values[index + 1]));
        }
        slopes.into_iter().flatten().for_each(|slope| self.buffers.give(slope));
        self.recycle(tape);
        Ok(gradients)
    }
}
