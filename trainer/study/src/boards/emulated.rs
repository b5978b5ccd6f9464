//! Emulated boards: firmware with the model in flash, built from the sources of this repository and run in QEMU.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lrpet_board::build::Options;
use lrpet_board::sources::root;
use lrpet_board::toolchain::Source;
use lrpet_board::{boards, emulate};
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use super::host::short;
use super::{Bench, Board, Measured};

/// Sources that decide what a board executes, besides its own crate.
const SOURCES: [&str; 3] = ["runtime/src", "firmware/src", "firmware/cortex-m/src"];

/// Flash that the firmware's code may take.
const CODE: u64 = 128 << 10;
/// Most bytes of one model: emulators run it several times, and a run should stay within a minute.
const MOST: u64 = 1 << 20;
/// When an emulator is stopped.
const TIMEOUT: Duration = Duration::from_secs(1200);

/// Counts the instructions of models on an emulated board.
#[derive(Debug)]
pub struct EmulatedBench {
    board: Board,
    sources: &'static boards::Board,
}

impl EmulatedBench {
    /// A bench on `board`.
    ///
    /// # Errors
    /// Where the sources of its firmware are not there.
    pub fn new(board: Board) -> Result<EmulatedBench> {
        ensure!(
            root().join("firmware/boards").is_dir(),
            "{}: the sources of the firmware are not there any more; emulated boards need the repository in which \
             `lrpet` was built",
            root().display()
        );
        Ok(EmulatedBench { board, sources: boards::Board::named(board.name)? })
    }
}

impl Bench for EmulatedBench {
    fn board(&self) -> Board {
        self.board
    }

    /// The sources of runtime and firmware.
    fn key(&self) -> Result<String> {
        let mut hash = Sha256::new();
        for folder in SOURCES {
            for entry in WalkDir::new(root().join(folder)).sort_by_file_name() {
                let entry = entry.with_context(|| format!("cannot list {folder}"))?;
                if entry.file_type().is_file() {
                    let bytes = std::fs::read(entry.path());
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
        let options = Options { warm_up: 0, iterations: 1, timeout: TIMEOUT, toolchain: Source::Auto };
        let what = || format!("{} on {}", model.display(), self.board.name);
        let run = emulate::run(self.sources, model, &options, &mut |_| ()).with_context(what)?;
        ensure!(
            run.self_check.is_none_or(|check| check.passes()),
            "{}: samples of the self-check fail",
            what()
        );
        Ok(Measured::from(&run))
    }
}
