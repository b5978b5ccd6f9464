//! Softmax cross-entropy, with what labels, mixed images and a teacher say.

mod targets;
#[cfg(test)]
mod tests;

use candle_core::Tensor;

use super::TrainError;
use super::exchange::{Exchange, total};

pub use targets::{Mixed, Targets, Taught};

/// Loss of a batch.
#[derive(Debug)]
pub struct Loss {
    /// Sum of the images' losses, in nats.
    pub sum: f64,
    /// Images whose largest logit is their label's.
    pub correct: usize,
    /// Gradient of the batch's mean loss by the logits, `[batch, classes]`, on the logits' device.
    pub gradient: Tensor,
}

/// Cross-entropy of `logits` `[batch, classes]` with `labels`.
///
/// # Errors
/// Where a label is no class, or the number of labels is not the batch.
pub fn cross_entropy(logits: &Tensor, labels: &[u32]) -> Result<Loss, TrainError> {
    Targets::of(labels).loss(logits)
}

/// Batches between two readings of a GPU's sums.
#[cfg(any(test, feature = "cuda"))]
const READ_EVERY: usize = 32;

/// Losses and right answers of batch after batch. On the CPU they are known at once; a GPU adds them up itself and is
/// asked now and then, so that it need not wait for the program each step.
#[derive(Debug, Default)]
pub struct Meter {
    /// Sum of the images' losses, in nats, as far as they are known.
    pub sum: f64,
    /// Images whose largest logit is their label's, as far as they are known.
    pub correct: usize,
    /// Images that these two are of.
    pub images: usize,
    #[cfg(any(test, feature = "cuda"))]
    pending: Option<Pending>,
}

/// Sums on a GPU.
#[cfg(any(test, feature = "cuda"))]
#[derive(Debug)]
struct Pending {
    /// Loss and right answers since the start, f64.
    totals: Tensor,
    images: usize,
    batches: usize,
}

impl Meter {
    /// Adds a batch; returns the gradient of its mean loss by the logits, as [`Loss::gradient`].
    ///
    /// # Errors
    /// As [`cross_entropy`].
    pub fn add(&mut self, logits: &Tensor, targets: &Targets) -> Result<Tensor, TrainError> {
        #[cfg(feature = "cuda")]
        if logits.device().is_cuda() && targets.are_labels() {
            return self.add_on_device(logits, targets.labels);
        }
        let loss = targets.loss(logits)?;
        self.sum += loss.sum;
        self.correct += loss.correct;
        self.images += targets.labels.len();
        Ok(loss.gradient)
    }

    /// Adds a batch of `whole` images of which this process has a share; returns the gradient of the whole batch's mean
    /// loss by the share's logits.
    pub(super) fn add_share(
        &mut self,
        logits: &Tensor,
        targets: &Targets,
        whole: usize,
        exchange: &dyn Exchange,
    ) -> Result<Tensor, TrainError> {
        if exchange.size() == 1 {
            return self.add(logits, targets);
        }
        let loss = targets.loss(logits)?;
        let sums = total(exchange, &[loss.sum, loss.correct as f64]);
        self.sum += sums[0];
        self.correct += sums[1] as usize;
        self.images += whole;
        Ok(loss.gradient.affine(targets.labels.len() as f64 / whole as f64, 0.0)?)
    }

    /// Makes all batches known.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn read(&mut self) -> Result<(), TrainError> {
        #[cfg(any(test, feature = "cuda"))]
        if let Some(pending) = &self.pending {
            let totals: Vec<f64> = pending.totals.to_vec1()?;
            (self.sum, self.correct, self.images) = (totals[0], totals[1] as usize, pending.images);
        }
        Ok(())
    }

    #[cfg(any(test, feature = "cuda"))]
    fn add_on_device(&mut self, logits: &Tensor, labels: &[u32]) -> Result<Tensor, TrainError> {
        let ((batch, classes), device) = (logits.dims2()?, logits.device());
        targets::check(labels, batch, classes)?;
        let pending = match &mut self.pending {
            Some(pending) => pending,
            empty => empty.insert(Pending {
                totals: Tensor::zeros(2, candle_core::DType::F64, device)?,
                images: 0,
                batches: 0,
            }),
        };
        let labels = Tensor::from_slice(labels, batch, device)?;
        let gradient = crate::cuda::cross_entropy(logits, &labels, &pending.totals)?;
        pending.images += batch;
        pending.batches += 1;
        // The first at once: a loss that is not finite shows itself early.
        if pending.batches % READ_EVERY == 1 {
            self.read()?;
        }
        Ok(gradient)
    }
}

/// Class of the largest logit, the first of equals.
pub fn top1(logits: &[f32]) -> usize {
    let better = |best: usize, class: usize| if logits[class] > logits[best] { class } else { best };
    (0..logits.len()).fold(0, better)
}
