//! Runs that go on for longer than they were first asked to.

use lrpet_report::units;
use serde_json::Value;

use super::checkpoint::{Checkpoint, difference};
use super::config::{Extension, Length};
use crate::TrainError;

/// Name of the extensions among the settings.
pub(super) const EXTENDED: &str = "extended";

/// The extensions of the run of which `found` is a checkpoint, where it goes on as `ours` says and is to be `longer`, if that is
/// given. The second is true where `longer` is news to it.
///
/// # Errors
/// [`TrainError::OtherRun`] where it is another run; [`TrainError::Setting`] where it would not become longer.
pub(super) fn agree(
    found: &Checkpoint,
    ours: &Value,
    epochs: usize,
    longer: Option<&Length>,
) -> Result<(Vec<Extension>, bool), TrainError> {
    let mut theirs = found.settings.clone();
    let extended =
        theirs.as_object_mut().and_then(|fields| fields.remove(EXTENDED)).unwrap_or(Value::Array(vec![]));
    if let Some((setting, theirs, ours)) = difference(&theirs, ours) {
        return Err(TrainError::OtherRun { path: found.path.clone(), setting, theirs, ours });
    }
    let mut extended: Vec<Extension> = serde_json::from_value(extended).map_err(|error| {
        TrainError::Checkpoint { path: found.path.clone(), reason: format!("its extensions: {error}") }
    })?;
    let total = extended.last().map_or(epochs, |last| last.to.epochs);
    let Some(longer) = longer else {
        return match extended.is_empty() {
            true => Ok((extended, false)),
            false => Err(TrainError::Setting(format!(
                "{}: the run was lengthened to {total} epochs: give --extend {total}",
                found.path.display()
            ))),
        };
    };
    // Compared as text, for numbers that are read back may differ in the last bit; those of now are taken.
    let text = |length: &Length| {
        serde_json::to_string(length).and_then(|text| serde_json::from_str::<Length>(&text)).ok()
    };
    if let Some(last) = extended.last_mut().filter(|last| Some(&last.to) == text(longer).as_ref()) {
        last.to = longer.clone();
        return Ok((extended, false));
    }
    if longer.epochs <= total {
        return Err(TrainError::Setting(format!(
            "--extend {}: the run of {} has {}; it can only be made longer",
            longer.epochs,
            found.path.display(),
            units::things(total as u64, "epoch")
        )));
    }
    extended.push(Extension { after: found.epoch, to: longer.clone() });
    Ok((extended, true))
}
