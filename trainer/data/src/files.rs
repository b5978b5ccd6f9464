//! Labelled pictures in files, decoded when they are asked for and kept as far as memory is granted.

use std::borrow::Cow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use lrpet_report::units;
use lrpet_runtime::model::Shape;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::Header;
use super::crop::{Cutter, RandomCrop};
use super::error::{Bad, name_some};
use super::folder::Rule;
pub use super::listed::Listed;
use super::picture::{self, Picture};
use super::{DataError, Dataset, Preparation};

/// What is done about pictures that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BadImages {
    /// They are an error.
    #[default]
    Refuse,
    /// They are named in a warning and left out.
    Skip,
}

impl BadImages {
    /// Refuses `bad`, of `total` pictures below `folder`, or warns of them.
    ///
    /// # Errors
    /// [`DataError::BadImages`].
    pub fn settle(self, bad: Vec<Bad>, total: usize, folder: &Path) -> Result<(), DataError> {
        if bad.is_empty() {
            return Ok(());
        }
        let error = DataError::BadImages { folder: folder.to_owned(), total, bad };
        match self {
            BadImages::Refuse => Err(error),
            BadImages::Skip => {
                let DataError::BadImages { bad, .. } = &error else { return Ok(()) };
                tracing::warn!(
                    "{}: {} of {} left out: {}",
                    folder.display(),
                    bad.len(),
                    units::things(total as u64, "image"),
                    name_some(bad)
                );
                Ok(())
            }
        }
    }
}

/// Memory for decoded pictures.
#[derive(Debug)]
pub struct Cache {
    bound: u64,
    used: AtomicU64,
}

impl Cache {
    /// At most `bound` bytes.
    pub fn new(bound: u64) -> Arc<Cache> {
        Arc::new(Cache { bound, used: AtomicU64::new(0) })
    }

    /// Whether pictures with these headers all fit, as decoded to `channels`.
    pub fn holds<'h>(&self, headers: impl Iterator<Item = &'h Header>, channels: u32) -> bool {
        let bytes =
            |header: &Header| u64::from(header.width) * u64::from(header.height) * u64::from(channels);
        headers.map(bytes).sum::<u64>() <= self.bound
    }

    /// Takes `bytes` of the memory, where they are left.
    fn take(&self, bytes: u64) -> bool {
        let taken = |used: u64| used.checked_add(bytes).filter(|&used| used <= self.bound);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }
}

#[derive(Debug)]
struct Item {
    listed: Listed,
    picture: OnceLock<Picture>,
    /// Was named in a warning.
    named: AtomicBool,
}

/// Pictures of one part of a folder, prepared as images of one shape.
#[derive(Debug, Clone)]
pub struct Files {
    items: Vec<Arc<Item>>,
    classes: Arc<Vec<String>>,
    preparation: Preparation,
    bad: BadImages,
    cache: Arc<Cache>,
    rule: Rule,
}

/// What one thread needs to prepare images.
pub(super) type Worker = Cutter;

impl Files {
    /// The pictures `listed`, with labels below the number of `classes`.
    pub fn new(
        listed: Vec<Listed>,
        classes: Arc<Vec<String>>,
        preparation: Preparation,
        bad: BadImages,
        cache: Arc<Cache>,
    ) -> Files {
        let item = |listed| Item { listed, picture: OnceLock::new(), named: AtomicBool::new(false) };
        let items = listed.into_iter().map(|listed| Arc::new(item(listed))).collect();
        Files { items, classes, preparation, bad, cache, rule: Rule::default() }
    }

    /// The same, of a folder that was read by `rule`.
    pub fn read_by(self, rule: Rule) -> Files {
        Files { rule, ..self }
    }

    /// How their folder was read.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// True where there is no picture.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Names of the classes, by label.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// How pictures become images.
    pub fn preparation(&self) -> &Preparation {
        &self.preparation
    }

    /// Class number of picture `index`.
    ///
    /// # Panics
    /// Where `index` is not below [`Files::len`].
    pub fn label(&self, index: usize) -> u32 {
        self.items[index].listed.label
    }

    /// The file of picture `index`.
    ///
    /// # Panics
    /// Where `index` is not below [`Files::len`].
    pub fn path(&self, index: usize) -> &Path {
        &self.items[index].listed.path
    }

    /// A digest of the files' names and classes, in order.
    pub(super) fn digest(&self) -> String {
        let crc = crc::Crc::<u64>::new(&crc::CRC_64_XZ);
        let mut digest = crc.digest();
        for item in &self.items {
            digest.update(item.listed.path.file_name().unwrap_or_default().as_encoded_bytes());
            digest.update(&item.listed.label.to_le_bytes());
        }
        format!("{:016x}", digest.finalize())
    }

    /// The pictures with the given indices, in that order; they share their memory with these.
    ///
    /// # Panics
    /// Where an index is not below [`Files::len`].
    pub fn subset(&self, indices: &[usize]) -> Files {
        Files { items: indices.iter().map(|&index| self.items[index].clone()).collect(), ..self.clone() }
    }

