//! Labelled values: arrays of NumPy's in a folder, for networks that take numbers as they are.
//!
//! `train_x.npy` holds the samples, `[N, C, H, W]`, `[N, C, W]` (of height 1) or `[N, W]` (of one channel too), in f32, f16 or u8;
//! `train_y.npy` their classes, `[N]` whole numbers from 0. `test_x.npy` and `test_y.npy` are the same for testing; without them a
//! share of each class is held back, the same samples every time.

use std::path::Path;
use std::sync::Arc;

use lrpet_network::Dataset;
use lrpet_network::dataset;
use lrpet_runtime::model::Shape;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::DataError;
use crate::npy::{self, Array};

/// Most classes: no label is meant that is larger.
const MOST_CLASSES: usize = 1 << 16;

/// Share of the samples of each class that is held back for testing, where nothing else is asked for.
pub const TEST_SHARE: f64 = 0.2;

/// Samples of values with their classes.
#[derive(Debug, Clone)]
pub struct Values {
    /// The samples, N×C×H×W.
    pub samples: Arc<Dataset<f32>>,
    /// Share of each class that was held back for testing, where the folder has no part for it.
    pub test_share: Option<f64>,
}

/// What is asked of a folder.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The folder.
    pub folder: &'a Path,
    /// Number of classes [default: one more than the largest label of the training].
    pub classes: Option<usize>,
    /// Share of each class that is held back where there is no part for testing, above 0 and at most 1.
    pub test_share: f64,
}

/// The parts of a folder.
#[derive(Debug, Clone)]
pub struct Found {
    /// For training; none where the folder has only a part for testing.
    pub train: Option<Values>,
    /// For testing.
    pub test: Values,
}

/// Whether `folder` holds a data set of values.
pub fn is_folder(folder: &Path) -> bool {
    ["train", "test"].iter().any(|part| ["x", "y"].iter().any(|of| file(folder, part, of).is_file()))
}

fn file(folder: &Path, part: &str, of: &str) -> std::path::PathBuf {
    folder.join(format!("{part}_{of}.npy"))
}

/// Reads the data set of a folder.
///
/// # Errors
/// [`DataError::Io`] and [`DataError::Format`] name the file and the sample.
pub fn find(ask: &Ask<'_>) -> Result<Found, DataError> {
    let Ask { folder, classes, test_share } = *ask;
    let [train, test] = [part(folder, "train")?, part(folder, "test")?];
    let largest = |part: &Part| part.labels.iter().max().map_or(0, |&label| label as usize);
    let classes = classes.or(train.as_ref().map(|train| largest(train) + 1));
    let classes = classes.or(test.as_ref().map(|test| largest(test) + 1)).unwrap_or(0);
    for (name, part) in [("train", &train), ("test", &test)] {
        let Some(part) = part else { continue };
        let path = file(folder, name, "y");
        if let Some(at) = part.labels.iter().position(|&label| label as usize >= classes) {
            let reason =
                format!("label {} of sample {at}, but there are {classes} classes, from 0", part.labels[at]);
            return Err(DataError::Format { path, reason });
        }
    }
    if let (Some(train), Some(test)) = (&train, &test)
        && train.shape != test.shape
    {
        let reason = format!("samples of {}, but those of train_x.npy are {}", test.shape, train.shape);
        return Err(DataError::Format { path: file(folder, "test", "x"), reason });
    }
    let names: Vec<String> = (0..classes).map(|class| class.to_string()).collect();
    let whole = |part: Part| {
        let Part { values, labels, shape } = part;
        Dataset { images: values, labels, shape, classes: names.clone() }
    };
    let values = |samples: Dataset<f32>, test_share| Values { samples: Arc::new(samples), test_share };
    match (train.map(&whole), test.map(&whole)) {
        (Some(train), None) => {
            let (rest, held) = hold_back(&train, test_share);
            if held.is_empty() {
                let reason = format!(
                    "no class has enough samples that one can be held back for testing: add samples, or test_x.npy and test_y.npy, or \
                     hold back more with --test-share (it is {test_share})"
                );
                return Err(DataError::Format { path: file(folder, "train", "x"), reason });
            }
            let share = Some(test_share);
            Ok(Found {
                train: Some(values(train.subset(&rest), share)),
                test: values(train.subset(&held), share),
            })
        }
        (train, Some(test)) => {
            Ok(Found { train: train.map(|train| values(train, None)), test: values(test, None) })
        }
        (None, None) => Err(DataError::Format {
            path: folder.to_owned(),
            reason: "it holds neither train_x.npy nor test_x.npy".to_owned(),
        }),
    }
}

