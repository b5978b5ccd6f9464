//! Building a board's firmware with a model in flash.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use lrpet_report::Compiler;
use lrpet_runtime::model::Needs;

use crate::boards::Board;
use crate::memory::{ModelMemory, Need, TooLarge};
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

/// Where a firmware's model is.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// Linked: the model file.
    Model(&'a Path),
    /// In the board's region of flash, with this many bytes of memory for it; [`Image::with_model`] then names one.
    Region(u64),
}

/// Builds the firmware of `board` with `content` and hands it to `then`; no other run replaces it meanwhile. A model
/// that does not fit is an error that says by how many bytes.
pub fn with_image<T>(
    board: &Board,
    content: Content<'_>,
    options: &Options,
    then: impl FnOnce(&Image<'_>) -> Result<T>,
) -> Result<T> {
    let whole;
    let none = Path::new("no model");
    let (model, path, model_bytes, arena_bytes, streams, needs, region_memory) = match content {
        Content::Model(model) => {
            let bytes;
            (whole, bytes) = model_file(model)?;
            let memory = ModelMemory::of_file(board, model)?;
            (model, whole.as_path(), bytes, memory.arena, memory.streams, memory.needs, None)
        }
        // Any model may come, but for those that need some KB more of stack.
        Content::Region(memory) => {
            let needs = Needs::GENERAL.and(Needs::ACTIVATIONS).and(Needs::EIGHTS);
            (none, none, 0, 0, true, needs, Some(memory))
        }
    };
    let toolchain = Toolchain::for_target(board.target, options.toolchain)?;
    let image = Image {
        board,
        model,
        path,
        model_bytes,
        arena_bytes,
        streams,
        needs,
        region_memory,
        options,
        toolchain,
    };
    let _lock = image.lock()?;
    image.build()?;
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
    /// The model file as it was named.
    pub(crate) model: &'a Path,
    /// Its whole path.
    pub(crate) path: &'a Path,
    /// Bytes of the model file.
    pub model_bytes: u64,
    /// Bytes of the arena that the model needs on this board.
    pub arena_bytes: u64,
    /// True where the firmware runs streams.
    pub(crate) streams: bool,
    /// What else it must have.
    pub(crate) needs: Needs,
    /// Bytes of memory for a model that is read from the board's region; `None` where the model is linked.
    pub(crate) region_memory: Option<u64>,
    pub(crate) options: &'a Options,
    /// What built it.
    pub toolchain: Toolchain,
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

    /// What compiled it, with the profile of the board's crate.
    pub fn compiler(&self) -> Result<Compiler> {
        let file = root().join("firmware/boards").join(self.board.package).join("Cargo.toml");
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let flags = flags(&text, &self.features()).with_context(|| format!("{}", file.display()))?;
        Ok(Compiler { version: self.toolchain.version()?, target: self.board.target.to_owned(), flags })
    }

    /// Features of the board's crate, those that the model needs among them.
    fn features(&self) -> String {
        let streams = if self.streams { "streams" } else { "" };
        [self.board.features, streams]
            .into_iter()
            .chain(self.needs.features())
            .filter(|some| !some.is_empty())
            .collect::<Vec<_>>()
            .join(",")
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
            None => command.env("LRPET_MODEL", self.path).env_remove("LRPET_REGION_MEMORY"),
        };
        command
            .current_dir(root().join("firmware/boards").join(self.board.package))
            .args(["--release", "--locked", "--quiet", "--features", &self.features(), "--target-dir"])
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
            return Some(anyhow!("the code for {} {REGION_OVERLAP}", self.board.name));
        }
        let need = |region, available| {
            overflow(output, region).map(|missing| Need { needed: available + missing, available })
        };
        let (flash, ram) = (need("FLASH", self.board.flash), need("RAM", self.board.ram));
        let (model, board) = (self.model.display().to_string(), self.board.name);
        (flash.is_some() || ram.is_some()).then(|| TooLarge { model, board, flash, ram }.into())
    }
}

/// The flags of a board's release profile, from the text of its Cargo.toml, and the features of its crate.
fn flags(manifest: &str, features: &str) -> Result<String> {
    let manifest: toml::Table = manifest.parse()?;
    let profile = manifest.get("profile").and_then(|profile| profile.get("release")?.as_table());
    let profile = profile.context("there is no [profile.release]")?;
    let scalars = |table: &toml::Table, of: &str| -> Vec<String> {
        let values = table.iter().filter_map(|(key, value)| match value {
            toml::Value::String(text) => Some((key, text.clone())),
            toml::Value::Integer(number) => Some((key, number.to_string())),
            toml::Value::Boolean(flag) => Some((key, flag.to_string())),
            _ => None,
        });
        values.map(|(key, value)| format!("{of}{key}={value}")).collect()
    };
    let mut flags = scalars(profile, "");
    let packages = profile.get("package").and_then(toml::Value::as_table).into_iter().flatten();
    for (package, table) in packages.filter_map(|(package, table)| Some((package, table.as_table()?))) {
        flags.extend(scalars(table, &format!("{package}:")));
    }
    if !features.is_empty() {
        flags.push(format!("features={features}"));
    }
    Ok(flags.join(" "))
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
    fn flags_are_those_of_the_profile() {
        let manifest = "[profile.release]\nlto = \"fat\"\ncodegen-units = 1\n[profile.release.package.x]\nopt-level = 3\n";
        assert_eq!(flags(manifest, "").unwrap(), "codegen-units=1 lto=fat x:opt-level=3");
        assert!(flags(manifest, "f16").unwrap().ends_with(" features=f16"));
        assert!(flags("[profile]", "").is_err() && flags("[", "").is_err());
    }

    #[test]
    fn the_largest_overflow_of_a_region_counts() {
        let output = "note: rust-lld: error: section '.rodata' will not fit in region 'FLASH': overflowed by 20 bytes\n\
                      rust-lld: error: section '.data' will not fit in region 'FLASH': overflowed by 64 bytes";
        assert_eq!(overflow(output, "FLASH"), Some(64));
        assert_eq!(overflow(output, "RAM"), None);
    }
}
