//! What the processes of one run share at its start: all go on from the state of process 0.

use std::collections::BTreeMap;

use candle_core::Tensor;
use lrpet_data::Loader;

use super::TrainData;
use crate::exchange::{Exchange, share_tensors};
use crate::{Optimizer, TrainError, Trainable};

/// Refuses batches of `train` of which one of `size` processes would have no share.
pub(super) fn check_batches(train: &Loader, size: usize) -> Result<(), TrainError> {
    let (batch, images, smallest) = (train.options().batch, train.data().len(), train.smallest_batch());
    let fails = |reason: String| Err(TrainError::Setting(reason));
    if !batch.is_multiple_of(size) {
        return fails(format!(
            "--batch {batch} for {size} processes: it is the batch of all together, a multiple of their number"
        ));
    }
    if smallest < size {
        return fails(format!(
            "a batch of {images} training images by --batch {batch} has {smallest} for {size} processes: give a larger \
             --batch or fewer processes"
        ));
    }
    Ok(())
}

/// This process's share of all images.
pub(super) fn share_of(data: &TrainData, exchange: &dyn Exchange) -> TrainData {
    let mut share = data.clone();
    let loaders = [Some(&mut share.train), share.validation.as_mut(), share.test.as_mut()];
    for loader in loaders.into_iter().flatten() {
        *loader = loader.clone().share(exchange.rank(), exchange.size());
    }
    share
}

/// Refuses to train with processes that were asked for another run, or see other images: `identity` is what a
/// checkpoint says of this one's.
pub(super) fn agree(exchange: &dyn Exchange, identity: &serde_json::Value) -> Result<(), TrainError> {
    let checksum = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(identity.to_string().as_bytes());
    let all = exchange.gather(&[f64::from(checksum)]);
    match all.iter().position(|other| *other != all[0]) {
        Some(rank) => Err(TrainError::Setting(format!(
            "process {rank} of {} has other settings or other images than process 0: give all the same command and \
             the same data",
            all.len()
        ))),
        None => Ok(()),
    }
}

/// Gives all processes the ranks of process 0, or that it has none yet.
pub(super) fn share_ranks(
    model: &Trainable,
    ranks: Option<BTreeMap<String, u64>>,
) -> Option<BTreeMap<String, u64>> {
    if model.exchange().size() == 1 {
        return ranks;
    }
    let matrices = model.network().matrices();
    let rank = |name: &str| ranks.as_ref().and_then(|ranks| ranks.get(name)).copied().unwrap_or(0);
    // Below 2²⁴, and so exact.
    let mut values: Vec<f32> = matrices.iter().map(|(_, name, _)| rank(name) as f32).collect();
    values.push(if ranks.is_some() { 1.0 } else { 0.0 });
    model.exchange().broadcast(&mut values);
    let (known, values) = values.split_last()?;
    let ranked = matrices.iter().zip(values).filter(|(_, rank)| **rank > 0.0);
    (*known > 0.0).then(|| ranked.map(|((_, name, _), rank)| ((*name).to_owned(), *rank as u64)).collect())
}

/// What changes in the course of a run.
pub(super) struct State<'a> {
    pub model: &'a Trainable,
    pub optimizer: &'a mut Optimizer,
    pub ranks: &'a mut Option<BTreeMap<String, u64>>,
}

impl State<'_> {
    /// Takes the state of process 0, which is after `epochs` epochs; returns those.
    pub(super) fn share(self, epochs: usize) -> Result<usize, TrainError> {
        let (exchange, parameters) = (self.model.exchange(), self.model.parameters());
        if exchange.size() == 1 {
            return Ok(epochs);
        }
        share_tensors(exchange, parameters, parameters.trained().keys())?;
        share_tensors(exchange, parameters, parameters.statistics().keys())?;
        let mut state = self.optimizer.whole_state(parameters)?;
        for tensor in state.values_mut() {
            let mut values = tensor.flatten_all()?.to_vec1()?;
            exchange.broadcast(&mut values);
            *tensor = Tensor::from_vec(values, tensor.shape(), parameters.device())?;
        }
        // Of the first process alone: it has read the checkpoint.
        let counts = exchange.gather(&[epochs as f64, self.optimizer.steps() as f64]);
        self.optimizer.set_state(parameters, state, counts[1] as u64)?;
        *self.ranks = share_ranks(self.model, self.ranks.take());
        Ok(counts[0] as usize)
    }
}
