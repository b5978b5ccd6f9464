//! Errors of reading data; each names the file and says what to do.

use std::path::{Path, PathBuf};

use lrpet_report::{units, visible, visible_path};
use serde::Serialize;

/// Files that an error names.
const NAMED: usize = 10;

/// A file that is no picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bad {
    /// The file.
    #[serde(serialize_with = "lossy")]
    pub file: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// A path as text; a name that is no UTF-8 is no error.
pub(super) fn lossy<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// Why data could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// No data set is called so.
    #[error("no data set is called `{name}`, and no folder of images is there; known are {known}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names in the registry.
        known: String,
    },
    /// The data set's files are in none of the places looked at.
    #[error("data set {name}: {file} not found in {}; get it with `lrpet data get {name}` ({obtain})", list(.tried))]
    Missing {
        /// The data set.
        name: &'static str,
        /// The file that is missing.
        file: String,
        /// The folders looked at.
        tried: Vec<PathBuf>,
        /// How to get it by hand.
        obtain: &'static str,
    },
    /// The operating system refused.
    #[error("{}: {source}", visible_path(path))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not what its name promises.
    #[error("{}: {reason}", visible_path(path))]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong and, where there is something, what to do.
        reason: String,
    },
    /// Pictures of a folder cannot be read.
    #[error(
        "{}: {} of {} cannot be read: {}; repair or remove them, or leave them out with --bad-images skip",
        visible_path(folder), bad.len(), units::things(*total as u64, "image"), name_some(bad)
    )]
    BadImages {
        /// The folder.
        folder: PathBuf,
        /// Images in it.
        total: usize,
        /// Those that cannot be read.
        bad: Vec<Bad>,
    },
    /// A picture cannot be read.
    #[error(
        "{}: {reason}; repair or remove it, or leave such images out with --bad-images skip",
        visible_path(path)
    )]
    BadImage {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Threads could not be started.
    #[error("cannot start the threads that read images: {0}")]
    Threads(String),
    /// The data set could not be fetched.
    #[error("data set {name}: {reason}; by hand: {obtain}")]
    Fetch {
        /// The data set.
        name: &'static str,
        /// What went wrong.
        reason: String,
        /// How to get it by hand.
        obtain: &'static str,
    },
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| visible_path(path)).collect::<Vec<_>>().join(", ")
}

/// The first of `bad` with what is wrong with them, and how many more there are.
pub(super) fn name_some(bad: &[Bad]) -> String {
    let one = |bad: &Bad| format!("{} ({})", visible_path(&bad.file), visible(&bad.reason));
    let mut named: Vec<String> = bad.iter().take(NAMED).map(one).collect();
    if bad.len() > NAMED {
        named.push(format!("and {} more", bad.len() - NAMED));
    }
    named.join(", ")
}
