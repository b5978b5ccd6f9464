//! The crates that the boards' own workspaces take from the registry.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;
use crate::toolchain;

/// The folder of each board's crate.
pub fn folders() -> Result<Vec<PathBuf>> {
    let boards = crate::root().join("firmware/boards");
    let entries = std::fs::read_dir(&boards).with_context(|| format!("cannot read {}", boards.display()))?;
    let mut folders = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    folders.retain(|folder| folder.join("Cargo.lock").is_file());
    folders.sort();
    Ok(folders)
}

/// `cargo fetch` of what a board's Cargo.lock names.
pub fn fetch(board: &Path) -> Command {
    let mut command = Command::new(toolchain::cargo());
    command.args(["fetch", "--locked", "--quiet", "--manifest-path"]).arg(board.join("Cargo.toml"));
    command
}

/// True where every crate is in cargo's cache.
pub fn present() -> Result<bool> {
    Ok(folders()?.iter().all(|board| process::capture(fetch(board).arg("--offline"), "").is_ok()))
}
