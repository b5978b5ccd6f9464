//! What the boards' build scripts do: check a model, plan it with the same code as the device will, and link it.
//!
//! Environment of the build:
//! - `LRPET_MODEL`: the model file (needed);
//! - `LRPET_WARM_UP`, `LRPET_ITERATIONS`: inferences before the bench counts (1) and that it counts (2).
//!
//! The build script writes `model.rs` for `include!`: `MODEL` (the file's bytes, aligned, in flash) and the constants
//! `ARENA_BYTES`, `CLASSES`, `LAYERS`, `WARM_UP`, `ITERATIONS`.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
pub use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::Model;
use lrpet_runtime::plan::{ALIGNMENT, Plan};

/// The build script of a board with a Cortex-M core and FPU, whose kernels are those of `isa`: links the model,
/// `memory.x` of the board's crate and cortex-m-rt's linker script. An error becomes one line of cargo's output.
pub fn cortex_m_board(isa: Isa) {
    if let Err(error) = link_model(isa).and_then(|()| link_memory_map()) {
        println!("cargo::error={}", format!("{error:#}").replace('\n', " "));
    }
}

fn link_model(isa: Isa) -> Result<()> {
    for name in ["LRPET_MODEL", "LRPET_WARM_UP", "LRPET_ITERATIONS"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let Some(file) = std::env::var_os("LRPET_MODEL").map(PathBuf::from) else {
        bail!("set LRPET_MODEL to the model file, or use `cargo xtask board`");
    };
    println!("cargo::rerun-if-changed={}", file.display());
    let bytes = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let source = model_source(&bytes, isa, number("LRPET_WARM_UP", 1)?, number("LRPET_ITERATIONS", 2)?)
        .map_err(|error| anyhow!("{}: {error:#}", file.display()))?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").context("OUT_DIR is not set: no build script")?);
    write(&out.join("model.safetensors"), &bytes)?;
    write(&out.join("model.rs"), source.as_bytes())
}

/// The text of `model.rs` for a model file; `model.safetensors` lies beside it.
fn model_source(bytes: &[u8], isa: Isa, warm_up: usize, iterations: usize) -> Result<String> {
    // At an address that is a multiple of 16, as in flash.
    let mut aligned = vec![0u128; bytes.len().div_ceil(16)];
    let aligned = &mut bytemuck::cast_slice_mut(&mut aligned)[..bytes.len()];
    aligned.copy_from_slice(bytes);
    let model = Model::new_checked(aligned).map_err(owned)?;
    let plan = Plan::new(model.program(), isa).map_err(owned)?;
    let (arena, classes) = (plan.arena_bytes, model.program().header().classes);
    let (layers, length) = (model.program().len(), bytes.len());
    Ok(format!(
        "/// The model file, in flash.\n\
         pub static MODEL: Aligned<{length}> = Aligned(*include_bytes!(\"model.safetensors\"));\n\
         /// Bytes aligned as the runtime reads them.\n\
         #[repr(C, align({ALIGNMENT}))]\n\
         pub struct Aligned<const N: usize>(pub [u8; N]);\n\
         /// Bytes that the model's plan takes.\n\
         pub const ARENA_BYTES: usize = {arena};\n\
         /// Number of logits.\n\
         pub const CLASSES: usize = {classes};\n\
         /// Number of operations.\n\
         pub const LAYERS: usize = {layers};\n\
         /// Inferences before the bench counts.\n\
         pub const WARM_UP: usize = {warm_up};\n\
         /// Inferences that it counts.\n\
         pub const ITERATIONS: usize = {iterations};\n"
    ))
}

fn link_memory_map() -> Result<()> {
    let folder =
        std::env::var("CARGO_MANIFEST_DIR").context("CARGO_MANIFEST_DIR is not set: no build script")?;
    println!("cargo::rerun-if-changed=memory.x");
    println!("cargo::rustc-link-search={folder}");
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
    // Sections lie where memory.x says, not on pages of the size that the linker assumes.
    println!("cargo::rustc-link-arg-bins=--nmagic");
    Ok(())
}

fn number(variable: &str, default: usize) -> Result<usize> {
    match std::env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable} is `{text}`, no number")),
        Err(_) => Ok(default),
    }
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))
}

/// An error of the runtime, which borrows from the model, as one that does not.
fn owned(error: impl Display) -> anyhow::Error {
    anyhow!("{error}")
}
