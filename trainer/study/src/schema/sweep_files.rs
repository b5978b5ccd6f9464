//! The files of a sweep: the document, and a table of comma-separated values (RFC 4180), one line a run.

use std::path::Path;

use lrpet_network::atomic;

use super::sweep::{FILE_NAME, Row, Sweep, SweepError};
use crate::csv;

/// Name of the table beside the document.
const TABLE_NAME: &str = "sweep.csv";

impl Sweep {
    /// Writes document and table to `folder`, each whole or not at all.
    ///
    /// # Errors
    /// [`SweepError::Io`].
    pub fn write(&self, folder: &Path) -> Result<(), SweepError> {
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            atomic::write(&path, bytes).map_err(|source| SweepError::Io { path, source })
        };
        let io =
            |error: serde_json::Error| SweepError::Io { path: folder.join(FILE_NAME), source: error.into() };
        file(FILE_NAME, &serde_json::to_vec_pretty(self).map_err(io)?)?;
        file(TABLE_NAME, csv(self).as_bytes())
    }
}

/// The table: fixed columns, then two or three for each board. What was not measured is empty.
pub fn csv(sweep: &Sweep) -> String {
    let boards = sweep.boards();
    let mut head: Vec<String> = [
        "network",
        "dataset",
        "prune",
        "run",
        "init",
        "epochs",
        "epochs_in_all",
        "train_seconds",
        "accuracy_f32",
        "accuracy_f16",
        "macs",
        "macs_dense",
        "params",
        "file_bytes",
        "arena_bytes_layers",
        "schedule",
        "schedule_arena_bytes",
        "schedule_cost",
        "host_median_ms",
        "host_min_ms",
    ]
    .map(str::to_owned)
    .into();
    for board in &boards {
        let counter = sweep.rows.iter().find_map(|row| Some(row.board(board)?.counter.as_str()));
        head.push(format!("{board}_{}", counter.unwrap_or("count")));
        head.extend(["flash_bytes", "ram_bytes", "arena_bytes"].map(|what| format!("{board}_{what}")));
    }
    let lines = sweep.rows.iter().map(|row| line(sweep, row, &boards));
    let mut text = String::new();
    for fields in std::iter::once(head).chain(lines) {
        text.push_str(&csv::line(fields));
    }
    text
}

fn line(sweep: &Sweep, row: &Row, boards: &[&str]) -> Vec<String> {
    let model = &row.model;
    let eval = model.eval.clone().unwrap_or_default();
    let accuracy = |of: Option<crate::schema::Accuracy>| of.map(|of| of.accuracy.to_string());
    let cost = |of: fn(&crate::schema::Inspect) -> u64| {
        model.inspect.as_ref().map(|inspect| of(inspect).to_string())
    };
    let schedule = row.schedule.as_ref();
    let seconds = model.training.as_ref().and_then(|training| training.seconds);
    let mut fields: Vec<Option<String>> = vec![
        Some(sweep.network.clone()),
        Some(sweep.dataset.name.clone()),
        Some(row.prune.to_string()),
        Some(row.run.clone()),
        row.init.clone(),
        Some(row.epochs.to_string()),
        Some(row.epochs_in_all.to_string()),
        seconds.map(|seconds| format!("{seconds:.1}")),
        accuracy(eval.candle),
        accuracy(eval.runtime),
        cost(|inspect| inspect.macs),
        cost(|inspect| inspect.macs_dense),
        cost(|inspect| inspect.params),
        Some(row.file_bytes.to_string()),
        row.layers_bytes().map(|bytes| bytes.to_string()),
        schedule.map(|schedule| schedule.ram.clone()),
        schedule.map(|schedule| schedule.arena_bytes.to_string()),
        schedule.map(|schedule| format!("{:.3}", schedule.cost)),
        model.bench.as_ref().map(|bench| bench.median_ms.to_string()),
        model.bench.as_ref().and_then(|bench| Some(bench.min_ms?.to_string())),
    ];
    for board in boards {
        let measured = row.board(board);
        let number = |of: Option<u64>| of.map(|number| number.to_string());
        fields.push(number(measured.map(|board| board.total)));
        fields.push(number(measured.and_then(|board| board.flash_bytes)));
        fields.push(number(measured.and_then(|board| board.ram())));
        fields.push(number(measured.and_then(|board| board.arena_bytes)));
    }
    fields.into_iter().map(Option::unwrap_or_default).collect()
}
