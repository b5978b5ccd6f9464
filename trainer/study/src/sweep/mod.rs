//! Sweeps: one run for each pruning ratio, and what each costs and keeps.
//!
//! [`Sweep`](crate::schema::sweep::Sweep) is the document `sweep.json`. `plan` says which run starts from which
//! weights, [`run`] trains them as processes of their own, several at a time, and [`measure`] makes a row of a finished
//! one. Runs are ordinary folders of `lrpet train`.

mod cluster;
mod local;
mod measure;
mod plan;
mod progress;
mod run;
mod runs;
mod state;
#[cfg(test)]
mod tests;

pub use measure::{host_times, measure};
pub use plan::{Job, WarmStart, jobs};
pub use run::run;
pub use runs::Runs;
