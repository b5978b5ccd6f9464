//! Labelled images, wherever they are.

use std::path::Path;
use std::sync::Arc;

use lrpet_network::dataset;
use lrpet_runtime::model::{InputKind, Shape};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::{DataError, Dataset, Files, Normalization, Values};

/// Pictures decoded at once by [`Images::try_for_each_part`].
const PART: usize = 1024;
/// Most images over which mean and standard deviation of files are measured.
const MEASURED: usize = 10_000;

/// Labelled images of one shape, or samples that are no pictures.
#[derive(Debug, Clone)]
pub enum Images {
    /// In memory.
    Memory(Arc<Dataset>),
    /// In files.
    Files(Files),
    /// Values in memory, which a network takes as they are.
    Values(Values),
}

/// Some images or values, in memory.
#[derive(Debug, Clone)]
pub enum InMemory {
    /// Bytes.
    Pictures(Arc<Dataset>),
    /// Values.
    Values(Values),
}

impl InMemory {
    /// Class number of each.
    pub fn labels(&self) -> &[u32] {
        match self {
            InMemory::Pictures(data) => &data.labels,
            InMemory::Values(values) => &values.samples.labels,
        }
    }
}

impl From<InMemory> for Images {
    fn from(data: InMemory) -> Images {
        match data {
            InMemory::Pictures(data) => Images::Memory(data),
            InMemory::Values(values) => Images::Values(values),
        }
    }
}

impl From<Values> for Images {
    fn from(values: Values) -> Images {
        Images::Values(values)
    }
}

impl From<Arc<Dataset>> for Images {
    fn from(data: Arc<Dataset>) -> Images {
        Images::Memory(data)
    }
}

impl From<Dataset> for Images {
    fn from(data: Dataset) -> Images {
        Images::Memory(Arc::new(data))
    }
}

impl From<Files> for Images {
    fn from(files: Files) -> Images {
        Images::Files(files)
    }
}

impl Images {
    /// Number of images.
    pub fn len(&self) -> usize {
        match self {
            Images::Memory(data) => data.len(),
            Images::Files(files) => files.len(),
            Images::Values(values) => values.len(),
        }
    }

    /// True where there is no image.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The input of a network that takes them.
    pub fn kind(&self) -> InputKind {
        match self {
            Images::Memory(_) | Images::Files(_) => InputKind::Picture,
            Images::Values(_) => InputKind::Values,
        }
    }

    /// Shape of one image.
    pub fn shape(&self) -> Shape {
        match self {
            Images::Memory(data) => data.shape,
            Images::Files(files) => files.preparation().shape,
            Images::Values(values) => values.samples.shape,
        }
    }

    /// Names of the classes, by label.
    pub fn classes(&self) -> &[String] {
        match self {
            Images::Memory(data) => &data.classes,
            Images::Files(files) => files.classes(),
            Images::Values(values) => &values.samples.classes,
        }
    }

    /// Class number of image `index`.
    ///
    /// # Panics
    /// Where `index` is not below [`Images::len`].
    pub fn label(&self, index: usize) -> u32 {
        match self {
            Images::Memory(data) => data.labels[index],
            Images::Files(files) => files.label(index),
            Images::Values(values) => values.samples.labels[index],
        }
    }

    /// The images with the given indices, in that order.
    ///
    /// # Panics
    /// Where an index is not below [`Images::len`].
    pub fn subset(&self, indices: &[usize]) -> Images {
        match self {
            Images::Memory(data) => data.subset(indices).into(),
            Images::Files(files) => files.subset(indices).into(),
            Images::Values(values) => values.subset(indices).into(),
        }
    }

    /// Splits off `validation` images (at most all), drawn by `seed`; both parts keep the order of the files.
    /// Returns the rest and the validation part.
    pub fn split(&self, validation: usize, seed: u64) -> (Images, Images) {
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
        dataset::spread((0..self.len()).map(|index| self.label(index)), self.classes().len(), count)
    }

