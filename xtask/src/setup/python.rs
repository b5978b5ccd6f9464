//! The virtual environment of the tests.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;

/// Python of the tests' virtual environment.
fn venv() -> PathBuf {
    crate::root().join("target/venv")
}

fn requirements() -> PathBuf {
    crate::root().join("xtask/requirements.txt")
}

/// Copy of the requirements that the environment was made from, written last.
fn stamp() -> PathBuf {
    venv().join("requirements.txt")
}

/// True where `python3` can make virtual environments.
pub fn usable() -> bool {
    process::capture(Command::new("python3").args(["-c", "import venv, ensurepip"]), "").is_ok()
}

/// A Python that has PyTorch: the first in `PATH`, else the system's, to which Debian's package belongs.
pub fn with_torch() -> Option<PathBuf> {
    let candidates = [process::find("python3"), Some(PathBuf::from("/usr/bin/python3"))];
    let imports = |python: &PathBuf| {
        python.is_file() && process::capture(Command::new(python).args(["-c", "import torch"]), "").is_ok()
    };
    candidates.into_iter().flatten().find(imports)
}

/// True where the environment is there and was made from the present requirements.
pub fn venv_is_current() -> bool {
    let wanted = std::fs::read(requirements()).ok();
    wanted.is_some() && wanted == std::fs::read(stamp()).ok() && venv().join("bin/python").exists()
}

/// Makes the environment anew.
pub fn make_venv() -> Result<()> {
    let folder = venv();
    let hint = "python3 cannot make a virtual environment";
    let mut make = Command::new("python3");
    super::run(make.args(["-m", "venv", "--clear"]).arg(&folder), "python3 -m venv target/venv", hint)?;
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args(["-m", "pip", "install", "-q", "--only-binary=:all:", "-r"]).arg(requirements());
    super::run(&mut pip, "pip install numpy safetensors", "check the network and the package index")?;
    std::fs::copy(requirements(), stamp()).context("cannot write target/venv/requirements.txt")?;
    Ok(())
}
