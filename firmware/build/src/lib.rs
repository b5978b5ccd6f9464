//! What the boards' build scripts do: check a model, plan it with the same code as the device would, and build it in.
//!
//! Environment of the build:
//! - `LRPET_MODEL`: the model file, which is linked with the code as it is, and laid out by the compiler (`lrpet-model`); or
//! - `LRPET_REGION_MEMORY`: no model is linked. The program reads one from the board's model region (`memory.x`), and has this
//!   many bytes of memory for it;
//! - `LRPET_WARM_UP`, `LRPET_ITERATIONS`: inferences before the bench counts (1) and that it counts (2).
//!
//! The build script writes `model.rs` for `include!`: the function `source`, and the constants `MEMORY_BYTES`, `WARM_UP` and
//! `ITERATIONS`.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use lrpet_firmware::memory::{OTHER_VARIABLES, input_bytes, memory_bytes};
use lrpet_firmware::source::ModelName;
pub use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::{MODEL_ALIGNMENT, Model};
use lrpet_runtime::plan::Plan;

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

/// Writes `model.rs`; returns the bytes of variables that a board with a serial service needs, at most.
fn link_model(isa: Isa) -> Result<usize> {
    for name in ["LRPET_MODEL", "LRPET_REGION_MEMORY", "LRPET_WARM_UP", "LRPET_ITERATIONS"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").context("OUT_DIR is not set: no build script")?);
    let options = [number("LRPET_WARM_UP", 1)?, number("LRPET_ITERATIONS", 2)?];
    let (source, variables) = match number("LRPET_REGION_MEMORY", 0)? {
        0 => {
            let Some(file) = std::env::var_os("LRPET_MODEL").map(PathBuf::from) else {
                bail!("set LRPET_MODEL to the model file, or use `cargo xtask board`");
            };
            println!("cargo::rerun-if-changed={}", file.display());
            let bytes = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let streams = std::env::var_os("CARGO_FEATURE_STREAMS").is_some();
            let copy = out.join("model.safetensors");
            let written = model_source(&bytes, &copy, isa, streams, options)
                .map_err(|error| anyhow!("{}: {error:#}", file.display()))?;
            write(&copy, &bytes)?;
            written
        }
        memory => {
            write(&out.join("region.x"), REGION_CHECK.as_bytes())?;
            println!("cargo::rustc-link-arg-bins=-T{}", out.join("region.x").display());
            (region_source(memory, options), memory + OTHER_VARIABLES)
        }
    };
    write(&out.join("model.rs"), source.as_bytes())?;
    Ok(variables)
}

/// For the linker: all that is stored in flash lies before the region. Initial values of variables come last.
const REGION_CHECK: &str = "ASSERT(LOADADDR(.data) + SIZEOF(.data) <= _model_region_start, \"the code reaches into the model region\");\n";

/// The text of `model.rs` for a model file with these bytes, which lies at `copy`, and the bytes of variables. Firmware that
/// runs no streams takes the memory of layers.
fn model_source(
    bytes: &[u8],
    copy: &Path,
    isa: Isa,
    streams: bool,
    options: [usize; 2],
) -> Result<(String, usize)> {
    // At an address that the runtime takes, as in flash.
    let mut aligned = vec![0u32; bytes.len().div_ceil(MODEL_ALIGNMENT)];
    let aligned = &mut bytemuck::cast_slice_mut(&mut aligned)[..bytes.len()];
    aligned.copy_from_slice(bytes);
    let model = Model::new_checked(aligned).map_err(owned)?;
    let model = if streams { model } else { model.with_schedule(&[]).map_err(owned)? };
    let plan = Plan::new(model.program(), isa).map_err(owned)?;
    let header = model.program().header();
    let (arena, classes) = (plan.arena_bytes, header.classes as usize);
    let (layers, input) = (model.program().len(), input_bytes(header));
    let (name, how) = (ModelName(&model).to_string(), if streams { "" } else { ", layers" });
    let source = format!(
        "lrpet_model::model! {{\n    \
             /// The model, whose file is in flash.\n    \
             pub struct Linked = {copy:?}, ram = {arena}, whole{how}\n\
         }}\n\
         /// Where the model lies.\n\
         pub fn source() -> BuiltIn<Linked> {{\n    BuiltIn::new({name:?}, {arena})\n}}\n\
         /// Bytes of memory that the model needs.\n\
         pub const MEMORY_BYTES: usize = memory_bytes({arena}, {classes}, {layers}, {input});\n\
         {}",
        constants(options)
    );
    Ok((source, memory_bytes(arena, classes, layers, input) + OTHER_VARIABLES))
}

/// The text of `model.rs` for a model in the board's region, with `memory` bytes for it.
fn region_source(memory: usize, options: [usize; 2]) -> String {
    format!(
        "/// Where the model lies.\n\
         pub fn source() -> Source<'static> {{\n    model_region()\n}}\n\
         /// Bytes of memory for a model.\n\
         pub const MEMORY_BYTES: usize = {memory};\n\
         {}",
        constants(options)
    )
}

fn constants([warm_up, iterations]: [usize; 2]) -> String {
    format!(
        "/// Inferences before the bench counts.\n\
         pub const WARM_UP: usize = {warm_up};\n\
         /// Inferences that it counts.\n\
         pub const ITERATIONS: usize = {iterations};\n"
    )
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
    fn a_linked_model_gets_the_memory_that_it_needs_and_a_region_what_was_asked_for() {
        let bytes = model("fashion-mnist-resnet8-g0.6.safetensors");
        let at =
            |bytes: &[u8], streams| model_source(bytes, Path::new("m.st"), Isa::CortexM, streams, [1, 2]);
        let (source, variables) = at(&bytes, false).unwrap();
        assert!(source.contains("pub struct Linked = \"m.st\", ram = 54896, whole, layers\n"), "{source}");
        assert!(source.contains("BuiltIn::new(\"resnet8\", 54896)"), "{source}");
        assert!(source.contains("MEMORY_BYTES: usize = memory_bytes(54896, 10, 11, 784);"), "{source}");
        assert_eq!(variables, 54_896 + 48 + 784 + OTHER_VARIABLES);
        assert!(at(&bytes[1..], false).is_err());
        // Firmware that runs streams has the memory of the model's schedule, and no more.
        let header = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
        let text = std::str::from_utf8(&bytes[8..8 + header]).unwrap().trim_end();
        let (begin, end) = (bytes.len() - 8 - header, bytes.len() - 4 - header);
        let entry = format!(
            "\"lrpet.schedule\":{{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[{begin},{end}]}}}}"
        );
        let text = format!("{},{entry}", text.strip_suffix('}').unwrap());
        let text = format!("{text:<width$}", width = text.len().next_multiple_of(8));
        let data = [&bytes[8 + header..], &[9, 0, 1, 0]].concat();
        let streamed = [&(text.len() as u64).to_le_bytes(), text.as_bytes(), &data].concat();
        let (source, less) = at(&streamed, true).unwrap();
        assert!(source.contains(", whole\n"), "{source}");
        assert!(less < 40_000, "{less}");
        assert_eq!(at(&streamed, false).unwrap().1, variables);
        let source = region_source(123_456, [1, 2]);
        assert!(
            source.contains("model_region()") && source.contains("MEMORY_BYTES: usize = 123456;"),
            "{source}"
        );
    }

    #[test]
    fn the_first_memory_map_that_takes_the_variables_is_chosen() {
        let maps = [("fast", 100), ("large", 500)].map(|(folder, variables)| MemoryMap { folder, variables });
        assert_eq!(choose(&maps, 100), Some("fast"));
        assert_eq!(choose(&maps, 101), Some("large"));
        assert_eq!(choose(&maps, 501), Some("large"));
    }
}
