//! Emulated boards: firmware with the model in flash, built from the sources of this repository and run in QEMU.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use super::host::short;
use super::{Bench, Board, INSTRUCTIONS, Measured};
use crate::report::schema::LayerTicks;

/// Sources that decide what a board executes, besides its own crate.
const SOURCES: [&str; 3] = ["runtime/src", "firmware/src", "firmware/cortex-m/src"];

/// Flash that the firmware's code may take.
const CODE: u64 = 128 << 10;
/// Most bytes of one model: emulators run it several times, and a run should stay within a minute.
const MOST: u64 = 1 << 20;

/// Counts the instructions of models on an emulated board.
#[derive(Debug)]
pub struct EmulatedBench {
    board: &'static Board,
}

impl EmulatedBench {
    /// A bench on `board`.
    pub fn new(board: &'static Board) -> EmulatedBench {
        EmulatedBench { board }
    }
}

/// Root of the repository from which this program was built.
fn root() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    ensure!(
        root.join("firmware/boards").is_dir(),
        "{}: the sources of the firmware are not there any more; emulated boards need the repository in which \
         `lrpet` was built",
        root.display()
    );
    Ok(root.to_owned())
}

impl Bench for EmulatedBench {
    fn board(&self) -> &Board {
        self.board
    }

    /// The sources of runtime and firmware.
    fn key(&self) -> Result<String> {
        let root = root()?;
        let mut hash = Sha256::new();
        for folder in SOURCES {
            for entry in WalkDir::new(root.join(folder)).sort_by_file_name() {
                let entry = entry.with_context(|| format!("cannot list {folder}"))?;
                if entry.file_type().is_file() {
                    let bytes = std::fs::read(entry.path());
                    hash.update(entry.path().to_string_lossy().as_bytes());
                    hash.update(bytes.with_context(|| format!("cannot read {}", entry.path().display()))?);
                }
            }
        }
        Ok(format!("sources {}", short(&hash.finalize())))
    }

    fn capacity(&self) -> u64 {
        self.board.memory.map_or(MOST, |memory| memory.flash.saturating_sub(CODE).min(MOST))
    }

    fn measure(&mut self, model: &Path) -> Result<Measured> {
        let name = self.board.name;
        let path = std::path::absolute(model)?;
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        command.current_dir(root()?).args(["xtask", "board", name]).arg(&path);
        command.args(["--iterations", "1", "--warm-up", "0", "--json"]).stdin(Stdio::null());
        let output = command.output().context("cannot start cargo, which builds the firmware")?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            let error = errors.lines().rev().find_map(|line| line.strip_prefix("error: "));
            bail!("{} on {name}: {}", path.display(), error.unwrap_or(errors.trim()));
        }
        let report: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("the report of {name} on {}", path.display()))?;
        measured(&report).with_context(|| format!("the report of {name} on {}", path.display()))
    }
}

fn measured(report: &Value) -> Result<Measured> {
    ensure!(report["pass"] == Value::Bool(true), "the self-check fails");
    let text = |pointer: &str| report.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let number = |pointer: &str| report.pointer(pointer).and_then(Value::as_u64);
    let layers = report["layers"].as_array().context("no layers")?;
    let layer = |layer: &Value| {
        Some(LayerTicks { name: layer["name"].as_str()?.to_owned(), ticks: layer["mean"].as_u64()? })
    };
    Ok(Measured {
        board: text("/start/board").context("no board")?,
        core: text("/start/core"),
        counter: text("/start/counter").unwrap_or_else(|| INSTRUCTIONS.to_owned()),
        total: number("/total/median").context("no total")?,
        layers: layers.iter().map(layer).collect::<Option<_>>().context("a layer without count")?,
        flash_bytes: number("/memory/flash_bytes"),
        text_bytes: number("/memory/text_bytes"),
        model_bytes: number("/memory/model_bytes"),
        arena_bytes: number("/memory/arena_bytes"),
        static_bytes: number("/memory/static_bytes"),
        stack_bytes: number("/memory/stack_bytes"),
        ram_bytes: number("/memory/ram_bytes"),
        crc: report
            .pointer("/end/outputs_crc32")
            .map(|crc| crc.as_str().map_or(crc.to_string(), str::to_owned)),
        self_check: Some(true),
    })
}
