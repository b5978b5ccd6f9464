//! Batches made beside the training: threads draw, decode, augment and normalise ahead of the consumer.
//!
//! What a batch holds depends on the seed, the epoch and its place in the epoch alone, never on the number or the
//! timing of threads, so an epoch can be entered at any batch.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lrpet_runtime::model::InputKind;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde_json::json;

use super::Normalization;
use super::augment::{self, Augmentation, Draw};
use super::files::{Worker, compact};
use super::{DataError, Images};

/// How batches are made.
#[derive(Debug, Clone, PartialEq)]
pub struct LoaderOptions {
    /// Most images of a batch. An epoch's images are divided evenly, over as few batches as this allows, so that no
    /// batch at the end is small: the statistics of batch normalisation would be poor there.
    pub batch: usize,
    /// Draw a new order each epoch. Without it, the order of the data set.
    pub shuffle: bool,
    /// Random changes to the images.
    pub augmentation: Augmentation,
    /// How bytes become values; it does not count for what is values already.
    pub normalization: Normalization,
    /// Seed of order and augmentation.
    pub seed: u64,
    /// Batches held ready.
    pub ahead: usize,
    /// Threads that work on the images of a batch; one is enough for images in memory.
    pub threads: usize,
}

impl LoaderOptions {
    /// Batches in the order of the data set, unchanged but for normalisation: for evaluation.
    pub fn plain(batch: usize, normalization: Normalization) -> Self {
        Self {
            batch,
            shuffle: false,
            augmentation: Augmentation::default(),
            normalization,
            seed: 0,
            ahead: 4,
            threads: 1,
        }
    }
}

/// Normalised images with their labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Values, N×C×H×W.
    pub images: Vec<f32>,
    /// Class numbers, N.
    pub labels: Vec<u32>,
}

/// Batches into which `images` are divided, of at most `most` each. Only where two are the most and their number is odd has
/// one batch three, for no image shall be by itself that need not be.
fn batches(images: usize, most: usize) -> usize {
    let least = images.div_ceil(most);
    if most > 1 && images > 1 && images / least < 2 { images / most } else { least }
}

/// Places of the images of batch `number` of `batches` in the order of `images`: the larger batches are the first ones.
fn range(images: usize, batches: usize, number: usize) -> Range<usize> {
    let (size, larger) = (images / batches, images % batches);
    let start = number * size + number.min(larger);
    start..start + size + usize::from(number < larger)
}

/// Makes the batches of a data set, epoch after epoch.
#[derive(Debug, Clone)]
pub struct Loader {
    images: Images,
    options: Arc<LoaderOptions>,
    /// Which share of every batch it makes, of how many.
    share: (usize, usize),
}

impl Loader {
    /// A loader over `images`.
    ///
    /// # Panics
    /// Where the batch size is 0 or the normalisation does not have one entry a channel.
    pub fn new(images: impl Into<Images>, options: LoaderOptions) -> Self {
        let images = images.into();
        let channels = images.shape().channels as usize;
        let Normalization { mean, std } = &options.normalization;
        assert!(options.batch > 0, "a batch holds at least one image");
        let one_each = mean.len() == channels && std.len() == channels;
        assert!(one_each || images.kind() == InputKind::Values, "one mean and one std a channel");
        Self { images, options: Arc::new(options), share: (0, 1) }
    }

    /// A loader that makes share `rank` of `size` of every batch, as the process of that number needs it: the shares of
    /// all make the batch. A share may be empty.
    ///
    /// # Panics
    /// Where `rank` is not below `size`.
    #[must_use]
    pub fn share(mut self, rank: usize, size: usize) -> Self {
        assert!(rank < size, "shares are numbered from 0");
        self.share = (rank, size);
        self
    }

    /// The images.
    pub fn data(&self) -> &Images {
        &self.images
    }

    /// How batches are made.
    pub fn options(&self) -> &LoaderOptions {
        &self.options
    }

    /// Batches an epoch.
    pub fn batches(&self) -> usize {
        batches(self.images.len(), self.options.batch)
    }

    /// Images of an epoch's smallest batch; others have at most one more.
    pub fn smallest_batch(&self) -> usize {
        self.images.len() / self.batches().max(1)
    }

    /// What the images depend on besides [`Augmentation`]'s crop and flip, where they come from files: a training
    /// goes on only with the same.
    pub fn description(&self) -> Option<serde_json::Value> {
        let files = match &self.images {
            Images::Files(files) => files,
            Images::Values(values) => {
                return Some(json!({ "values": values.digest(), "test_share": values.test_share }));
            }
            Images::Memory(_) => return None,
        };
        let (preparation, options) = (files.preparation(), &self.options);
        Some(json!({
            "files": files.digest(),
            "part": options.augmentation.part,
            "mean": options.normalization.mean,
            "std": options.normalization.std,
            "test_resize": preparation.test_resize,
            "test_share": preparation.test_share,
        }))
    }

