//! The document in which every machine says what a model took on it: this one, a Raspberry Pi, an emulated or a real board.
//!
//! docs/report-format.md describes it. [`Run`] is the document, [`Run::from_json`] reads and checks one, [`Run::text`] shows it to
//! people; [`Compiler::of_this_program`], [`revision`] and [`host`] know what a program can say of itself and its machine. [`units`],
//! [`chain`] and [`visible()`] are how numbers, errors and names are shown, wherever that is.

mod chain;
mod check;
mod compiler;
pub mod host;
pub mod load;
mod run;
mod text;
pub mod units;
mod visible;

pub use chain::chain;
pub use check::Error;
pub use compiler::{built_from, revision, target_features};
pub use run::{
    Calibration, Compiler, Counter, FORMAT, Figures, Host, Kind, Layer, Memory, Model, Run, SelfCheck,
};
pub use visible::{visible, visible_lines, visible_path};
