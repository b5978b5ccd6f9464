//! CIFAR-10's official binary files.
//!
//! A file is a row of records without header: one byte of label, then the image's planes red, green, blue, each
//! row by row. Source: "Binary version" on the CIFAR-10 page (Krizhevsky 2009), whose archive unpacks to the
//! folder `cifar-10-batches-bin` with 10 000 records a file.

use std::path::Path;

use super::labels::{check_labels, owned};
use super::registry::Entry;
use super::{DataError, Dataset};

/// Five files of the training set, then the test set.
pub(super) const FILES: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];

/// Reads training and test set.
pub(super) fn read_folder(folder: &Path, entry: &Entry) -> Result<[Dataset; 2], DataError> {
    let [train @ .., test] = FILES;
    Ok([read_part(folder, &train, entry)?, read_part(folder, &[test], entry)?])
}

/// Reads `files` one after the other into one set.
fn read_part(folder: &Path, files: &[&str], entry: &Entry) -> Result<Dataset, DataError> {
    let mut part =
        Dataset { images: Vec::new(), labels: Vec::new(), shape: entry.shape, classes: owned(entry.classes) };
    for file in files {
        append(&folder.join(file), &mut part)?;
    }
    Ok(part)
}

/// Reads the file at `path` to the end of `part`, planes turned into H×W×C.
fn append(path: &Path, part: &mut Dataset) -> Result<(), DataError> {
    let bytes = std::fs::read(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    let size = part.shape.len();
    let records = bytes.chunks_exact(1 + size);
    if bytes.is_empty() || !records.remainder().is_empty() {
        let reason = format!(
            "{} bytes, but a whole number of records ({} bytes: label, then {} image) is expected; get the file again",
            bytes.len(),
            1 + size,
            part.shape
        );
        return Err(DataError::Format { path: path.to_owned(), reason });
    }
    let labels: Vec<u32> = records.clone().map(|record| u32::from(record[0])).collect();
    check_labels(path, &labels, part.classes.len())?;
    part.labels.extend(labels);
    let channels = part.shape.channels as usize;
    let read = part.images.len();
    part.images.resize(read + records.len() * size, 0);
    for (record, image) in records.zip(part.images[read..].chunks_exact_mut(size)) {
        for (channel, plane) in record[1..].chunks_exact(size / channels).enumerate() {
            image[channel..].iter_mut().step_by(channels).zip(plane).for_each(|(to, &from)| *to = from);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    /// Writes the files with one image each: label f, planes of 10·f + channel, but for a first pixel of
    /// 100 + channel and a last of 200 + channel.
    fn write(folder: &Path) {
        for (number, file) in FILES.iter().enumerate() {
            let mut bytes = vec![number as u8];
            for channel in 0..3 {
                let mut plane = vec![(10 * number + channel) as u8; 1024];
                plane[0] = 100 + channel as u8;
                plane[1023] = 200 + channel as u8;
                bytes.extend(plane);
            }
            std::fs::write(folder.join(file), bytes).unwrap();
        }
    }

    #[test]
    fn files_follow_one_another_and_planes_become_pixels() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path());
        let [train, test] = read_folder(dir.path(), registry::entry("cifar10").unwrap()).unwrap();
        assert_eq!((&train.labels[..], &test.labels[..]), (&[0, 1, 2, 3, 4][..], &[5][..]));
        for index in 0..5 {
            let image = train.image(index);
            let value = 10 * index as u8;
            assert_eq!(image[..6], [100, 101, 102, value, value + 1, value + 2]);
            assert_eq!(image[3066..], [value, value + 1, value + 2, 200, 201, 202]);
        }
        assert_eq!(test.image(0)[3..6], [50, 51, 52]);
        assert_eq!((test.images.len(), test.classes[9].as_str()), (3072, "truck"));
    }

    #[test]
    fn damaged_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let entry = registry::entry("cifar10").unwrap();
        write(dir.path());
        let path = dir.path().join("data_batch_4.bin");
        let mut bytes = std::fs::read(&path).unwrap();
        let refuse = |bytes: &[u8], word: &str| {
            std::fs::write(&path, bytes).unwrap();
            let error = read_folder(dir.path(), entry).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("data_batch_4.bin"), "{error}");
        };
        refuse(&[], "0 bytes");
        refuse(&bytes[..3072], "3072 bytes, but a whole number of records (3073 bytes");
        refuse(&[&bytes[..], &[0]].concat(), "3074 bytes");
        bytes[0] = 10;
        refuse(&bytes, "label 10 of image 0 is not below 10");
    }
}
