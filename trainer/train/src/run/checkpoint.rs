//! Checkpoints: safetensors files with everything that a run needs to go on.
//!
//! Weights and statistics have their own names, what the optimiser remembers has prefixes such as `momentum.`; the metadata hold the epoch, the
//! settings, the records of the epochs so far and a checksum. Random numbers need no state: they depend on the seed, the epoch and
//! the batch alone.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use lrpet_network::atomic::Staged;
use lrpet_network::network::{NETWORK_FILE, first_difference};
use safetensors::SafeTensors;

use super::metrics::EpochRecord;
use crate::optimizer::is_state;
use crate::{Optimizer, Parameters, TrainError};

/// The newest checkpoint.
pub const LAST: &str = "checkpoint.safetensors";
/// The one before it.
pub const BEFORE: &str = "checkpoint.previous.safetensors";

const CHECKSUM: &str = "crc32";
const RANKS: &str = "ranks";
const STEPS: &str = "steps";

/// A checkpoint in memory.
#[derive(Debug)]
pub(super) struct Checkpoint {
    pub path: PathBuf,
    /// Weights and statistics.
    pub tensors: BTreeMap<String, Tensor>,
    /// What the optimiser remembers.
    pub optimizer: BTreeMap<String, Tensor>,
    /// Steps so far; 0 in the files of old, whose optimiser does not count them.
    pub steps: u64,
    pub epoch: usize,
    /// What identifies the run, by name.
    pub settings: serde_json::Value,
    pub history: Vec<EpochRecord>,
    /// Ranks, where they were chosen in the course of the run.
    pub ranks: Option<BTreeMap<String, u64>>,
}

/// Writes tensors and metadata under another name and then renames, so that a kill or a full disk leaves the old file.
///
/// # Errors
/// [`TrainError::Io`].
pub fn write_safetensors(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    metadata: HashMap<String, String>,
) -> Result<(), TrainError> {
    stage(path, tensors, metadata)?.commit().map_err(|error| io(path, error))
}

/// The whole file, on the disk, under a temporary name beside `path`.
fn stage(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    metadata: HashMap<String, String>,
) -> Result<Staged, TrainError> {
    let bytes = safetensors::serialize(tensors, Some(metadata))
        .map_err(|error| TrainError::Checkpoint { path: path.to_owned(), reason: error.to_string() })?;
    Staged::new(path, |writer| writer.write_all(&bytes)).map_err(|error| io(path, error))
}

pub(super) fn io(path: &Path, source: std::io::Error) -> TrainError {
    TrainError::Io { path: path.to_owned(), source }
}

/// Checksum of all tensors, in the order of their names.
fn checksum<'a>(tensors: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    let mut digest = crc.digest();
    for (name, bytes) in tensors {
        digest.update(name.as_bytes());
        digest.update(bytes);
    }
    format!("{:08x}", digest.finalize())
}

/// Writes the state after `epoch` epochs and keeps the checkpoint before.
pub(super) fn save(
    folder: &Path,
    parameters: &Parameters,
    optimizer: &Optimizer,
    settings: &serde_json::Value,
    history: &[EpochRecord],
    ranks: Option<&BTreeMap<String, u64>>,
) -> Result<(), TrainError> {
    let path = folder.join(LAST);
    let failed = |reason: String| TrainError::Checkpoint { path: path.clone(), reason };
    let mut tensors = parameters.tensors();
    tensors.extend(optimizer.state());
    let bytes = safetensors::serialize(&tensors, None).map_err(|error| failed(error.to_string()))?;
    let view = SafeTensors::deserialize(&bytes).map_err(|error| failed(error.to_string()))?;
    let json = |error: serde_json::Error| failed(error.to_string());
    let mut metadata = HashMap::from([
        ("epoch".to_owned(), history.len().to_string()),
        (STEPS.to_owned(), optimizer.steps().to_string()),
        ("settings".to_owned(), settings.to_string()),
        ("history".to_owned(), serde_json::to_string(history).map_err(json)?),
        (CHECKSUM.to_owned(), sum_of(&view)),
    ]);
    if let Some(ranks) = ranks {
        metadata.insert(RANKS.to_owned(), serde_json::to_string(ranks).map_err(json)?);
    }
    drop(view);
    let staged = stage(&path, &tensors, metadata)?;
    if path.exists() {
        let before = folder.join(BEFORE);
        std::fs::rename(&path, &before).map_err(|error| io(&before, error))?;
    }
    staged.commit().map_err(|error| io(&path, error))
}

