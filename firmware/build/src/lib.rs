//! What the boards' build scripts do: check a model, plan it with the same code as the device will, and link it.
//!
//! Environment of the build:
//! - `LRPET_MODEL`: the model file (needed);
//! - `LRPET_WARM_UP`, `LRPET_ITERATIONS`: inferences before the bench counts (1) and that it counts (2).
//!
//! The build script writes `model.rs` for `include!`: `MODEL` (the file's bytes, aligned, in flash) and the constants
//! `NAME`, `INPUT_BYTES`, `ARENA_BYTES`, `CLASSES`, `LAYERS`, `WARM_UP`, `ITERATIONS`.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
pub use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::{Model, Shape};
use lrpet_runtime::plan::{ALIGNMENT, Plan};

/// The build script of a board with a Cortex-M core and FPU, whose kernels are those of `isa`: links the model,
/// `memory.x` of the board's crate and cortex-m-rt's linker script. An error becomes one line of cargo's output.
pub fn cortex_m_board(isa: Isa) {
    cortex_m_board_with(isa, &[MemoryMap { folder: "", variables: usize::MAX }]);
}

/// A memory map that a board may use.
#[derive(Clone, Copy, Debug)]
pub struct MemoryMap {
    /// Folder of its `memory.x`, in the board's crate.
    pub folder: &'static str,
    /// Bytes of RAM that it has for variables.
    pub variables: usize,
}

/// As [`cortex_m_board`], for a board with several kinds of RAM: with the first of `maps` that takes the model's variables, or
/// the last, about which the linker then complains.
pub fn cortex_m_board_with(isa: Isa, maps: &[MemoryMap]) {
    if let Err(error) =
        link_model(isa).and_then(|variables| link_memory_map(choose(maps, variables).unwrap_or_default()))
    {
        println!("cargo::error={}", format!("{error:#}").replace('\n', " "));
    }
}

/// The folder of the first map that takes `variables` bytes, or of the last map.
fn choose(maps: &[MemoryMap], variables: usize) -> Option<&'static str> {
    maps.iter().find(|map| map.variables >= variables).or(maps.last()).map(|map| map.folder)
}

/// Variables besides arena, image, logits and counts of layers: buffers of the serial line, state of the drivers.
const OTHER_VARIABLES: usize = 4096;

/// Writes `model.rs`; returns the bytes of variables that a board with a serial service needs, at most.
fn link_model(isa: Isa) -> Result<usize> {
    for name in ["LRPET_MODEL", "LRPET_WARM_UP", "LRPET_ITERATIONS"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let Some(file) = std::env::var_os("LRPET_MODEL").map(PathBuf::from) else {
        bail!("set LRPET_MODEL to the model file, or use `cargo xtask board`");
    };
    println!("cargo::rerun-if-changed={}", file.display());
    let bytes = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let (source, variables) =
        model_source(&bytes, isa, number("LRPET_WARM_UP", 1)?, number("LRPET_ITERATIONS", 2)?)
            .map_err(|error| anyhow!("{}: {error:#}", file.display()))?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").context("OUT_DIR is not set: no build script")?);
    write(&out.join("model.safetensors"), &bytes)?;
    write(&out.join("model.rs"), source.as_bytes())?;
    Ok(variables)
}

/// The text of `model.rs` for a model file, beside which `model.safetensors` lies, and the bytes of variables.
fn model_source(bytes: &[u8], isa: Isa, warm_up: usize, iterations: usize) -> Result<(String, usize)> {
    // At an address that is a multiple of 16, as in flash.
    let mut aligned = vec![0u128; bytes.len().div_ceil(16)];
    let aligned = &mut bytemuck::cast_slice_mut(&mut aligned)[..bytes.len()];
    aligned.copy_from_slice(bytes);
    let model = Model::new_checked(aligned).map_err(owned)?;
    let plan = Plan::new(model.program(), isa).map_err(owned)?;
    let header = model.program().header();
    let (arena, classes) = (plan.arena_bytes, header.classes);
    let (layers, length) = (model.program().len(), bytes.len());
    let (name, input) = (protocol_name(&model), header.input.len());
    let variables = arena + input + 4 * classes as usize + 24 * layers + OTHER_VARIABLES;
    let source = format!(
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
         pub const ITERATIONS: usize = {iterations};\n\
         /// What the serial service calls the model.\n\
         #[allow(dead_code, reason = \"not every board has the service\")]\n\
         pub const NAME: &str = \"{name}\";\n\
         /// Bytes of an image.\n\
         #[allow(dead_code, reason = \"not every board has the service\")]\n\
         pub const INPUT_BYTES: usize = {input};\n"
    );
    Ok((source, variables))
}

/// MLPerf Tiny's name of the task that has this model's input and classes, else the network of the model's card.
fn protocol_name(model: &Model<'_>) -> String {
    let header = model.program().header();
    let Shape { channels, height, width } = header.input;
    match (channels, height, width, header.classes) {
        (3, 32, 32, 10) => return "ic01".to_owned(),
        (1, 49, 10, 12) => return "kws01".to_owned(),
        (3, 96, 96, 2) => return "vww01".to_owned(),
        _ => {}
    }
    let network = model.metadata().find(|(key, _)| *key == "network");
    let name: String = network.iter().flat_map(|(_, name)| name.chars()).collect();
    // It stands in brackets on a line of the protocol, and between quotes in the source.
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.is_empty() && name.len() <= 32 && name.chars().all(plain) { name } else { "model".to_owned() }
}

/// Links `memory.x` of a folder in the board's crate.
fn link_memory_map(map: &str) -> Result<()> {
    let folder =
        std::env::var("CARGO_MANIFEST_DIR").context("CARGO_MANIFEST_DIR is not set: no build script")?;
    let folder = Path::new(&folder).join(map);
    println!("cargo::rerun-if-changed={}", folder.join("memory.x").display());
    println!("cargo::rustc-link-search={}", folder.display());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str) -> Vec<u8> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
        std::fs::read(folder.join(name)).unwrap()
    }

    #[test]
    fn the_model_is_called_as_the_protocol_or_its_card_says() {
        let source = |name| model_source(&model(name), Isa::CortexM, 1, 2).unwrap();
        let (fashion, variables) = source("fashion-mnist-resnet8-g0.6.safetensors");
        assert!(fashion.contains("NAME: &str = \"resnet8\""));
        assert!(fashion.contains("INPUT_BYTES: usize = 784;"));
        assert!(fashion.contains("ARENA_BYTES: usize = 54896;"));
        assert!((54_896 + 784..54_896 + 784 + 2 * OTHER_VARIABLES).contains(&variables));
        assert!(source("cifar10-resnet20-dense.safetensors").0.contains("NAME: &str = \"ic01\""));
    }

    #[test]
    fn the_first_memory_map_that_takes_the_variables_is_chosen() {
        let maps = [("fast", 100), ("large", 500)].map(|(folder, variables)| MemoryMap { folder, variables });
        assert_eq!(choose(&maps, 100), Some("fast"));
        assert_eq!(choose(&maps, 101), Some("large"));
        assert_eq!(choose(&maps, 501), Some("large"));
    }
}
