//! Weights of 8 bits: an i8 each and a scale for each row, in place of f16.
//!
//! The bytes are chosen so that a layer's *output* changes least on calibration inputs, not each weight: `round` has the errors of a
//! row make up for each other by the covariance of what the layer reads (`inputs`), `layer` does that for both halves of a pair and
//! fits the expanding half to the rounded thin one. [`scale`] are the scales of the format, with which every weight is exactly an f16:
//! a quantised network is an f16 network of special weights, and all that is done with one can be done with the other.

mod inputs;
mod layer;
mod metric;
mod round;
pub mod scale;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use half::f16;
use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::model::{Op, Weights};
use rayon::prelude::*;
use serde::Serialize;

use crate::export::file::serialize;
use crate::export::{ExportError, Folded, LayerWeights, checked};
use crate::lrpet::Loss;
use crate::network::{Layer, Network};
use inputs::Reads;

/// Most bytes of samples at once; more layers are done in turns, those of later turns on what the earlier ones make.
const MOST_BYTES: usize = 512 << 20;

/// A layer with weights of 8 bits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QuantisedLayer {
    /// Name of the layer.
    pub name: String,
    /// How much its outputs change on the calibration inputs, as a share of how much they vary (roots of mean squares); without such
    /// inputs, how much its weights change.
    pub error: f64,
    /// Bytes of its weights and biases as f16 and f32.
    pub bytes_f16: u64,
    /// Bytes of its weights, biases and scales.
    pub bytes: u64,
}

/// True of operations that may have weights of 8 bits: convolutions and linear layers, dense or pairs.
pub fn may(op: &Op<String>) -> bool {
    matches!(op, Op::Conv(_) | Op::Linear(_)) && !matches!(op.weights(), None | Some(Weights::Depthwise))
}

/// What rounding to f16 and to the nearest 8 bits takes from each layer of `network` that may have them, by name, all of
/// them dense; `weights` are those of [`merged`](crate::export::folded::merged).
pub fn losses(network: &Network, weights: &BTreeMap<String, LayerWeights>) -> BTreeMap<String, Loss> {
    let loss = |layer: &Layer| {
        let mut weights = weights.get(layer.op.name()).filter(|_| may(&layer.op))?.clone();
        let square =
            |of: &dyn Fn(f64) -> f64| weights.weight.iter().map(|&w| of(f64::from(w)).powi(2)).sum::<f64>();
        let (lost, whole) = (square(&|w| w - f16::from_f64(w).to_f64()), square(&|w| w));
        let half = if whole > 0.0 { lost / whole } else { 0.0 };
        let rows = weights.bias.len();
        let error = layer::quantise(&mut weights, rows, None);
        Some((layer.op.name().to_owned(), Loss { half, eight: error * error }))
    };
    network.layers.par_iter().filter_map(loss).collect()
}

/// Gives `layers` of `network`, or every one that may have them, weights of 8 bits. `inputs` are calibration inputs (normalised values, C×H×W),
/// such as a few hundred of the training set; without them each weight is rounded to the nearest. `progress` is told of each run of an
/// input. The same arguments give the same weights.
///
/// # Errors
/// Those of [`serialize`] (a weight beyond f16, or none at all), and [`ExportError::Model`] where the runtime refuses an input.
pub fn quantise(
    network: &mut Folded,
    layers: Option<&BTreeSet<String>>,
    inputs: Option<&[Vec<f32>]>,
    progress: &(dyn Fn() + Sync),
) -> Result<Vec<QuantisedLayer>, ExportError> {
    let shapes = network.value_shapes();
    let wanted = |op: &Op<String>| may(op) && layers.is_none_or(|layers| layers.contains(op.name()));
    let all = network.ops.iter().enumerate().filter(|(_, op)| wanted(op));
    let all: Vec<Reads> = all.map(|(index, op)| Reads::new(op, index, &shapes)).collect();
    let (mut rest, mut report) = (&all[..], Vec::new());
    while !rest.is_empty() {
        // Also where there are no inputs: it refuses weights that are no numbers.
        let bytes = AlignedBytes::copy_of(&serialize(network, &BTreeMap::new(), None)?);
        let (group, moments) = match inputs {
            None => (rest, None),
            Some(inputs) => {
                let group = &rest[inputs::group(rest, inputs.len(), MOST_BYTES)];
                let model = checked(bytes.as_slice(), "the model before its weights are rounded")?;
                (group, Some(inputs::moments(network, &model, inputs, group, progress)?))
            }
        };
        rest = &rest[group.len()..];
        let one = |(at, reads): (usize, &Reads)| {
            let name = network.ops[reads.index].name().to_owned();
            let rows = shapes[reads.index + 1].channels as usize;
            let mut weights = network.weights[&name].clone();
            let bytes_f16 = weights.bytes();
            let moments = moments.as_ref().map(|moments| &moments[at]);
            let error = layer::quantise(&mut weights, rows, moments);
            let report = QuantisedLayer { name: name.clone(), error, bytes_f16, bytes: weights.bytes() };
            (name, weights, report)
        };
        for (name, weights, layer) in group.par_iter().enumerate().map(one).collect::<Vec<_>>() {
            network.weights.insert(name, weights);
            report.push(layer);
        }
    }
    Ok(report)
}
