//! The virtual environment of the tests.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;

/// The virtual environment of the tests.
fn venv() -> PathBuf {
    crate::root().join("target/venv")
}

/// What the tests need.
const TESTS: &str = "requirements.txt";
/// What `cargo xtask bench peers` needs besides.
const BENCH: &str = "requirements-bench.txt";

/// A list of packages.
fn requirements(name: &str) -> PathBuf {
    crate::root().join("xtask").join(name)
}

/// True where the packages of a list were installed: a copy of it is written last.
fn installed(name: &str) -> bool {
    let wanted = std::fs::read(requirements(name)).ok();
    wanted.is_some() && wanted == std::fs::read(venv().join(name)).ok() && python().exists()
}

/// Python of the environment.
pub fn python() -> PathBuf {
    venv().join("bin/python")
}

/// True where `python3` can make virtual environments.
pub fn usable() -> bool {
    process::capture(Command::new("python3").args(["-c", "import venv, ensurepip"]), "").is_ok()
}

/// A Python that has PyTorch: the first in `PATH`, else the system's, to which Debian's package belongs.
pub fn with_torch() -> Option<PathBuf> {
    with("torch")
}

/// A Python that has torchvision, looked for as PyTorch is.
pub fn with_torchvision() -> Option<PathBuf> {
    with("torchvision")
}

fn with(package: &str) -> Option<PathBuf> {
    let candidates = [process::find("python3"), Some(PathBuf::from("/usr/bin/python3"))];
    let imports = |python: &PathBuf| {
        let mut command = Command::new(python);
        command.arg("-c").arg(format!("import {package}"));
        python.is_file() && process::capture(&mut command, "").is_ok()
    };
    candidates.into_iter().flatten().find(imports)
}

/// True where the environment is there and was made from the present requirements.
pub fn venv_is_current() -> bool {
    installed(TESTS)
}

/// True where the environment has what is measured beside, too.
pub fn has_bench() -> bool {
    venv_is_current() && installed(BENCH)
}

/// Makes the environment anew.
pub fn make_venv() -> Result<()> {
    let folder = venv();
    let hint = "python3 cannot make a virtual environment";
    let mut make = Command::new("python3");
    super::run(make.args(["-m", "venv", "--clear"]).arg(&folder), "python3 -m venv target/venv", hint)?;
    install(TESTS, "pip install numpy safetensors onnxruntime")
}

/// Adds what is measured beside, to an environment that is made where it is not there.
pub fn add_bench() -> Result<()> {
    if !venv_is_current() {
        make_venv()?;
    }
    install(BENCH, "pip install openvino")
}

fn install(name: &str, label: &str) -> Result<()> {
    let mut pip = Command::new(python());
    pip.args(["-m", "pip", "install", "-q", "--only-binary=:all:", "-r"]).arg(requirements(name));
    super::run(&mut pip, label, "check the network and the package index")?;
    std::fs::copy(requirements(name), venv().join(name))
        .with_context(|| format!("cannot write target/venv/{name}"))?;
    Ok(())
}
