//! What tests of several crates share. The whole-path tests are in `tests/`.

pub mod browser;
pub mod events;
pub mod every_operation;
pub mod general_operations;
pub mod programs;
pub mod random_model;
mod random_weights;
