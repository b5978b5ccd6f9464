//! Names of reports and models.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

/// Name of the folder of a report: of `path` itself where it is a folder, else of the one that it lies in.
pub(super) fn label(path: &Path) -> String {
    let absolute = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = if absolute.is_dir() { Some(absolute.as_path()) } else { absolute.parent() };
    let name = folder.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "report".to_owned())
}

/// Hands out names, each once.
#[derive(Default)]
pub(super) struct Names(HashSet<String>);

impl Names {
    /// `name`, or `name (2)`, `name (3)`, … where it was given out before.
    pub(super) fn unique(&mut self, name: String) -> String {
        let mut candidate = name.clone();
        let mut number = 2;
        while !self.0.insert(candidate.clone()) {
            candidate = format!("{name} ({number})");
            number += 1;
        }
        candidate
    }
}
