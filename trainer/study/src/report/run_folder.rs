//! The folder of a training as a report: its epochs, and what its final weights say of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lrpet_network::Checkpoint;
use lrpet_train::{EpochRecord, FINAL, METRICS};

use super::error::Error;
use super::names::label;
use crate::schema::{Accuracy, Dataset, Eval, Model, Report, Training};

/// Whether `folder` is one that `lrpet train --out` writes.
pub fn is_run(folder: &Path) -> bool {
    folder.join(METRICS).is_file()
}

/// The report of the training in `folder`, finished or not.
///
/// # Errors
/// [`Error`] where its metrics or its final weights cannot be read.
pub fn run_folder(folder: &Path) -> Result<Report, Error> {
    let metrics = folder.join(METRICS);
    let history = history(&metrics)?;
    let weights = folder.join(FINAL);
    let said = if weights.is_file() { metadata(&weights)? } else { BTreeMap::new() };
    let text = |key: &str| said.get(key).cloned().filter(|text| !text.is_empty());
    let number = |key: &str| said.get(key).and_then(|text| text.parse::<f64>().ok());
    let images = number("test_images").map_or(0, |images| images as u64);
    let accuracy = number("test_accuracy").filter(|_| images > 0);
    // A dense training has no ranks; those of a low-rank one were chosen by a ratio, or by something else.
    let prune = if said.contains_key("ranks") { number("rule") } else { number("epochs").map(|_| 0.0) };
    let name = label(folder);
    let title = match (text("network"), text("dataset")) {
        (Some(network), Some(dataset)) => format!("Training of {network} on {dataset}"),
        _ => format!(
            "Training in {name}, not finished after epoch {}",
            history.last().map_or(0, |last| last.epoch)
        ),
    };
    Ok(Report {
        title: Some(title),
        command: text("command"),
        dataset: text("dataset").map(|name| Dataset {
            name,
            test_images: Some(images).filter(|images| *images > 0),
            classes: number("classes").map(|classes| classes as u64),
            ..Dataset::default()
        }),
        models: vec![Model {
            name,
            prune,
            network: text("network"),
            dataset: text("dataset"),
            classes: number("classes").map(|classes| classes as u64),
            input: text("input").as_deref().and_then(shape),
            eval: accuracy.map(|accuracy| Eval {
                candle: Some(Accuracy { accuracy, images, ..Accuracy::default() }),
                runtime: None,
            }),
            training: Some(Training {
                seconds: Some(history.iter().map(|epoch| epoch.seconds).sum()),
                epochs: history.iter().map(Into::into).collect(),
                seed: number("seed").map(|seed| seed as u64),
                command: text("command"),
            }),
            ..Model::default()
        }],
        ..Report::default()
    })
}

/// The shape `CxHxW`, as the metadata writes it.
fn shape(text: &str) -> Option<[u64; 3]> {
    let axes: Option<Vec<u64>> = text.split('x').map(|axis| axis.parse().ok()).collect();
    axes?.try_into().ok()
}

/// All epochs of the metrics in `file`. A last line that an interrupted training did not finish is left out.
fn history(file: &Path) -> Result<Vec<EpochRecord>, Error> {
    let text =
        std::fs::read_to_string(file).map_err(|source| Error::Read { path: file.to_owned(), source })?;
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    let line = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| Error::Line {
            path: file.to_owned(),
            line: number + 1,
            message: within(&error),
        })
    };
    whole.lines().enumerate().map(line).collect()
}

/// What is wrong with a line, with the column alone: the line that serde_json names is counted from this one.
fn within(error: &serde_json::Error) -> String {
    let whole = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match whole.strip_suffix(&place) {
        Some(message) => format!("column {}: {message}", error.column()),
        None => whole,
    }
}

fn metadata(file: &Path) -> Result<BTreeMap<String, String>, Error> {
    let read = Checkpoint::read(file).map_err(|error| Error::Weights(Box::new(error)))?;
    Ok(read.metadata)
}

/// The command that trained the weights in the run's folder, by which a model file made of them is known.
pub fn training_command(report: &Report) -> Option<&str> {
    report.models.first()?.training.as_ref()?.command.as_deref()
}

/// A network, and its ranks by layer.
pub type AsTrained = (String, BTreeMap<String, u64>);

/// What the card of a model file says that was made of the weights in the run's `folder` as they were trained: network, and ranks by
/// layer (none of a dense training). None where the weights are not there or say no network.
///
/// # Errors
/// [`Error`] where the weights cannot be read.
pub fn trained_as(folder: &Path) -> Result<Option<AsTrained>, Error> {
    let weights = folder.join(FINAL);
    if !weights.is_file() {
        return Ok(None);
    }
    let mut said = metadata(&weights)?;
    let ranks = match said.get("ranks") {
        Some(ranks) => serde_json::from_str(ranks).map_err(|error| Error::Value {
            path: weights,
            message: format!("ranks in the metadata: {error}"),
        })?,
        None => BTreeMap::new(),
    };
    Ok(said.remove("network").map(|network| (network, ranks)))
}

/// Model files in `folder`, by name.
pub fn model_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|end| end == "safetensors") && path.is_file())
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{load, text};

    const EPOCH: &str = r#"{"epoch":1,"epochs":2,"train_loss":0.5,"train_accuracy":0.8,"rate":0.1,"seconds":2.5,"images_per_second":10.0,"wait_seconds":0.0}"#;

    #[test]
    fn an_unfinished_training_is_shown_as_far_as_it_went() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("low");
        std::fs::create_dir(&run).unwrap();
        std::fs::write(run.join(METRICS), format!("{EPOCH}\n{{\"epoch\":2,")).unwrap();
        // Both the folder itself and the one above it.
        for place in [&run, folder.path()] {
            let report = load(place).unwrap();
            assert_eq!(report.models[0].training.as_ref().unwrap().epochs.len(), 1);
            assert_eq!((report.models[0].name.as_str(), report.models[0].prune), ("low", None));
            assert!(text(&report).contains("low"), "{}", text(&report));
        }
        std::fs::write(run.join(METRICS), format!("{EPOCH}\nnothing\n")).unwrap();
        let error = load(&run).unwrap_err().to_string();
        let place = "metrics.jsonl, line 2: not the record of an epoch: column 2: ";
        assert!(error.contains(place) && error.matches("line").count() == 1, "{error}");
        std::fs::write(run.join(METRICS), format!("{EPOCH}\n")).unwrap();
        std::fs::write(run.join(FINAL), "cut").unwrap();
        let error = load(&run).unwrap_err().to_string();
        assert!(error.contains(FINAL), "{error}");
    }
}
