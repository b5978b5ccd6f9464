//! Training of low-rank networks, from images to a model file. The binary `lrpet` is a thin shell over this crate.

pub mod network;