fn sum_of(view: &SafeTensors) -> String {
    let sorted: BTreeMap<&str, _> = view.iter().collect();
    checksum(sorted.iter().map(|(name, tensor)| (*name, tensor.data())))
}

/// Reads and checks one checkpoint.
fn read(path: &Path) -> Result<Checkpoint, TrainError> {
    let failed = |reason: String| TrainError::Checkpoint { path: path.to_owned(), reason };
    let damaged = |what: &str| failed(format!("the checkpoint is damaged: {what}"));
    let bytes = std::fs::read(path).map_err(|error| io(path, error))?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| damaged(&error.to_string()))?;
    let view = SafeTensors::deserialize(&bytes).map_err(|error| damaged(&error.to_string()))?;
    let metadata = header.metadata().as_ref().ok_or_else(|| damaged("no metadata"))?;
    let field = |name: &str| metadata.get(name).ok_or_else(|| damaged(&format!("no {name}")));
    if *field(CHECKSUM)? != sum_of(&view) {
        return Err(damaged("its checksum does not match"));
    }
    let history: Vec<EpochRecord> =
        serde_json::from_str(field("history")?).map_err(|error| damaged(&error.to_string()))?;
    let settings = serde_json::from_str(field("settings")?).map_err(|error| damaged(&error.to_string()))?;
    let ranks = metadata.get(RANKS).map(|ranks| serde_json::from_str(ranks)).transpose();
    let ranks = ranks.map_err(|error| damaged(&error.to_string()))?;
    let epoch: usize = field("epoch")?.parse().map_err(|_| damaged("its epoch is no number"))?;
    if epoch != history.len() {
        return Err(damaged("its epoch and its history differ"));
    }
    let steps = metadata.get(STEPS).map_or(Ok(0), |steps| steps.parse());
    let steps = steps.map_err(|_| damaged("its steps are no number"))?;
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)?;
    let (optimizer, tensors) = tensors.into_iter().partition(|(name, _)| is_state(name));
    Ok(Checkpoint { path: path.to_owned(), tensors, optimizer, steps, epoch, settings, history, ranks })
}

/// The newest sound checkpoint in `folder`; `warn` hears of a damaged one. `None` where there is none at all.
///
/// # Errors
/// Where there are checkpoints and none is sound.
pub(super) fn newest(folder: &Path, mut warn: impl FnMut(String)) -> Result<Option<Checkpoint>, TrainError> {
    let mut failure = None;
    for path in [folder.join(LAST), folder.join(BEFORE)].into_iter().filter(|path| path.exists()) {
        match read(&path) {
            Ok(checkpoint) => {
                if let Some(error) = failure {
                    let epoch = checkpoint.epoch;
                    warn(format!("{error}; going on from {} after epoch {epoch}", path.display()));
                }
                return Ok(Some(checkpoint));
            }
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    failure.map_or(Ok(None), Err)
}

/// The newest checkpoint's path, where there is one.
pub(super) fn last_path(folder: &Path) -> Option<PathBuf> {
    [LAST, BEFORE].iter().map(|name| folder.join(name)).find(|path| path.exists())
}

/// Where two settings differ first: name, value in `theirs`, value in `ours`.
pub(super) fn difference(
    theirs: &serde_json::Value,
    ours: &serde_json::Value,
) -> Option<(String, String, String)> {
    let (Some(a), Some(b)) = (theirs.as_object(), ours.as_object()) else {
        return (theirs != ours).then(|| ("settings".to_owned(), theirs.to_string(), ours.to_string()));
    };
    let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let text = |value: Option<&serde_json::Value>| value.map_or("none".to_owned(), ToString::to_string);
    keys.into_iter().find(|key| a.get(*key) != b.get(*key)).map(|key| {
        match (key.as_str(), a.get(key), b.get(key)) {
            (
                NETWORK_FILE,
                Some(serde_json::Value::String(theirs)),
                Some(serde_json::Value::String(ours)),
            ) => {
                let (theirs, ours) = first_difference(theirs, ours).unwrap_or_default();
                ("network".to_owned(), theirs, ours)
            }
            (NETWORK_FILE, theirs, _) => {
                let [theirs, ours] = if theirs.is_some() {
                    ["described by a file", "known by its name"]
                } else {
                    ["known by its name", "described by a file"]
                };
                ("network".to_owned(), theirs.to_owned(), ours.to_owned())
            }
            (_, theirs, ours) => (key.clone(), text(theirs), text(ours)),
        }
    })
}
