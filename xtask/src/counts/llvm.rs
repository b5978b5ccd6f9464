//! LLVM's tools.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::process;

/// The first version whose `llvm-mca` leaves out what it cannot read and whose models know all the cores here.
const LEAST: u32 = 19;
/// Newer ones that systems name by their version.
const NEWEST: u32 = 24;

/// The program `name` of LLVM 19 or newer.
pub fn find(name: &str) -> Result<PathBuf> {
    let folder = |version| PathBuf::from(format!("/usr/lib/llvm-{version}/bin/{name}"));
    let of_version = |version| [process::find(&format!("{name}-{version}")), Some(folder(version))];
    let mut candidates: Vec<PathBuf> = (LEAST..=NEWEST).flat_map(of_version).flatten().collect();
    candidates.extend(process::find(name));
    match candidates
        .iter()
        .find(|file| file.is_file() && version(file).is_some_and(|version| version >= LEAST))
    {
        Some(file) => Ok(file.clone()),
        None => bail!("{name} of LLVM {LEAST} or newer is not installed; run `cargo xtask setup`"),
    }
}

/// True where the tools are there.
pub fn is_present() -> bool {
    ["llvm-objdump", "llvm-mca"].iter().all(|name| find(name).is_ok())
}

/// The version that a tool states.
fn version(file: &Path) -> Option<u32> {
    let text = process::capture(Command::new(file).arg("--version"), "").ok()?;
    text.split("LLVM version ").nth(1)?.split('.').next()?.parse().ok()
}
