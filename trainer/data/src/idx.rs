//! IDX files: the format of MNIST and of the sets made in its likeness.
//!
//! Big-endian: two zero bytes, a type (8 is u8, the only one read here), the number of axes, one u32 an axis,
//! the values. Source: the file format section of the MNIST database's page (LeCun, Cortes, Burges). Files may
//! be gzip-compressed, which is told by content, not by name.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use lrpet_runtime::model::Shape;

use super::labels::{check_labels, owned};
use super::registry::Entry;
use super::{DataError, Dataset};

/// Images and labels of the training set, then of the test set, with MNIST's names.
pub(super) const FILES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

/// Type byte of unsigned 8-bit values.
const TYPE_U8: u8 = 8;
/// First bytes of a gzip member (RFC 1952, section 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Most values that a file may hold: more is a damaged header, not a data set for one machine's memory.
const MAX_VALUES: usize = 1 << 32;

/// An array of bytes with 1 to 4 axes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idx {
    /// Axes, outermost first.
    pub dims: Vec<usize>,
    /// The values, last axis fastest.
    pub values: Vec<u8>,
}

/// Reads one IDX file of u8, plain or gzip-compressed.
///
/// # Errors
/// [`DataError::Io`] where the file cannot be read, [`DataError::Format`] where it is no IDX file of u8, is
/// truncated or is longer than its header says.
pub fn read(path: &Path) -> Result<Idx, DataError> {
    let io = |source| DataError::Io { path: path.to_owned(), source };
    let mut file = BufReader::new(File::open(path).map_err(io)?);
    let gzip = file.fill_buf().map_err(io)?.starts_with(&GZIP_MAGIC);
    let parsed = if gzip { parse(&mut flate2::bufread::MultiGzDecoder::new(file)) } else { parse(&mut file) };
    parsed.map_err(|reason| DataError::Format { path: path.to_owned(), reason })
}

/// Parses an IDX stream; the error says what is wrong with it.
fn parse(reader: &mut impl Read) -> Result<Idx, String> {
    let truncated =
        |what: &str, error: std::io::Error| format!("{what} cannot be read ({error}); get the file again");
    let mut magic = [0; 4];
    reader.read_exact(&mut magic).map_err(|error| truncated("the IDX header", error))?;
    let [0, 0, kind, axes] = magic else {
        return Err("not an IDX file (it does not start with two zero bytes)".into());
    };
    if kind != TYPE_U8 {
        return Err(format!("IDX type {kind:#04x} is not read, only unsigned bytes (0x08)"));
    }
    if !(1..=4).contains(&axes) {
        return Err(format!("IDX file of {axes} axes; 1 (labels), 3 or 4 (images) are read"));
    }
    let mut dims = Vec::with_capacity(usize::from(axes));
    for _ in 0..axes {
        let mut size = [0; 4];
        reader.read_exact(&mut size).map_err(|error| truncated("the IDX header", error))?;
        dims.push(u32::from_be_bytes(size) as usize);
    }
    let expected = dims
        .iter()
        .try_fold(1_usize, |product, &size| product.checked_mul(size))
        .filter(|&values| values <= MAX_VALUES)
        .ok_or_else(|| {
            format!("the IDX header promises {dims:?} values, more than any data set read here")
        })?;
    let mut values = Vec::new();
    // One byte more than promised shows a file that is too long.
    reader
        .take(expected as u64 + 1)
        .read_to_end(&mut values)
        .map_err(|error| truncated("the IDX values", error))?;
    match values.len() {
        length if length < expected => Err(format!(
            "truncated: the IDX header promises {expected} values ({dims:?}), {length} are there; get the file again"
        )),
        length if length > expected => {
            Err(format!("longer than the {expected} values ({dims:?}) that its IDX header promises"))
        }
        _ => Ok(Idx { dims, values }),
    }
}

/// The file called `name` in `folder`, plain or compressed, also with the dot before `idx` that some archives put
/// there.
pub(super) fn locate(folder: &Path, name: &str) -> Option<PathBuf> {
    let dotted = name.replace("-idx", ".idx");
    [name, &dotted]
        .iter()
        .flat_map(|name| [folder.join(name), folder.join(format!("{name}.gz"))])
        .find(|path| path.is_file())
}

/// Reads training and test set of `entry` from the files with MNIST's names.
pub(super) fn read_folder(folder: &Path, entry: &Entry) -> Result<[Dataset; 2], DataError> {
    let [train_images, train_labels, test_images, test_labels] =
        FILES.map(|name| locate(folder, name).unwrap_or_else(|| folder.join(name)));
    let part = |images: PathBuf, labels: &Path| {
        let data = read_dataset(&images, labels, entry.classes)?;
        if data.shape != entry.shape {
            let reason =
                format!("images of {}, but {} has images of {}", data.shape, entry.name, entry.shape);
            return Err(DataError::Format { path: images, reason });
        }
        if data.is_empty() {
            let reason = "holds no image; get the file again".into();
            return Err(DataError::Format { path: images, reason });
        }
        Ok(data)
    };
    Ok([part(train_images, &train_labels)?, part(test_images, &test_labels)?])
}

