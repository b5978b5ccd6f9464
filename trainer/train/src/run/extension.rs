//! Runs that go on for longer than they were first asked to.

use lrpet_report::units;
use serde_json::{Value, json};

use super::checkpoint::{Checkpoint, difference};
use super::config::{Extension, Length};
use super::records::CLASS_NAMES;
use crate::TrainError;

/// Name of the extensions among the settings.
pub(super) const EXTENDED: &str = "extended";

/// Leaves of the classes' names what is worth comparing: nothing where a checkpoint is too old to say them or their number is
/// another, which is told then; of others the first that differs.
fn class_names(theirs: &mut Value, ours: &mut Value) {
    let other_number = theirs.get("classes") != ours.get("classes");
    let (Some(theirs), Some(ours)) = (theirs.as_object_mut(), ours.as_object_mut()) else { return };
    let names = [theirs.remove(CLASS_NAMES), ours.remove(CLASS_NAMES)];
    let [Some(Value::Array(before)), Some(Value::Array(now))] = names else { return };
    let first = before.iter().zip(&now).enumerate().find(|(_, (before, now))| before != now);
    if let (false, Some((class, (before, now)))) = (other_number, first) {
        theirs.insert(CLASS_NAMES.to_owned(), json!({ class.to_string(): before }));
        ours.insert(CLASS_NAMES.to_owned(), json!({ class.to_string(): now }));
    }
}

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
    let mut ours = ours.clone();
    class_names(&mut theirs, &mut ours);
    if let Some((setting, theirs, ours)) = difference(&theirs, &ours) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What differs where a run with the classes `before` is to go on with `now`.
    fn differing(before: &[&str], now: &[&str]) -> Option<(String, String, String)> {
        let settings = |names: &[&str]| json!({ "batch": 8, "classes": names.len(), CLASS_NAMES: names });
        let (mut theirs, mut ours) = (settings(before), settings(now));
        class_names(&mut theirs, &mut ours);
        difference(&theirs, &ours)
    }

    /// Files and labels may be the same to the number, and each label mean something else.
    #[test]
    fn a_renamed_class_is_another_run() {
        assert_eq!(differing(&["a", "b"], &["a", "b"]), None);
        let (setting, theirs, ours) = differing(&["a", "b", "c"], &["a", "c", "z"]).unwrap();
        let expected = [CLASS_NAMES, "{\"1\":\"b\"}", "{\"1\":\"c\"}"];
        assert_eq!([setting, theirs, ours], expected);
        let (setting, theirs, ours) = differing(&["a", "b"], &["a", "b", "c"]).unwrap();
        assert_eq!([&*setting, &*theirs, &*ours], ["classes", "2", "3"]);
        // Older checkpoints do not name them.
        let (mut theirs, mut ours) = (json!({ "classes": 1 }), json!({ "classes": 1, CLASS_NAMES: ["a"] }));
        class_names(&mut theirs, &mut ours);
        assert_eq!(theirs, ours);
    }
}