/// Indices of the samples that are for training, and of those held back: of each class the share, at least one of two, drawn once
/// and for all.
fn hold_back(data: &Dataset<f32>, share: f64) -> (Vec<usize>, Vec<usize>) {
    let mut held = vec![false; data.len()];
    let by_class = dataset::indices(data.labels.iter().copied(), data.classes.len());
    for (class, mut of) in by_class.into_iter().enumerate() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        rng.set_stream(class as u64);
        of.shuffle(&mut rng);
        let least = usize::from(of.len() > 1);
        let count = ((of.len() as f64 * share).round() as usize).clamp(least, of.len());
        of[..count].iter().for_each(|&index| held[index] = true);
    }
    (0..data.len()).partition(|&index| !held[index])
}

struct Part {
    values: Vec<f32>,
    labels: Vec<u32>,
    shape: Shape,
}

/// A part of a folder, where it is there.
fn part(folder: &Path, name: &str) -> Result<Option<Part>, DataError> {
    let [x, y] = ["x", "y"].map(|of| file(folder, name, of));
    let refuse = |path: &Path, reason: String| Err(DataError::Format { path: path.to_owned(), reason });
    match [x.is_file(), y.is_file()] {
        [false, false] => return Ok(None),
        [true, false] => {
            return refuse(&y, format!("it is missing: the classes of {name}_x.npy, [N] whole numbers"));
        }
        [false, true] => {
            return refuse(&x, format!("it is missing: the samples whose classes {name}_y.npy has"));
        }
        [true, true] => {}
    }
    let (samples, labels) = (Array::open(&x)?, Array::open(&y)?);
    let axes = samples.shape();
    let Some((of_x, shape)) = npy::samples(&axes) else {
        return refuse(&x, format!("an array of shape {axes:?}: {}", npy::SAMPLES));
    };
    let of_y = labels.shape();
    if of_y.len() != 1 {
        return refuse(
            &y,
            format!("an array of shape {of_y:?}: classes are [N], a whole number for each sample"),
        );
    }
    if of_y[0] != of_x {
        return refuse(&y, format!("{} classes, but {name}_x.npy has {of_x} samples", of_y[0]));
    }
    if of_x == 0 {
        return refuse(&x, "it holds no sample".to_owned());
    }
    let (values, labels) = (samples.numbers()?, labels.labels(MOST_CLASSES)?);
    match npy::beyond(&values, shape) {
        Some(reason) => refuse(&x, reason),
        None => Ok(Some(Part { values, labels, shape })),
    }
}

/// How the values of a channel are spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Channel {
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation.
    pub std: f64,
    /// The least one.
    pub least: f32,
    /// The largest one.
    pub largest: f32,
}

/// What a folder of values holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Channels, height, width of a sample.
    pub shape: [u32; 3],
    /// Samples for training.
    pub train: usize,
    /// Samples for testing.
    pub test: usize,
    /// Share of each class that is held back for testing, where the folder has no part for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_share: Option<f64>,
    /// Samples of each class for training.
    pub train_by_class: Vec<usize>,
    /// Samples of each class for testing.
    pub test_by_class: Vec<usize>,
    /// How the values of each channel are spread, of the samples for training where there are any.
    pub channels: Vec<Channel>,
}

