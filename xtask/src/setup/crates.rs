//! The crates that workspaces of their own take from the registry: those of the boards, and the fuzzed programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;
use crate::toolchain;

/// The folder of the fuzzed programs.
pub fn fuzz() -> Vec<PathBuf> {
    vec![crate::root().join(crate::fuzz::FOLDER)]
}

/// The folder of each board's crate.
pub fn boards() -> Result<Vec<PathBuf>> {
    let boards = crate::root().join("firmware/boards");
    let entries = std::fs::read_dir(&boards).with_context(|| format!("cannot read {}", boards.display()))?;
    let mut folders = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    folders.retain(|folder| folder.join("Cargo.lock").is_file());
    folders.sort();
    Ok(folders)
}

/// `cargo fetch` of what the Cargo.lock of a workspace names.
pub fn fetch(workspace: &Path) -> Command {
    let mut command = Command::new(toolchain::cargo());
    command.args(["fetch", "--locked", "--quiet", "--manifest-path"]).arg(workspace.join("Cargo.toml"));
    command
}

/// True where every crate of these workspaces is in cargo's cache.
pub fn present(workspaces: &[PathBuf]) -> bool {
    workspaces.iter().all(|workspace| process::capture(fetch(workspace).arg("--offline"), "").is_ok())
}
