//! Convolutional networks for small devices, from trained weights to the file that a device runs.
//!
//! A [`Network`] is data: a list of the runtime's own operations. A [`Checkpoint`] holds its trained weights, from safetensors or
//! PyTorch. [`lrpet`] says which rank each layer keeps and factors its weight, [`export()`] merges the normalisations, factors, rounds to
//! f16, lets the runtime compute the result and holds it against a reference. What comes out is a model file for
//! [`lrpet_runtime`], which [`onnx`] writes for other engines; [`inspect()`] says what it costs, and [`fit`] which ranks would fit.
//!
//! There is no machine-learning framework in here, no command line and no progress bar: a build script or a module for another
//! language can use it. Training is in `lrpet-train`.
//!
//! ```
//! use lrpet_network::export::reference::Interpreter;
//! use lrpet_network::export::{Card, Precision, Request, Samples, export};
//! use lrpet_network::lrpet::RankPlan;
//! use lrpet_network::{Checkpoint, Dataset, Network, Normalization};
//! use lrpet_runtime::model::Shape;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let network = Network::by_name("resnet8", Shape::new(1, 16, 16), 10).ok_or("no such network")?;
//! // A stand-in for `Checkpoint::read("weights.safetensors".as_ref())?`, and for images to check the model with.
//! let checkpoint = Checkpoint::random(&network, 1);
//! let images = Dataset::noise(4, network.input, 10, 2);
//!
//! // Ranks that cut 6 of 10 singular values, wherever a pair of thin convolutions then saves work.
//! let plan = RankPlan::uniform(&network, 0.6)?;
//! assert!(plan.cost().macs < network.cost().macs / 2);
//!
//! let model = export(&Request {
//!     network: &network,
//!     checkpoint: &checkpoint,
//!     plan: &plan,
//!     // These weights were never projected: each pair gets the whole energy of its layer.
//!     energy_transfer: true,
//!     normalization: &Normalization { mean: vec![0.5], std: vec![0.25] },
//!     card: &Card { dataset: "noise".to_owned(), ..Card::default() },
//!     precision: Precision::Half,
//!     samples: Some(Samples::Images { data: &images, machine: &Interpreter }),
//! })?;
//! let folder = tempfile::tempdir()?;
//! lrpet_network::atomic::write(&folder.path().join("model.safetensors"), &model.to_bytes()?)?;
//! # Ok(())
//! # }
//! ```

#[cfg(test)]
extern crate self as lrpet_network;

pub mod atomic;
pub mod bounded;
pub mod checkpoint;
pub mod dataset;
pub mod draw;
pub mod export;
pub mod fit;
pub mod import;
pub mod inspect;
pub mod lrpet;
pub mod network;
mod normalization;
pub mod onnx;
pub mod quantise;
pub mod source;
#[cfg(test)]
#[path = "../tests/support/mod.rs"]
mod support;

pub use checkpoint::Checkpoint;
pub use dataset::Dataset;
pub use export::export;
pub use inspect::inspect;
pub use network::{Layer, Network, Norm};
pub use normalization::Normalization;
pub use source::{Source, read_weights};
