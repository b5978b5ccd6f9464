//! The document `sweep.json`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Board, Dataset, Host, Model};

/// Name of the document in the folder of a sweep.
pub const FILE_NAME: &str = "sweep.json";

/// One run for each pruning ratio.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// The command that made it.
    pub command: String,
    /// When it was begun, RFC 3339.
    pub created: String,
    /// Version of `lrpet`.
    pub version: String,
    /// Revision from which `lrpet` was built; empty where it is not known.
    #[serde(default)]
    pub revision: String,
    /// The machine that trained.
    #[serde(default)]
    pub host: Host,
    /// Network.
    pub network: String,
    /// The data set.
    pub dataset: Dataset,
    /// How runs start: `none`, `dense` or `neighbour`.
    pub warm_start: String,
    /// Arguments of `lrpet train` that decide the result, which all runs share.
    pub arguments: Vec<String>,
    /// Finished runs, by rising ratio.
    pub rows: Vec<Row>,
}

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Pruning ratio g; 0 is dense.
    pub prune: f64,
    /// Folder of the run, below the folder of the sweep.
    pub run: String,
    /// Folder of the run whose weights it started from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// Epochs of this run.
    pub epochs: u64,
    /// Epochs of this run and of those that it started from.
    pub epochs_in_all: u64,
    /// Bytes of the model file.
    pub file_bytes: u64,
    /// Bytes of the arena on each board, by name, planned for the schedule of the model file.
    pub arenas: Vec<(String, u64)>,
    /// What rows instead of layers take; none in sweeps of versions that did not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<RowSchedule>,
    /// Ranks and spectra.
    pub layers: Vec<RowLayer>,
    /// Costs, accuracy and what the boards measured, as in `report.json`.
    pub model: Model,
}

/// The arena on a Cortex-M, layer by layer and by a schedule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RowSchedule {
    /// The memory that it suits, as `--ram` has it: `least`, `fastest`, or bytes.
    pub ram: String,
    /// True where the model file has it, and everything was measured with it; else the file runs layer by layer.
    pub written: bool,
    /// Bytes of the arena layer by layer.
    pub layers_bytes: u64,
    /// Bytes of the arena by the schedule.
    pub arena_bytes: u64,
    /// Estimated instructions of the schedule, as a share of layer by layer.
    pub cost: f64,
}

/// Rank and spectrum of one layer with a matrix.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RowLayer {
    /// Name.
    pub name: String,
    /// Rank of the pair; none where it is dense.
    #[serde(default)]
    pub rank: Option<u64>,
    /// Share of energy that the last projection of the training kept.
    #[serde(default)]
    pub energy_kept: Option<f64>,
    /// Singular values of the trained, BN-rectified weight, largest first, as shares of the largest.
    pub singular_values: Vec<f64>,
}

/// Why a sweep cannot be read, written or gone on with.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no sweep.
    #[error("{}: field {field}: {message}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Path of the field.
        field: String,
        /// What is wrong.
        message: String,
    },
    /// The folder holds another sweep.
    #[error("{}: {what} was {theirs} there and is {ours} now; use another folder, or the same settings", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// The value of the sweep in the folder.
        theirs: String,
        /// The value now.
        ours: String,
    },
}

impl Sweep {
    /// Reads the sweep in `folder`; none where there is none yet.
    ///
    /// # Errors
    /// [`SweepError`].
    pub fn read(folder: &Path) -> Result<Option<Sweep>, SweepError> {
        let path = folder.join(FILE_NAME);
        let bytes = match std::fs::read(&path) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            read => read.map_err(|source| SweepError::Io { path: path.clone(), source })?,
        };
        let mut json = serde_json::Deserializer::from_slice(&bytes);
        serde_path_to_error::deserialize(&mut json).map(Some).map_err(|error| SweepError::Unreadable {
            field: error.path().to_string(),
            message: error.into_inner().to_string(),
            path,
        })
    }

    /// Takes over the rows of the sweep in `folder`, which must be one of the same settings.
    ///
    /// # Errors
    /// [`SweepError`].
    pub fn go_on(mut self, folder: &Path) -> Result<Sweep, SweepError> {
        let Some(old) = Sweep::read(folder)? else { return Ok(self) };
        let pairs = [
            ("the network", &old.network, &self.network),
            ("the data set", &old.dataset.name, &self.dataset.name),
            ("the warm start", &old.warm_start, &self.warm_start),
            ("the training", &old.arguments.join(" "), &self.arguments.join(" ")),
        ];
        for (what, theirs, ours) in pairs {
            if theirs != ours {
                let [theirs, ours] = [theirs, ours].map(|text| format!("`{text}`"));
                return Err(SweepError::Other { path: folder.join(FILE_NAME), what, theirs, ours });
            }
        }
        self.rows = old.rows;
        self.created = old.created;
        Ok(self)
    }

    /// Puts a row in its place, over an older one of its ratio.
    pub fn insert(&mut self, row: Row) {
        self.rows.retain(|old| old.run != row.run);
        self.rows.push(row);
        self.rows.sort_by(|a, b| a.prune.total_cmp(&b.prune));
    }

    /// Names of the boards that measured some row, in the order in which they first occur.
    pub fn boards(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for board in self.rows.iter().flat_map(|row| &row.model.boards) {
            if !names.contains(&board.board.as_str()) {
                names.push(&board.board);
            }
        }
        names
    }
}

impl Row {
    /// What `board` measured.
    pub fn board(&self, board: &str) -> Option<&Board> {
        self.model.boards.iter().find(|of| of.board == board)
    }

    /// Bytes of the arena on a Cortex-M layer by layer.
    pub fn layers_bytes(&self) -> Option<u64> {
        let planned = || Some(self.model.inspect.as_ref()?.arena_bytes);
        self.schedule.as_ref().map(|schedule| schedule.layers_bytes).or_else(planned)
    }

    /// Accuracy by the runtime, else by the trainer, 0 to 1.
    pub fn accuracy(&self) -> Option<f64> {
        let eval = self.model.eval.as_ref()?;
        Some(eval.runtime.as_ref().or(eval.candle.as_ref())?.accuracy)
    }
}
