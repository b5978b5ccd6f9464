//! Softmax cross-entropy.

use candle_core::Tensor;

use super::TrainError;

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
    if labels.len() != batch {
        return Err(TrainError::Setting(format!("{} labels for {batch} images", labels.len())));
    }
    let mut values: Vec<f32> = logits.flatten_all()?.to_vec1()?;
    let (mut sum, mut correct) = (0.0, 0);
    for (row, &label) in values.chunks_exact_mut(classes).zip(labels) {
        let label = label as usize;
        if label >= classes {
            return Err(TrainError::Setting(format!("label {label}, but the network has {classes} classes")));
        }
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
    fn wrong_labels_are_refused() {
        let logits = Tensor::zeros((2, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(cross_entropy(&logits, &[0, 3]).is_err());
        assert!(cross_entropy(&logits, &[0]).is_err());
    }
}
