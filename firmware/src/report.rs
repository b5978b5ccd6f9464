//! The report: JSON lines, one event each, written without an allocator.

use core::fmt::{self, Display, Write as _};

use embedded_io::Write;

use crate::counter::{Calibration, Kind};
use crate::decimal;

/// Longest line, without its end.
pub const LINE_BYTES: usize = 1024;

/// A line of the report.
pub trait Event {
    /// What `event` says on the line.
    const NAME: &'static str;

    /// Writes the fields.
    fn fields(&self, object: &mut Object<'_>);
}

/// The first line: what runs where.
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
    pub input: N,
    /// Number of logits.
    pub classes: u32,
    /// Where the model lies: `linked` with the code, or in a `region` of its own.
    pub source: &'a str,
    /// CRC-32 of the model file.
    pub model_crc32: u32,
    /// Bytes of the model file, all of them in flash.
    pub model_bytes: usize,
    /// Bytes of the arena in use: at least what the model needs.
    pub arena_bytes: usize,
    /// Bytes of memory that the model needs: arena, logits, and image or counts of the layers.
    pub needed_bytes: usize,
    /// Bytes of memory that the firmware has for them.
    pub memory_bytes: usize,
}

impl<N: Display> Event for Start<'_, N> {
    const NAME: &'static str = "start";

    fn fields(&self, object: &mut Object<'_>) {
        object.text("board", self.board);
        object.text("core", self.core);
        object.number("clock_hz", self.clock_hz.into());
        object.text("counter", self.counter.name());
        object.number("counter_resolution", self.counter_resolution.into());
        object.object("calibration", self.calibration, |inner, calibration| {
            inner.number("known", calibration.known);
            inner.number("counted", calibration.counted);
        });
        object.text("engine", self.engine);
        object.text("kernels", self.kernels);
        object.text("dtype", self.dtype);
        object.text("input", &self.input);
        object.number("classes", self.classes.into());
        object.text("source", self.source);
        object.hex("model_crc32", self.model_crc32);
        object.number("model_bytes", self.model_bytes as u64);
        object.number("arena_bytes", self.arena_bytes as u64);
        object.number("needed_bytes", self.needed_bytes as u64);
        object.number("memory_bytes", self.memory_bytes as u64);
    }
}

/// One sample of the self-check.
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

impl Event for Sample {
    const NAME: &'static str = "sample";

    fn fields(&self, object: &mut Object<'_>) {
        object.number("index", self.index as u64);
        object.number("class", self.class as u64);
        object.number("expected_class", self.expected_class as u64);
        object.float("max_abs_diff", self.max_abs_diff);
        object.float("tolerance", self.tolerance);
        object.boolean("pass", self.pass);
    }
}

/// What one layer took, over the iterations.
pub struct Layer<'a, O: Display> {
    /// Index of the operation.
    pub index: usize,
    /// Name of the layer, or what it does.
    pub name: &'a str,
    /// Rank of a pair, 0 otherwise.
    pub rank: u64,
    /// Shape of the output, channels × height × width.
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

impl<O: Display> Event for Layer<'_, O> {
    const NAME: &'static str = "layer";

    fn fields(&self, object: &mut Object<'_>) {
        object.number("index", self.index as u64);
        object.text("name", self.name);
        object.number("rank", self.rank);
        object.text("output", &self.output);
        object.number("macs", self.macs);
        object.number("min", self.min);
        object.number("mean", self.mean);
        object.number("max", self.max);
    }
}

/// What whole inferences took.
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

impl Event for Total {
    const NAME: &'static str = "total";

    fn fields(&self, object: &mut Object<'_>) {
        object.number("warm_up", self.warm_up as u64);
        object.number("iterations", self.iterations as u64);
        object.number("macs", self.macs);
        object.number("min", self.min);
        object.number("median", self.median);
        object.number("max", self.max);
    }
}

/// The last line.
pub struct End {
    /// Samples of the self-check.
    pub samples: usize,
    /// Those that pass.
    pub samples_passed: usize,
    /// CRC-32 of the logits of all samples, as little-endian f32.
    pub outputs_crc32: u32,
    /// Deepest use of the stack.
    pub stack_bytes: u32,
    /// Whether everything passed.
    pub pass: bool,
}

impl Event for End {
    const NAME: &'static str = "end";

    fn fields(&self, object: &mut Object<'_>) {
        object.number("samples", self.samples as u64);
        object.number("samples_passed", self.samples_passed as u64);
        object.hex("outputs_crc32", self.outputs_crc32);
        object.number("stack_bytes", self.stack_bytes.into());
        object.boolean("pass", self.pass);
    }
}

