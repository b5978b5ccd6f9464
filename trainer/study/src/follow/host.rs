//! What a run was built with and what it runs on.

use crate::ops::Isa;

/// Build and machine. Empty texts are not known.
#[derive(Clone, Debug)]
pub struct Host {
    /// Version of this crate.
    pub version: &'static str,
    /// Revision of its repository when it was built.
    pub revision: &'static str,
    /// Compiler.
    pub rustc: &'static str,
    /// Target of the compilation.
    pub target: &'static str,
    /// Instruction-set features that the whole program was compiled for.
    pub target_features: &'static str,
    /// Instruction set of the CPU kernels.
    pub isa: &'static str,
    /// Model of the processor.
    pub cpu: String,
    /// Processors that this process may use.
    pub processors: usize,
    /// Threads of the training.
    pub threads: usize,
}

impl Host {
    /// This process, now.
    pub fn here() -> Host {
        Host {
            version: env!("CARGO_PKG_VERSION"),
            revision: env!("LRPET_REVISION"),
            rustc: env!("LRPET_RUSTC"),
            target: env!("LRPET_TARGET"),
            target_features: env!("LRPET_TARGET_FEATURES"),
            isa: Isa::best().name(),
            cpu: cpu(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            threads: rayon::current_num_threads(),
        }
    }
}

/// The processor's name as Linux tells it, else its architecture.
fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}
