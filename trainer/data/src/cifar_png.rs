//! CIFAR-10 as PNG sheets, the form in which a package for TensorFlow.js holds it.
//!
//! A sheet is an RGB PNG with an image in each row: its pixels row by row, so a sheet is as wide as an image has
//! pixels, and its bytes are N×H×W×C. The labels of the training sheets, in order, are one JSON array of
//! numbers; those of the test sheet another.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use image::codecs::png::PngDecoder;
use image::{ColorType, ImageDecoder, ImageError};
use rayon::prelude::*;

use super::labels::{check_labels, owned};
use super::registry::Entry;
use super::{DataError, Dataset};

/// Five sheets of the training set, that of the test set, and the labels of both (spelled as the package does).
pub(super) const FILES: [&str; 8] = [
    "data_batch_1.png",
    "data_batch_2.png",
    "data_batch_3.png",
    "data_batch_4.png",
    "data_batch_5.png",
    "test_batch.png",
    "train_lables.json",
    "test_lables.json",
];

/// A sheet whose header is read.
struct Sheet {
    path: PathBuf,
    decoder: PngDecoder<BufReader<File>>,
    /// Images, one a row.
    count: usize,
}

/// Reads training and test set.
pub(super) fn read_folder(folder: &Path, entry: &Entry) -> Result<[Dataset; 2], DataError> {
    let [train @ .., test, train_labels, test_labels] = FILES;
    let part = |sheets: &[&str], labels| read_part(folder, sheets, labels, entry);
    Ok([part(&train, train_labels)?, part(&[test], test_labels)?])
}

/// Reads `sheets` one after the other, with the file of all their labels.
fn read_part(folder: &Path, sheets: &[&str], labels: &str, entry: &Entry) -> Result<Dataset, DataError> {
    let path = folder.join(labels);
    let labels = read_labels(&path)?;
    check_labels(&path, &labels, entry.classes.len())?;
    let size = entry.shape.len();
    let sheets: Vec<Sheet> =
        sheets.iter().map(|sheet| open(folder.join(sheet), entry)).collect::<Result<_, _>>()?;
    // Also keeps a damaged header from asking for more memory than there is.
    let count: usize = sheets.iter().map(|sheet| sheet.count).sum();
    if count != labels.len() {
        let reason = format!(
            "{} labels for the {count} images of the PNG sheets beside it; get the files again",
            labels.len()
        );
        return Err(DataError::Format { path, reason });
    }
    let mut images = vec![0; count * size];
    let mut rest = &mut images[..];
    let places: Vec<(Sheet, &mut [u8])> = sheets
        .into_iter()
        .map(|sheet| {
            let place = rest.split_off_mut(..sheet.count * size).unwrap_or_default();
            (sheet, place)
        })
        .collect();
    places.into_par_iter().try_for_each(|(Sheet { path, decoder, .. }, place)| {
        decoder.read_image(place).map_err(|error| undecodable(path, error))
    })?;
    Ok(Dataset { images, labels, shape: entry.shape, classes: owned(entry.classes) })
}

