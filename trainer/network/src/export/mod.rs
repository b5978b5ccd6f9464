//! Export: a trained network and a plan of ranks become a model file.
//!
//! [`folded`] merges batch normalisation and factors layers, [`file`](mod@file) rounds to f16 and serialises, [`export`] does all of it
//! and verifies, [`card`] is the model card. [`reference`](mod@reference) computes the folded network without the runtime, as other
//! [`Machine`]s can; [`agreement`] holds the runtime against it layer by layer, and [`noise`] finds how far the logits of two correct
//! machines may be apart.

pub mod agreement;
mod build;
pub mod card;
mod dense;
mod error;
pub mod evaluate;
pub mod file;
pub mod folded;
mod machine;
pub mod noise;
pub mod range;
pub mod reference;
pub mod schedule;
pub mod values;

pub use build::{Exported, Precision, Request, Samples, checked, export};
pub use card::Card;
pub use dense::model_network;
pub use error::ExportError;
pub use evaluate::{Logits, ranged_logits, runtime_logits};
pub use file::{SELF_CHECK_SAMPLES, most_overhead, overhead};
pub use folded::{Folded, LayerWeights};
pub use machine::Machine;
pub use range::{LayerRange, Ranges};

#[cfg(test)]
mod agreement_tests;
#[cfg(test)]
mod general_tests;
#[cfg(test)]
mod tests;
