//! The one entry to every chore: `cargo xtask --help`.
fn main() {}