fn read_labels(path: &Path) -> Result<Vec<u32>, DataError> {
    let text = std::fs::read(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    serde_json::from_slice(&text).map_err(|error| {
        let reason = format!("not a JSON array of class numbers ({error}); get the file again");
        DataError::Format { path: path.to_owned(), reason }
    })
}

/// Opens the sheet at `path` and checks its header.
fn open(path: PathBuf, entry: &Entry) -> Result<Sheet, DataError> {
    let file = match File::open(&path) {
        Ok(file) => BufReader::new(file),
        Err(source) => return Err(DataError::Io { path, source }),
    };
    let decoder = match PngDecoder::new(file) {
        Ok(decoder) => decoder,
        Err(error) => return Err(undecodable(path, error)),
    };
    let (width, height) = decoder.dimensions();
    let expected = entry.shape.height * entry.shape.width;
    if width != expected || decoder.color_type() != ColorType::Rgb8 {
        let found = decoder.color_type();
        let reason = format!(
            "a PNG of width {width} and {found:?} pixels; with a {} image in each row it is {expected} wide, of Rgb8",
            entry.shape
        );
        return Err(DataError::Format { path, reason });
    }
    Ok(Sheet { path, decoder, count: height as usize })
}

fn undecodable(path: PathBuf, error: ImageError) -> DataError {
    match error {
        ImageError::IoError(source) if source.kind() != std::io::ErrorKind::UnexpectedEof => {
            DataError::Io { path, source }
        }
        error => DataError::Format { path, reason: format!("not a whole PNG ({error}); get the file again") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;
    use image::{ExtendedColorType, save_buffer};

    /// Writes sheets of 1 to 5 training and 2 test images; byte i of image n (from 0, test after training) is
    /// (i + 7·n) mod 251, and its label n mod 10.
    fn write(folder: &Path) {
        let mut next = 0;
        for (file, rows) in FILES[..6].iter().zip([1, 2, 3, 4, 5, 2]) {
            let bytes: Vec<u8> = (next..next + rows).flat_map(image).collect();
            save_buffer(folder.join(file), &bytes, 1024, rows as u32, ExtendedColorType::Rgb8).unwrap();
            next += rows;
        }
        std::fs::write(folder.join(FILES[6]), "[0,1,2,3,4,5,6,7,8,9,0,1,2,3,4]").unwrap();
        std::fs::write(folder.join(FILES[7]), "[5, 6]\n").unwrap();
    }

    fn image(number: usize) -> impl Iterator<Item = u8> {
        (0..3072).map(move |at| ((at + 7 * number) % 251) as u8)
    }

    #[test]
    fn rows_of_the_sheets_are_the_images() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path());
        let [train, test] = read_folder(dir.path(), registry::entry("cifar10").unwrap()).unwrap();
        assert_eq!((train.len(), test.len()), (15, 2));
        for number in 0..17 {
            let (set, index) = if number < 15 { (&train, number) } else { (&test, number - 15) };
            assert!(image(number).eq(set.image(index).iter().copied()), "image {number}");
            assert_eq!(set.labels[index], number as u32 % 10);
        }
    }

    #[test]
    fn damaged_and_foreign_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let entry = registry::entry("cifar10").unwrap();
        let refuse = |name: &str, bytes: Option<&[u8]>, word: &str| {
            match bytes {
                Some(bytes) => std::fs::write(dir.path().join(name), bytes).unwrap(),
                None => std::fs::remove_file(dir.path().join(name)).unwrap(),
            }
            let error = read_folder(dir.path(), entry).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(word), "{error}");
            write(dir.path());
        };
        write(dir.path());
        let sheet = std::fs::read(dir.path().join("data_batch_3.png")).unwrap();
        for cut in [0, 20, sheet.len() / 2] {
            refuse("data_batch_3.png", Some(&sheet[..cut]), "not a whole PNG");
        }
        let mut flipped = sheet.clone();
        flipped[sheet.len() / 2] ^= 0x10;
        refuse("data_batch_3.png", Some(&flipped), "not a whole PNG");
        refuse("data_batch_3.png", None, "No such file");
        refuse("train_lables.json", Some(b"[0,1,2]"), "3 labels for the 15 images");
        refuse("test_lables.json", Some(b"[5,10]"), "label 10 of image 1 is not below 10");
        refuse("test_lables.json", Some(b"[5,"), "not a JSON array");

        for (width, colour, word) in
            [(1023, ExtendedColorType::Rgb8, "width 1023"), (1024, ExtendedColorType::L8, "L8 pixels")]
        {
            let path = dir.path().join("test_batch.png");
            let bytes = vec![0; 2 * width as usize * usize::from(colour.channel_count())];
            save_buffer(&path, &bytes, width, 2, colour).unwrap();
            let error = read_folder(dir.path(), entry).unwrap_err().to_string();
            assert!(error.contains("test_batch.png") && error.contains(word), "{error}");
        }
    }
}
