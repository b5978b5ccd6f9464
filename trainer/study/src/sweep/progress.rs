//! One view of all runs: a bar for each on a terminal, a line for each epoch elsewhere.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use lrpet_train::{EpochRecord, METRICS};

/// The view; shared by the threads that wait for runs.
pub struct View {
    bars: MultiProgress,
    /// Bar and last epoch of each run.
    runs: Mutex<HashMap<String, (ProgressBar, usize)>>,
}

impl View {
    pub fn new() -> View {
        View { bars: MultiProgress::new(), runs: Mutex::default() }
    }

    /// A line of its own.
    pub fn line(&self, text: &str) {
        if self.bars.is_hidden() || self.bars.println(text).is_err() {
            eprintln!("{text}");
        }
    }

    /// Says what a run does besides training.
    pub fn stage(&self, name: &str, what: &str) {
        let mut runs = self.lock();
        let (bar, _) = runs.entry(name.to_owned()).or_insert_with(|| (self.bar(name), 0));
        bar.set_message(what.to_owned());
        bar.tick();
        drop(runs);
        if self.bars.is_hidden() {
            self.line(&format!("{name}: {what}"));
        }
    }

    /// Looks how far the training in `folder` is.
    pub fn look(&self, name: &str, folder: &Path) {
        let Some(record) = last(folder) else { return };
        let mut runs = self.lock();
        let (bar, seen) = runs.entry(name.to_owned()).or_insert_with(|| (self.bar(name), 0));
        if *seen == record.epoch {
            return;
        }
        *seen = record.epoch;
        bar.set_length(record.epochs as u64);
        bar.set_position(record.epoch as u64);
        let validation = record.validation.map(|of| format!(", validation {:.2} %", 100.0 * of.accuracy));
        let left = record.seconds * (record.epochs - record.epoch) as f64;
        let text =
            format!("loss {:.3}{}, {left:.0} s left", record.train_loss, validation.unwrap_or_default());
        bar.set_message(text.clone());
        drop(runs);
        if self.bars.is_hidden() {
            self.line(&format!("{name}: epoch {}/{}, {text}", record.epoch, record.epochs));
        }
    }

    /// Takes the run's bar away and leaves a line.
    pub fn done(&self, name: &str, text: &str) {
        if let Some((bar, _)) = self.lock().remove(name) {
            bar.finish_and_clear();
        }
        self.line(&format!("{name}: {text}"));
    }

    fn bar(&self, name: &str) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new(0));
        if let Ok(style) = ProgressStyle::with_template("{prefix:8} {bar:24} {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_owned());
        bar
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (ProgressBar, usize)>> {
        self.runs.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The last epoch in the metrics of a run.
fn last(folder: &Path) -> Option<EpochRecord> {
    let text = std::fs::read_to_string(folder.join(METRICS)).ok()?;
    serde_json::from_str(text.lines().next_back()?).ok()
}

/// All epochs in the metrics of a run.
pub fn history(folder: &Path) -> Vec<EpochRecord> {
    let text = std::fs::read_to_string(folder.join(METRICS)).unwrap_or_default();
    text.lines().map_while(|line| serde_json::from_str(line).ok()).collect()
}
