//! How fast a model runs on this machine ([`run()`]), and what it says of labelled images ([`Tally`]).

mod bench;
mod logits;
mod tally;

pub use bench::{BenchOptions, LayerTime, Times, bench, run, run_all, with_sha256};
pub use logits::{check_data, ranged_logits};
pub use tally::{Tally, Wrong};