    /// The classes of which no picture can be decoded.
    pub fn missing_classes(&self) -> Vec<usize> {
        let mut by_class: Vec<Vec<&Item>> = vec![Vec::new(); self.classes.len()];
        self.items.iter().for_each(|item| by_class[item.listed.label as usize].push(item));
        let readable = |item: &&Item| self.picture(item, self.preparation.shape.channels).is_ok();
        let missing = by_class.par_iter().enumerate().filter(|(_, items)| !items.iter().any(readable));
        missing.map(|(class, _)| class).collect()
    }

    /// Decodes all pictures, has them kept where memory is granted and `keep` says so, and drops those that cannot be
    /// read, which are returned. `progress` is called after each.
    pub fn decode_all(&mut self, keep: bool, progress: impl Fn() + Sync) -> Vec<Bad> {
        let channels = self.preparation.shape.channels;
        let found: Vec<Option<Bad>> = (self.items.par_iter())
            .map(|item| {
                let bad = match keep {
                    true => self.picture(item, channels).err(),
                    false => picture::read(&item.listed.path, channels).err(),
                };
                progress();
                bad.map(|reason| Bad { file: item.listed.path.clone(), reason })
            })
            .collect();
        let mut good = found.iter().map(Option::is_none);
        self.items.retain(|_| good.next().unwrap_or(true));
        found.into_iter().flatten().collect()
    }

    /// The decoded picture, from memory where it is kept.
    fn picture<'i>(&self, item: &'i Item, channels: u32) -> Result<Cow<'i, Picture>, String> {
        if let Some(kept) = item.picture.get() {
            return Ok(Cow::Borrowed(kept));
        }
        let picture = picture::read(&item.listed.path, channels)?;
        if self.cache.take(picture.pixels.len() as u64) {
            return Ok(Cow::Borrowed(item.picture.get_or_init(|| picture)));
        }
        Ok(Cow::Owned(picture))
    }

    /// The image of picture `index`, H×W×C: a part drawn by `crop`'s seed, or the centre. None where the picture
    /// cannot be read and is left out.
    ///
    /// # Errors
    /// [`DataError::BadImage`].
    pub(super) fn image<'w>(
        &self,
        index: usize,
        crop: Option<(RandomCrop, u64)>,
        worker: &'w mut Worker,
    ) -> Result<Option<&'w [u8]>, DataError> {
        let item = &self.items[index];
        let Shape { channels, height, width } = self.preparation.shape;
        let image = self.picture(item, channels).and_then(|picture| {
            let Some((crop, seed)) = crop else { return self.preparation.centre(&picture, worker) };
            let (size, target) = ([picture.height, picture.width], [height, width]);
            let window = crop.draw(size, target, &mut ChaCha8Rng::seed_from_u64(seed));
            worker.cut(&picture, window, target)
        });
        let path = &item.listed.path;
        match image {
            Ok(image) => Ok(Some(image)),
            Err(reason) if self.bad == BadImages::Refuse => {
                Err(DataError::BadImage { path: path.clone(), reason })
            }
            Err(reason) => {
                if !item.named.swap(true, Ordering::Relaxed) {
                    tracing::warn!("{}: {reason}; left out", path.display());
                }
                Ok(None)
            }
        }
    }

    /// The images of `indices` as for testing, on all cores; those that are left out are missing.
    ///
    /// # Errors
    /// [`DataError::BadImage`].
    ///
    /// # Panics
    /// Where an index is not below [`Files::len`].
    pub fn read(&self, indices: &[usize]) -> Result<Dataset, DataError> {
        Ok(self.read_kept(indices)?.0)
    }

    /// As [`Files::read`], with the indices of the images that are not missing.
    ///
    /// # Errors
    /// [`DataError::BadImage`].
    ///
    /// # Panics
    /// Where an index is not below [`Files::len`].
    pub fn read_kept(&self, indices: &[usize]) -> Result<(Dataset, Vec<usize>), DataError> {
        let shape = self.preparation.shape;
        let size = shape.len();
        let mut images = vec![0; indices.len() * size];
        let kept: Vec<bool> = (images.par_chunks_exact_mut(size).zip(indices))
            .map_init(Worker::default, |worker, (out, &index)| {
                let image = self.image(index, None, worker)?;
                image.inspect(|image| out.copy_from_slice(image));
                Ok(image.is_some())
            })
            .collect::<Result<_, DataError>>()?;
        let labels = compact(&mut images, &kept, indices.iter().map(|&index| self.label(index)));
        let kept = indices.iter().zip(kept).filter(|(_, kept)| *kept).map(|(&index, _)| index).collect();
        Ok((Dataset { images, labels, shape, classes: self.classes.to_vec() }, kept))
    }
}

