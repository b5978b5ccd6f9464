//! Batches whose images are mixed in pairs.

use candle_core::Tensor;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Beta, Distribution};

use crate::{Mixed, TrainError};

/// Keeps these random numbers from those that draw order and augmentation from the same seed.
const PURPOSE: &[u8; 8] = b"mix  up.";

/// Mixes `images` `[batch, c, h, w]` with others of the batch: λ·x + (1 − λ)·x′, with one λ from Beta(α, α). All follows from
/// seed, epoch and number of the batch, and from the number of images; processes that train together have the same λ, each with
/// pairs of its own images.
///
/// # Errors
/// Where α is no positive number or the device fails.
pub(super) fn mix(
    images: &Tensor,
    labels: &[u32],
    alpha: f64,
    [seed, epoch, batch]: [u64; 3],
) -> Result<(Tensor, Mixed), TrainError> {
    let mut key = [0; 32];
    for (part, value) in key.chunks_exact_mut(8).zip([seed, epoch, batch]) {
        part.copy_from_slice(&value.to_le_bytes());
    }
    key[24..].copy_from_slice(PURPOSE);
    let mut rng = ChaCha8Rng::from_seed(key);
    let beta =
        Beta::new(alpha, alpha).map_err(|error| TrainError::Setting(format!("mixup {alpha}: {error}")))?;
    let share: f64 = beta.sample(&mut rng);
    // Of a tiny α all of one image; numbers below the smallest give 0 / 0.
    let share = if share.is_finite() { share } else { 1.0 };
    let mut order: Vec<u32> = (0..labels.len() as u32).collect();
    order.shuffle(&mut rng);
    let others = images.index_select(&Tensor::from_slice(&order, order.len(), images.device())?, 0)?;
    let mixed = (images.affine(share, 0.0)? + others.affine(1.0 - share, 0.0)?)?;
    let labels = order.iter().map(|&image| labels[image as usize]).collect();
    Ok((mixed, Mixed { labels, share }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn images_and_labels_are_mixed_alike_and_the_same_every_time() {
        let labels: Vec<u32> = (0..6).collect();
        // The value of an image is its label.
        let values: Vec<f32> = labels.iter().flat_map(|&label| [label as f32; 8]).collect();
        let images = Tensor::from_vec(values, (6, 2, 2, 2), &Device::Cpu).unwrap();
        let mixed = |batch| mix(&images, &labels, 0.2, [1, 2, batch]).unwrap();
        let (mut shares, mut moved) = (Vec::new(), 0);
        for batch in 0..2000 {
            let (values, mixed) = mixed(batch);
            let values: Vec<f32> = values.flatten_all().unwrap().to_vec1().unwrap();
            for ((values, &first), &second) in values.chunks_exact(8).zip(&labels).zip(&mixed.labels) {
                let expected = mixed.share * f64::from(first) + (1.0 - mixed.share) * f64::from(second);
                assert!(values.iter().all(|value| (f64::from(*value) - expected).abs() < 1e-5));
                moved += usize::from(first != second);
            }
            shares.push(mixed.share);
        }
        assert_eq!(mixed(7).1, mixed(7).1);
        assert_ne!(mixed(7).1, mixed(8).1);
        // A pair is the same image in one of six.
        assert!((9_500..10_500).contains(&moved), "{moved}");
        // Beta(α, α): mean 1/2, variance 1 / (4·(2α + 1)).
        let mean = shares.iter().sum::<f64>() / 2000.0;
        let variance = shares.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / 2000.0;
        assert!((mean - 0.5).abs() < 0.04 && (variance - 1.0 / 5.6).abs() < 0.015, "{mean}, {variance}");
        assert!(mix(&images, &labels, -1.0, [0; 3]).is_err());
        assert!((0..50).all(|batch| mix(&images, &labels, 1e-9, [0, 0, batch]).unwrap().1.share.is_finite()));
    }
}
