//! The cores on which instructions are counted.

use lrpet_board::boards;

/// Where a core is emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A board of `firmware/boards`, which has a model in flash.
    Board(&'static str),
    /// `qemu-aarch64 -cpu`, for the program `lrpet-run`.
    Program(&'static str),
}

/// A core.
#[derive(Debug)]
pub struct Core {
    /// Name on the command line.
    pub name: &'static str,
    /// Where it is emulated.
    pub place: Place,
    /// LLVM's name of the architecture.
    pub triple: &'static str,
    /// LLVM's name of the core, for the names of instructions.
    pub llvm: &'static str,
    /// LLVM's name of the model of its pipeline, which may be that of a relative; what it is.
    pub pipeline: (&'static str, &'static str),
    /// Most multiply-adds a cycle in f32 by its published timings.
    pub peak: f64,
}

const ARM64: &str = "aarch64-linux-gnu";

/// All of them.
pub const CORES: &[Core] = &[
    Core {
        name: "cortex-m4",
        place: Place::Board("qemu-mps2-an386"),
        triple: "thumbv7em-none-eabihf",
        llvm: "cortex-m4",
        pipeline: ("cortex-m4", "LLVM's model of Cortex-M4"),
        // VMUL and VADD, a cycle each; VFMA takes three (Technical Reference Manual, table 7-1).
        peak: 0.5,
    },
    Core {
        name: "cortex-m7",
        place: Place::Board("qemu-mps2-an500"),
        triple: "thumbv7em-none-eabihf",
        llvm: "cortex-m7",
        pipeline: ("cortex-m7", "LLVM's model of Cortex-M7, which issues two instructions a cycle"),
        // One VFMA.
        peak: 1.0,
    },
    Core {
        name: "cortex-m33",
        place: Place::Board("qemu-mps2-an505"),
        triple: "thumbv8m.main-none-eabihf",
        llvm: "cortex-m33",
        pipeline: ("cortex-m33", "LLVM's model of Cortex-M4, which it uses for Cortex-M33 too"),
        // One VFMA.
        peak: 1.0,
    },
    Core {
        name: "cortex-m55",
        place: Place::Board("qemu-mps3-an547"),
        triple: "thumbv8.1m.main-none-eabihf",
        llvm: "cortex-m55",
        pipeline: ("cortex-m55", "LLVM's model of Cortex-M55"),
        // A register of four f32 in two beats a cycle; twice as many f16.
        peak: 2.0,
    },
    Core {
        name: "cortex-a53",
        place: Place::Program("cortex-a53"),
        triple: ARM64,
        llvm: "cortex-a53",
        pipeline: ("cortex-a53", "LLVM's model of Cortex-A53, which issues two instructions a cycle"),
        // One FMLA of four lanes; some sources say half of it.
        peak: 4.0,
    },
    Core {
        name: "cortex-a72",
        place: Place::Program("cortex-a72"),
        triple: ARM64,
        llvm: "cortex-a72",
        pipeline: ("cortex-a72", "LLVM's model of Cortex-A57, which it uses for Cortex-A72 too"),
        // One FMLA of four lanes (Software Optimization Guide).
        peak: 4.0,
    },
    Core {
        name: "cortex-a76",
        place: Place::Program("cortex-a76"),
        triple: ARM64,
        llvm: "cortex-a76",
        pipeline: ("neoverse-n1", "LLVM's model of Neoverse N1, the server core of the same design"),
        // Two FMLA of four lanes (Software Optimization Guide); of eight in f16.
        peak: 8.0,
    },
];

impl Core {
    /// The core of this name.
    pub fn named(name: &str) -> Option<&'static Core> {
        CORES.iter().find(|core| core.name == name)
    }

    /// False for a board whose crate is not there.
    pub fn is_known(&self) -> bool {
        match self.place {
            Place::Board(name) => boards::emulated().any(|board| board.name == name),
            Place::Program(_) => true,
        }
    }
}
