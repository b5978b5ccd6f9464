//! What a model file costs ([`inspect()`]) and how fast it runs on this machine ([`run()`]).

mod bench;
pub mod fit;
mod input;
mod inspect;

pub use bench::{Bench, BenchOptions, LayerTime, bench, run, with_sha256};
pub use input::{Input, InputError, read_input};
pub use inspect::{Inspection, LayerCost, inspect};
