//! What the document holds. Fields that a reader does not know are ignored; what is not known is `null`.

use serde::{Deserialize, Serialize};

/// The format's name and version, in every document.
pub const FORMAT: &str = "lrpet-run/1";

/// One model, measured on one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// [`FORMAT`].
    pub format: String,
    /// Name of the board's crate, or `host` for a program under an operating system.
    pub board: String,
    /// Core, such as `Cortex-M4F`, or the processor's name.
    pub core: String,
    /// Clock of the core in hertz; none where it varies.
    pub clock_hz: Option<u64>,
    /// What every `min`, `median`, `mean` and `max` of this document counts.
    pub counter: Counter,
    /// What compiled the kernels; none where that is not known.
    pub compiler: Option<Compiler>,
    /// Revision of the sources, `-dirty` where they were changed since; none where it is not known.
    pub git: Option<String>,
    /// The library that computes, with its version.
    pub engine: String,
    /// What was run.
    pub model: Model,
    /// Storage of weights and activations.
    pub dtype: String,
    /// What convolutions sum their products in.
    pub arithmetic: String,
    /// Instruction set of the kernels.
    pub isa: String,
    /// Threads of one inference.
    pub threads: u32,
    /// Inferences before counting began.
    pub warm_up: u64,
    /// Inferences counted whole, and as many again by layer.
    pub iterations: u64,
    /// Multiply-adds of one inference.
    pub macs: u64,
    /// Whole inferences.
    pub total: Figures,
    /// Every operation in order of execution.
    pub layers: Vec<Layer>,
    /// What the model takes there.
    pub memory: Memory,
    /// The model's own samples; none where it has none.
    pub self_check: Option<SelfCheck>,
    /// CRC-32 of the logits of all samples of the self-check, as little-endian f32, in eight hexadecimal digits.
    pub outputs_crc32: Option<String>,
    /// The machine, for a program under an operating system.
    #[serde(default)]
    pub host: Option<Host>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counter {
    /// The unit of all figures.
    pub kind: Kind,
    /// Smallest difference that it can show; none where it is not known.
    pub resolution: Option<u64>,
    /// The counter's own test, where there was one.
    pub calibration: Option<Calibration>,
}

/// Units, which are never mixed and never converted into each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Clock cycles of the core.
    Cycles,
    /// Executed instructions: an emulator without a timing model has nothing else.
    Instructions,
    /// Time.
    Nanoseconds,
}

impl Kind {
    /// As in the document.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Cycles => "cycles",
            Kind::Instructions => "instructions",
            Kind::Nanoseconds => "nanoseconds",
        }
    }
}

/// A stretch of code of known length, as the counter saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calibration {
    /// Length in the counter's unit, known from the code.
    pub known: u64,
    /// Length that was counted.
    pub counted: u64,
}

/// What compiled the kernels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compiler {
    /// `rustc --version`.
    pub version: String,
    /// Rust's name of the target.
    pub target: String,
    /// Optimisation and other flags, in words.
    pub flags: String,
}

/// A model file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// The file.
    pub file: String,
    /// Its bytes.
    pub bytes: u64,
    /// CRC-32 of the file, in eight hexadecimal digits.
    pub crc32: String,
    /// SHA-256 of the file, hexadecimal; boards compute none.
    pub sha256: Option<String>,
    /// Network, as the model's card says.
    pub network: Option<String>,
    /// How its ranks were chosen, as the card says: a pruning ratio, `0` for a dense network, or words.
    pub prune: Option<String>,
    /// Shape of the input: channels, height, width.
    pub input: [u32; 3],
    /// Number of logits.
    pub classes: u32,
}

/// Counts over the iterations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Fewest.
    pub min: u64,
    /// The middle one, the lower of two.
    pub median: u64,
    /// Most.
    pub max: u64,
}

impl Figures {
    /// Of counts; all zero where there are none.
    pub fn of(counts: &mut [u64]) -> Figures {
        counts.sort_unstable();
        let last = counts.len().saturating_sub(1);
        let [min, median, max] = [0, last / 2, last].map(|index| counts.get(index).copied().unwrap_or(0));
        Figures { min, median, max }
    }
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Its number.
    pub index: u64,
    /// Name of the layer, or what it does.
    pub name: String,
    /// Rank of a pair, 0 otherwise.
    pub rank: u64,
    /// How a convolution on packed weights is computed; none of other layers, on boards, and in documents before there were
    /// several ways.
    #[serde(default)]
    pub form: Option<String>,
    /// Shape of the output: channels, height, width.
    pub output: [u32; 3],
    /// Multiply-adds, every product made.
    pub macs: u64,
    /// Fewest.
    pub min: u64,
    /// The middle one; none on boards, which keep no list of counts.
    pub median: Option<u64>,
    /// The mean, rounded down.
    pub mean: u64,
    /// Most.
    pub max: u64,
}

impl Layer {
    /// The median, or the mean where there is none.
    pub fn typical(&self) -> u64 {
        self.median.unwrap_or(self.mean)
    }
}

/// What the model takes, in bytes; none where that has no meaning on the machine, or is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// RAM for activations, scratch and the table of steps.
    pub arena_bytes: u64,
    /// Flash for code, constants and initial values, without the model.
    pub code_bytes: Option<u64>,
    /// Of that, functions of the runtime (those that the compiler inlined elsewhere are not among them).
    pub runtime_bytes: Option<u64>,
    /// The model file.
    pub model_bytes: u64,
    /// All flash.
    pub flash_bytes: Option<u64>,
    /// Flash that the board has.
    pub flash_available: Option<u64>,
    /// RAM for all variables but the arena.
    pub static_bytes: Option<u64>,
    /// RAM that the stack used at its deepest point.
    pub stack_bytes: Option<u64>,
    /// All RAM: arena, other variables and stack.
    pub ram_bytes: Option<u64>,
    /// RAM that the board has.
    pub ram_available: Option<u64>,
    /// RAM for weights that were rearranged for the machine's vectors; 0 where they are read in place.
    #[serde(default)]
    pub packed_bytes: u64,
    /// RAM for further threads.
    #[serde(default)]
    pub team_bytes: u64,
}

/// How the machine's logits compare with those in the model file.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SelfCheck {
    /// Samples.
    pub samples: u64,
    /// Those that pass.
    pub passed: u64,
    /// Largest difference of a logit; none where one is no number.
    pub largest_difference: Option<f64>,
}

impl SelfCheck {
    /// Whether every sample passes.
    pub fn passes(&self) -> bool {
        self.passed == self.samples
    }
}

/// A machine with an operating system.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Operating system.
    pub os: String,
    /// The core to which the bench was pinned.
    pub pinned_to: Option<u32>,
    /// What chooses the clock, by the kernel's name.
    pub governor: Option<String>,
    /// The clock in kHz before and after the bench.
    pub frequency_khz: Option<[u64; 2]>,
    /// Temperature in °C before and after the bench.
    pub temperature_c: Option<[f64; 2]>,
    /// The line that was high during each counted inference.
    pub gpio: Option<String>,
    /// Share of all processors' time that other programs used during the bench, 0 to 1.
    #[serde(default)]
    pub others: Option<f64>,
    /// Multiply-adds a second that a loop of nothing else reaches on this core, in 1e9.
    pub peak_gmacs: Option<f64>,
}
