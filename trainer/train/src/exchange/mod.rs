//! Several processes that train one network, each on its share of every batch.
//!
//! All hold the same weights. Between forward and backward pass they exchange what a batch's statistics need, after it the
//! gradients: so the result is that of one process with the whole batch, up to the order of sums.

#[cfg(feature = "mpi")]
mod mpi;
#[cfg(feature = "nccl")]
mod nccl;

use std::fmt::Debug;

use candle_core::Tensor;
use lrpet_kernels::Moments;

use super::{Gradients, Parameters, TrainError};

#[cfg(feature = "mpi")]
pub use mpi::Mpi;
#[cfg(feature = "nccl")]
pub use nccl::Nccl;

/// How processes that train together exchange numbers. All of them call the same methods in the same order, with
/// slices of the same lengths, and get the same bits.
///
/// No method fails: where a process is lost, an implementation ends the others.
pub trait Exchange: Debug {
    /// Number of this process, from 0. Process 0 reads and writes the run's folder and speaks to the user.
    fn rank(&self) -> usize;

    /// Number of processes.
    fn size(&self) -> usize;

    /// Replaces `values` by their sums over all processes.
    fn sum(&self, values: &mut [f32]);

    /// The sums of `tensor`'s values (f32, contiguous) over all processes, on its device. Through this process's memory,
    /// unless the implementation knows a shorter way.
    ///
    /// # Errors
    /// Where the device fails.
    fn sum_tensor(&self, tensor: &Tensor) -> candle_core::Result<Tensor> {
        let mut values = tensor.flatten_all()?.to_vec1::<f32>()?;
        self.sum(&mut values);
        Tensor::from_vec(values, tensor.shape(), tensor.device())
    }

    /// The values of all processes, one after the other.
    fn gather(&self, values: &[f64]) -> Vec<f64>;

    /// Replaces `values` by those of process 0.
    fn broadcast(&self, values: &mut [f32]);

    /// Ends all processes after an error of this one; comes back only where there are no others.
    fn end_all(&self);
}

/// One process by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Exchange for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn sum(&self, _: &mut [f32]) {}

    fn gather(&self, values: &[f64]) -> Vec<f64> {
        values.to_vec()
    }

    fn broadcast(&self, _: &mut [f32]) {}

    fn end_all(&self) {}
}

/// Sums over all processes, each in the order of the processes.
pub(super) fn total(exchange: &dyn Exchange, values: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0; values.len()];
    for of_one in exchange.gather(values).chunks_exact(values.len()) {
        for (sum, value) in sums.iter_mut().zip(of_one) {
            *sum += value;
        }
    }
    sums
}

/// Images of a batch in all processes together, of which this one has `own`.
///
/// # Errors
/// Where one of them has none: statistics and gradients would be of nothing there.
pub(crate) fn whole_batch(exchange: &dyn Exchange, own: usize) -> Result<usize, TrainError> {
    let counts = exchange.gather(&[own as f64]);
    match counts.iter().position(|count| *count == 0.0) {
        Some(rank) => Err(TrainError::Setting(format!(
            "process {rank} of {} has no image in a batch: none of its share can be read; give a larger --batch or \
             fewer processes",
            counts.len()
        ))),
        None => Ok(counts.iter().sum::<f64>() as usize),
    }
}

/// The moments of the whole batch from those of each process's share.
pub(super) fn whole_moments(exchange: &dyn Exchange, own: Moments) -> Moments {
    if exchange.size() == 1 {
        return own;
    }
    let channels = own.mean.len();
    let mut values = own.mean;
    values.extend(own.variance);
    values.push(own.count as f64);
    let all = exchange.gather(&values);
    let parts = all.chunks_exact(2 * channels + 1).map(|part| Moments {
        mean: part[..channels].to_vec(),
        variance: part[channels..2 * channels].to_vec(),
        count: part[2 * channels] as usize,
    });
    Moments::joined(channels, parts)
}

/// Gradients of the whole batch's mean loss, where each process has its images' part of it.
pub(crate) fn whole_gradients(
    exchange: &dyn Exchange,
    mut gradients: Gradients,
) -> Result<Gradients, TrainError> {
    if exchange.size() == 1 {
        return Ok(gradients);
    }
    // One message for all: its latency counts once.
    let values = gradients.values().map(Tensor::flatten_all).collect::<candle_core::Result<Vec<_>>>()?;
    let sums = exchange.sum_tensor(&Tensor::cat(&values, 0)?)?;
    let mut start = 0;
    for gradient in gradients.values_mut() {
        let count = gradient.elem_count();
        *gradient = sums.narrow(0, start, count)?.reshape(gradient.shape())?;
        start += count;
    }
    Ok(gradients)
}

/// Gives all processes the tensors of process 0: those called `names`.
pub(super) fn share_tensors<'a>(
    exchange: &dyn Exchange,
    parameters: &Parameters,
    names: impl Iterator<Item = &'a String>,
) -> Result<(), TrainError> {
    if exchange.size() == 1 {
        return Ok(());
    }
    for name in names {
        let mut values = parameters.values(name)?;
        exchange.broadcast(&mut values);
        parameters.set(name, values)?;
    }
    Ok(())
}
