//! A layer of the fused engine that runs as candle operations: those keep what their backward pass needs.

use candle_core::{Device, Tensor, Var};
use lrpet_kernels::layout::{to_channels_first, to_channels_last};
use lrpet_network::network::Layer;
use lrpet_runtime::model::{Op, Shape};
use rayon::prelude::*;

use super::Mode;
use super::buffers::Buffers;
use super::graph::apply;
use crate::values::with_values;
use crate::{Gradients, Parameters, TrainError};

/// The layer, with the shapes of what it reads and makes.
pub(super) struct Recorder {
    layer: Layer,
    inputs: Vec<Shape>,
    output: Shape,
    /// Where the order of values does not matter, as long as it is the same in all of them.
    elementwise: bool,
}

/// What a training forward pass leaves for the backward pass.
pub(super) struct Record {
    inputs: Vec<Var>,
    result: Tensor,
}

impl Recorder {
    pub(super) fn new(layer: Layer, inputs: Vec<Shape>, output: Shape) -> Recorder {
        let elementwise = match &layer.op {
            Op::Activate(activate) => activate.slope.is_none(),
            Op::Binary(_) => inputs.iter().all(|shape| *shape == output),
            _ => false,
        };
        Recorder { layer, inputs, output, elementwise }
    }

    /// True where channels-last values of `shape` lie as channels-first ones do, or may.
    fn as_they_are(&self, shape: Shape) -> bool {
        self.elementwise || shape.channels == 1 || shape.pixels() == 1
    }

    /// Channels-last values as `[batch, c, h, w]`.
    fn read(&self, values: &[f32], shape: Shape) -> Vec<f32> {
        if self.as_they_are(shape) {
            return values.to_vec();
        }
        let mut first = vec![0.0; values.len()];
        (first.par_chunks_exact_mut(shape.len()), values.par_chunks_exact(shape.len()))
            .into_par_iter()
            .for_each(|(to, from)| to_channels_first(from, shape.channels as usize, to));
        first
    }

    /// `[batch, c, h, w]` as channels-last values.
    fn write(&self, tensor: &Tensor, shape: Shape, values: &mut [f32]) -> Result<(), TrainError> {
        with_values(tensor, |first| {
            if self.as_they_are(shape) {
                return values.copy_from_slice(first);
            }
            (values.par_chunks_exact_mut(shape.len()), first.par_chunks_exact(shape.len()))
                .into_par_iter()
                .for_each(|(to, from)| to_channels_last(from, shape.channels as usize, to));
        })?;
        Ok(())
    }

    /// Writes the layer's result; `inputs` are channels-last.
    pub(super) fn forward<'v>(
        &self,
        parameters: &Parameters,
        inputs: impl Iterator<Item = &'v [f32]>,
        mode: Mode,
        batch: usize,
        result: &mut [f32],
    ) -> Result<Option<Record>, TrainError> {
        let variable = |(values, &shape): (&[f32], &Shape)| {
            let sizes = [shape.channels, shape.height, shape.width].map(|size| size as usize);
            let sizes = (batch, sizes[0], sizes[1], sizes[2]);
            Var::from_vec(self.read(values, shape), sizes, &Device::Cpu)
        };
        let inputs = inputs.zip(&self.inputs).map(variable).collect::<candle_core::Result<Vec<Var>>>()?;
        let read: Vec<&Tensor> = inputs.iter().map(Var::as_tensor).collect();
        let made = apply(parameters, &self.layer, &read, mode)?;
        self.write(&made, self.output, result)?;
        Ok(matches!(mode, Mode::Train { .. }).then_some(Record { inputs, result: made }))
    }

    /// From `slope`, the channels-last gradient of the result: adds the gradients of the parameters, and gives those of the inputs, channels-last,
    /// to `add` with the number of the input.
    pub(super) fn backward(
        &self,
        parameters: &Parameters,
        record: &Record,
        slope: &[f32],
        gradients: &mut Gradients,
        buffers: &mut Buffers,
        mut add: impl FnMut(&mut Buffers, usize, Vec<f32>),
    ) -> Result<(), TrainError> {
        let slope = Tensor::from_vec(self.read(slope, self.output), record.result.dims(), &Device::Cpu)?;
        let mut store = (&record.result * slope)?.sum_all()?.backward()?;
        for (name, var) in parameters.trained() {
            if let Some(gradient) = store.remove(var) {
                gradients.insert(name.clone(), gradient);
            }
        }
        for (slot, (input, &shape)) in record.inputs.iter().zip(&self.inputs).enumerate() {
            if let Some(gradient) = store.remove(input) {
                let mut values = buffers.take(gradient.elem_count());
                self.write(&gradient, shape, &mut values)?;
                add(buffers, slot, values);
            }
        }
        Ok(())
    }
}
