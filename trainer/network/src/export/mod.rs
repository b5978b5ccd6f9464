//! Export: a trained network and a plan of ranks become a model file.
//!
//! [`checkpoint`] reads and checks trained weights, [`folded`] merges batch normalisation and factors layers,
//! [`file`](mod@file) rounds to f16 and serialises, [`export`] does all of it and verifies, [`card`] is the
//! model card. [`reference`](mod@reference) and [`engine`]
//! compute the folded network without the runtime; [`agreement`] holds the runtime against them layer by layer, and [`noise`] finds
//! how far the logits of two correct machines may be apart.

pub mod agreement;
mod build;
pub mod card;
pub mod checkpoint;
pub mod engine;
mod error;
pub mod evaluate;
pub mod file;
pub mod folded;
pub mod noise;
pub mod range;
pub mod reference;

pub use build::{Exported, Request, SELF_CHECK_SAMPLES, checked, export};
pub use card::Card;
pub use checkpoint::{Array, Checkpoint, Fitted, Purpose};
pub use engine::Engine;
pub use error::ExportError;
pub use evaluate::{Logits, ranged_logits, runtime_logits};
pub use file::overhead;
pub use folded::{Folded, LayerWeights};
pub use range::{LayerRange, Ranges};

#[cfg(test)]
mod agreement_tests;
#[cfg(test)]
mod network_tests;
#[cfg(test)]
mod tests;
