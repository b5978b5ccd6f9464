//! Where models are measured: this machine and boards.
//!
//! [`BOARDS`] says what there is and how much memory it has. A [`Bench`] runs a model file and says what it took, by
//! layer and in all: [`HostBench`] here, [`EmulatedBench`] with firmware in an emulator. Search and sweep know
//! nothing else of a board, so their tests put a table in its place.

mod emulated;
mod host;

use std::path::Path;

use anyhow::{Result, bail};
use lrpet_runtime::kernel::Isa;

pub use crate::report::schema::Board as Measured;
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
    /// Instruction set for which its memory is planned; none for this machine, which is asked.
    isa: Option<Isa>,
    /// Bytes of flash and of RAM; none where there is plenty.
    pub memory: Option<Memory>,
    /// Whether it is emulated, so that models can be measured on it here.
    pub emulated: bool,
}

/// Memory of a board in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Flash.
    pub flash: u64,
    /// RAM; where there are several, the largest that a model's arena can lie in.
    pub ram: u64,
}

const fn board(
    name: &'static str,
    core: &'static str,
    isa: Isa,
    emulated: bool,
    [flash, ram]: [u64; 2],
) -> Board {
    Board { name, core, isa: Some(isa), memory: Some(Memory { flash, ram }), emulated }
}

/// Bytes of a KB.
const KB: u64 = 1024;
/// Flash and RAM of the emulated boards but for the Cortex-M55.
const LARGE: [u64; 2] = [4096 * KB, 4096 * KB];

/// This machine, the emulated boards, and the real ones.
pub const BOARDS: &[Board] = &[
    Board { name: HOST, core: "this machine", isa: None, memory: None, emulated: false },
    board("qemu-mps2-an386", "Cortex-M4F", Isa::CortexM, true, LARGE),
    board("qemu-mps2-an500", "Cortex-M7", Isa::CortexM, true, LARGE),
    board("qemu-mps2-an505", "Cortex-M33", Isa::CortexM, true, LARGE),
    board("qemu-mps3-an547", "Cortex-M55", Isa::CortexM55, true, [512 * KB, 512 * KB]),
    board("qemu-mps3-an547-f16", "Cortex-M55", Isa::CortexM55Half, true, [512 * KB, 512 * KB]),
    board("nucleo-f446re", "Cortex-M4F", Isa::CortexM, false, [512 * KB, 128 * KB]),
    board("nucleo-h743zi", "Cortex-M7", Isa::CortexM, false, [2048 * KB, 512 * KB]),
    board("nrf52840-dk", "Cortex-M4F", Isa::CortexM, false, [1024 * KB, 256 * KB]),
    board("pico2", "Cortex-M33", Isa::CortexM, false, [4096 * KB, 520 * KB]),
];

impl Board {
    /// The board of this name.
    pub fn find(name: &str) -> Option<&'static Board> {
        BOARDS.iter().find(|board| board.name == name)
    }

    /// Instruction set of its kernels.
    pub fn isa(&self) -> Isa {
        self.isa.unwrap_or_else(Isa::detect)
    }

    /// Whether models can be measured on it here.
    pub fn measurable(&self) -> bool {
        self.emulated || self.name == HOST
    }

    /// Names of those on which models can be measured here.
    pub fn measurable_names() -> Vec<&'static str> {
        BOARDS.iter().filter(|board| board.measurable()).map(|board| board.name).collect()
    }

    /// What measures models on it.
    ///
    /// # Errors
    /// Where it is a real board, which has to be measured by hand.
    pub fn bench(&'static self) -> Result<Box<dyn Bench>> {
        match self {
            Board { name: HOST, .. } => Ok(Box::new(HostBench::default())),
            Board { emulated: true, .. } => Ok(Box::new(EmulatedBench::new(self))),
            Board { name, .. } => {
                let known = Board::measurable_names().join(", ");
                bail!("{name} is no emulated board: models can be measured here on {known}")
            }
        }
    }
}

/// Runs model files and says what they took.
pub trait Bench {
    /// The board.
    fn board(&self) -> &Board;

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
    use crate::report::units;
    match counter {
        NANOSECONDS => units::milliseconds(count / 1e6),
        _ => format!("{} {counter}", units::count(count)),
    }
}

/// What [`HostBench`] counts.
pub const NANOSECONDS: &str = "nanoseconds";
/// What [`EmulatedBench`] counts.
pub const INSTRUCTIONS: &str = "instructions";
