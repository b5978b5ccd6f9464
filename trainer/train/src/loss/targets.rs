//! What logits are held against, and the loss and its gradient.

use candle_core::Tensor;

use super::{Loss, top1};
use crate::TrainError;

/// What a batch's logits are held against.
#[derive(Clone, Debug)]
pub struct Targets<'a> {
    /// Label of each image.
    pub labels: &'a [u32],
    /// Of images that were mixed with others.
    pub mixed: Option<Mixed>,
    /// ε of label smoothing (Szegedy et al., "Rethinking the Inception architecture", CVPR 2016): 1 − ε of the target is the
    /// label's, the rest is divided among all classes.
    pub smoothing: f64,
    /// What another network says of the same images.
    pub teacher: Option<Taught>,
}

/// The other half of mixed images (Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018).
#[derive(Clone, Debug, PartialEq)]
pub struct Mixed {
    /// Label of the image that was mixed in.
    pub labels: Vec<u32>,
    /// Share λ of the first image, 0 to 1.
    pub share: f64,
}

/// A teacher's answer (Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015). The loss is
/// (1 − w)·(cross-entropy) + w·T²·KL(softmax(teacher / T) ‖ softmax(logits / T)).
#[derive(Clone, Debug)]
pub struct Taught {
    /// Its logits `[batch, classes]`.
    pub logits: Tensor,
    /// w, above 0 and at most 1.
    pub weight: f64,
    /// T, above 0.
    pub temperature: f64,
}

impl<'a> Targets<'a> {
    /// The labels alone.
    pub fn of(labels: &'a [u32]) -> Targets<'a> {
        Targets { labels, mixed: None, smoothing: 0.0, teacher: None }
    }

    /// Whether they are labels alone.
    #[cfg(feature = "cuda")]
    pub(super) fn are_labels(&self) -> bool {
        self.mixed.is_none() && self.smoothing == 0.0 && self.teacher.is_none()
    }

    /// The loss of `logits` `[batch, classes]`, on the CPU. Right is an image whose largest logit is its label's; of a mixed one,
    /// that of its larger part.
    ///
    /// # Errors
    /// Where a label is no class, or the number of labels is not the batch.
    pub fn loss(&self, logits: &Tensor) -> Result<Loss, TrainError> {
        let (batch, classes) = logits.dims2()?;
        check(self.labels, batch, classes)?;
        let (others, share) = match &self.mixed {
            Some(Mixed { labels, share }) => (labels.as_slice(), *share),
            None => (self.labels, 1.0),
        };
        check(others, batch, classes)?;
        let teacher = self.teacher.as_ref().map(|teacher| teacher.values(logits)).transpose()?;
        let weight = self.teacher.as_ref().map_or(0.0, |teacher| teacher.weight);
        let mut values: Vec<f32> = logits.flatten_all()?.to_vec1()?;
        let (mut sum, mut correct) = (0.0, 0);
        let uniform = self.smoothing / classes as f64;
        let labels = self.labels.iter().zip(others);
        for (image, (row, (&first, &second))) in values.chunks_exact_mut(classes).zip(labels).enumerate() {
            let target = |class: usize| {
                let of = |label: u32, share: f64| if class == label as usize { share } else { 0.0 };
                (1.0 - self.smoothing) * (of(first, share) + of(second, 1.0 - share)) + uniform
            };
            correct += usize::from(top1(row) == if share < 0.5 { second } else { first } as usize);
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let total: f64 = row.iter().map(|logit| f64::from(logit - largest).exp()).sum();
            let (mut entropy, mut slopes) = (0.0, vec![0.0; classes]);
            for (class, logit) in row.iter().enumerate() {
                let (target, logit) = (target(class), f64::from(logit - largest));
                if target > 0.0 {
                    entropy += target * (total.ln() - logit);
                }
                slopes[class] = logit.exp() / total - target;
            }
            if let (Some(of), Some(teacher)) = (&self.teacher, &teacher) {
                slopes.iter_mut().for_each(|slope| *slope *= 1.0 - weight);
                let kept = (1.0 - weight) * entropy;
                entropy = kept + of.add(row, &teacher[image * classes..][..classes], &mut slopes);
            }
            sum += entropy;
            for (value, slope) in row.iter_mut().zip(slopes) {
                *value = (slope / batch as f64) as f32;
            }
        }
        Ok(Loss { sum, correct, gradient: Tensor::from_vec(values, (batch, classes), logits.device())? })
    }
}

impl Taught {
    /// The teacher's logits, of which there must be as many as of `logits`.
    fn values(&self, logits: &Tensor) -> Result<Vec<f32>, TrainError> {
        if self.logits.dims() != logits.dims() {
            let (theirs, ours) = (self.logits.dims(), logits.dims());
            return Err(TrainError::Setting(format!("a teacher's logits {theirs:?} for logits {ours:?}")));
        }
        Ok(self.logits.flatten_all()?.to_vec1()?)
    }

    /// The weighted divergence of one image; adds its gradient to `slopes`.
    fn add(&self, logits: &[f32], teacher: &[f32], slopes: &mut [f64]) -> f64 {
        let temperature = self.temperature;
        let [ours, theirs] = [logits, teacher].map(|logits| log_softmax(logits, temperature));
        let mut divergence = 0.0;
        for ((slope, ours), theirs) in slopes.iter_mut().zip(ours).zip(theirs) {
            let [p, q] = [theirs, ours].map(f64::exp);
            // What the teacher is sure not to be adds nothing.
            if p > 0.0 {
                divergence += p * (theirs - ours);
            }
            *slope += self.weight * temperature * (q - p);
        }
        self.weight * temperature * temperature * divergence
    }
}

/// ln softmax(logits / temperature).
fn log_softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let scaled = logits.iter().map(|logit| f64::from(logit - largest) / temperature);
    let total = scaled.clone().map(f64::exp).sum::<f64>().ln();
    scaled.map(|logit| logit - total).collect()
}

/// The labels' number and range.
pub(super) fn check(labels: &[u32], batch: usize, classes: usize) -> Result<(), TrainError> {
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
