//! Labelled images in memory.

use lrpet_runtime::model::Shape;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::Normalization;

/// Labelled images of one size, as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// Pixels, N×H×W×C.
    pub images: Vec<u8>,
    /// Class number of each image.
    pub labels: Vec<u32>,
    /// Shape of one image.
    pub shape: Shape,
    /// Names of the classes.
    pub classes: Vec<String>,
}

impl Dataset {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// True where there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Pixels of image `index`, H×W×C.
    ///
    /// # Panics
    /// Where `index` is not below [`Dataset::len`].
    pub fn image(&self, index: usize) -> &[u8] {
        let size = self.shape.len();
        &self.images[index * size..(index + 1) * size]
    }

    /// The images with the given indices, in that order.
    ///
    /// # Panics
    /// Where an index is not below [`Dataset::len`].
    pub fn subset(&self, indices: &[usize]) -> Dataset {
        let mut images = Vec::with_capacity(indices.len() * self.shape.len());
        indices.iter().for_each(|&index| images.extend_from_slice(self.image(index)));
        let labels = indices.iter().map(|&index| self.labels[index]).collect();
        Dataset { images, labels, shape: self.shape, classes: self.classes.clone() }
    }

    /// Splits off `validation` images (at most all), drawn by `seed`; both parts keep the order of the files.
    /// Returns the rest and the validation part.
    pub fn split(&self, validation: usize, seed: u64) -> (Dataset, Dataset) {
        let mut indices: Vec<usize> = (0..self.len()).collect();
        indices.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let (held, rest) = indices.split_at_mut(validation.min(self.len()));
        held.sort_unstable();
        rest.sort_unstable();
        (self.subset(rest), self.subset(held))
    }

    /// Indices of `count` images spread over the classes: the first image of each class in order of class, then
    /// the second of each, and so on. Fewer where there are not so many images.
    pub fn spread(&self, count: usize) -> Vec<usize> {
        let mut by_class = vec![Vec::new(); self.classes.len()];
        for (index, &label) in self.labels.iter().enumerate() {
            by_class[label as usize].push(index);
        }
        let deepest = by_class.iter().map(Vec::len).max().unwrap_or(0);
        (0..deepest)
            .flat_map(|turn| by_class.iter().filter_map(move |images| images.get(turn).copied()))
            .take(count)
            .collect()
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// `count` images of `shape` whose bytes and labels (below `classes`) are drawn by `seed`.
    pub(crate) fn noise(count: usize, shape: Shape, classes: usize, seed: u64) -> Dataset {
        use rand::Rng;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Dataset {
            images: (0..count * shape.len()).map(|_| rng.random()).collect(),
            labels: (0..count).map(|_| rng.random_range(0..classes as u32)).collect(),
            shape,
            classes: (0..classes).map(|class| format!("class {class}")).collect(),
        }
    }

    #[test]
    fn split_is_a_partition_drawn_by_the_seed() {
        let mut data = noise(100, Shape::new(1, 1, 2), 3, 1);
        (0..100).for_each(|index| data.images[2 * index] = index as u8);
        let (rest, held) = data.split(30, 7);
        assert_eq!((rest.len(), held.len()), (70, 30));
        let mut seen: Vec<u8> = rest.images.iter().chain(&held.images).step_by(2).copied().collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<u8>>());
        for index in 0..held.len() {
            let original = usize::from(held.image(index)[0]);
            assert_eq!(
                (held.image(index), held.labels[index]),
                (data.image(original), data.labels[original])
            );
        }
        assert_eq!(data.split(30, 7), (rest, held.clone()));
        assert_ne!(data.split(30, 8).1, held);
        assert_eq!(data.split(1000, 7).0.len(), 0);
    }

    #[test]
    fn spread_takes_each_class_in_turn() {
        let mut data = noise(6, Shape::new(1, 1, 1), 3, 1);
        data.labels = vec![2, 2, 0, 2, 0, 1];
        assert_eq!(data.spread(4), [2, 5, 0, 4]);
        assert_eq!(data.spread(10).len(), 6);
    }

    #[test]
    fn statistics_of_known_pixels() {
        let mut data = noise(2, Shape::new(2, 1, 1), 2, 1);
        data.images = vec![0, 51, 255, 51];
        let found = data.statistics();
        assert_eq!(found.mean, [0.5, 0.2]);
        assert_eq!(found.std, [0.5, 0.0]);
    }
}
