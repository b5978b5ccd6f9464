//! The table of boards, emulated and real.

use anyhow::{Result, bail};
use lrpet_runtime::kernel::Isa;

use crate::toolchain::{THUMBV7EM, THUMBV8M};
use crate::uf2;

/// RAM that every `memory.x` keeps for the stack.
pub const STACK_BYTES: u64 = 16 << 10;

/// A board whose crate is `firmware/boards/<package>`.
#[derive(Debug)]
pub struct Board {
    /// Name of the board.
    pub name: &'static str,
    /// Name of its crate.
    pub package: &'static str,
    /// Features of its crate.
    pub features: &'static str,
    /// Core, as the firmware calls it.
    pub core: &'static str,
    /// Instruction set of its kernels, for which memory is planned.
    pub isa: Isa,
    /// Rust's target.
    pub target: &'static str,
    /// Bytes of flash.
    pub flash: u64,
    /// Bytes of RAM; of several kinds, of the largest, which is the most that one model's variables can have.
    pub ram: u64,
    /// What runs it.
    pub runner: Runner,
}

/// What runs a board's firmware.
#[derive(Debug)]
pub enum Runner {
    /// An emulator, whose options are in the board's `.cargo/config.toml`.
    Emulator(&'static str),
    /// A chip.
    Chip(Chip),
}

/// A chip as a linked image and probe-rs see it.
#[derive(Debug)]
pub struct Chip {
    /// Name for probe-rs.
    pub name: &'static str,
    /// Where flash begins.
    pub flash_at: u32,
    /// Where RAM lies: first address and bytes.
    pub ram: &'static [(u32, u32)],
    /// Family of its UF2 files, where its boot ROM takes them.
    pub uf2_family: Option<u32>,
}

/// QEMU's program for Cortex-M.
const QEMU: Runner = Runner::Emulator("qemu-system-arm");

/// Every board: those that are emulated, then the real ones.
pub const BOARDS: &[Board] = &[
    Board {
        name: "qemu-mps2-an386",
        package: "qemu-mps2-an386",
        features: "",
        core: "Cortex-M4F",
        isa: Isa::CortexM,
        target: THUMBV7EM,
        flash: 4 << 20,
        ram: 4 << 20,
        runner: QEMU,
    },
    Board {
        name: "qemu-mps2-an500",
        package: "qemu-mps2-an500",
        features: "",
        core: "Cortex-M7",
        isa: Isa::CortexM,
        target: THUMBV7EM,
        flash: 4 << 20,
        ram: 4 << 20,
        runner: QEMU,
    },
    Board {
        name: "qemu-mps2-an505",
        package: "qemu-mps2-an505",
        features: "",
        core: "Cortex-M33",
        isa: Isa::CortexM,
        target: THUMBV8M,
        flash: 4 << 20,
        ram: 4 << 20,
        runner: QEMU,
    },
    Board {
        name: "qemu-mps3-an547",
        package: "qemu-mps3-an547",
        features: "",
        core: "Cortex-M55",
        isa: Isa::CortexM55,
        target: THUMBV8M,
        flash: 512 << 10,
        ram: 512 << 10,
        runner: QEMU,
    },
    Board {
        name: "qemu-mps3-an547-f16",
        package: "qemu-mps3-an547",
        features: "cortex-m55-f16",
        core: "Cortex-M55",
        isa: Isa::CortexM55Half,
        target: THUMBV8M,
        flash: 512 << 10,
        ram: 512 << 10,
        runner: QEMU,
    },
    Board {
        name: "nucleo-f446re",
        package: "nucleo-f446re",
        features: "",
        core: "Cortex-M4F",
        isa: Isa::CortexM,
        target: THUMBV7EM,
        flash: 512 << 10,
        ram: 128 << 10,
        runner: Runner::Chip(Chip {
            name: "STM32F446RETx",
            flash_at: 0x0800_0000,
            ram: &[(0x2000_0000, 128 << 10)],
            uf2_family: None,
        }),
    },
    Board {
        name: "nucleo-h743zi",
        package: "nucleo-h743zi",
        features: "",
        core: "Cortex-M7",
        isa: Isa::CortexM,
        target: THUMBV7EM,
        flash: 2 << 20,
        ram: 512 << 10,
        runner: Runner::Chip(Chip {
            name: "STM32H743ZITx",
            flash_at: 0x0800_0000,
            // DTCM and AXI SRAM.
            ram: &[(0x2000_0000, 128 << 10), (0x2400_0000, 512 << 10)],
            uf2_family: None,
        }),
    },
    Board {
        name: "nrf52840-dk",
        package: "nrf52840-dk",
        features: "",
        core: "Cortex-M4F",
        isa: Isa::CortexM,
        target: THUMBV7EM,
        flash: 1 << 20,
        ram: 256 << 10,
        runner: Runner::Chip(Chip {
            name: "nRF52840_xxAA",
            flash_at: 0,
            ram: &[(0x2000_0000, 256 << 10)],
            uf2_family: None,
        }),
    },
    Board {
        name: "pico2",
        package: "pico2",
        features: "",
        core: "Cortex-M33",
        isa: Isa::CortexM,
        target: THUMBV8M,
        flash: 4 << 20,
        ram: 520 << 10,
        runner: Runner::Chip(Chip {
            name: "RP235x",
            flash_at: 0x1000_0000,
            ram: &[(0x2000_0000, 520 << 10)],
            uf2_family: Some(uf2::RP2350_ARM_S),
        }),
    },
];

impl Chip {
    /// Where a model lies that is not linked with the code: the second half of flash (`memory.x`); first address and bytes.
    pub fn region(&self, board: &Board) -> (u32, u32) {
        let half = (board.flash / 2) as u32;
        (self.flash_at + half, half)
    }
}

impl Board {
    /// The board of this name; an error that names the known ones.
    pub fn named(name: &str) -> Result<&'static Board> {
        match BOARDS.iter().find(|board| board.name == name) {
            Some(board) => Ok(board),
            None => bail!("there is no board `{name}`; known: {}", names().collect::<Vec<_>>().join(", ")),
        }
    }

    /// The most RAM that variables can have, the model's among them: of one kind of RAM the stack takes its part, of several
    /// it has one for itself (`memory.x`).
    pub fn variables(&self) -> u64 {
        let kinds = self.chip().map_or(1, |chip| chip.ram.len());
        if kinds > 1 { self.ram } else { self.ram - STACK_BYTES }
    }

    /// The chip of a real board.
    pub fn chip(&self) -> Option<&Chip> {
        match &self.runner {
            Runner::Chip(chip) => Some(chip),
            Runner::Emulator(_) => None,
        }
    }

    /// The program that emulates a board.
    pub fn emulator(&self) -> Option<&'static str> {
        match self.runner {
            Runner::Emulator(program) => Some(program),
            Runner::Chip(_) => None,
        }
    }
}

/// The names of all boards.
pub fn names() -> impl Iterator<Item = &'static str> {
    BOARDS.iter().map(|board| board.name)
}

/// The boards that are emulated.
pub fn emulated() -> impl Iterator<Item = &'static Board> {
    BOARDS.iter().filter(|board| board.emulator().is_some())
}

/// The real boards with their chips.
pub fn real() -> impl Iterator<Item = (&'static Board, &'static Chip)> {
    BOARDS.iter().filter_map(|board| Some((board, board.chip()?)))
}
