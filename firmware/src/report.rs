//! The report: JSON lines, one event each, written without an allocator.

use core::fmt::Display;

use embedded_io::Write;
use serde::{Serialize, Serializer};

use crate::counter::{Calibration, Kind};

/// Longest line, without its end.
pub const LINE_BYTES: usize = 1024;

/// The first line: what runs where.
#[derive(Serialize)]
#[serde(tag = "event", rename = "start")]
pub struct Start<'a, N: Display> {
    /// Name of the board's crate.
    pub board: &'a str,
    /// Core.
    pub core: &'a str,
    /// Core clock in hertz.
    pub clock_hz: u32,
    /// What every `min`, `median`, `mean` and `max` of this report counts.
    pub counter: Kind,
    /// Smallest difference that the counter can show.
    pub counter_resolution: u32,
    /// The counter's own test.
    pub calibration: Option<Calibration>,
    /// The library that computes, with its version.
    pub engine: &'a str,
    /// Instruction set of its kernels.
    pub kernels: &'a str,
    /// Storage type of weights and activations.
    pub dtype: &'a str,
    /// Shape of the input, channels × height × width.
    #[serde(serialize_with = "as_str")]
    pub input: N,
    /// Number of logits.
    pub classes: u32,
    /// CRC-32 of the model file.
    #[serde(serialize_with = "as_hex")]
    pub model_crc32: u32,
    /// Bytes of the model file, all of them in flash.
    pub model_bytes: usize,
    /// Bytes of the arena.
    pub arena_bytes: usize,
}

/// One sample of the self-check.
#[derive(Serialize)]
#[serde(tag = "event", rename = "sample")]
pub struct Sample {
    /// Index of the sample.
    pub index: usize,
    /// Class computed here.
    pub class: usize,
    /// Class that the model file states.
    pub expected_class: usize,
    /// Largest difference of a logit (null: not a number).
    pub max_abs_diff: f32,
    /// Difference that is allowed.
    pub tolerance: f32,
    /// Whether the sample passes.
    pub pass: bool,
}

/// What one layer took, over the iterations.
#[derive(Serialize)]
#[serde(tag = "event", rename = "layer")]
pub struct Layer<'a, O: Display> {
    /// Index of the operation.
    pub index: usize,
    /// Name of the layer, or what it does.
    pub name: &'a str,
    /// Rank of a pair, 0 otherwise.
    pub rank: u64,
    /// Shape of the output, channels × height × width.
    #[serde(serialize_with = "as_str")]
    pub output: O,
    /// Multiply-adds.
    pub macs: u64,
    /// Fewest cycles or instructions.
    pub min: u64,
    /// Their mean, rounded down.
    pub mean: u64,
    /// Most.
    pub max: u64,
}

/// What whole inferences took.
#[derive(Serialize)]
#[serde(tag = "event", rename = "total")]
pub struct Total {
    /// Inferences before counting began.
    pub warm_up: usize,
    /// Inferences counted.
    pub iterations: usize,
    /// Multiply-adds of one.
    pub macs: u64,
    /// Fewest cycles or instructions.
    pub min: u64,
    /// Their median (the lower one of an even number).
    pub median: u64,
    /// Most.
    pub max: u64,
}

/// The last line.
#[derive(Serialize)]
#[serde(tag = "event", rename = "end")]
pub struct End {
    /// Samples of the self-check.
    pub samples: usize,
    /// Those that pass.
    pub samples_passed: usize,
    /// CRC-32 of the logits of all samples, as little-endian f32.
    #[serde(serialize_with = "as_hex")]
    pub outputs_crc32: u32,
    /// Deepest use of the stack.
    pub stack_bytes: u32,
    /// Whether everything passed.
    pub pass: bool,
}

/// The last line where something failed that is not a sample.
#[derive(Serialize)]
#[serde(tag = "event", rename = "error")]
pub struct Failed<M: Display> {
    /// What failed and what to do.
    #[serde(serialize_with = "as_str")]
    pub message: M,
}

fn as_str<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn as_hex<S: Serializer>(value: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value:08x}"))
}

/// Why a line was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineError {
    /// It is longer than [`LINE_BYTES`].
    TooLong,
    /// The console refused it.
    Console,
}

impl Display for LineError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            LineError::TooLong => {
                write!(f, "a line of the report exceeds {LINE_BYTES} bytes: shorten the layer names")
            }
            LineError::Console => f.write_str("the console refuses output"),
        }
    }
}

/// Writes events to a console.
pub struct Reporter<'w, W> {
    console: &'w mut W,
    line: [u8; LINE_BYTES],
}

impl<'w, W: Write> Reporter<'w, W> {
    /// Writes to `console`.
    pub fn new(console: &'w mut W) -> Self {
        Self { console, line: [0; LINE_BYTES] }
    }

    /// Writes one event and the end of its line.
    pub fn event(&mut self, event: &impl Serialize) -> Result<(), LineError> {
        let length = serde_json_core::to_slice(event, &mut self.line).map_err(|_| LineError::TooLong)?;
        let text = self.line.get(..length).ok_or(LineError::TooLong)?;
        self.console.write_all(text).map_err(|_| LineError::Console)?;
        self.console.write_all(b"\n").map_err(|_| LineError::Console)?;
        self.console.flush().map_err(|_| LineError::Console)
    }
}
