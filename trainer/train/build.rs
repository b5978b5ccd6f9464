//! Compiles the CUDA kernels where the feature `cuda` asks for them.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest GPUs that CUDA 13 serves (Turing); the driver compiles the PTX for the one at hand.
const ARCHITECTURE: &str = "compute_75";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_some() {
        kernels();
    }
}

/// Compiles the CUDA kernels to PTX.
fn kernels() {
    let source = "src/cuda/kernels.cu";
    println!("cargo::rerun-if-changed={source}");
    for variable in ["NVCC", "CUDA_HOME", "CUDA_PATH", "PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let folder = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    let nvcc = nvcc();
    let mut command = Command::new(&nvcc);
    command.args(["-ptx", "-O3", "-arch", ARCHITECTURE, "-o"]).arg(Path::new(&folder).join("kernels.ptx"));
    match command.arg(source).output() {
        Ok(done) if done.status.success() => {}
        Ok(done) => {
            let lines = String::from_utf8_lossy(&done.stderr);
            lines.lines().for_each(|line| println!("cargo::error={line}"));
            println!("cargo::error={} cannot compile {source}", nvcc.display());
        }
        Err(error) => println!(
            "cargo::error=cannot start {}: {error}; feature `cuda` needs a CUDA toolkit (set CUDA_HOME), \
             or use `cargo xtask build-cuda`",
            nvcc.display()
        ),
    }
}

/// The compiler: `$NVCC`, that of `$CUDA_HOME` or `$CUDA_PATH`, or the one in `PATH`.
fn nvcc() -> PathBuf {
    if let Some(nvcc) = env::var_os("NVCC") {
        return nvcc.into();
    }
    let roots = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os);
    let mut found = roots.map(|root| Path::new(&root).join("bin/nvcc")).filter(|nvcc| nvcc.is_file());
    found.next().unwrap_or_else(|| "nvcc".into())
}