/// Moves the values of the images that are `kept` together, in order, and returns their labels.
pub(super) fn compact<T: Copy>(
    images: &mut Vec<T>,
    kept: &[bool],
    labels: impl Iterator<Item = u32>,
) -> Vec<u32> {
    let size = images.len() / kept.len().max(1);
    let mut count = 0;
    for (index, _) in kept.iter().enumerate().filter(|(_, kept)| **kept) {
        if index != count {
            images.copy_within(index * size..(index + 1) * size, count * size);
        }
        count += 1;
    }
    images.truncate(count * size);
    labels.zip(kept).filter(|(_, kept)| **kept).map(|(label, _)| label).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Augmentation, Batch, Loader, LoaderOptions, Normalization};
    use super::*;

    /// `count` pictures of different sizes and colours in two classes, prepared as 8×8 images.
    fn files(folder: &Path, count: u32, bad: BadImages, cache: u64) -> Files {
        let listed = (0..count).map(|number| {
            let path = folder.join(format!("{number}.png"));
            let picture = image::RgbImage::from_fn(10 + number, 20, |x, y| {
                image::Rgb([(5 * x) as u8, (7 * y) as u8, number as u8])
            });
            picture.save(&path).unwrap();
            Listed { path, label: number % 2 }
        });
        let preparation = Preparation { shape: Shape::new(3, 8, 8), test_resize: 1.0, test_share: None };
        let classes = Arc::new(vec!["even".into(), "odd".into()]);
        Files::new(listed.collect(), classes, preparation, bad, Cache::new(cache))
    }

    fn loader(files: &Files, threads: usize) -> Loader {
        let options = LoaderOptions {
            shuffle: true,
            augmentation: Augmentation {
                flip: true,
                part: Some(RandomCrop::default()),
                crop_padding: 0,
                cutout: 0,
            },
            seed: 4,
            threads,
            ..LoaderOptions::plain(7, Normalization::imagenet())
        };
        Loader::new(files.clone(), options)
    }

    fn epoch(files: &Files, threads: usize, epoch: u64, first: usize) -> Vec<Batch> {
        loader(files, threads).epoch(epoch, first).map(Result::unwrap).collect()
    }

    #[test]
    fn batches_depend_neither_on_threads_nor_on_memory() {
        let dir = tempfile::tempdir().unwrap();
        let cold = files(dir.path(), 30, BadImages::Refuse, 0);
        let once = epoch(&cold, 1, 2, 0);
        assert_eq!(once.iter().map(|batch| batch.labels.len()).collect::<Vec<_>>(), [6; 5]);
        assert_ne!(once[0].images[..192], once[0].images[192..384]);
        assert_eq!(epoch(&cold, 3, 2, 0), once);
        assert_eq!(epoch(&cold, 2, 2, 3), once[3..]);
        assert_ne!(epoch(&cold, 1, 3, 0)[0], once[0]);
        // Room for some, and for all: also when the files are gone.
        let some = files(dir.path(), 30, BadImages::Refuse, 10_000);
        assert_eq!((epoch(&some, 2, 2, 0), epoch(&some, 2, 2, 0)), (once.clone(), once.clone()));
        let kept = some.items.iter().filter(|item| item.picture.get().is_some()).count();
        assert!((1..30).contains(&kept), "{kept}");
        let mut all = files(dir.path(), 30, BadImages::Refuse, 1 << 20);
        assert_eq!(all.decode_all(true, || ()), []);
        drop(dir);
        assert_eq!(epoch(&all, 2, 2, 0), once);
    }

    #[test]
    fn unreadable_files_end_the_epoch_or_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let refusing = files(dir.path(), 10, BadImages::Refuse, 0);
        let skipping = files(dir.path(), 10, BadImages::Skip, 0);
        std::fs::write(dir.path().join("3.png"), "no picture").unwrap();
        let error = loader(&refusing, 2).epoch(0, 0).find_map(Result::err).unwrap().to_string();
        assert!(error.contains("3.png") && error.contains("--bad-images skip"), "{error}");
        let batches = epoch(&skipping, 2, 0, 0);
        assert_eq!(batches.iter().map(|batch| batch.labels.len()).sum::<usize>(), 9);
        assert!(batches.iter().all(|batch| batch.images.len() == 192 * batch.labels.len()));
        let read = skipping.read(&[2, 3, 4]).unwrap();
        assert_eq!((&read.labels[..], read.image(1)[2]), (&[0, 0][..], 4));
        assert_eq!(epoch(&files(dir.path(), 10, BadImages::Skip, 0), 1, 0, 0).len(), 2);
        let mut decoded = skipping.clone();
        std::fs::write(dir.path().join("3.png"), "no picture").unwrap();
        let bad = decoded.decode_all(true, || ());
        assert_eq!((bad.len(), decoded.len()), (1, 9));
        let error = BadImages::Refuse.settle(bad, 10, dir.path()).unwrap_err().to_string();
        assert!(error.contains("1 of 10 images") && error.contains("3.png (not a picture"), "{error}");
    }

    #[test]
    fn a_loader_whose_files_are_all_gone_ends() {
        let dir = tempfile::tempdir().unwrap();
        let gone = files(dir.path(), 10, BadImages::Skip, 0);
        drop(dir);
        assert_eq!(epoch(&gone, 2, 0, 0), []);
    }
}