    /// What a checkpoint says of the images, so that others can be prepared alike: `class_names` (a JSON array),
    /// `mean` and `std` of pixels scaled to 0..1, for values `test_share`, and for files `test_resize`, `test_share` and `folder_rule`.
    pub fn metadata(&self) -> Vec<(String, String)> {
        let join = |values: &[f32]| values.iter().map(f32::to_string).collect::<Vec<_>>().join(",");
        let Normalization { mean, std } = &self.options.normalization;
        let mut found = vec![("class_names", json!(self.images.classes()).to_string())];
        if let Images::Values(values) = &self.images {
            found.extend(values.test_share.map(|share| ("test_share", share.to_string())));
        } else {
            found.extend([("mean", join(mean)), ("std", join(std))]);
        }
        if let Images::Files(files) = &self.images {
            found.push(("test_resize", files.preparation().test_resize.to_string()));
            found.extend(files.preparation().test_share.map(|share| ("test_share", share.to_string())));
            found.push(("folder_rule", files.rule().to_string()));
        }
        found.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// The batches of epoch `epoch` from batch `first` (0 for all) on. They are made in threads that end with the
    /// iterator. Images that cannot be read and are left out make a batch smaller; a batch without any is left out.
    pub fn epoch(&self, epoch: u64, first: usize) -> Batches {
        let (sender, receiver) = sync_channel(self.options.ahead.max(1));
        let loader = self.clone();
        let thread = std::thread::spawn(move || {
            if let Err(error) = loader.produce(epoch, first, &sender) {
                // Nobody listens any more where this fails.
                let _ = sender.send(Err(error));
            }
        });
        Batches { receiver: Some(receiver), thread: Some(thread), waited: Duration::ZERO }
    }

    /// Sends batch after batch until all are sent or nobody listens any more.
    fn produce(
        &self,
        epoch: u64,
        first: usize,
        sender: &SyncSender<Result<Batch, DataError>>,
    ) -> Result<(), DataError> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.options.threads.max(1)).build();
        let pool = pool.map_err(|error| DataError::Threads(error.to_string()))?;
        let mut order: Vec<usize> = (0..self.images.len()).collect();
        if self.options.shuffle {
            order.shuffle(&mut self.rng(epoch, 0));
        }
        let table = self.options.normalization.table();
        for number in first..self.batches() {
            let indices = &order[range(order.len(), self.batches(), number)];
            let mut rng = self.rng(epoch, 1 + number as u64);
            let draws: Vec<Draw> = indices.iter().map(|_| self.options.augmentation.draw(&mut rng)).collect();
            let (rank, size) = self.share;
            let own = indices.len() * rank / size..indices.len() * (rank + 1) / size;
            let batch = pool.install(|| self.batch(&indices[own.clone()], &draws[own], &table))?;
            // All processes count the same batches.
            if (size > 1 || !batch.labels.is_empty()) && sender.send(Ok(batch)).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// The batch of the images with these indices, changed by these draws.
    fn batch(&self, indices: &[usize], draws: &[Draw], table: &[[f32; 256]]) -> Result<Batch, DataError> {
        let shape = self.images.shape();
        let mut images = vec![0.0; indices.len() * shape.len()];
        let places = images.par_chunks_exact_mut(shape.len());
        let kept: Vec<bool> = (places.zip(indices).zip(draws))
            .map_init(Worker::default, |worker, ((out, &index), draw)| {
                let image = match &self.images {
                    Images::Values(values) => {
                        out.copy_from_slice(values.samples.image(index));
                        return Ok(true);
                    }
                    Images::Memory(data) => Some(data.image(index)),
                    Images::Files(files) => files.image(index, draw.part, worker)?,
                };
                image.inspect(|image| augment::write(image, shape, draw, table, out));
                Ok(image.is_some())
            })
            .collect::<Result<_, DataError>>()?;
        let labels = compact(&mut images, &kept, indices.iter().map(|&index| self.images.label(index)));
        Ok(Batch { images, labels })
    }

    /// The random numbers of one purpose: 0 is the epoch's order, 1 + b the augmentation of batch b.
    fn rng(&self, epoch: u64, purpose: u64) -> ChaCha8Rng {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.options.seed.to_le_bytes());
        seed[8..16].copy_from_slice(&epoch.to_le_bytes());
        let mut rng = ChaCha8Rng::from_seed(seed);
        rng.set_stream(purpose);
        rng
    }
}

