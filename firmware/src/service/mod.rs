//! A service on a serial line that speaks the text protocol of MLPerf Tiny, so that its public runner can drive a board.
//!
//! Commands end with `%`; replies are lines that end with CR LF, the last of them `m-ready`. Whatever arrives, memory stays
//! within bounds, nothing panics, and the service goes on with the next command. Where the model cannot be used, each command
//! that needs it says why. Beyond the protocol there is `memory`, which says how much of its memory the model needs and how deep
//! the stack was used. Results of factorised networks belong to
//! the benchmark's open division; nothing here makes them results of the benchmark.
//!
//! No reply is about another image than the last that was announced: bytes beyond those that `db load` announced are an error
//! (the protocol would ignore them) and drop the image, since a line was then sent twice or another one lost; and `results` are
//! those of an inference since `db load`. What somebody began to send and did not end within [`HALF_COMMAND_SECONDS`] is
//! forgotten.

mod command;
mod line;

use core::fmt;

use embedded_hal::digital::OutputPin;
use embedded_io::{Error as _, Read, Write, WriteFmtError};
use lrpet_runtime::model::{InputKind, OutputKind};
use lrpet_runtime::session::{Hook, RunError, Session};

pub use command::MAX_INFERENCES;
use command::{Command, bytes};
pub use line::LINE_BYTES;
use line::{Event, Line};

use crate::counter::{Counter, Kind};
use crate::memory::input_bytes;
use crate::run::{Board, Hardware};
use crate::source::{Open, Opened};

/// Bytes of the buffer that `db print` shows on one line.
const PRINTED: usize = 8;

/// Instructions that stand for a microsecond where an emulator has no time.
const INSTRUCTIONS: u32 = 1000;

/// Seconds without a byte after which the beginning of a command is none: whoever sent it is gone.
pub const HALF_COMMAND_SECONDS: u32 = 3;

/// Largest magnitude whose thousandths a u32 holds.
const MOST: f32 = 4_000_000.0;

/// The service of one model.
pub struct Service<'s, 'm, M: Opened<'m>, C, P, H> {
    line: Line,
    /// When the last byte came, as [`Counter::roughly`] counts.
    last_byte: u64,
    device: Device<'s, 'm, M, C, P, H>,
}

/// What obeys.
struct Device<'s, 'm, M: Opened<'m>, C, P, H> {
    board: &'s Board,
    hardware: Hardware<'s, C, P, H>,
    /// Bytes of memory for a model.
    memory: usize,
    /// Or why nothing can be inferred.
    model: Result<Loaded<'m, M>, M::Unusable>,
}

/// A model that can run.
struct Loaded<'m, M: Opened<'m>> {
    model: M,
    session: Session<'m, M::Used>,
    /// What it needs of the memory.
    needed: usize,
    /// Takes the input: h·w·c bytes of an image, or c·h·w values of f32, little-endian as the core is.
    image: &'m mut [u8],
    /// One for each class.
    logits: &'m mut [f32],
    /// Bytes announced by `db load`, and those that came.
    expected: usize,
    received: usize,
    /// True when the logits are those of an inference.
    inferred: bool,
}

impl<'m, M: Opened<'m>> Loaded<'m, M> {
    fn new(model: M, memory: &'m mut [u8]) -> Result<Self, M::Unusable> {
        let room = model.room(memory)?;
        let needed = room.needed;
        let (arena, logits, image) = room.for_service(input_bytes(model.header()));
        let session = model.session(arena)?;
        Ok(Self { model, session, needed, image, logits, expected: 0, received: 0, inferred: false })
    }
}

/// A line that could not be sent.
type Sent<W> = Result<(), WriteFmtError<<W as embedded_io::ErrorType>::Error>>;

/// Opens the model of `source` in `memory` (see [`memory_bytes`](crate::memory::memory_bytes); its address a multiple of 16) and
/// serves it on `serial` until the line ends, which a real one never does.
#[inline(never)]
pub fn serve<'m, C: Counter, P: OutputPin, H: Hook>(
    board: &Board,
    source: impl Open<'m>,
    memory: &'m mut [u8],
    hardware: Hardware<'_, C, P, H>,
    serial: &mut (impl Read + Write),
) {
    Service::new(board, source, memory, hardware).serve(serial);
}

