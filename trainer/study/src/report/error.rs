//! Why a report cannot be read.

use std::path::PathBuf;

/// Name of a report in its folder.
pub const FILE_NAME: &str = "report.json";

/// Why a report cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file or folder cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// What was opened.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A folder without a report.
    #[error(
        "{}: neither a {FILE_NAME} nor a training's metrics.jsonl here or in the folders directly below; name the folder of a training \
         (`lrpet train --out`), of a sweep (`lrpet sweep --out`) or of a demo, a report file, or a model file",
        path.display()
    )]
    Missing {
        /// The folder.
        path: PathBuf,
    },
    /// The final weights of a training cannot be read.
    #[error(transparent)]
    Weights(Box<lrpet_network::checkpoint::CheckpointError>),
    /// Not JSON: a truncated file, or another kind of file.
    #[error("{}: not a JSON document: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        message: String,
    },
    /// A line of a training's metrics.
    #[error("{}, line {line}: not the record of an epoch: {message}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong, with the column.
        message: String,
    },
    /// JSON of another kind.
    #[error(
        "{}: {found}, which is neither a report (`lrpet report --json`) nor what `lrpet bench --json`, `lrpet flash --json` or \
         `lrpet-run bench --json` prints",
        path.display()
    )]
    Kind {
        /// The file.
        path: PathBuf,
        /// What it is, in words.
        found: String,
    },
    /// A list of measurements without one.
    #[error("{}: it holds no measurement: its `runs` are empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A field of a machine's document has a value that cannot be.
    #[error("{}: {message}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the field.
        message: String,
    },
    /// A field that is missing, or of the wrong type.
    #[error("{}: field {field}: {message}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// Path of the field, such as `models[1].inspect.macs`.
        field: String,
        /// What is wrong, with line and column.
        message: String,
    },
}
