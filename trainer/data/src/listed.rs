//! A file of a folder, and the class that it is an image of.

use std::path::PathBuf;

/// A file and its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The file.
    pub path: PathBuf,
    /// Its class number.
    pub label: u32,
}
