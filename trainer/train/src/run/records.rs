//! What a run writes besides its checkpoints: what identifies it, its lines of metrics, what its weights are labelled with.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;

use lrpet_data::Loader;
use lrpet_network::checkpoint::epsilon::BN_EPSILON;
use lrpet_network::network::{EPSILON, NETWORK_FILE, Network};

use super::checkpoint::io;
use super::config::Settings;
use super::metrics::{EpochRecord, Evaluation};
use crate::TrainError;

/// The setting with the names of a folder's classes.
pub(super) const CLASS_NAMES: &str = "class names";

/// What a checkpoint must agree on with the run that resumes it; `teacher` is the checksum of a teacher's file.
pub(super) fn identity(
    settings: &Settings,
    network: &Network,
    train: &Loader,
    teacher: Option<&str>,
) -> Result<serde_json::Value, TrainError> {
    let failed = |error: serde_json::Error| TrainError::Setting(format!("settings: {error}"));
    let mut value = serde_json::to_value(settings).map_err(failed)?;
    if let Some(fields) = value.as_object_mut() {
        fields.insert("network".to_owned(), network.name.clone().into());
        // The names of known networks say all.
        let described = (!network.is_known()).then(|| network.function_text());
        fields.extend(described.map(|text| (NETWORK_FILE.to_owned(), text.into())));
        fields.insert("input".to_owned(), network.input.to_string().into());
        fields.insert("classes".to_owned(), network.classes.into());
        // Only where it is another than the usual one, which older checkpoints do not name.
        let epsilon = network.epsilon().filter(|epsilon| *epsilon != EPSILON);
        fields.extend(epsilon.map(|epsilon| (BN_EPSILON.to_owned(), epsilon.into())));
        fields.insert("training images".to_owned(), train.data().len().into());
        let augmentation = train.options().augmentation;
        fields.insert("crop padding".to_owned(), augmentation.crop_padding.into());
        fields.insert("flip".to_owned(), augmentation.flip.into());
        // Older checkpoints do not name what they did not know.
        let cutout = Some(augmentation.cutout).filter(|side| *side > 0);
        fields.extend(cutout.map(|side| ("cutout".to_owned(), side.into())));
        fields.extend(teacher.map(|checksum| ("checksum of the teacher".to_owned(), checksum.into())));
        let images = train.description();
        // In their order: the digest of the files does not know what a label is called.
        let names = images.is_some().then(|| (CLASS_NAMES.to_owned(), train.data().classes().into()));
        fields.extend(names);
        fields.extend(images.map(|images| ("images".to_owned(), images)));
    }
    // Through text once, so that numbers compare as they will be read back.
    serde_json::from_str(&value.to_string()).map_err(failed)
}

/// A run that is over, for the label of its weights.
pub(super) struct Finished<'a> {
    pub settings: &'a Settings,
    /// The command that started the run.
    pub command: &'a str,
    pub identity: &'a serde_json::Value,
    pub train: &'a Loader,
    pub ranks: Option<&'a BTreeMap<String, u64>>,
    pub validation: Option<&'a Evaluation>,
    pub test: Option<&'a Evaluation>,
}

impl Finished<'_> {
    /// Metadata of the final weights' file.
    pub(super) fn metadata(&self, network: &Network) -> Result<HashMap<String, String>, TrainError> {
        let settings = self.settings;
        let mut metadata = HashMap::from([
            ("format".to_owned(), "pt".to_owned()),
            ("network".to_owned(), network.name.clone()),
            ("dataset".to_owned(), settings.dataset.clone()),
            (
                "input".to_owned(),
                format!("{}x{}x{}", network.input.channels, network.input.height, network.input.width),
            ),
            ("classes".to_owned(), network.classes.to_string()),
            ("seed".to_owned(), settings.seed.to_string()),
            ("epochs".to_owned(), settings.epochs_in_all().to_string()),
            ("command".to_owned(), self.command.to_owned()),
            ("settings".to_owned(), self.identity.to_string()),
        ]);
        metadata.extend(network.epsilon().map(|epsilon| (BN_EPSILON.to_owned(), format!("{epsilon:?}"))));
        if !network.is_known() {
            metadata.insert(NETWORK_FILE.to_owned(), network.to_text());
        }
        metadata.extend(self.train.metadata());
        for (name, evaluation) in [("validation", self.validation), ("test", self.test)] {
            if let Some(evaluation) = evaluation {
                metadata.insert(format!("{name}_accuracy"), evaluation.accuracy.to_string());
                metadata.insert(format!("{name}_images"), evaluation.images.to_string());
            }
        }
        if let Some(evaluation) = self.test.or(self.validation) {
            metadata.insert("accuracy".to_owned(), evaluation.accuracy.to_string());
        }
        if let Some(ranks) = self.ranks {
            let ranks = serde_json::to_string(ranks)
                .map_err(|error| TrainError::Setting(format!("ranks: {error}")))?;
            metadata.insert("ranks".to_owned(), ranks);
            let rule = settings.projection.as_ref().map_or(String::new(), |of| of.rule.clone());
            metadata.insert("rule".to_owned(), rule);
        }
        Ok(metadata)
    }
}

/// Adds records to the file, or begins it anew with them.
pub(super) fn append_metrics<'r>(
    path: &Path,
    records: impl Iterator<Item = &'r EpochRecord>,
    anew: bool,
) -> Result<(), TrainError> {
    let failed = |error: std::io::Error| io(path, error);
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(!anew).write(true).truncate(anew);
    let mut file = options.open(path).map_err(failed)?;
    for record in records {
        let line = serde_json::to_string(record).map_err(|error| failed(error.into()))?;
        writeln!(file, "{line}").map_err(failed)?;
    }
    Ok(())
}
