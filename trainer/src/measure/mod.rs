//! What a model file costs ([`inspect()`]) and how fast it runs on this machine ([`bench()`]).

mod bench;
mod input;
mod inspect;

pub use bench::{Bench, BenchOptions, LayerTime, bench};
pub use input::{Input, InputError, read_input};
pub use inspect::{Inspection, LayerCost, inspect};
