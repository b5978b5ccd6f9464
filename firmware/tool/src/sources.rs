//! The sources from which firmware is built.

use std::path::Path;
use std::process::Command;

use crate::process;

/// Root of the repository from which this program was built.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().and_then(Path::parent).unwrap_or(Path::new("."))
}

/// Revision of the sources, `-dirty` where they were changed since; none outside a git checkout.
pub fn git_revision() -> Option<String> {
    let mut command = Command::new("git");
    command.current_dir(root()).args(["describe", "--always", "--dirty", "--abbrev=12"]);
    process::capture(&mut command, "").ok().map(|line| line.trim().to_owned())
}
