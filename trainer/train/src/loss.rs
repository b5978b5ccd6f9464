//! Softmax cross-entropy.

use candle_core::Tensor;

use super::TrainError;
use super::exchange::{Exchange, total};

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
    let (batch, classes) = logits.dims2()?;
    check(labels, batch, classes)?;
    let mut values: Vec<f32> = logits.flatten_all()?.to_vec1()?;
    let (mut sum, mut correct) = (0.0, 0);
    for (row, &label) in values.chunks_exact_mut(classes).zip(labels) {
        let label = label as usize;
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f64 = row.iter().map(|logit| f64::from(logit - largest).exp()).sum();
        sum += total.ln() - f64::from(row[label] - largest);
        correct += usize::from(top1(row) == label);
        for (class, value) in row.iter_mut().enumerate() {
            let probability = f64::from(*value - largest).exp() / total;
            let target = if class == label { 1.0 } else { 0.0 };
            *value = ((probability - target) / batch as f64) as f32;
        }
    }
    Ok(Loss { sum, correct, gradient: Tensor::from_vec(values, (batch, classes), logits.device())? })
}

/// The labels' number and range.
fn check(labels: &[u32], batch: usize, classes: usize) -> Result<(), TrainError> {
    if labels.len() != batch {
        return Err(TrainError::Setting(format!("{} labels for {batch} images", labels.len())));
    }
    match labels.iter().find(|&&label| label as usize >= classes) {
        Some(label) => {
            Err(TrainError::Setting(format!("label {label}, but the network has {classes} classes")))
        }
        None => Ok(()),
    }
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
    pub fn add(&mut self, logits: &Tensor, labels: &[u32]) -> Result<Tensor, TrainError> {
        #[cfg(feature = "cuda")]
        if logits.device().is_cuda() {
            return self.add_on_device(logits, labels);
        }
        let loss = cross_entropy(logits, labels)?;
        self.sum += loss.sum;
        self.correct += loss.correct;
        self.images += labels.len();
        Ok(loss.gradient)
    }

    /// Adds a batch of `whole` images of which this process has a share; returns the gradient of the whole batch's mean
    /// loss by the share's logits.
    pub(super) fn add_share(
        &mut self,
        logits: &Tensor,
        labels: &[u32],
        whole: usize,
        exchange: &dyn Exchange,
    ) -> Result<Tensor, TrainError> {
        if exchange.size() == 1 {
            return self.add(logits, labels);
        }
        let loss = cross_entropy(logits, labels)?;
        let sums = total(exchange, &[loss.sum, loss.correct as f64]);
        self.sum += sums[0];
        self.correct += sums[1] as usize;
        self.images += whole;
        Ok(loss.gradient.affine(labels.len() as f64 / whole as f64, 0.0)?)
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
        check(labels, batch, classes)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn loss_and_gradient_are_candles() {
        let logits = [[1.5f32, -0.25, 3.0, 80.0], [0.0, 0.0, -2.0, 1.0], [4.0, 2.0, -9.0, 3.5]];
        let logits = Var::new(&logits, &Device::Cpu).unwrap();
        let labels = [2, 3, 0];
        let ours = cross_entropy(&logits, &labels).unwrap();
        let targets = Tensor::new(&labels, &Device::Cpu).unwrap();
        let theirs = candle_nn::loss::cross_entropy(&logits, &targets).unwrap();
        assert!((ours.sum / 3.0 - f64::from(theirs.to_scalar::<f32>().unwrap())).abs() < 1e-5);
        let gradients = theirs.backward().unwrap();
        let difference = (ours.gradient - gradients.get(&logits).unwrap()).unwrap().abs().unwrap();
        assert!(difference.max_all().unwrap().to_scalar::<f32>().unwrap() < 1e-6);
        assert_eq!(ours.correct, 2);
    }

    #[test]
    fn a_device_adds_up_what_the_cpu_does() {
        let (mut ours, mut theirs) = (Meter::default(), Meter::default());
        for batch in 0..READ_EVERY + 2 {
            let values: Vec<f32> = (0..300 * 7).map(|i| ((i * i + batch) as f32).sin() * 9.0).collect();
            let logits = Tensor::from_vec(values, (300, 7), &Device::Cpu).unwrap();
            let labels: Vec<u32> = (0..300).map(|image| (image * 5 + batch as u32) % 7).collect();
            let ours = ours.add_on_device(&logits, &labels).unwrap();
            let theirs = theirs.add(&logits, &labels).unwrap();
            let difference = (ours - theirs).unwrap().abs().unwrap().max_all().unwrap();
            assert!(difference.to_scalar::<f32>().unwrap() < 1e-8);
        }
        assert_eq!(ours.images, 300 * (READ_EVERY + 1));
        ours.read().unwrap();
        assert_eq!((ours.images, ours.correct), (theirs.images, theirs.correct));
        assert!((ours.sum / theirs.sum - 1.0).abs() < 1e-6);
    }

    #[test]
    fn wrong_labels_are_refused() {
        let logits = Tensor::zeros((2, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(cross_entropy(&logits, &[0, 3]).is_err());
        assert!(cross_entropy(&logits, &[0]).is_err());
    }
}