/// The batches of one epoch, in order; an error ends them.
#[derive(Debug)]
pub struct Batches {
    receiver: Option<Receiver<Result<Batch, DataError>>>,
    thread: Option<JoinHandle<()>>,
    waited: Duration,
}

impl Batches {
    /// Time for which the consumer has waited for batches so far.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Ends the thread, whose next send fails once the receiver is gone; its panic goes on here.
    fn end(&mut self) {
        self.receiver = None;
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = Instant::now();
        let batch = self.receiver.as_ref()?.recv().ok();
        self.waited += start.elapsed();
        if batch.is_none() {
            self.end();
        }
        batch
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dataset;
    use lrpet_runtime::model::Shape;

    fn loader(seed: u64, ahead: usize, threads: usize) -> Loader {
        let normalization = Normalization { mean: vec![0.5; 2], std: vec![0.25; 2] };
        let options = LoaderOptions {
            batch: 16,
            shuffle: true,
            augmentation: Augmentation { crop_padding: 1, flip: true, part: None, cutout: 0 },
            normalization,
            seed,
            ahead,
            threads,
        };
        Loader::new(Arc::new(Dataset::noise(50, Shape::new(2, 5, 4), 3, 9)), options)
    }

    fn collect(batches: Batches) -> Vec<Batch> {
        batches.map(Result::unwrap).collect()
    }

    #[test]
    fn batches_depend_on_seed_epoch_and_place_alone() {
        let epoch = collect(loader(1, 1, 1).epoch(3, 0));
        assert_eq!(epoch.iter().map(|batch| batch.labels.len()).collect::<Vec<_>>(), [13, 13, 12, 12]);
        assert_eq!(collect(loader(1, 7, 3).epoch(3, 0)), epoch);
        assert_eq!(collect(loader(1, 2, 2).epoch(3, 2)), epoch[2..]);
        assert_ne!(collect(loader(1, 1, 1).epoch(4, 0))[0], epoch[0]);
        assert_ne!(collect(loader(2, 1, 1).epoch(3, 0))[0], epoch[0]);
        assert_eq!(loader(1, 1, 1).batches(), 4);
    }

    #[test]
    fn images_are_divided_evenly() {
        for images in 1..200 {
            for most in 1..70 {
                let count = batches(images, most);
                let sizes: Vec<usize> = (0..count).map(|number| range(images, count, number).len()).collect();
                let (first, last) = (sizes[0], sizes[count - 1]);
                assert_eq!(sizes.iter().sum::<usize>(), images);
                assert!(
                    sizes.is_sorted_by(|a, b| a >= b) && first - last <= 1,
                    "{images}, {most}: {sizes:?}"
                );
                assert!(first <= most || (most == 2 && first == 3), "{images}, {most}: {sizes:?}");
                assert!(last > 1 || most == 1 || images == 1, "{images}, {most}: {sizes:?}");
                // No more batches than are needed.
                assert!(count <= images.div_ceil(most));
            }
        }
        assert_eq!(batches(0, 8), 0);
    }

    #[test]
    fn an_epoch_holds_every_image_once() {
        let data = Dataset::noise(50, Shape::new(2, 5, 4), 3, 9);
        let options = LoaderOptions {
            shuffle: true,
            ..LoaderOptions::plain(16, Normalization { mean: vec![0.0; 2], std: vec![1.0 / 255.0; 2] })
        };
        let shuffled = Loader::new(Arc::new(data.clone()), options);
        let mut seen = Vec::new();
        for batch in collect(shuffled.epoch(0, 0)) {
            for (image, &label) in batch.images.chunks_exact(40).zip(&batch.labels) {
                let bytes: Vec<u8> = (0..40).map(|i| image[(i % 2) * 20 + i / 2].round() as u8).collect();
                seen.push((bytes, label));
            }
        }
        let mut expected: Vec<_> = (0..50).map(|i| (data.image(i).to_vec(), data.labels[i])).collect();
        assert_ne!(seen, expected);
        seen.sort();
        expected.sort();
        assert_eq!(seen, expected);
    }

    #[test]
    fn an_epoch_left_early_ends_its_threads_and_knows_how_long_it_waited() {
        let mut batches = loader(1, 1, 2).epoch(0, 0);
        assert_eq!(batches.waited(), Duration::ZERO);
        batches.next().unwrap().unwrap();
        let first = batches.waited();
        assert!(first > Duration::ZERO);
        // What is ready by now is not waited for.
        std::thread::sleep(Duration::from_millis(200));
        batches.next().unwrap().unwrap();
        assert!(batches.waited() - first < Duration::from_millis(100));
        drop(batches);
    }
}
