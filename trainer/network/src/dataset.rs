//! Labelled images in memory.

use lrpet_runtime::model::Shape;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::Normalization;

/// Labelled images of one size, as bytes; or, of `f32`, samples of values as a network takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset<T = u8> {
    /// Pixels, N×H×W×C; values are N×C×H×W.
    pub images: Vec<T>,
    /// Class number of each image.
    pub labels: Vec<u32>,
    /// Shape of one image.
    pub shape: Shape,
    /// Names of the classes.
    pub classes: Vec<String>,
}

impl Dataset {
    /// `count` images of `shape` whose bytes and labels (below `classes`) are drawn by `seed`: to try things on.
    pub fn noise(count: usize, shape: Shape, classes: usize, seed: u64) -> Dataset {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Dataset {
            images: (0..count * shape.len()).map(|_| rng.random()).collect(),
            labels: (0..count).map(|_| rng.random_range(0..classes as u32)).collect(),
            shape,
            classes: (0..classes).map(|class| format!("class {class}")).collect(),
        }
    }

    /// Mean and standard deviation of each channel over all pixels, of pixels scaled to 0..1.
    pub fn statistics(&self) -> Normalization {
        let channels = self.shape.channels as usize;
        let mut counts = vec![[0_u64; 256]; channels];
        for pixel in self.images.chunks_exact(channels) {
            for (count, &value) in counts.iter_mut().zip(pixel) {
                count[usize::from(value)] += 1;
            }
        }
        let total = (self.images.len() / channels).max(1) as f64;
        let moment = |count: &[u64; 256], of: &dyn Fn(f64) -> f64| {
            count.iter().enumerate().map(|(value, &n)| n as f64 * of(value as f64 / 255.0)).sum::<f64>()
                / total
        };
        let mean: Vec<f64> = counts.iter().map(|count| moment(count, &|x| x)).collect();
        let deviation =
            |(count, mean): (&[u64; 256], &f64)| moment(count, &|x| (x - mean).powi(2)).sqrt() as f32;
        Normalization {
            std: counts.iter().zip(&mean).map(deviation).collect(),
            mean: mean.iter().map(|&mean| mean as f32).collect(),
        }
    }
}

impl<T: Clone> Dataset<T> {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// True where there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Pixels of image `index`, H×W×C; values are C×H×W.
    ///
    /// # Panics
    /// Where `index` is not below [`Dataset::len`].
    pub fn image(&self, index: usize) -> &[T] {
        let size = self.shape.len();
        &self.images[index * size..(index + 1) * size]
    }

    /// The images with the given indices, in that order.
    ///
    /// # Panics
    /// Where an index is not below [`Dataset::len`].
    pub fn subset(&self, indices: &[usize]) -> Dataset<T> {
        let mut images = Vec::with_capacity(indices.len() * self.shape.len());
        indices.iter().for_each(|&index| images.extend_from_slice(self.image(index)));
        let labels = indices.iter().map(|&index| self.labels[index]).collect();
        Dataset { images, labels, shape: self.shape, classes: self.classes.clone() }
    }

    /// Indices of `count` images spread over the classes: the first image of each class in order of class, then
    /// the second of each, and so on. Fewer where there are not so many images.
    pub fn spread(&self, count: usize) -> Vec<usize> {
        spread(self.labels.iter().copied(), self.classes.len(), count)
    }
}

/// How many of `labels` each of `classes` has.
///
/// # Panics
/// Where a label is not below `classes`.
pub fn by_class(labels: impl IntoIterator<Item = u32>, classes: usize) -> Vec<usize> {
    let mut counts = vec![0; classes];
    labels.into_iter().for_each(|label| counts[label as usize] += 1);
    counts
}

/// Indices of the images with `labels` that each of `classes` has.
///
/// # Panics
/// Where a label is not below `classes`.
pub fn indices(labels: impl IntoIterator<Item = u32>, classes: usize) -> Vec<Vec<usize>> {
    let mut by_class = vec![Vec::new(); classes];
    for (index, label) in labels.into_iter().enumerate() {
        by_class[label as usize].push(index);
    }
    by_class
}

/// Indices of `count` of the images with `labels`, taken from each of `classes` in turn.
pub fn spread(labels: impl Iterator<Item = u32>, classes: usize, count: usize) -> Vec<usize> {
    let by_class = indices(labels, classes);
    let deepest = by_class.iter().map(Vec::len).max().unwrap_or(0);
    (0..deepest)
        .flat_map(|turn| by_class.iter().filter_map(move |images| images.get(turn).copied()))
        .take(count)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_takes_each_class_in_turn() {
        let mut data = Dataset::noise(6, Shape::new(1, 1, 1), 3, 1);
        data.labels = vec![2, 2, 0, 2, 0, 1];
        assert_eq!(data.spread(4), [2, 5, 0, 4]);
        assert_eq!(data.spread(10).len(), 6);
    }

    #[test]
    fn statistics_of_known_pixels() {
        let mut data = Dataset::noise(2, Shape::new(2, 1, 1), 2, 1);
        data.images = vec![0, 51, 255, 51];
        let found = data.statistics();
        assert_eq!(found.mean, [0.5, 0.2]);
        assert_eq!(found.std, [0.5, 0.0]);
    }
}