    /// The first `limit` images; of files and values, which may lie class by class, as many of each class.
    pub fn limited(self, limit: usize) -> Images {
        if limit >= self.len() {
            return self;
        }
        match &self {
            Images::Memory(_) => self.subset(&(0..limit).collect::<Vec<_>>()),
            Images::Files(_) | Images::Values(_) => {
                let mut indices = self.spread(limit);
                indices.sort_unstable();
                self.subset(&indices)
            }
        }
    }

    /// The images of `indices` as for testing, in memory; files that are left out are missing.
    ///
    /// # Errors
    /// Those of [`Files::read`].
    ///
    /// # Panics
    /// Where an index is not below [`Images::len`].
    pub fn read(&self, indices: &[usize]) -> Result<InMemory, DataError> {
        Ok(match self {
            Images::Memory(data) => InMemory::Pictures(data.subset(indices).into()),
            Images::Files(files) => InMemory::Pictures(files.read(indices)?.into()),
            Images::Values(values) => InMemory::Values(values.subset(indices)),
        })
    }

    /// The file of image `index`; none where it comes from no file of its own.
    ///
    /// # Panics
    /// Where `index` is not below [`Images::len`].
    pub fn path(&self, index: usize) -> Option<&Path> {
        match self {
            Images::Memory(_) | Images::Values(_) => None,
            Images::Files(files) => Some(files.path(index)),
        }
    }

    /// Hands all images to `take` as for testing, in order, a part of them in memory at a time, with the index of each.
    ///
    /// # Errors
    /// Those of [`Files::read`] and of `take`.
    pub fn try_for_each_part<E: From<DataError>>(
        &self,
        mut take: impl FnMut(&InMemory, &[usize]) -> Result<(), E>,
    ) -> Result<(), E> {
        let indices: Vec<usize> = (0..self.len()).collect();
        match self {
            Images::Memory(data) => take(&InMemory::Pictures(Arc::clone(data)), &indices),
            Images::Values(values) => take(&InMemory::Values(values.clone()), &indices),
            Images::Files(files) => indices.chunks(PART).try_for_each(|part| {
                let (data, kept) = files.read_kept(part)?;
                take(&InMemory::Pictures(Arc::new(data)), &kept)
            }),
        }
    }

    /// Mean and standard deviation of each channel, of pixels scaled to 0..1: over all images in memory, or over at
    /// most 10 000 files, spread over the classes. No deviation is 0. Of values, which are taken as they are, there are none.
    ///
    /// # Errors
    /// Those of [`Files::read`].
    pub fn statistics(&self) -> Result<Normalization, DataError> {
        let mut found = match self {
            Images::Memory(data) => data.statistics(),
            Images::Files(files) => files.read(&self.spread(MEASURED))?.statistics(),
            Images::Values(_) => Normalization { mean: Vec::new(), std: Vec::new() },
        };
        // Images of one colour are normalised to zero, not to NaN.
        found.std.iter_mut().filter(|std| **std == 0.0).for_each(|std| *std = 1.0);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_is_a_partition_drawn_by_the_seed() {
        let mut data = Dataset::noise(100, Shape::new(1, 1, 2), 3, 1);
        (0..100).for_each(|index| data.images[2 * index] = index as u8);
        let images = Images::from(data.clone());
        let part = |(rest, held): (Images, Images)| {
            let all = |part: Images| match part.read(&(0..part.len()).collect::<Vec<_>>()).unwrap() {
                InMemory::Pictures(data) => data,
                InMemory::Values(_) => panic!("pictures stay pictures"),
            };
            (all(rest), all(held))
        };
        let (rest, held) = part(images.split(30, 7));
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
        assert_eq!(part(images.split(30, 7)), (rest, held.clone()));
        assert_ne!(part(images.split(30, 8)).1, held);
        assert_eq!(images.split(1000, 7).0.len(), 0);
    }

    #[test]
    fn images_of_one_colour_have_a_deviation_to_divide_by() {
        let data = Dataset { images: vec![51; 4], ..Dataset::noise(4, Shape::new(1, 1, 1), 2, 1) };
        let found = Images::from(data).statistics().unwrap();
        assert_eq!((&found.mean[..], &found.std[..]), (&[0.2][..], &[1.0][..]));
    }
}