impl Found {
    /// Counts and statistics.
    pub fn summary(&self) -> Summary {
        let Found { train, test } = self;
        let first = train.as_ref().unwrap_or(test);
        let shape = first.samples.shape;
        Summary {
            shape: [shape.channels, shape.height, shape.width],
            train: train.as_ref().map_or(0, Values::len),
            test: test.len(),
            test_share: test.test_share,
            train_by_class: train.as_ref().map_or_else(|| vec![0; test.by_class().len()], Values::by_class),
            test_by_class: test.by_class(),
            channels: first.channels(),
        }
    }
}

impl Values {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// True where there is no sample.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The samples with the given indices, in that order.
    ///
    /// # Panics
    /// Where an index is not below [`Values::len`].
    #[must_use]
    pub fn subset(&self, indices: &[usize]) -> Values {
        Values { samples: Arc::new(self.samples.subset(indices)), test_share: self.test_share }
    }

    /// Samples of each class.
    pub fn by_class(&self) -> Vec<usize> {
        dataset::by_class(self.samples.labels.iter().copied(), self.samples.classes.len())
    }

    /// How the values of each channel are spread over all samples.
    pub fn channels(&self) -> Vec<Channel> {
        let (channels, pixels) = (self.samples.shape.channels as usize, self.samples.shape.pixels());
        let channel = |channel: usize| {
            let planes = self.samples.images.chunks_exact(pixels).skip(channel).step_by(channels);
            let values = planes.flatten();
            let count = (self.len() * pixels) as f64;
            let mean = values.clone().map(|&value| f64::from(value)).sum::<f64>() / count;
            let squares = values.clone().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>();
            Channel {
                mean,
                std: (squares / count).sqrt(),
                least: values.clone().copied().fold(f32::INFINITY, f32::min),
                largest: values.copied().fold(f32::NEG_INFINITY, f32::max),
            }
        };
        (0..channels).map(channel).collect()
    }

    /// A checksum of samples and labels, in hexadecimal.
    pub fn digest(&self) -> String {
        let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
        let mut digest = crc.digest();
        self.samples.images.iter().for_each(|value| digest.update(&value.to_le_bytes()));
        self.samples.labels.iter().for_each(|label| digest.update(&label.to_le_bytes()));
        format!("{:08x}", digest.finalize())
    }
}

#[cfg(test)]
mod tests {
    use npyz::WriterBuilder;

    use super::*;

    fn write<T: npyz::AutoSerialize + Copy>(path: &Path, shape: &[u64], order: npyz::Order, values: &[T]) {
        let mut bytes = Vec::new();
        let writer = npyz::WriteOptions::new().default_dtype().shape(shape).order(order).writer(&mut bytes);
        let mut writer = writer.begin_nd().unwrap();
        writer.extend(values.iter().copied()).unwrap();
        writer.finish().unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn ask(folder: &Path) -> Ask<'_> {
        Ask { folder, classes: None, test_share: 0.2 }
    }

    const C: npyz::Order = npyz::Order::C;

    /// Ten samples of two channels in two classes.
    fn ten(folder: &Path) {
        let values: Vec<f32> = (0..60).map(|value| value as f32 - 30.0).collect();
        write(&folder.join("train_x.npy"), &[10, 2, 3], C, &values);
        let labels: Vec<i64> = (0..10).map(|label| label % 2).collect();
        write(&folder.join("train_y.npy"), &[10], C, &labels);
    }

