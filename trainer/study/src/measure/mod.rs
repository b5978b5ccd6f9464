//! What a model file costs ([`inspect()`]) and how fast it runs on this machine ([`run()`]), and what it says of
//! labelled images ([`Tally`]).

mod bench;
pub mod fit;
mod input;
mod inspect;
mod tally;

pub use bench::{BenchOptions, LayerTime, Times, bench, run, run_all, with_sha256};
pub use input::{Input, InputError, input_files, read_input};
pub use inspect::{Inspection, LayerCost, inspect};
pub use tally::{Tally, Wrong};