impl<'s, 'm, M: Opened<'m>, C: Counter, P: OutputPin, H: Hook> Service<'s, 'm, M, C, P, H> {
    /// A service for the model of `source`. One that cannot be used is refused by each command that needs it.
    pub fn new(
        board: &'s Board,
        source: impl Open<'m, Opened = M>,
        memory: &'m mut [u8],
        hardware: Hardware<'s, C, P, H>,
    ) -> Self {
        let bytes = memory.len();
        let model = source.open().and_then(|model| Loaded::new(model, memory));
        let device = Device { board, hardware, memory: bytes, model };
        Self { line: Line::new(), last_byte: 0, device }
    }

    /// Serves until the line ends, which a real one never does. A failure of the wire costs the command that was being
    /// received.
    pub fn serve(&mut self, serial: &mut (impl Read + Write)) {
        // Whoever does not listen misses a reply and no more.
        let _ = write!(serial, "m-init-done\r\n").and_then(|()| ready(serial));
        let mut received = [0; 16];
        loop {
            match serial.read(&mut received) {
                Ok(0) => return,
                Ok(count) => {
                    for byte in received.iter().take(count) {
                        let _ = self.byte(*byte, serial);
                    }
                }
                Err(error) => {
                    self.line.clear();
                    let kind = error.kind();
                    let failed = refuse(serial, format_args!("Serial line: {kind:?}"));
                    let _ = failed.and_then(|()| ready(serial));
                }
            }
        }
    }

    /// Takes one byte; at the end of a command, obeys and replies.
    pub fn byte<W: Write>(&mut self, byte: u8, out: &mut W) -> Sent<W> {
        let Device { board, hardware, .. } = &mut self.device;
        let now = hardware.counter.roughly();
        let patience = u64::from(HALF_COMMAND_SECONDS) * per_second(board, hardware.counter.kind());
        if now.saturating_sub(self.last_byte) > patience {
            self.line.clear();
        }
        self.last_byte = now;
        let replied = match self.line.push(byte) {
            Event::More => return Ok(()),
            // Ends whatever somebody else may have begun; the public runner sends it to begin afresh.
            Event::Command([]) => Ok(()),
            Event::TooLong => refuse(out, format_args!("Command longer than {LINE_BYTES} characters")),
            Event::Command(command) => match Command::parse(command) {
                Ok(command) => self.device.obey(&command, out),
                Err(refusal) => refuse(out, refusal),
            },
        };
        replied.and_then(|()| ready(out))
    }
}

impl<'m, M: Opened<'m>, C: Counter, P: OutputPin, H: Hook> Device<'_, 'm, M, C, P, H> {
    fn obey<W: Write>(&mut self, command: &Command<'_>, out: &mut W) -> Sent<W> {
        let Hardware { counter, pin, hook, stack_bytes } = &mut self.hardware;
        let loaded = match (command, &mut self.model) {
            (Command::Name, _) => return write!(out, "m-name-dut-[{}]\r\n", self.board.name),
            (Command::Profile, model) => return profile(self.board, counter.kind(), model.as_ref(), out),
            (Command::Timestamp, _) => return timestamp(self.board, *counter, out),
            (Command::Help, _) => {
                return write!(
                    out,
                    "name, profile, timestamp, memory, help, db load N, db HH.., db print, infer N W, results; each ends with %\r\n"
                );
            }
            (Command::Memory, model) => {
                let needed = model.as_ref().map_or(0, |loaded| loaded.needed);
                let (memory, stack) = (self.memory, stack_bytes());
                return write!(out, "m-memory-[model {needed} of {memory} bytes, stack {stack} bytes]\r\n");
            }
            (_, Err(unusable)) => return refuse(out, unusable),
            (_, Ok(loaded)) => loaded,
        };
        match *command {
            Command::Load { bytes } => loaded.load(bytes, out),
            Command::Data(digits) => loaded.data(digits, out),
            Command::Print => loaded.print(out),
            Command::Infer { count, warm_up } => {
                let mut timed = Timed { board: self.board, counter: *counter, pin: *pin, hook: *hook };
                loaded.infer([warm_up, count], &mut timed, out)
            }
            // What needs no model was answered above.
            _ => loaded.results(out),
        }
    }
}