/// Reads a data set from a file of images (N×H×W, or N×H×W×C) and a file of labels (N).
///
/// # Errors
/// Besides those of [`read`]: [`DataError::Format`] where the two files do not have the same count, a label is
/// not below the number of classes, or the images have the wrong number of axes or no pixels.
pub fn read_dataset(images: &Path, labels: &Path, classes: &[&str]) -> Result<Dataset, DataError> {
    let format = |path: &Path, reason: String| DataError::Format { path: path.to_owned(), reason };
    let pixels = read(images)?;
    let [count, height, width, channels] = match pixels.dims[..] {
        [n, h, w] => [n, h, w, 1],
        [n, h, w, c] => [n, h, w, c],
        _ => return Err(format(images, format!("images have 3 or 4 axes, this file has {:?}", pixels.dims))),
    };
    let numbers = read(labels)?;
    if numbers.dims.len() != 1 {
        return Err(format(labels, format!("labels have 1 axis, this file has {:?}", numbers.dims)));
    }
    if numbers.dims[0] != count {
        let reason = format!("{} labels for the {count} images of {}", numbers.dims[0], images.display());
        return Err(format(labels, reason));
    }
    let found: Vec<u32> = numbers.values.into_iter().map(u32::from).collect();
    check_labels(labels, &found, classes.len())?;
    // Both come from u32 fields.
    let shape = Shape::new(channels as u32, height as u32, width as u32);
    if shape.is_empty() {
        return Err(format(images, format!("images of {height}×{width}×{channels} hold no pixels")));
    }
    Ok(Dataset { images: pixels.values, labels: found, shape, classes: owned(classes) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn idx(dims: &[u32], values: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, TYPE_U8, dims.len() as u8];
        dims.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
        bytes.extend(values);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn file(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn plain_and_gzip_read_alike() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = idx(&[2, 2, 3], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        let plain = read(&file(&dir, "a", &bytes)).unwrap();
        assert_eq!(plain.dims, [2, 2, 3]);
        assert_eq!(plain.values[11], 12);
        // The name says nothing about the compression.
        assert_eq!(read(&file(&dir, "b.ubyte", &gzip(&bytes))).unwrap(), plain);
    }

    #[test]
    fn every_truncation_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = idx(&[3, 2, 2, 1], &[7; 12]);
        for encoded in [bytes.clone(), gzip(&bytes)] {
            for length in 0..encoded.len() {
                let error = read(&file(&dir, "cut.idx", &encoded[..length])).unwrap_err().to_string();
                assert!(error.contains("cut.idx"), "{length}: {error}");
            }
        }
    }

    #[test]
    fn foreign_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let refuse = |bytes: &[u8], word: &str| {
            let error = read(&file(&dir, "x", bytes)).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        };
        refuse(b"\x89PNG\r\n\x1a\n", "not an IDX file");
        refuse(&[0, 0, 0x0d, 1, 0, 0, 0, 1, 0, 0, 0, 0], "0x0d");
        refuse(&idx(&[1; 5], &[0]), "5 axes");
        refuse(&idx(&[u32::MAX, u32::MAX, u32::MAX], &[]), "promises");
        refuse(&idx(&[2], &[0, 1, 2]), "longer");
    }

    #[test]
    fn images_and_labels_must_match() {
        let dir = tempfile::tempdir().unwrap();
        let images = file(&dir, "images", &idx(&[2, 1, 2], &[1, 2, 3, 4]));
        let refuse = |labels: &[u8], word: &str| {
            let error =
                read_dataset(&images, &file(&dir, "labels", labels), &["a", "b"]).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("labels"), "{error}");
        };
        refuse(&idx(&[3], &[0, 1, 0]), "3 labels for the 2 images");
        refuse(&idx(&[2], &[0, 2]), "label 2 of image 1");
        refuse(&idx(&[2, 1], &[0, 1]), "1 axis");
        let data = read_dataset(&images, &file(&dir, "ok", &idx(&[2], &[1, 0])), &["a", "b"]).unwrap();
        assert_eq!((data.len(), data.shape, data.image(1)), (2, Shape::new(1, 1, 2), &[3, 4][..]));
        assert!(
            read_dataset(&dir.path().join("ok"), &images, &["a"]).unwrap_err().to_string().contains("axes")
        );
    }
}
