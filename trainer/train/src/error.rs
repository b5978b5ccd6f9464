//! Errors of training.

use std::path::PathBuf;

use lrpet_data::DataError;
use lrpet_network::lrpet::LrpetError;

use crate::projection::DeviceProjectionError;

/// Why a training could not start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A tensor that the network needs is missing.
    #[error("no tensor `{name}`: the file or network is another one")]
    NoTensor {
        /// Its name.
        name: String,
    },
    /// A tensor is none of the network's.
    #[error("tensor `{name}` is none of the network's: the file or network is another one")]
    NotOurs {
        /// Its name.
        name: String,
    },
    /// A tensor has another shape than the network's.
    #[error("tensor `{name}` has shape {found:?}, the network needs {expected:?}")]
    Shape {
        /// Its name.
        name: String,
        /// Shape in the network.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
    },
    /// The weights to start from do not fit.
    #[error("cannot start from {}: {reason}", path.display())]
    Init {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The network to learn from cannot teach this one.
    #[error("the teacher {}: {reason}", path.display())]
    Teacher {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The loss is NaN or infinite.
    #[error(
        "the loss became {loss} in epoch {epoch}, batch {batch}; lower the learning rate or add warm-up; \
         last good checkpoint: {}",
        named(checkpoint)
    )]
    Diverged {
        /// The loss.
        loss: f64,
        /// Epoch, from 1.
        epoch: usize,
        /// Batch of the epoch, from 1.
        batch: usize,
        /// The checkpoint to go back to.
        checkpoint: Option<PathBuf>,
    },
    /// A weight or a statistic is NaN or infinite while the loss is not yet.
    #[error(
        "`{name}` holds NaN or infinity after epoch {epoch}, batch {batch}; lower the learning rate or add \
         warm-up; last good checkpoint: {}",
        named(checkpoint)
    )]
    NotFinite {
        /// The tensor, or the layer whose weight it is.
        name: String,
        /// Epoch, from 1.
        epoch: usize,
        /// Batch of the epoch, from 1.
        batch: usize,
        /// The checkpoint to go back to.
        checkpoint: Option<PathBuf>,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A checkpoint is damaged.
    #[error("{}: {reason}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The checkpoint belongs to another run.
    #[error(
        "{}: the run was made with {setting} {theirs}, this command says {ours}",
        path.display()
    )]
    OtherRun {
        /// The file.
        path: PathBuf,
        /// The setting that differs.
        setting: String,
        /// Its value in the checkpoint.
        theirs: String,
        /// Its value now.
        ours: String,
    },
    /// The run directory holds another run.
    #[error("{} holds a run already: go on with it by --resume, or give another --out", path.display())]
    Occupied {
        /// The directory.
        path: PathBuf,
    },
    /// A setting makes no sense.
    #[error("{0}")]
    Setting(String),
    /// A projection failed.
    #[error(transparent)]
    Projection(#[from] LrpetError),
    /// The images cannot be had.
    #[error(transparent)]
    Data(#[from] DataError),
    /// candle failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// A checkpoint in an error's text.
fn named(checkpoint: &Option<PathBuf>) -> String {
    checkpoint.as_ref().map_or("none yet".to_owned(), |path| path.display().to_string())
}

impl From<DeviceProjectionError> for TrainError {
    fn from(error: DeviceProjectionError) -> Self {
        match error {
            DeviceProjectionError::Layer(error) => error.into(),
            DeviceProjectionError::Device(error) => error.into(),
        }
    }
}
