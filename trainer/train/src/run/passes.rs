//! What happens to a whole model between and after its training steps: evaluation, projection, fresh statistics.

use std::collections::BTreeMap;

use candle_core::Tensor;
use lrpet_data::{Batch, DataError, Loader};
use lrpet_kernels::Moments;
use lrpet_network::lrpet::{self, LayerWeight, Spectrum, bn_scale};
use lrpet_network::network::Layer;
use lrpet_runtime::model::Op;
use rayon::prelude::*;

use super::metrics::Evaluation;
use super::norms::{enough_values, norms};
use crate::exchange::{share_tensors, total, whole_batch};
use crate::parameters::{LayerNames, NormNames};
use crate::projection::{DeviceLayer, project_on_device};
use crate::{Mode, Parameters, TrainError, Trainable, cross_entropy};

/// A batch as labels and a tensor on the model's device.
pub(super) fn input(model: &Trainable, batch: Batch) -> Result<(Vec<u32>, Tensor), TrainError> {
    let shape = model.network().input;
    let [c, h, w] = [shape.channels, shape.height, shape.width].map(|size| size as usize);
    let images = Tensor::from_vec(batch.images, (batch.labels.len(), c, h, w), model.parameters().device())?;
    Ok((batch.labels, images))
}

/// Loss and accuracy of `model` on all images of `loader`, with running statistics. Where several processes train the
/// model, each gives a loader of its share.
///
/// # Errors
/// Where the images cannot be read or do not fit the network.
pub fn evaluate(model: &mut Trainable, loader: &Loader) -> Result<Evaluation, TrainError> {
    let (mut loss, mut correct, mut images) = (0.0, 0, 0);
    for batch in loader.epoch(0, 0) {
        let batch = batch?;
        if batch.labels.is_empty() {
            continue; // only other processes have a share of it
        }
        let (labels, input) = input(model, batch)?;
        let found = cross_entropy(&model.forward(&input, Mode::Infer)?, &labels)?;
        loss += found.sum;
        correct += found.correct;
        images += labels.len();
    }
    let sums = total(model.exchange(), &[loss, correct as f64, images as f64]);
    let count = sums[2].max(1.0);
    Ok(Evaluation { loss: sums[0] / count, accuracy: sums[1] / count, images: sums[2] as usize })
}

/// Replaces the running statistics by those of the batches' values all together, whatever the sizes of the batches: mean, and
/// variance about it (unbiased), with the weights as they are. Each batch is normalised by its own statistics on the way
/// through the network (Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, section 3).
///
/// # Errors
/// Where the images cannot be read or do not fit the network.
pub fn reestimate(
    model: &mut Trainable,
    batches: impl Iterator<Item = Result<Batch, DataError>>,
) -> Result<(), TrainError> {
    let norms = norms(model.network());
    let mut pooled: Vec<Option<Moments>> = vec![None; norms.len()];
    for batch in batches {
        let batch = batch?;
        let images = whole_batch(model.exchange(), batch.labels.len())?;
        if !enough_values(&norms, images) {
            continue;
        }
        let (_, input) = input(model, batch)?;
        model.forward(&input, Mode::MEASURE)?;
        for (norm, pooled) in norms.iter().zip(&mut pooled) {
            let batch = norm.moments(model.parameters(), images * norm.pixels)?;
            let channels = batch.mean.len();
            *pooled = Some(Moments::joined(channels, pooled.take().into_iter().chain([batch])));
        }
    }
    for (norm, pooled) in norms.iter().zip(pooled) {
        pooled.map_or(Ok(()), |pooled| norm.set(model.parameters(), &pooled))?;
    }
    Ok(())
}

/// Spectrum of the BN-rectified weight of every layer, by name.
///
/// # Errors
/// Where a weight is not finite.
pub fn spectra(model: &Trainable) -> Result<BTreeMap<String, Spectrum>, TrainError> {
    let parameters = model.parameters();
    let layers =
        model.network().layers.par_iter().filter(|layer| matches!(layer.op, Op::Conv(_) | Op::Linear(_)));
    let spectrum = |layer: &Layer| -> Result<Option<(String, Spectrum)>, TrainError> {
        let Some(names) = LayerNames::of(layer) else { return Ok(None) };
        let rows = parameters.get(&names.weight)?.dim(0)?;
        let (weight, alpha) = (parameters.values(&names.weight)?, scale(parameters, &names)?);
        let spectrum = Spectrum::new(layer.op.name(), &weight, rows, alpha.as_deref())?;
        Ok(Some((layer.op.name().to_owned(), spectrum)))
    };
    layers.filter_map(|layer| spectrum(layer).transpose()).collect()
}

/// α of the normalisation that follows a layer; none where none does.
fn scale(parameters: &Parameters, names: &LayerNames) -> Result<Option<Vec<f64>>, TrainError> {
    let scale = |norm: &NormNames| {
        let (gamma, variance) = (norm.gamma_values(parameters)?, parameters.values(&norm.variance)?);
        Ok(bn_scale(&gamma, &variance, norm.epsilon))
    };
    names.norm.as_ref().map(scale).transpose()
}

