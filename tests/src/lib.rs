//! What tests of several crates share. The whole-path tests are in `tests/`.

pub mod random_model;