/// Who is speaking, and of what.
fn profile<'m, M: Opened<'m>, W: Write>(
    board: &Board,
    kind: Kind,
    model: Result<&Loaded<'m, M>, &M::Unusable>,
    out: &mut W,
) -> Sent<W> {
    let version = env!("CARGO_PKG_VERSION");
    write!(out, "m-profile-[lrpet {version}, {}", board.core)?;
    if let Ok(loaded) = model {
        write!(out, ", {} kernels", loaded.session.isa().name())?;
    }
    write!(out, ", f16 storage")?;
    match kind {
        Kind::Cycles => write!(out, ", {} Hz]\r\n", board.clock_hz)?,
        Kind::Instructions => {
            write!(out, ", emulated: a lap of 1 us is {INSTRUCTIONS} instructions and no time]\r\n")?;
        }
    }
    match model {
        Ok(loaded) => write!(out, "m-model-[{}]\r\n", loaded.model.name()),
        Err(_) => write!(out, "m-model-[none]\r\n"),
    }
}

/// What a second adds to a counter; in an emulator, the instructions that stand for one.
fn per_second(board: &Board, kind: Kind) -> u64 {
    match kind {
        Kind::Instructions => u64::from(INSTRUCTIONS) * 1_000_000,
        Kind::Cycles => board.clock_hz.into(),
    }
}

/// Microseconds since some moment; thousands of instructions in an emulator.
fn timestamp<W: Write>(board: &Board, counter: &mut impl Counter, out: &mut W) -> Sent<W> {
    let count = counter.stop();
    let micros = match counter.kind() {
        Kind::Instructions => count / u64::from(INSTRUCTIONS),
        Kind::Cycles => {
            let clock = u64::from(board.clock_hz.max(1));
            (count / clock).wrapping_mul(1_000_000).wrapping_add(count % clock * 1_000_000 / clock)
        }
    };
    write!(out, "m-lap-us-{micros}\r\n")
}

/// What timed inferences need of the board.
struct Timed<'t, C, P, H> {
    board: &'t Board,
    counter: &'t mut C,
    pin: &'t mut P,
    hook: &'t mut H,
}