/// Projects all layers that have a rank, in place. What was found, by name of layer. Where several processes train the
/// model, process 0 projects it for all, so that their weights stay equal even on unlike processors; the others find
/// nothing.
///
/// # Errors
/// Where a weight is not finite.
pub fn project(
    model: &Trainable,
    ranks: &BTreeMap<String, u64>,
    options: &lrpet::Options,
) -> Result<Vec<(String, lrpet::Projection)>, TrainError> {
    let leads = model.exchange().rank() == 0;
    let found = if leads { project_here(model, ranks, options)? } else { Vec::new() };
    let names: Vec<String> = (model.network().layers.iter())
        .filter(|layer| ranks.contains_key(layer.op.name()))
        .filter_map(|layer| Some(LayerNames::of(layer)?.weight))
        .collect();
    share_tensors(model.exchange(), model.parameters(), names.iter())?;
    Ok(found)
}

fn project_here(
    model: &Trainable,
    ranks: &BTreeMap<String, u64>,
    options: &lrpet::Options,
) -> Result<Vec<(String, lrpet::Projection)>, TrainError> {
    let parameters = model.parameters();
    if !parameters.device().is_cpu() {
        return project_where_it_lies(model, ranks, options);
    }
    let mut weights = Vec::new();
    for layer in &model.network().layers {
        let (Op::Conv(_) | Op::Linear(_), Some(&rank)) = (&layer.op, ranks.get(layer.op.name())) else {
            continue;
        };
        let Some(names) = LayerNames::of(layer) else { continue };
        let alpha = scale(parameters, &names)?;
        let weight = parameters.values(&names.weight)?;
        let rows = parameters.get(&names.weight)?.dim(0)?;
        weights.push((layer.op.name(), names.weight, weight, rows, alpha, rank as usize));
    }
    let mut layers: Vec<LayerWeight> = weights
        .iter_mut()
        .map(|(name, _, weight, rows, alpha, rank)| LayerWeight {
            name,
            weight,
            rows: *rows,
            alpha: alpha.take(),
            rank: *rank,
        })
        .collect();
    let found = lrpet::project_all(&mut layers, options)?;
    drop(layers);
    let mut named = Vec::new();
    for ((layer, name, weight, ..), found) in weights.into_iter().zip(found) {
        parameters.set(&name, weight)?;
        named.push((layer.to_owned(), found));
    }
    Ok(named)
}

/// [`project`] with the large products on the model's device.
fn project_where_it_lies(
    model: &Trainable,
    ranks: &BTreeMap<String, u64>,
    options: &lrpet::Options,
) -> Result<Vec<(String, lrpet::Projection)>, TrainError> {
    let parameters = model.parameters();
    let get = |name: &String| Ok::<_, TrainError>(parameters.get(name)?.as_detached_tensor());
    let (mut layers, mut names) = (Vec::new(), Vec::new());
    for layer in &model.network().layers {
        let (Op::Conv(_) | Op::Linear(_), Some(&rank)) = (&layer.op, ranks.get(layer.op.name())) else {
            continue;
        };
        let Some(found) = LayerNames::of(layer) else { continue };
        let norm = match &found.norm {
            Some(norm) => Some((norm.gamma(parameters)?.detach(), get(&norm.variance)?, norm.epsilon)),
            None => None,
        };
        let weight = get(&found.weight)?;
        layers.push(DeviceLayer { name: layer.op.name(), weight, norm, rank: rank as usize });
        names.push(found.weight);
    }
    let found = project_on_device(&layers, options)?;
    for (name, (weight, _)) in names.iter().zip(&found) {
        if let Some(weight) = weight {
            parameters.get(name)?.set(weight)?;
        }
    }
    let named = layers.iter().zip(found);
    Ok(named.map(|(layer, (_, projection))| (layer.name.to_owned(), projection)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use lrpet_network::network::Network;
    use lrpet_runtime::model::Shape;

    #[test]
    fn both_ways_of_projecting_agree() {
        let network = Network::by_name("resnet8", Shape::new(3, 8, 8), 10).unwrap();
        let ranks: BTreeMap<String, u64> =
            network.matrices().iter().map(|(_, name, _)| ((*name).to_owned(), 4)).collect();
        let options = lrpet::Options::default();
        let [ours, theirs] = [1, 1].map(|seed| Trainable::new(&network, seed, &Device::Cpu).unwrap());
        let found = project_where_it_lies(&ours, &ranks, &options).unwrap();
        let expected = project(&theirs, &ranks, &options).unwrap();
        assert_eq!(found.len(), ranks.len());
        for ((layer, found), (other, expected)) in found.iter().zip(&expected) {
            assert_eq!(layer, other);
            assert!((found.energy_kept - expected.energy_kept).abs() < 1e-9);
        }
        for name in theirs.parameters().trained().keys() {
            let values = |model: &Trainable| model.parameters().values(name).unwrap();
            for (found, expected) in values(&ours).iter().zip(values(&theirs)) {
                assert!((found - expected).abs() < 1e-6, "{name}");
            }
        }
    }
}
