//! Batches made beside the training: a thread draws, augments and normalises ahead of the consumer.
//!
//! What a batch holds depends on the seed, the epoch and its place in the epoch alone, never on the timing of
//! threads, so an epoch can be entered at any batch.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::augment::{self, Augmentation, Normalization};
use super::dataset::Dataset;

/// How batches are made.
#[derive(Debug, Clone, PartialEq)]
pub struct LoaderOptions {
    /// Images a batch; the last batch of an epoch may have fewer.
    pub batch: usize,
    /// Draw a new order each epoch. Without it, the order of the data set.
    pub shuffle: bool,
    /// Random changes to the images.
    pub augmentation: Augmentation,
    /// How bytes become values.
    pub normalization: Normalization,
    /// Seed of order and augmentation.
    pub seed: u64,
    /// Batches held ready.
    pub ahead: usize,
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

/// Makes the batches of a data set, epoch after epoch.
#[derive(Debug, Clone)]
pub struct Loader {
    data: Arc<Dataset>,
    options: Arc<LoaderOptions>,
}

impl Loader {
    /// A loader over `data`.
    ///
    /// # Panics
    /// Where the batch size is 0 or the normalisation does not have one entry a channel.
    pub fn new(data: Arc<Dataset>, options: LoaderOptions) -> Self {
        let channels = data.shape.channels as usize;
        let Normalization { mean, std } = &options.normalization;
        assert!(options.batch > 0, "a batch holds at least one image");
        assert!(mean.len() == channels && std.len() == channels, "one mean and one std a channel");
        Self { data, options: Arc::new(options) }
    }

    /// The data set.
    pub fn data(&self) -> &Arc<Dataset> {
        &self.data
    }

    /// How batches are made.
    pub fn options(&self) -> &LoaderOptions {
        &self.options
    }

    /// Batches an epoch.
    pub fn batches(&self) -> usize {
        self.data.len().div_ceil(self.options.batch)
    }

    /// The batches of epoch `epoch` from batch `first` (0 for all) on. They are made in a thread that ends with
    /// the iterator.
    pub fn epoch(&self, epoch: u64, first: usize) -> Batches {
        let (sender, receiver) = sync_channel(self.options.ahead.max(1));
        let loader = self.clone();
        let thread = std::thread::spawn(move || loader.produce(epoch, first, &sender));
        Batches { receiver: Some(receiver), thread: Some(thread) }
    }

    /// Sends batch after batch until all are sent or nobody listens any more.
    fn produce(&self, epoch: u64, first: usize, sender: &SyncSender<Batch>) {
        let mut order: Vec<usize> = (0..self.data.len()).collect();
        if self.options.shuffle {
            order.shuffle(&mut self.rng(epoch, 0));
        }
        let table = self.options.normalization.table();
        for (number, indices) in order.chunks(self.options.batch).enumerate().skip(first) {
            let mut rng = self.rng(epoch, 1 + number as u64);
            let size = self.data.shape.len();
            let mut images = vec![0.0; indices.len() * size];
            for (&index, out) in indices.iter().zip(images.chunks_exact_mut(size)) {
                let draw = self.options.augmentation.draw(&mut rng);
                augment::write(self.data.image(index), self.data.shape, draw, &table, out);
            }
            let labels = indices.iter().map(|&index| self.data.labels[index]).collect();
            if sender.send(Batch { images, labels }).is_err() {
                return;
            }
        }
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

/// The batches of one epoch, in order.
#[derive(Debug)]
pub struct Batches {
    receiver: Option<Receiver<Batch>>,
    thread: Option<JoinHandle<()>>,
}

impl Iterator for Batches {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        self.receiver.as_ref()?.recv().ok()
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        // The thread's next send fails once the receiver is gone.
        self.receiver = None;
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dataset::tests::noise;
    use super::*;
    use lrpet_runtime::model::Shape;

    fn loader(seed: u64, ahead: usize) -> Loader {
        let normalization = Normalization { mean: vec![0.5; 2], std: vec![0.25; 2] };
        let options = LoaderOptions {
            batch: 16,
            shuffle: true,
            augmentation: Augmentation { crop_padding: 1, flip: true },
            normalization,
            seed,
            ahead,
        };
        Loader::new(Arc::new(noise(50, Shape::new(2, 5, 4), 3, 9)), options)
    }

    #[test]
    fn batches_depend_on_seed_epoch_and_place_alone() {
        let epoch: Vec<Batch> = loader(1, 1).epoch(3, 0).collect();
        assert_eq!(epoch.iter().map(|batch| batch.labels.len()).collect::<Vec<_>>(), [16, 16, 16, 2]);
        assert_eq!(loader(1, 7).epoch(3, 0).collect::<Vec<_>>(), epoch);
        assert_eq!(loader(1, 2).epoch(3, 2).collect::<Vec<_>>(), epoch[2..]);
        assert_ne!(loader(1, 1).epoch(4, 0).next(), epoch.first().cloned());
        assert_ne!(loader(2, 1).epoch(3, 0).next(), epoch.first().cloned());
        assert_eq!(loader(1, 1).batches(), 4);
    }

    #[test]
    fn an_epoch_holds_every_image_once() {
        let data = noise(50, Shape::new(2, 5, 4), 3, 9);
        let options = LoaderOptions {
            shuffle: true,
            ..LoaderOptions::plain(16, Normalization { mean: vec![0.0; 2], std: vec![1.0 / 255.0; 2] })
        };
        let shuffled = Loader::new(Arc::new(data.clone()), options);
        let mut seen = Vec::new();
        for batch in shuffled.epoch(0, 0) {
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
    fn an_epoch_left_early_ends_its_thread() {
        let mut batches = loader(1, 1).epoch(0, 0);
        batches.next().unwrap();
        drop(batches);
    }
}
