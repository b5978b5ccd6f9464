//! Ranks for one board: what each rank is worth against what it costs there.
//!
//! [`table`] knows what a layer costs at each rank on a [board](crate::boards), from models of layers that exist to be
//! measured ([`probe`]); [`worth`](fn@worth) is what a rank is worth; [`solve`](mod@solve) takes one rank a layer under the budgets;
//! [`find`] puts them together and [`Found::toml`] writes the list that `lrpet train --ranks` reads.

mod find;
pub mod probe;
mod shape;
pub mod solve;
pub mod table;
#[cfg(test)]
mod tests;
mod worth;

pub use find::{
    Base, Found, FoundLayer, Limits, Request, SearchError, arena_bytes, find, least_arena, program_bytes,
};
pub use shape::LayerShape;
pub use table::CostTable;
pub use worth::{Values, worth};
