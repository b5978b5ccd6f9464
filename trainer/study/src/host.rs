//! What this program was built with and what it runs on.

use lrpet_kernels::Isa;
use lrpet_report::Compiler;

/// Build and machine. Empty texts are not known.
#[derive(Clone, Debug)]
pub struct Host {
    /// Version of this crate, which is the program's.
    pub version: &'static str,
    /// Revision of its repository when it was built.
    pub revision: String,
    /// Compiler.
    pub rustc: String,
    /// Target of the compilation.
    pub target: String,
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
        let Compiler { version: rustc, target, .. } = Compiler::of_this_program();
        Host {
            version: env!("CARGO_PKG_VERSION"),
            revision: lrpet_report::revision().unwrap_or_default(),
            rustc,
            target,
            target_features: lrpet_report::target_features(),
            isa: Isa::best().name(),
            cpu: lrpet_report::host::core(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            threads: rayon::current_num_threads(),
        }
    }
}
