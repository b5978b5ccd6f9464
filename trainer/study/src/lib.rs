//! Training of low-rank networks, from images to a model file. The binary `lrpet` is a thin shell over this crate.
//!
//! Data flows one way: [`data`] → [`network`] → [`train`] (with [`ops`] below it and [`lrpet`] at each projection)
//! → [`export`], which writes the model file that the runtime executes. What was measured on the way comes back as one
//! [`report`]; [`follow`] writes what one looks at while a run goes.

pub mod atomic;
pub mod boards;
pub mod csv;
#[cfg(any(test, feature = "cuda"))]
mod cuda;
pub mod data;
pub mod device;
pub mod export;
pub mod follow;
pub mod launch;
pub mod lrpet;
pub mod measure;
pub mod network;
pub mod onnx;
pub mod ops;
pub mod report;
pub mod search;
pub mod sweep;
pub mod train;
