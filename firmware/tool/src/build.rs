//! Building a board's firmware with a model in flash.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::boards::Board;
use crate::process::{self, Failure};
use crate::sources::root;
use crate::toolchain::{Source, Toolchain};

/// How a board is run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Inferences before the bench counts.
    pub warm_up: u32,
    /// Inferences that it counts, 1 to 64.
    pub iterations: u32,
    /// When the board is stopped.
    pub timeout: Duration,
    /// Where the compiler comes from.
    pub toolchain: Source,
}

/// Builds the firmware of `board` with `model` in flash and hands it to `then`; no other run replaces it meanwhile. A model
/// that does not fit is an error that says by how many bytes.
pub fn with_image<T>(
    board: &Board,
    model: &Path,
    options: &Options,
    then: impl FnOnce(&Image<'_>) -> Result<T>,
) -> Result<T> {
    let (model, model_bytes) = model_file(model)?;
    built(board, &model, model_bytes, None, options, then)
}

/// As [`with_image`], for firmware that reads its model from the board's region of flash and has `memory` bytes for it.
pub fn with_region_image<T>(
    board: &Board,
    memory: u64,
    options: &Options,
    then: impl FnOnce(&Image<'_>) -> Result<T>,
) -> Result<T> {
    built(board, Path::new("no model"), 0, Some(memory), options, then)
}

fn built<T>(
    board: &Board,
    model: &Path,
    model_bytes: u64,
    region_memory: Option<u64>,
    options: &Options,
    then: impl FnOnce(&Image<'_>) -> Result<T>,
) -> Result<T> {
    let toolchain = Toolchain::for_target(board.target, options.toolchain)?;
    let mut image =
        Image { board, model, model_bytes, region_memory, options, toolchain, build_time: Duration::ZERO };
    let _lock = image.lock()?;
    let started = Instant::now();
    image.build()?;
    image.build_time = started.elapsed();
    then(&image)
}

/// The whole path of a model file, and its bytes.
pub fn model_file(model: &Path) -> Result<(PathBuf, u64)> {
    let model = std::path::absolute(model)?;
    let bytes = std::fs::metadata(&model)
        .and_then(
            |file| if file.is_file() { Ok(file.len()) } else { Err(std::io::ErrorKind::IsADirectory.into()) },
        )
        .with_context(|| format!("cannot read the model {}", model.display()))?;
    Ok((model, bytes))
}

/// A board's firmware with a model.
pub struct Image<'a> {
    pub(crate) board: &'a Board,
    pub(crate) model: &'a Path,
    /// Bytes of the model file.
    pub model_bytes: u64,
    /// Bytes of memory for a model that is read from the board's region; `None` where the model is linked.
    pub(crate) region_memory: Option<u64>,
    pub(crate) options: &'a Options,
    /// What built it.
    pub toolchain: Toolchain,
    pub(crate) build_time: Duration,
}

impl Image<'_> {
    pub(crate) fn target_folder(&self) -> PathBuf {
        root().join(match self.toolchain {
            Toolchain::Rustup => "target/boards",
            Toolchain::Debian => "target/boards/debian",
        })
    }

    /// The image, an ELF file.
    pub fn file(&self) -> PathBuf {
        self.target_folder().join(self.board.target).join("release").join(self.board.package)
    }

    /// Two runs at a time must not take each other's image.
    fn lock(&self) -> Result<File> {
        let folder = self.target_folder();
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let file = folder.join(format!("{}.lock", self.board.package));
        let lock = File::create(&file).with_context(|| format!("cannot write {}", file.display()))?;
        lock.lock().with_context(|| format!("cannot lock {}", file.display()))?;
        Ok(lock)
    }

    /// `cargo build` of the board's crate.
    fn cargo_build(&self) -> Command {
        let mut command = self.toolchain.cargo("build", self.board.target);
        match self.region_memory {
            Some(memory) => command.env("LRPET_REGION_MEMORY", memory.to_string()).env_remove("LRPET_MODEL"),
            None => command.env("LRPET_MODEL", self.model).env_remove("LRPET_REGION_MEMORY"),
        };
        command
            .current_dir(root().join("firmware/boards").join(self.board.package))
            .args(["--release", "--locked", "--quiet", "--features", self.board.features, "--target-dir"])
            .arg(self.target_folder())
            .env("LRPET_ITERATIONS", self.options.iterations.to_string())
            .env("LRPET_WARM_UP", self.options.warm_up.to_string());
        command
    }

    fn build(&self) -> Result<()> {
        let label = format!("building {} with {}", self.board.name, self.model.display());
        let log = self.target_folder().join(format!("{}.log", self.board.name));
        let built = process::run_logged(&mut self.cargo_build(), &label, &log, "see below");
        built.map_err(|error| match error.downcast_ref::<Failure>() {
            Some(failure) => self.explain(&failure.output).unwrap_or(error),
            None => error,
        })
    }

    /// What a failed build says about the model: the build script's own message, or the regions that overflow.
    fn explain(&self, output: &str) -> Option<anyhow::Error> {
        let script = format!("error: {}@", self.board.package);
        if let Some(message) = output.lines().find_map(|line| line.strip_prefix(&script)?.split_once(": ")) {
            return Some(anyhow::anyhow!("{}", message.1));
        }
        if output.contains(REGION_OVERLAP) {
            return Some(anyhow::anyhow!("the code for {} {REGION_OVERLAP}", self.board.name));
        }
        let regions = [
            ("FLASH", "flash", self.board.flash, "lower ranks take less"),
            ("RAM", "RAM", self.board.ram, "a smaller input image takes less"),
        ];
        let overflows: Vec<String> = regions
            .into_iter()
            .filter_map(|(region, name, available, help)| {
                let missing = overflow(output, region)?;
                let needed = available + missing;
                Some(format!(
                    "{name}: {needed} bytes needed, {available} available, {missing} missing ({help})"
                ))
            })
            .collect();
        if overflows.is_empty() {
            return None;
        }
        let (model, board) = (self.model.display(), self.board.name);
        Some(anyhow::anyhow!("{model} does not fit {board}: {}", overflows.join("; ")))
    }
}

/// What the linker says where code and region overlap: see the boards' build script.
const REGION_OVERLAP: &str = "reaches into the model region";

/// Bytes by which a region overflows, from the linker's messages (one a section; the last section overflows most).
fn overflow(output: &str, region: &str) -> Option<u64> {
    let pattern = format!("will not fit in region '{region}': overflowed by ");
    output
        .match_indices(&pattern)
        .filter_map(|(at, _)| output[at + pattern.len()..].split(' ').next()?.parse().ok())
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_overflow_of_a_region_counts() {
        let output = "note: rust-lld: error: section '.rodata' will not fit in region 'FLASH': overflowed by 20 bytes\n\
                      rust-lld: error: section '.data' will not fit in region 'FLASH': overflowed by 64 bytes";
        assert_eq!(overflow(output, "FLASH"), Some(64));
        assert_eq!(overflow(output, "RAM"), None);
    }
}
