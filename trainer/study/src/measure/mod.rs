//! How fast a model runs on this machine ([`run()`]), and what it says of labelled images ([`Tally`]).

mod bench;
mod tally;

pub use bench::{BenchOptions, LayerTime, Times, bench, run, run_all, with_sha256};
pub use tally::{Tally, Wrong};
