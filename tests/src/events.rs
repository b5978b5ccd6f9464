//! Event files of runs, read by a program in Python that shares no code with the one that writes them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::programs::{python, root};

/// Steps and values of the curves by name.
pub type Curves = BTreeMap<String, Vec<(u64, f64)>>;

/// The curves in the only event file of a run directory.
///
/// # Errors
/// Where there are none or several, where the file breaks the format, or where the Python of the tests is missing.
pub fn curves(run: &Path) -> Result<Curves> {
    let output = Command::new(python()?).arg(root().join("tests/python/read_events.py")).arg(run).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("the reader of events printed no JSON")
}
