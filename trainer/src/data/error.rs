//! Errors of reading data; each names the file and says what to do.

use std::path::PathBuf;

/// Why data could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// No data set is called so.
    #[error("no data set is called `{name}`; known are {known}")]
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
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not what its name promises.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong and, where there is something, what to do.
        reason: String,
    },
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
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
