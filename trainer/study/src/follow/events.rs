//! The run's curves as TensorBoard reads them: one file `events.out.tfevents.*` in the run directory.
//!
//! Curves by epoch (their step is the epoch, from 1) and, under `batch/`, curves by batch (their step is the number of
//! batches since the beginning of the run).

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use lrpet_network::atomic;
use lrpet_train::{EpochRecord, Evaluation, Start};
use prost::Message;

use super::event::{Event, SessionLog, SessionStatus, Summary, VERSION, Value, What};
use super::record;

/// How names of event files begin.
pub const PREFIX: &str = "events.out.tfevents.";
/// Prefix of curves by batch.
const BATCH: &str = "batch/";
/// The curve that every epoch has.
const EVERY_EPOCH: &str = "loss/train";
/// The curve of the final weights, which is made anew whenever a run ends.
const TEST: &str = "accuracy/test";

/// The event file of a run, open at its end.
#[derive(Debug)]
pub struct Events {
    path: PathBuf,
    file: File,
    /// When the run began, in seconds since 1970.
    began: f64,
}

impl Events {
    /// Begins the event file, or goes on with that of a run that was interrupted.
    ///
    /// What was written after the last checkpoint is dropped, as its batches will be trained again; so is a record that a kill cut
    /// short. Epochs that lack their events get them. The result is a new file under a new name, after which old ones are removed: a
    /// TensorBoard that is open meanwhile finds neither a gap nor a doubled step.
    ///
    /// # Errors
    /// What the operating system returns.
    pub fn open(start: &Start) -> io::Result<Events> {
        let folder = start.run_dir;
        let old = files(folder)?;
        let now = now();
        let mut began = now;
        let mut kept = Vec::new();
        if let Some(newest) = old.last() {
            let bytes = std::fs::read(newest)?;
            let events = record::read(&bytes).into_iter().map_while(|record| Event::decode(record).ok());
            for (index, event) in events.enumerate() {
                if index == 0 && !start.history.is_empty() {
                    began = event.wall_time;
                }
                if keeps(&event, start) {
                    kept.push(event);
                }
            }
        }
        let known: Vec<i64> =
            kept.iter().filter(|event| has(event, EVERY_EPOCH)).map(|event| event.step).collect();
        let missing = start.history.iter().filter(|record| !known.contains(&(record.epoch as i64)));
        kept.extend(missing.map(|record| of_epoch(record, now)));
        kept.sort_by_key(|event| event.step);

        let version = Event { wall_time: began, step: 0, what: Some(What::FileVersion(VERSION.to_owned())) };
        let status = SessionStatus::Start.into();
        let session = Event { wall_time: now, step: 0, what: Some(What::SessionLog(SessionLog { status })) };
        let mut bytes = Vec::new();
        for event in [version, session].iter().chain(&kept) {
            record::write(&event.encode_to_vec(), &mut bytes);
        }
        let path = folder.join(name(now, old.last()));
        atomic::write(&path, &bytes)?;
        for file in old {
            std::fs::remove_file(file)?;
        }
        let file = File::options().append(true).open(&path)?;
        Ok(Events { path, file, began })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// When the run began, in seconds since 1970.
    pub fn began(&self) -> f64 {
        self.began
    }

    /// Adds the values of a batch: `step` batches are done since the beginning of the run.
    ///
    /// # Errors
    /// What the operating system returns.
    pub fn add_batch(&mut self, step: usize, loss: f64, rate: f64) -> io::Result<()> {
        let values = [("loss", loss), ("learning_rate", rate)];
        self.write(&event(
            now(),
            step,
            values.map(|(name, value)| (format!("{BATCH}{name}"), value)).into_iter(),
        ))
    }

    /// Adds the values of an epoch.
    ///
    /// # Errors
    /// What the operating system returns.
    pub fn add_epoch(&mut self, record: &EpochRecord) -> io::Result<()> {
        self.write(&of_epoch(record, now()))
    }

    /// Adds the final weights' values on the test set, after `epochs` epochs.
    ///
    /// # Errors
    /// What the operating system returns.
    pub fn add_test(&mut self, epochs: usize, test: &Evaluation) -> io::Result<()> {
        let values = [("loss/test", test.loss), (TEST, test.accuracy)];
        self.write(&event(now(), epochs, values.into_iter().map(|(tag, value)| (tag.to_owned(), value))))
    }

    fn write(&mut self, event: &Event) -> io::Result<()> {
        let mut bytes = Vec::new();
        record::write(&event.encode_to_vec(), &mut bytes);
        self.file.write_all(&bytes)
    }
}

/// The event files of a folder, the oldest first.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// A name that sorts after that of `last`.
fn name(now: f64, last: Option<&PathBuf>) -> String {
    let last = last
        .and_then(|path| path.file_name()?.to_str()?.strip_prefix(PREFIX)?.split('.').next()?.parse().ok());
    let seconds = (now as u64).max(last.map_or(0, |last: u64| last + 1));
    format!("{PREFIX}{seconds:010}.lrpet")
}

/// True of values that the run will not make again.
fn keeps(event: &Event, start: &Start) -> bool {
    let Some(What::Summary(summary)) = &event.what else { return false };
    let by_batch = summary.value.iter().any(|value| value.tag.starts_with(BATCH));
    if has(event, TEST) {
        return false;
    }
    let done = start.history.len() * if by_batch { start.batches } else { 1 };
    event.step <= done as i64
}

fn has(event: &Event, tag: &str) -> bool {
    matches!(&event.what, Some(What::Summary(summary)) if summary.value.iter().any(|value| value.tag == tag))
}

fn event(wall_time: f64, step: usize, values: impl Iterator<Item = (String, f64)>) -> Event {
    let value = values.map(|(tag, value)| Value { tag, simple_value: Some(value as f32) }).collect();
    Event { wall_time, step: step as i64, what: Some(What::Summary(Summary { value })) }
}

/// Everything that is known of an epoch.
fn of_epoch(record: &EpochRecord, wall_time: f64) -> Event {
    let mut values = vec![
        (EVERY_EPOCH.to_owned(), record.train_loss),
        ("accuracy/train".to_owned(), record.train_accuracy),
        ("learning_rate".to_owned(), record.rate),
        ("speed/images_per_second".to_owned(), record.images_per_second),
        ("speed/seconds".to_owned(), record.seconds),
        ("speed/waiting_share".to_owned(), record.waiting_share()),
    ];
    if let Some(validation) = record.validation {
        values.push(("loss/validation".to_owned(), validation.loss));
        values.push(("accuracy/validation".to_owned(), validation.accuracy));
    }
    if let Some(projection) = &record.projection {
        values.push(("projection/energy_kept".to_owned(), projection.energy_kept));
        values.push(("speed/projection_share".to_owned(), record.projection_share().unwrap_or(0.0)));
        values.extend(projection.layers.iter().map(|(layer, kept)| (format!("energy_kept/{layer}"), *kept)));
    }
    event(wall_time, record.epoch, values.into_iter())
}

/// Seconds since 1970.
pub(super) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |passed| passed.as_secs_f64())
}
