//! Progress on standard error: a bar on a terminal, lines elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use lrpet_report::units;
use lrpet_train::{EpochRecord, Evaluation, Observer, Start, StepRecord};

/// Time between two lines inside an epoch where there is no terminal.
const LINES_APART: Duration = Duration::from_secs(30);

/// The observer of the command line.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    /// Lines that a test reads, instead of standard error.
    #[cfg(test)]
    said: Option<Vec<String>>,
    apart: Duration,
    last_line: Instant,
    /// When the first batch of this process was done, and how many were by then.
    began: Option<(Instant, usize)>,
    validation: Option<Evaluation>,
}

impl Progress {
    /// A bar that appears with the first batch.
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {msg}") {
            bar.set_style(style);
        }
        Progress {
            bar,
            #[cfg(test)]
            said: None,
            apart: LINES_APART,
            last_line: Instant::now(),
            began: None,
            validation: None,
        }
    }

    fn line(&mut self, text: &str) {
        self.last_line = Instant::now();
        #[cfg(test)]
        if let Some(said) = &mut self.said {
            return said.push(text.to_owned());
        }
        if self.bar.is_hidden() {
            eprintln!("{text}");
        } else {
            self.bar.println(text);
        }
    }

    /// Seconds left of the run at the pace of this process so far: all that it did counts, not training alone.
    fn left(&mut self, done: usize, of: usize) -> Option<f64> {
        let (since, before) = *self.began.get_or_insert_with(|| (Instant::now(), done));
        let here = done - before;
        (here > 0).then(|| since.elapsed().as_secs_f64() / here as f64 * (of - done) as f64)
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
    fn start(&mut self, start: &Start) {
        self.validation = start.history.last().and_then(|epoch| epoch.validation);
    }

    fn step(&mut self, record: &StepRecord) {
        let done = (record.epoch - 1) * record.batches + record.batch;
        let all = record.epochs * record.batches;
        let left = self.left(done, all);
        self.bar.set_length(all as u64);
        self.bar.set_position(done as u64);
        let mut text = format!(
            "epoch {}/{}, batch {}/{}, loss {:.3}, accuracy {:.2} %",
            record.epoch,
            record.epochs,
            record.batch,
            record.batches,
            record.loss,
            100.0 * record.accuracy,
        );
        if let Some(validation) = self.validation {
            text += &format!(", validation {:.2} %", 100.0 * validation.accuracy);
        }
        text += &format!(", rate {:.2e}, {:.0} images/s", record.rate, record.images_per_second);
        if let Some(share) = record.starved() {
            text += &format!(", {:.0} % of the time waiting for images", 100.0 * share);
        }
        if let Some(left) = left {
            text += &format!(", {} left", units::duration(left));
        }
        if self.bar.is_hidden() && self.last_line.elapsed() >= self.apart {
            self.line(&text);
        }
        self.bar.set_message(text);
    }

    fn epoch(&mut self, record: &EpochRecord) {
        self.validation = record.validation;
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
        text += &format!("; {:.0} images/s", record.images_per_second);
        let left = record.seconds * (record.epochs - record.epoch) as f64;
        if left > 0.0 {
            text += &format!(", {} left", units::duration(left));
        }
        self.line(&text);
    }

    fn warning(&mut self, message: &str) {
        self.line(&format!("warning: {message}"));
    }

    fn stage(&mut self, what: &str) {
        self.line(what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(epoch: usize, batch: usize, waiting: f64) -> StepRecord {
        StepRecord {
            epoch,
            epochs: 3,
            batch,
            batches: 4,
            images: 24 * batch,
            rate: 0.0912,
            batch_loss: 0.7,
            loss: 0.71234,
            accuracy: 0.8125,
            images_per_second: 1234.0,
            waiting,
        }
    }

    #[test]
    fn without_a_terminal_lines_say_all_of_the_bar_every_so_often() {
        let validation = Some(Evaluation { loss: 0.5, accuracy: 0.755, images: 40 });
        let epoch = EpochRecord {
            epoch: 1,
            epochs: 3,
            rate: 0.09,
            train_loss: 0.7,
            train_accuracy: 0.8,
            validation,
            projection: None,
            images_per_second: 1200.0,
            wait_seconds: 0.0,
            seconds: 100.0,
        };
        let mut progress = Progress::new();
        progress.said = Some(Vec::new());
        progress.bar = ProgressBar::hidden();
        // In no time no line but that of the epoch.
        (1..=4).for_each(|batch| progress.step(&step(1, batch, 0.0)));
        progress.epoch(&epoch);
        assert_eq!(progress.said.as_ref().unwrap().len(), 1);
        let line = progress.said.as_mut().unwrap().pop().unwrap();
        assert!(
            line.starts_with("epoch 1/3: loss 0.7000, accuracy 80.00 %; validation loss 0.5000, "),
            "{line}"
        );
        assert!(line.ends_with("; 1200 images/s, 3 min 20 s left"), "{line}");
        progress.apart = Duration::ZERO;
        progress.step(&step(2, 1, 0.125));
        let line = progress.said.as_mut().unwrap().pop().unwrap();
        let words = "epoch 2/3, batch 1/4, loss 0.712, accuracy 81.25 %, validation 75.50 %, rate 9.12e-2, \
                     1234 images/s, 12 % of the time waiting for images, ";
        assert!(line.starts_with(words) && line.ends_with(" s left"), "{line}");
    }

    #[test]
    fn the_time_left_is_by_the_pace_of_this_process() {
        let mut progress = Progress::new();
        // 100 batches were done by an earlier process, which took none of this one's time.
        assert_eq!(progress.left(101, 200), None);
        progress.began = Some((Instant::now() - Duration::from_secs(10), 101));
        let left = progress.left(121, 200).unwrap();
        assert!((left - 39.5).abs() < 0.5, "{left}");
    }
}
