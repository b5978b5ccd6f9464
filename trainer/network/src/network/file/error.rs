//! What is wrong with a network's file, and where.

use std::fmt;

/// Why a text is no network: the place, and what was expected there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// The file, or what the text is of.
    pub file: String,
    /// Line of the text, from 1, where there is one.
    pub line: Option<usize>,
    /// The table, such as `layer "conv1"`, where it is about one.
    pub place: Option<String>,
    /// The field, where it is about one.
    pub field: Option<String>,
    /// What is wrong and what was expected.
    pub reason: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some(place) = &self.place {
            write!(f, ": {place}")?;
        }
        if let Some(field) = &self.field {
            write!(f, ": {field}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl std::error::Error for FileError {}
