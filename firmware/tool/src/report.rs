//! What a run of a board says.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::Value;

use crate::memory::MemoryUse;

/// A run of a board that came to its end.
#[derive(Clone, Debug, Serialize)]
pub struct BoardReport {
    /// Whether every sample of the self-check passed.
    pub pass: bool,
    /// Model file.
    pub model: PathBuf,
    /// Version of the compiler.
    pub compiler: String,
    /// Revision of the sources, `-dirty` where they were changed since.
    pub git: Option<String>,
    /// The board's first line: board, core, clock, counter, model, dtype.
    pub start: Value,
    /// One entry a sample of the self-check.
    pub samples: Vec<Value>,
    /// One entry a layer.
    pub layers: Vec<Value>,
    /// Whole inferences: `min`, `median`, `max` in the unit that `start.counter` names.
    pub total: Value,
    /// The board's last line.
    pub end: Value,
    /// What the model takes on the board.
    pub memory: MemoryUse,
    /// Seconds that the build took.
    pub build_seconds: f64,
    /// Seconds that the run took.
    pub run_seconds: f64,
}

impl BoardReport {
    /// Median cycles or instructions (see [`BoardReport::start`]) of an inference.
    pub fn median(&self) -> u64 {
        self.total["median"].as_u64().unwrap_or(0)
    }

    /// Samples of the self-check that fail.
    pub fn failures(&self) -> usize {
        self.samples.iter().filter(|sample| sample["pass"] != Value::Bool(true)).count()
    }
}

/// The events of a complete report.
pub(crate) struct Lines {
    pub(crate) start: Value,
    pub(crate) samples: Vec<Value>,
    pub(crate) layers: Vec<Value>,
    pub(crate) total: Value,
    pub(crate) end: Value,
}

/// Sorts a board's events; an error where the board reported one or stopped early.
pub(crate) fn read_lines(events: &[Value]) -> Result<Lines> {
    let named =
        |name: &str| events.iter().filter(move |event| event["event"] == name).cloned().collect::<Vec<_>>();
    if let Some(failed) = named("error").first() {
        bail!("{}", failed["message"].as_str().unwrap_or("the board failed and did not say why"));
    }
    let one =
        |name: &str| named(name).pop().with_context(|| format!("the board stopped before its `{name}` line"));
    Ok(Lines {
        start: one("start")?,
        samples: named("sample"),
        layers: named("layer"),
        total: one("total")?,
        end: one("end")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_or_failed_report_is_an_error() {
        let events =
            |text: &str| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>();
        let complete =
            "{\"event\":\"start\"}\n{\"event\":\"sample\"}\n{\"event\":\"total\"}\n{\"event\":\"end\"}";
        assert_eq!(read_lines(&events(complete)).unwrap().samples.len(), 1);
        let message = |text: &str| read_lines(&events(text)).err().unwrap().to_string();
        assert!(message("{\"event\":\"start\"}").contains("`total`"));
        assert_eq!(message("{\"event\":\"start\"}\n{\"event\":\"error\",\"message\":\"no\"}"), "no");
    }
}