impl<'m, M: Opened<'m>> Loaded<'m, M> {
    fn load<W: Write>(&mut self, bytes: usize, out: &mut W) -> Sent<W> {
        let capacity = self.image.len();
        if bytes == 0 || bytes > capacity {
            return refuse(out, format_args!("db load {bytes}: the buffer takes 1 to {capacity} bytes"));
        }
        self.announce(bytes);
        write!(out, "m-[Expecting {bytes} bytes]\r\n")
    }

    /// Waits for an image of this many bytes: what was loaded before is none any more, nor are there results of it.
    fn announce(&mut self, bytes: usize) {
        (self.expected, self.received, self.inferred) = (bytes, 0, false);
    }

    fn data<W: Write>(&mut self, digits: &[u8], out: &mut W) -> Sent<W> {
        if self.expected == 0 {
            return refuse(out, "No bytes are expected: db load N first");
        }
        let free = self.image.get_mut(self.received..self.expected).unwrap_or_default();
        let surplus = (digits.len() / 2).saturating_sub(free.len());
        if surplus > 0 {
            self.announce(0);
            let what =
                format_args!("{surplus} bytes more than announced, the image is dropped: db load N again");
            return refuse(out, what);
        }
        for (slot, byte) in free.iter_mut().zip(bytes(digits)) {
            *slot = byte;
            self.received += 1;
        }
        if self.received == self.expected {
            write!(out, "m-load-done\r\n")?;
        }
        Ok(())
    }

    fn print<W: Write>(&mut self, out: &mut W) -> Sent<W> {
        let received = self.image.get(..self.received).unwrap_or_default();
        for bytes in received.chunks(PRINTED) {
            write!(out, "m-buffer")?;
            bytes.iter().try_for_each(|byte| write!(out, "-{byte:02x}"))?;
            write!(out, "\r\n")?;
        }
        Ok(())
    }

    fn infer<W: Write>(
        &mut self,
        [warm_up, count]: [u32; 2],
        timed: &mut Timed<'_, impl Counter, impl OutputPin, impl Hook>,
        out: &mut W,
    ) -> Sent<W> {
        let (needed, received) = (self.image.len(), self.received);
        if received != needed {
            return refuse(out, format_args!("The model takes {needed} bytes and {received} are loaded"));
        }
        write!(out, "m-warmup-start-{warm_up}\r\n")?;
        for _ in 0..warm_up {
            if let Err(refusal) = self.inference(timed.hook) {
                return refuse(out, refusal);
            }
        }
        write!(out, "m-warmup-done\r\nm-infer-start-{count}\r\n")?;
        // Nothing of the report is on the wire while the clock runs.
        let _ = out.flush();
        timestamp(timed.board, timed.counter, out)?;
        let _ = out.flush();
        let pin = timed.pin.set_high();
        for _ in 0..count {
            if let Err(refusal) = self.inference(timed.hook) {
                let _ = timed.pin.set_low();
                return refuse(out, refusal);
            }
        }
        if pin.and_then(|()| timed.pin.set_low()).is_err() {
            return refuse(out, "The pin that marks inference cannot be set");
        }
        timestamp(timed.board, timed.counter, out)?;
        write!(out, "m-infer-done\r\n")?;
        self.results(out)
    }

    fn inference(&mut self, hook: &mut impl Hook) -> Result<(), RunError> {
        self.inferred = false;
        match self.model.header().kind {
            InputKind::Picture => self.session.run_image(self.image, self.logits, hook)?,
            InputKind::Values => {
                // It begins behind the logits, at a multiple of 16 bytes.
                let values = bytemuck::try_cast_slice(self.image).unwrap_or_default();
                self.session.run_values(values, self.logits, hook)?;
            }
        }
        self.inferred = true;
        Ok(())
    }

    /// The probabilities in thousandths; of a model that gives values these, to a thousandth.
    fn results<W: Write>(&self, out: &mut W) -> Sent<W> {
        if !self.inferred {
            return refuse(out, "No results yet: infer N first");
        }
        if self.model.header().result == OutputKind::Values {
            write!(out, "m-results-[")?;
            for (i, value) in self.logits.iter().enumerate() {
                let (comma, sign) = (if i == 0 { "" } else { "," }, if *value < 0.0 { "-" } else { "" });
                // What has no thousandths here is said, and not another value.
                if value.is_nan() || value.abs() > MOST {
                    let word = if value.is_nan() { "nan" } else { "inf" };
                    write!(out, "{comma}{sign}{word}")?;
                    continue;
                }
                let thousandths = (value.abs() * 1000.0 + 0.5) as u32;
                write!(out, "{comma}{sign}{}.{:03}", thousandths / 1000, thousandths % 1000)?;
            }
            return write!(out, "]\r\n");
        }
        let largest = self.logits.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
        let sum: f32 = self.logits.iter().map(|logit| libm::expf(logit - largest)).sum();
        write!(out, "m-results-[")?;
        for (i, logit) in self.logits.iter().enumerate() {
            let thousandths = (1000.0 * libm::expf(logit - largest) / sum + 0.5) as u32;
            let comma = if i == 0 { "" } else { "," };
            write!(out, "{comma}{}.{:03}", thousandths / 1000, thousandths % 1000)?;
        }
        write!(out, "]\r\n")
    }
}

fn refuse<W: Write>(out: &mut W, reason: impl fmt::Display) -> Sent<W> {
    write!(out, "e-[{reason}]\r\n")
}

/// The last line of every reply.
fn ready<W: Write>(out: &mut W) -> Sent<W> {
    write!(out, "m-ready\r\n")?;
    out.flush().map_err(WriteFmtError::Other)
}
