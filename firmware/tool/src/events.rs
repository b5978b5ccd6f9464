//! The lines that a board writes: one JSON object each, put together to a run.

use anyhow::{Context, Result, anyhow, bail};
use lrpet_report::{Calibration, Figures, Kind, Layer, SelfCheck};
use serde::Deserialize;

/// A line; what is no event, or one that is not known, is left out.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event {
    Start(Start),
    Sample(Sample),
    Layer(LayerLine),
    Total(Total),
    End(End),
    Error { message: String },
}

/// The first line.
#[derive(Clone, Debug, Deserialize)]
pub struct Start {
    /// Name of the board's crate.
    pub board: String,
    /// Core.
    pub core: String,
    /// Core clock in hertz.
    pub clock_hz: u64,
    /// What every count of the report counts.
    pub counter: Kind,
    /// Smallest difference that the counter can show.
    pub counter_resolution: u64,
    /// The counter's own test.
    pub calibration: Option<Calibration>,
    /// The library that computes.
    pub engine: String,
    /// Instruction set of its kernels.
    pub kernels: String,
    /// Storage of weights and activations.
    pub dtype: String,
    /// Checksum of the model file.
    pub model_crc32: String,
    /// Bytes of the model file.
    pub model_bytes: u64,
    /// Bytes of the arena in use.
    pub arena_bytes: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct Sample {
    max_abs_diff: Option<f64>,
}

#[derive(Clone, Debug, Deserialize)]
struct LayerLine {
    index: u64,
    name: String,
    rank: u64,
    output: String,
    macs: u64,
    min: u64,
    mean: u64,
    max: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct Total {
    warm_up: u64,
    iterations: u64,
    macs: u64,
    min: u64,
    median: u64,
    max: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct End {
    samples: u64,
    samples_passed: u64,
    outputs_crc32: String,
    stack_bytes: u64,
}

/// A report that came to its end.
#[derive(Clone, Debug)]
pub struct Report {
    /// What ran where.
    pub start: Start,
    /// Layers in order of execution.
    pub layers: Vec<Layer>,
    /// Whole inferences.
    pub total: Figures,
    /// Inferences before counting began.
    pub warm_up: u64,
    /// Inferences counted.
    pub iterations: u64,
    /// Multiply-adds of one.
    pub macs: u64,
    /// The self-check.
    pub self_check: SelfCheck,
    /// CRC-32 of all logits.
    pub outputs_crc32: String,
    /// Deepest use of the stack.
    pub stack_bytes: u64,
}

/// Collects a board's lines. A second first line begins anew: the board was reset.
#[derive(Debug, Default)]
pub struct Reader {
    start: Option<Start>,
    samples: Vec<Sample>,
    layers: Vec<Layer>,
    total: Option<Total>,
    end: Option<End>,
    failure: Option<String>,
}

impl Reader {
    /// Whether the first line of a report came.
    pub fn has_begun(&self) -> bool {
        self.start.is_some()
    }

    /// Takes a line; true where the report has come to its end, good or bad.
    ///
    /// # Errors
    /// Where the line is an event that lacks something.
    pub fn line(&mut self, line: &str) -> Result<bool> {
        // A serial line begins anywhere, and an emulator may print words of its own.
        let Ok(value) = serde_json::from_str::<serde_json::Value>(line) else { return Ok(false) };
        let known = ["start", "sample", "layer", "total", "end", "error"];
        if !value["event"].as_str().is_some_and(|event| known.contains(&event)) {
            return Ok(false);
        }
        let event = Event::deserialize(value).with_context(|| format!("the board's line {line}"))?;
        match event {
            Event::Start(start) => *self = Reader { start: Some(start), ..Reader::default() },
            Event::Sample(sample) => self.samples.push(sample),
            Event::Layer(layer) => self.layers.push(of_line(layer)?),
            Event::Total(total) => self.total = Some(total),
            Event::End(end) => self.end = Some(end),
            Event::Error { message } => self.failure = Some(message),
        }
        Ok(self.end.is_some() || self.failure.is_some())
    }

    /// The report; an error where the board reported one, or stopped early.
    pub fn finish(self) -> Result<Report> {
        if let Some(message) = self.failure {
            bail!(message);
        }
        let missing = |name: &str| anyhow!("the board stopped before its `{name}` line");
        let start = self.start.ok_or_else(|| missing("start"))?;
        let total = self.total.ok_or_else(|| missing("total"))?;
        let end = self.end.ok_or_else(|| missing("end"))?;
        let differences = self.samples.iter().map(|sample| sample.max_abs_diff);
        let largest: Option<f64> =
            differences.collect::<Option<Vec<_>>>().map(|all| all.into_iter().fold(0.0, f64::max));
        Ok(Report {
            start,
            layers: self.layers,
            total: Figures { min: total.min, median: total.median, max: total.max },
            warm_up: total.warm_up,
            iterations: total.iterations,
            macs: total.macs,
            self_check: SelfCheck {
                samples: end.samples,
                passed: end.samples_passed,
                largest_difference: largest,
            },
            outputs_crc32: end.outputs_crc32,
            stack_bytes: end.stack_bytes,
        })
    }
}

fn of_line(line: LayerLine) -> Result<Layer> {
    let sizes: Option<Vec<u32>> = line.output.split('×').map(|size| size.parse().ok()).collect();
    let output = sizes.and_then(|sizes| <[u32; 3]>::try_from(sizes).ok());
    let output =
        output.with_context(|| format!("the board's layer {}: `{}` is no shape", line.name, line.output))?;
    let LayerLine { index, name, rank, macs, min, mean, max, .. } = line;
    Ok(Layer { index, name, rank, form: None, output, macs, min, median: None, mean, max })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Lines of a board, of invented figures.
    pub(crate) const LINES: &str = r#"{"event":"start","board":"b","core":"c","clock_hz":1000,"counter":"cycles","counter_resolution":1,"calibration":null,"engine":"e","kernels":"cortex-m","dtype":"f16","model_crc32":"00000001","model_bytes":9,"arena_bytes":64}
{"event":"sample","index":0,"max_abs_diff":0.5,"pass":true}
{"event":"layer","index":0,"name":"conv","rank":2,"output":"4×3×2","macs":7,"min":1,"mean":2,"max":3}
{"event":"total","warm_up":1,"iterations":2,"macs":7,"min":4,"median":5,"max":6}
{"event":"end","samples":1,"samples_passed":1,"outputs_crc32":"00000002","stack_bytes":8}"#;

    fn read<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Report> {
        let mut reader = Reader::default();
        for line in lines {
            reader.line(line)?;
        }
        reader.finish()
    }

    #[test]
    fn a_report_is_put_together() {
        let report = read(LINES.lines()).unwrap();
        assert_eq!((report.total.median, report.stack_bytes, report.macs), (5, 8, 7));
        assert_eq!((report.layers[0].output, report.layers[0].typical()), ([4, 3, 2], 2));
        assert_eq!(report.self_check.largest_difference, Some(0.5));
        // What a serial line may have besides, and a reset in between.
        let noisy = ["garb\u{1}age", "{\"event\":\"la", "[1]", "{\"event\":\"later\"}"];
        let twice = noisy.into_iter().chain(LINES.lines().take(3)).chain(LINES.lines());
        assert_eq!(read(twice).unwrap().layers.len(), 1);
    }

    #[test]
    fn an_incomplete_or_failed_report_is_an_error() {
        let message = |lines: &[&str]| format!("{:#}", read(lines.iter().copied()).unwrap_err());
        let lines: Vec<&str> = LINES.lines().collect();
        assert!(message(&lines[..3]).contains("`total`"));
        assert!(message(&[]).contains("`start`"));
        assert!(message(&[lines[0], r#"{"event":"error","message":"no"}"#]) == "no");
        let broken = lines[2].replace("\"macs\":7", "\"macs\":-7");
        assert!(message(&[lines[0], &broken]).contains("-7"), "{}", message(&[lines[0], &broken]));
        let broken = lines[2].replace("4×3×2", "4×3");
        assert!(message(&[lines[0], &broken]).contains("no shape"));
        let not_a_number = lines[1].replace("0.5", "null");
        let replaced = [lines[0], &not_a_number, lines[2], lines[3], lines[4]];
        assert_eq!(read(replaced.into_iter()).unwrap().self_check.largest_difference, None);
    }
}
