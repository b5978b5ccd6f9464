//! The report of one or several runs: what each model costs and what it gives up, as a web page, as a markdown table
//! and as a table for a terminal.
//!
//! [`Report`] is the document `report.json`, [`load()`] reads it and [`merge`] puts several together. [`html`],
//! [`markdown`] and [`text`] render the same table: rows are metrics, columns are models, each low-rank model
//! beside the ratio to its dense twin.

pub mod accuracy;
pub(crate) mod chart;
mod columns;
mod error;
pub(crate) mod frame;
mod layers;
mod load;
mod measured;
mod memory;
mod names;
mod origin;
mod page;
mod plain;
mod run_folder;
mod summary;
pub mod sweep;
mod table;
#[cfg(test)]
mod tests;
mod training;

pub use lrpet_report::units;

pub use columns::{columns, rule};
pub use error::{Error, FILE_NAME};
pub use load::{load, load_all, load_with, merge, name_apart};
pub use page::html;
pub use plain::{markdown, text};
pub use run_folder::{AsTrained, is_run, model_files, run_folder, trained_as, training_command};
pub use summary::{summary, title_of};

pub use crate::schema::{Model, Report};

/// A report with invented figures, for tests only.
#[cfg(test)]
pub(crate) fn fixture() -> Report {
    serde_json::from_str(include_str!("fixture.json")).expect("the fixture follows the schema")
}
