//! Progress on standard error: a bar on a terminal, lines elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::metrics::{EpochRecord, Observer, StepRecord};

/// Time between two lines inside an epoch where there is no terminal.
const LINES_APART: Duration = Duration::from_secs(15);

/// The observer of the command line.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    last_line: Instant,
}

impl Progress {
    /// A bar that appears with the first batch.
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg}, {eta} left");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        Progress { bar, last_line: Instant::now() }
    }

    fn line(&mut self, text: &str) {
        self.last_line = Instant::now();
        if self.bar.is_hidden() {
            eprintln!("{text}");
        } else {
            self.bar.println(text);
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Progress::new()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Observer for Progress {
    fn step(&mut self, record: &StepRecord) {
        let done = ((record.epoch - 1) * record.batches + record.batch) as u64;
        if self.bar.length().is_none() {
            self.bar.set_length((record.epochs * record.batches) as u64);
            self.bar.set_position(done);
            self.bar.reset_eta(); // epochs of an earlier process took no time of this one
        }
        self.bar.set_position(done);
        let text = format!(
            "epoch {}/{}, loss {:.3}, accuracy {:.2} %, {:.0} images/s",
            record.epoch,
            record.epochs,
            record.loss,
            100.0 * record.accuracy,
            record.images_per_second,
        );
        if self.bar.is_hidden() && self.last_line.elapsed() >= LINES_APART {
            let left = self.bar.eta().as_secs();
            self.line(&format!("{text}, batch {}/{}, {left} s left", record.batch, record.batches));
        }
        self.bar.set_message(text);
    }

    fn epoch(&mut self, record: &EpochRecord) {
        let mut text = format!(
            "epoch {}/{}: loss {:.4}, accuracy {:.2} %",
            record.epoch,
            record.epochs,
            record.train_loss,
            100.0 * record.train_accuracy
        );
        if let Some(validation) = &record.validation {
            let accuracy = 100.0 * validation.accuracy;
            text += &format!("; validation loss {:.4}, accuracy {accuracy:.2} %", validation.loss);
        }
        if let Some(projection) = &record.projection {
            text += &format!("; {:.1} % of the energy kept", 100.0 * projection.energy_kept);
        }
        if let Some(share) = record.projection_share() {
            text += &format!(" by projections that took {:.1} % of the time", 100.0 * share);
        }
        if let Some(share) = record.starved() {
            text += &format!("; {:.0} % of the time waiting for images", 100.0 * share);
        }
        let left = record.seconds * (record.epochs - record.epoch) as f64;
        text += &format!("; {:.0} images/s, {left:.0} s left", record.images_per_second);
        self.line(&text);
    }

    fn warning(&mut self, message: &str) {
        self.line(&format!("warning: {message}"));
    }

    fn stage(&mut self, what: &str) {
        self.line(what);
    }
}