    #[test]
    fn a_share_of_each_class_is_held_back_the_same_every_time() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_folder(folder.path()));
        ten(folder.path());
        assert!(is_folder(folder.path()));
        let found = find(&ask(folder.path())).unwrap();
        let (train, test) = (found.train.unwrap(), found.test);
        assert_eq!((train.by_class(), test.by_class()), (vec![4, 4], vec![1, 1]));
        assert_eq!((train.samples.shape, test.test_share), (Shape::new(2, 1, 3), Some(0.2)));
        assert_eq!(train.samples.classes, ["0", "1"]);
        let again = find(&ask(folder.path())).unwrap();
        assert_eq!(test.samples, again.test.samples);
        assert_eq!(train.digest(), again.train.unwrap().digest());
        assert_ne!(train.digest(), train.subset(&[1, 0, 2, 3, 4, 5, 6, 7]).digest());
        // Every sample is in one part.
        let mut firsts: Vec<f32> = [train.samples, test.samples]
            .iter()
            .flat_map(|part| part.images.iter().step_by(6).copied().collect::<Vec<_>>())
            .collect();
        firsts.sort_by(f32::total_cmp);
        assert_eq!(firsts, (0..10).map(|sample| 6.0 * sample as f32 - 30.0).collect::<Vec<_>>());
        let all = find(&Ask { test_share: 1.0, ..ask(folder.path()) }).unwrap();
        assert_eq!((all.train.unwrap().len(), all.test.len()), (0, 10));
    }

    #[test]
    fn a_part_for_testing_is_taken_and_may_stand_alone() {
        let folder = tempfile::tempdir().unwrap();
        ten(folder.path());
        write(&folder.path().join("test_x.npy"), &[2, 2, 1, 3], C, &[7_u8; 12]);
        write(&folder.path().join("test_y.npy"), &[2], C, &[1_u8, 0]);
        let found = find(&ask(folder.path())).unwrap();
        assert_eq!((found.train.unwrap().len(), found.test.len()), (10, 2));
        assert_eq!((&found.test.samples.images[..], found.test.test_share), (&[7.0; 12][..], None));
        for name in ["train_x.npy", "train_y.npy"] {
            std::fs::remove_file(folder.path().join(name)).unwrap();
        }
        let found = find(&Ask { classes: Some(5), ..ask(folder.path()) }).unwrap();
        assert!(found.train.is_none() && found.test.samples.classes.len() == 5);
    }

    #[test]
    fn shapes_and_types_of_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let x = folder.path().join("train_x.npy");
        write(&folder.path().join("train_y.npy"), &[2], C, &[0_u16, 1]);
        let halves: Vec<half::f16> = [1.5, -2.0, 0.25, 4.0].map(half::f16::from_f32).to_vec();
        write(&x, &[2, 2], C, &halves);
        let found = find(&Ask { test_share: 1.0, ..ask(folder.path()) }).unwrap().test.samples;
        assert_eq!((found.shape, &found.images[..]), (Shape::new(1, 1, 2), &[1.5, -2.0, 0.25, 4.0][..]));
        let values = Values { samples: found, test_share: None };
        let [of] = values.channels()[..] else { panic!("one channel") };
        assert!((of.mean - 0.9375).abs() < 1e-12 && (of.std.powi(2) - 4.699_218_75).abs() < 1e-12, "{of:?}");
        assert_eq!((of.least, of.largest), (-2.0, 4.0));
    }

    #[test]
    fn what_is_no_data_set_is_refused_by_file_and_sample() {
        let folder = tempfile::tempdir().unwrap();
        let [x, y] = ["train_x.npy", "train_y.npy"].map(|name| folder.path().join(name));
        let refused = |words: &[&str]| {
            let error = find(&ask(folder.path())).unwrap_err().to_string();
            words.iter().for_each(|word| assert!(error.contains(word), "{error}"));
        };
        refused(&["neither train_x.npy"]);
        ten(folder.path());
        std::fs::remove_file(&y).unwrap();
        refused(&["train_y.npy", "missing"]);
        write(&y, &[9], C, &[0_i32; 9]);
        refused(&["train_y.npy", "9 classes", "10 samples"]);
        write(&y, &[10, 1], C, &[0_i32; 10]);
        refused(&["train_y.npy", "[10, 1]"]);
        write(&y, &[10], C, &[0.0_f32; 10]);
        refused(&["train_y.npy", "f4", "whole numbers"]);
        write(&y, &[10], C, &[0, 1, 2, -1, 0, 1, 2, 0, 1, 2_i8]);
        refused(&["train_y.npy", "label -1 of sample 3"]);
        write(&y, &[10], C, &[0, 0, 0, 0, u64::MAX, 1, 2, 0, 1, 2]);
        refused(&["train_y.npy", "label 18446744073709551615 of sample 4"]);
        write(&y, &[10], C, &[0, 1, 0, 1, 0, 1, 0, 1, 0, 1_i8]);
        let error = find(&Ask { classes: Some(1), ..ask(folder.path()) }).unwrap_err().to_string();
        assert!(error.contains("label 1 of sample 1, but there are 1 classes"), "{error}");
        let bad = |value: f32| (0..60).map(|at| if at == 13 { value } else { 0.0 }).collect::<Vec<f32>>();
        for (value, word) in
            [(f32::NAN, "NaN in sample 2"), (f32::INFINITY, "inf in sample 2"), (1e6, "beyond f16")]
        {
            write(&x, &[10, 2, 3], C, &bad(value));
            refused(&["train_x.npy", word]);
        }
        write(&x, &[10, 2, 3], npyz::Order::Fortran, &bad(0.0));
        refused(&["train_x.npy", "Fortran", "ascontiguousarray"]);
        write(&x, &[10, 2, 3], C, &[0.0_f64; 60]);
        refused(&["train_x.npy", "f8", "astype"]);
        for shape in [&[60][..], &[10, 0, 6], &[10, 1, 2, 3, 1]] {
            write(&x, shape, C, &vec![0.0_f32; shape.iter().product::<u64>() as usize]);
            refused(&["train_x.npy", "[N, C, H, W]"]);
        }
        // A header of 3.6 GB, and one of nonsense that is not quoted whole.
        std::fs::write(&x, b"\x93NUMPY\x03\0\x21\x94\x84\xd8{'descr': ").unwrap();
        refused(&["train_x.npy", "header claims 3632567329 bytes"]);
        std::fs::write(&x, [&b"\x93NUMPY\x01\0\x88\x13"[..], &[b'x'; 5000]].concat()).unwrap();
        refused(&["train_x.npy", "no array that can be read (expected value); save"]);
        // Of one sample in each class there is none to test on.
        write(&x, &[2, 2, 3], C, &[0.0_f32; 12]);
        write(&y, &[2], C, &[0_i8, 1]);
        refused(&["train_x.npy", "held back", "test_x.npy", "--test-share"]);
        write(&x, &[0, 2, 3], C, &[0.0_f32; 0]);
        write(&y, &[0], C, &[0_i8; 0]);
        refused(&["train_x.npy", "no sample"]);
        // What numpy.save writes of an array of objects, and a file that ends too soon.
        ten(folder.path());
        let bytes = std::fs::read(&x).unwrap();
        let text = String::from_utf8_lossy(&bytes[..60]).into_owned();
        let at = text.find("'<f4'").unwrap();
        let objects = [&bytes[..at], b"'|O' ", &bytes[at + 5..]].concat();
        std::fs::write(&x, objects).unwrap();
        refused(&["train_x.npy", "astype"]);
        std::fs::write(&x, &bytes[..bytes.len() - 1]).unwrap();
        refused(&["train_x.npy", "cut off"]);
        std::fs::write(&x, b"nothing").unwrap();
        refused(&["train_x.npy"]);
        // Of other samples for testing.
        ten(folder.path());
        write(&folder.path().join("test_x.npy"), &[1, 3, 2], C, &[0.0_f32; 6]);
        write(&folder.path().join("test_y.npy"), &[1], C, &[1_u8]);
        refused(&["test_x.npy", "3×1×2", "2×1×3"]);
    }
}
