//! Where models are measured: this machine and boards.
//!
//! [`Board::all`] says what there is and how much memory it has. A [`Bench`] runs a model file and says what it took, by
//! layer and in all: [`HostBench`] here, [`EmulatedBench`] with firmware in an emulator. Search and sweep know
//! nothing else of a board, so their tests put a table in its place.

mod emulated;
mod host;

use std::path::Path;

use anyhow::{Result, ensure};
use lrpet_runtime::kernel::Isa;

pub use crate::schema::Board as Measured;
pub use emulated::EmulatedBench;
pub use host::HostBench;

/// Name of this machine among the boards.
pub const HOST: &str = "host";

/// A board, or this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Board {
    /// Its name.
    pub name: &'static str,
    /// Its core, in words.
    pub core: &'static str,
    /// Instruction set for which its memory is planned.
    pub isa: Isa,
    /// Bytes of flash and of RAM; none where there is plenty.
    pub memory: Option<Memory>,
    /// Whether models can be measured on it here: it is emulated, or this machine.
    pub measurable: bool,
}

/// Memory of a board in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Flash.
    pub flash: u64,
    /// RAM; where there are several, the largest that a model's arena can lie in.
    pub ram: u64,
}

impl Board {
    /// This machine.
    pub fn host() -> Board {
        Board { name: HOST, core: "this machine", isa: Isa::detect(), memory: None, measurable: true }
    }

    /// This machine, the emulated boards, and the real ones.
    pub fn all() -> impl Iterator<Item = Board> {
        let board = |board: &'static lrpet_board::boards::Board| Board {
            name: board.name,
            core: board.core,
            isa: isa(board),
            memory: Some(Memory { flash: board.flash, ram: board.ram }),
            measurable: board.emulator().is_some(),
        };
        std::iter::once(Board::host()).chain(lrpet_board::boards::BOARDS.iter().map(board))
    }

    /// The board of this name.
    pub fn find(name: &str) -> Option<Board> {
        Board::all().find(|board| board.name == name)
    }

    /// Names of those on which models can be measured here.
    pub fn measurable_names() -> Vec<&'static str> {
        Board::all().filter(|board| board.measurable).map(|board| board.name).collect()
    }

    /// What measures models on it.
    ///
    /// # Errors
    /// Where it is a real board, which has to be measured by hand.
    pub fn bench(self) -> Result<Box<dyn Bench>> {
        if self.name == HOST {
            return Ok(Box::new(HostBench::default()));
        }
        ensure!(
            self.measurable,
            "{} is no emulated board: models can be measured here on {}",
            self.name,
            Board::measurable_names().join(", ")
        );
        Ok(Box::new(EmulatedBench::new(self)?))
    }
}

/// The kernels of a board.
fn isa(board: &lrpet_board::boards::Board) -> Isa {
    match (board.core, board.features) {
        ("Cortex-M55", "cortex-m55-f16") => Isa::CortexM55Half,
        ("Cortex-M55", _) => Isa::CortexM55,
        _ => Isa::CortexM,
    }
}

/// Runs model files and says what they took.
pub trait Bench {
    /// The board.
    fn board(&self) -> Board;

    /// What decides a model's figures besides the model: kernels, their sources, the machine. Figures of another
    /// key are not comparable.
    ///
    /// # Errors
    /// Where the sources cannot be read.
    fn key(&self) -> Result<String>;

    /// Most bytes of a model file that it takes.
    fn capacity(&self) -> u64;

    /// Runs the model file, which has a self-check. Counts are instructions on emulated boards and nanoseconds on this
    /// machine.
    ///
    /// # Errors
    /// Where the model does not fit, or computes something else than its self-check says.
    fn measure(&mut self, model: &Path) -> Result<Measured>;
}

/// A count of `counter` in words: `1.52 M instructions`, `0.203 ms`.
pub fn count_text(count: f64, counter: &str) -> String {
    lrpet_report::units::counted(count, counter)
}

/// What [`HostBench`] counts.
pub const NANOSECONDS: &str = "nanoseconds";
/// What [`EmulatedBench`] counts.
pub const INSTRUCTIONS: &str = "instructions";
