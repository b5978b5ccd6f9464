//! Following a run: its curves for TensorBoard and as a picture, and a page about it at the end.
//!
//! [`Follow`] is an observer that writes these files into the run directory beside the ones of training itself, and
//! passes everything on to another observer. A file that cannot be written is a warning: the training goes on.

mod curves;
mod document;
mod event;
mod events;
mod progress;
mod record;
mod setup;
mod summary;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::path::{Path, PathBuf};

pub use curves::svg;
pub use events::{Events, PREFIX};
pub use progress::Progress;
pub use setup::Setup;

use crate::host::Host;
use serde::Serialize;

use lrpet_network::atomic;
use lrpet_network::network::Network;
use lrpet_train::{EpochRecord, Observer, Outcome, Settings, Start, StepRecord};

/// File of the curves in the run directory.
pub const CURVES: &str = "curves.svg";
/// File of the summary in the run directory, as markdown.
pub const SUMMARY: &str = "summary.md";
/// File of the summary in the run directory, as HTML.
pub const SUMMARY_PAGE: &str = "summary.html";

/// Batches between two values of the curves by batch.
const EVERY: usize = 10;

/// What the summary says of a run besides what the run reports.
#[derive(Clone, Debug)]
pub struct About<'a> {
    /// The command that started the run.
    pub command: String,
    /// What it trains.
    pub network: &'a Network,
    /// How. A run that goes on and was made longer says so when it starts.
    pub settings: Settings,
    /// On how many images.
    pub images: Images,
    /// Names of the classes of which no training image is there.
    pub without_images: Vec<String>,
    /// What happens to training images, in words.
    pub augmentation: String,
    /// What computes, in words.
    pub device: String,
}

/// Numbers of images.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Images {
    /// For training.
    pub train: usize,
    /// For validation.
    pub validation: usize,
    /// For the test at the end.
    pub test: usize,
}

/// Writes the files that follow a run, and passes everything on to `inner`.
pub struct Follow<'a> {
    inner: &'a mut dyn Observer,
    about: About<'a>,
    /// None before the run begins.
    setup: Option<Setup>,
    run_dir: PathBuf,
    batches: usize,
    history: Vec<EpochRecord>,
    /// None before the run begins, and after the file could not be written.
    events: Option<Events>,
    /// Losses of the batches since the last event: sum and number.
    losses: (f64, usize),
    began: f64,
}

impl<'a> Follow<'a> {
    /// Follows the run `about`.
    pub fn new(inner: &'a mut dyn Observer, about: About<'a>) -> Follow<'a> {
        Follow {
            inner,
            about,
            setup: None,
            run_dir: PathBuf::new(),
            batches: 0,
            history: Vec::new(),
            events: None,
            losses: (0.0, 0),
            began: events::now(),
        }
    }

    /// What the run was about to do, as soon as it has begun; with the ranks as soon as it is done.
    pub fn setup(&self) -> Option<&Setup> {
        self.setup.as_ref()
    }

    fn log(&mut self, write: impl FnOnce(&mut Events) -> std::io::Result<()>) {
        let Some(events) = &mut self.events else { return };
        if let Err(error) = write(events) {
            let path = events.path().to_owned();
            self.events = None;
            self.warn(&path, &error);
        }
    }

    fn warn(&mut self, path: &Path, error: &dyn Display) {
        self.inner.warning(&format!("cannot write {}: {error}; the run goes on without it", path.display()));
    }

    fn write(&mut self, name: &str, text: &str) {
        let path = self.run_dir.join(name);
        if let Err(error) = atomic::write(&path, text.as_bytes()) {
            self.warn(&path, &error);
        }
    }

    fn draw(&mut self) {
        let picture = svg(&summary::title(&self.about), &self.history);
        self.write(CURVES, &picture);
    }
}

impl Observer for Follow<'_> {
    fn start(&mut self, start: &Start) {
        self.run_dir = start.run_dir.to_owned();
        self.batches = start.batches;
        self.history = start.history.to_vec();
        match Events::open(start) {
            Ok(events) => {
                self.began = events.began();
                self.events = Some(events);
            }
            Err(error) => self.warn(&start.run_dir.join(format!("{PREFIX}*")), &error),
        }
        self.about.settings = start.settings.clone();
        let setup = self.setup.insert(Setup::new(&self.about, start));
        self.inner.stage(&setup.text());
        self.inner.start(start);
    }

    fn step(&mut self, record: &StepRecord) {
        self.losses = (self.losses.0 + record.batch_loss, self.losses.1 + 1);
        if record.batch.is_multiple_of(EVERY.min(record.batches)) {
            let step = (record.epoch - 1) * record.batches + record.batch;
            let loss = self.losses.0 / self.losses.1 as f64;
            self.losses = (0.0, 0);
            self.log(|events| events.add_batch(step, loss, record.rate));
        }
        self.inner.step(record);
    }

    fn epoch(&mut self, record: &EpochRecord) {
        self.losses = (0.0, 0);
        self.history.push(record.clone());
        self.log(|events| events.add_epoch(record));
        self.draw();
        self.inner.epoch(record);
    }

    fn done(&mut self, outcome: &Outcome) {
        if let Some(test) = &outcome.test {
            self.log(|events| events.add_test(outcome.history.len(), test));
        }
        self.draw();
        let events =
            self.events.as_ref().and_then(|events| events.path().file_name()?.to_str().map(str::to_owned));
        let times = [self.began, events::now()];
        if let Some(setup) = &mut self.setup {
            setup.know(self.about.network, outcome.ranks.as_ref());
        }
        let page = summary::document(&self.about, self.setup.as_ref(), outcome, &Host::here(), times, events);
        self.write(SUMMARY, &page.markdown());
        self.write(SUMMARY_PAGE, &page.html());
        self.inner.done(outcome);
    }

    fn warning(&mut self, message: &str) {
        self.inner.warning(message);
    }

    fn stage(&mut self, what: &str) {
        self.inner.stage(what);
    }
}
