//! Labels and names of classes, as every layout of files has them.

use std::path::Path;

use super::DataError;

/// Refuses the file of labels at `path` where one of `labels` is not below `classes`.
pub(super) fn check_labels(path: &Path, labels: &[u32], classes: usize) -> Result<(), DataError> {
    match labels.iter().position(|&label| label as usize >= classes) {
        Some(index) => {
            let reason = format!("label {} of image {index} is not below {classes}", labels[index]);
            Err(DataError::Format { path: path.to_owned(), reason })
        }
        None => Ok(()),
    }
}

/// The names of `classes` as a [`Dataset`](super::Dataset) holds them.
pub(super) fn owned(classes: &[&str]) -> Vec<String> {
    classes.iter().map(|&class| class.to_owned()).collect()
}
