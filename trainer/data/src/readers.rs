//! How the files of each [`Layout`] are called and read.

use std::path::{Path, PathBuf};

use super::registry::Entry;
use super::{DataError, Dataset, Layout, cifar_binary, cifar_png, idx};

impl Layout {
    /// Names of all its files.
    pub(super) fn files(self) -> &'static [&'static str] {
        match self {
            Layout::Idx => &idx::FILES,
            Layout::CifarBinary => &cifar_binary::FILES,
            Layout::CifarPng => &cifar_png::FILES,
        }
    }

    /// The file called `name` in `folder`, where it is there.
    pub(super) fn locate(self, folder: &Path, name: &str) -> Option<PathBuf> {
        match self {
            Layout::Idx => idx::locate(folder, name),
            Layout::CifarBinary | Layout::CifarPng => Some(folder.join(name)).filter(|path| path.is_file()),
        }
    }

    /// Reads the training set and the test set of `entry` from `folder`; neither is empty, and every image has
    /// the entry's shape.
    ///
    /// # Errors
    /// [`DataError::Io`] and [`DataError::Format`].
    pub(super) fn read(self, folder: &Path, entry: &Entry) -> Result<[Dataset; 2], DataError> {
        match self {
            Layout::Idx => idx::read_folder(folder, entry),
            Layout::CifarBinary => cifar_binary::read_folder(folder, entry),
            Layout::CifarPng => cifar_png::read_folder(folder, entry),
        }
    }
}