/// The last line where something failed that is not a sample.
pub struct Failed<M: Display> {
    /// What failed and what to do.
    pub message: M,
}

impl<M: Display> Event for Failed<M> {
    const NAME: &'static str = "error";

    fn fields(&self, object: &mut Object<'_>) {
        object.text("message", &self.message);
    }
}

/// A JSON object that is being written to a line. What does not fit is noticed at the end.
pub struct Object<'l> {
    line: &'l mut [u8; LINE_BYTES],
    length: usize,
    full: bool,
    first: bool,
}

impl Object<'_> {
    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match self.line.get_mut(self.length) {
                Some(slot) => {
                    *slot = *byte;
                    self.length += 1;
                }
                None => self.full = true,
            }
        }
    }

    fn key(&mut self, key: &str) {
        self.push(if self.first { b"\"" } else { b",\"" });
        self.first = false;
        self.push(key.as_bytes());
        self.push(b"\":");
    }

    /// A string.
    fn text(&mut self, key: &str, value: impl Display) {
        self.key(key);
        self.push(b"\"");
        if write!(Escaped(self), "{value}").is_err() {
            self.full = true;
        }
        self.push(b"\"");
    }

    /// Eight hexadecimal digits, as a string.
    fn hex(&mut self, key: &str, value: u32) {
        self.text(key, format_args!("{value:08x}"));
    }

    fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        if write!(Escaped(self), "{value}").is_err() {
            self.full = true;
        }
    }

    /// The shortest decimal that is read as the same f32; null where it is no number.
    fn float(&mut self, key: &str, value: f32) {
        self.key(key);
        if value.is_finite() {
            decimal::write(value, |piece| self.push(piece));
        } else {
            self.push(b"null");
        }
    }

    fn boolean(&mut self, key: &str, value: bool) {
        self.key(key);
        self.push(if value { b"true" } else { b"false" });
    }

    /// An object of its own, or null.
    fn object<T>(&mut self, key: &str, value: Option<T>, fields: impl FnOnce(&mut Self, T)) {
        self.key(key);
        let Some(value) = value else { return self.push(b"null") };
        self.push(b"{");
        self.first = true;
        fields(self, value);
        self.first = false;
        self.push(b"}");
    }
}

/// Text inside a JSON string.
struct Escaped<'o, 'l>(&'o mut Object<'l>);

impl fmt::Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            match byte {
                b'"' | b'\\' => self.0.push(&[b'\\', byte]),
                0..0x20 => {
                    let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' + value - 10 };
                    self.0.push(b"\\u00");
                    self.0.push(&[digit(byte >> 4), digit(byte & 15)]);
                }
                _ => self.0.push(&[byte]),
            }
        }
        Ok(())
    }
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
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
}

impl<'w, W: Write> Reporter<'w, W> {
    /// Writes to `console`.
    pub fn new(console: &'w mut W) -> Self {
        Self { console }
    }

    /// Writes one event and the end of its line. Apart, so that the line is on the stack only meanwhile.
    #[inline(never)]
    pub fn event<E: Event>(&mut self, event: &E) -> Result<(), LineError> {
        let mut line = [0; LINE_BYTES];
        let mut object = Object { line: &mut line, length: 0, full: false, first: true };
        object.push(b"{");
        object.text("event", E::NAME);
        event.fields(&mut object);
        object.push(b"}");
        let (length, full) = (object.length, object.full);
        let text = line.get(..length).filter(|_| !full).ok_or(LineError::TooLong)?;
        self.console.write_all(text).map_err(|_| LineError::Console)?;
        self.console.write_all(b"\n").map_err(|_| LineError::Console)?;
        self.console.flush().map_err(|_| LineError::Console)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::String;
    use std::vec::Vec;

    use super::*;

    fn written(message: &str) -> Result<Vec<u8>, LineError> {
        let mut console = Vec::new();
        Reporter::new(&mut console).event(&Failed { message })?;
        Ok(console)
    }

    #[test]
    fn any_text_is_read_back_as_it_was() {
        let every: String = (0..0x180).filter_map(char::from_u32).chain("×\u{1f980}".chars()).collect();
        let parsed: serde_json::Value = serde_json::from_slice(&written(&every).unwrap_or_default()).unwrap();
        assert_eq!((&parsed["event"], parsed["message"].as_str()), (&"error".into(), Some(&*every)));
    }

    #[test]
    fn a_line_that_is_too_long_is_refused() {
        let frame = "{\"event\":\"error\",\"message\":\"\"}".len();
        let text = "a".repeat(LINE_BYTES - frame);
        assert_eq!(written(&text).map(|line| line.len()), Ok(LINE_BYTES + 1));
        assert_eq!(written(&(text + "b")), Err(LineError::TooLong));
    }
}
