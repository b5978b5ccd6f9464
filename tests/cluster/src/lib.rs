//! What the tests of training beyond one machine share: few images, processes and how to end them, and a Slurm of one
//! machine.
//!
//! The tests need programs that `cargo xtask setup --cluster` installs and a `lrpet` built with MPI, so cargo ignores
//! them unless `cargo xtask test --cluster` asks for them.

pub mod images;
pub mod processes;
pub mod slurm;

use std::path::{Path, PathBuf};

/// Root of the repository.
pub fn root() -> &'static Path {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    folder.ancestors().nth(2).unwrap_or(folder)
}

/// `lrpet` with MPI, as `cargo xtask test --cluster` leaves it.
pub fn lrpet() -> PathBuf {
    root().join("target/cluster/lrpet")
}
