//! A service on a serial line that speaks the text protocol of MLPerf Tiny, so that its public runner can drive a board.
//!
//! Commands end with `%`; replies are lines that end with CR LF, the last of them `m-ready`. Whatever arrives, memory stays
//! within bounds, nothing panics, and the service goes on with the next command. Results of factorised networks belong to
//! the benchmark's open division; nothing here makes them results of the benchmark.

mod command;
mod line;

use core::fmt;

use embedded_hal::digital::OutputPin;
use embedded_io::{Error as _, Read, Write, WriteFmtError};
use lrpet_runtime::session::{Hook, Session};

pub use command::MAX_INFERENCES;
use command::{Command, bytes};
pub use line::LINE_BYTES;
use line::{Event, Line};

use crate::counter::{Counter, Kind};
use crate::run::Board;

/// Bytes of the buffer that `db print` shows on one line.
const PRINTED: usize = 8;

/// Instructions that stand for a microsecond where an emulator has no time.
const INSTRUCTIONS: u32 = 1000;

/// What a board lends to the service.
pub struct Parts<'p, C, P, H> {
    /// Gives the time: cycles of the board's clock, or an emulator's instructions.
    pub counter: &'p mut C,
    /// High during each inference that is timed.
    pub pin: &'p mut P,
    /// Called around each layer; a watchdog's place.
    pub hook: &'p mut H,
    /// Takes the image, h·w·c bytes.
    pub image: &'p mut [u8],
    /// One for each class.
    pub logits: &'p mut [f32],
}

/// The service of one model.
pub struct Service<'s, 'm, C, P, H> {
    line: Line,
    device: Device<'s, 'm, C, P, H>,
}

/// What obeys.
struct Device<'s, 'm, C, P, H> {
    board: &'s Board,
    /// `ic01` for image classification and so on, or free text.
    model: &'s str,
    session: Session<'m>,
    parts: Parts<'s, C, P, H>,
    /// Bytes announced by `db load`, and those that came.
    expected: usize,
    loaded: usize,
    /// True when the logits are those of an inference.
    inferred: bool,
}

/// A line that could not be sent.
type Sent<W> = Result<(), WriteFmtError<<W as embedded_io::ErrorType>::Error>>;

impl<'s, 'm, C: Counter, P: OutputPin, H: Hook> Service<'s, 'm, C, P, H> {
    /// A service for `session`, whose model is called `model` in the profile.
    pub fn new(board: &'s Board, model: &'s str, session: Session<'m>, parts: Parts<'s, C, P, H>) -> Self {
        let device = Device { board, model, session, parts, expected: 0, loaded: 0, inferred: false };
        Self { line: Line::new(), device }
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
        let replied = match self.line.push(byte) {
            Event::More => return Ok(()),
            Event::TooLong => refuse(out, format_args!("Command longer than {LINE_BYTES} characters")),
            Event::Command(command) => match Command::parse(command) {
                Ok(command) => self.device.obey(&command, out),
                Err(refusal) => refuse(out, refusal),
            },
        };
        replied.and_then(|()| ready(out))
    }
}

impl<C: Counter, P: OutputPin, H: Hook> Device<'_, '_, C, P, H> {
    fn obey<W: Write>(&mut self, command: &Command<'_>, out: &mut W) -> Sent<W> {
        match *command {
            Command::Name => write!(out, "m-name-dut-[{}]\r\n", self.board.name),
            Command::Profile => self.profile(out),
            Command::Timestamp => self.timestamp(out),
            Command::Help => write!(
                out,
                "name, profile, timestamp, help, db load N, db HH.., db print, infer N W, results; each ends with %\r\n"
            ),
            Command::Load { bytes } => self.load(bytes, out),
            Command::Data(digits) => self.data(digits, out),
            Command::Print => self.print(out),
            Command::Infer { count, warm_up } => self.infer(count, warm_up, out),
            Command::Results if self.inferred => self.results(out),
            Command::Results => refuse(out, "No results yet: infer N first"),
        }
    }

    fn profile<W: Write>(&mut self, out: &mut W) -> Sent<W> {
        let (core, isa, version) = (self.board.core, self.session.isa().name(), env!("CARGO_PKG_VERSION"));
        write!(out, "m-profile-[lrpet {version}, {core}, {isa} kernels, f16 storage")?;
        match self.parts.counter.kind() {
            Kind::Cycles => write!(out, ", {} Hz]\r\n", self.board.clock_hz)?,
            Kind::Instructions => {
                write!(out, ", emulated: a lap of 1 us is {INSTRUCTIONS} instructions and no time]\r\n")?;
            }
        }
        write!(out, "m-model-[{}]\r\n", self.model)
    }

    /// Microseconds since some moment; thousands of instructions in an emulator.
    fn timestamp<W: Write>(&mut self, out: &mut W) -> Sent<W> {
        let count = self.parts.counter.stop();
        let micros = match self.parts.counter.kind() {
            Kind::Instructions => count / u64::from(INSTRUCTIONS),
            Kind::Cycles => {
                let clock = u64::from(self.board.clock_hz.max(1));
                (count / clock).wrapping_mul(1_000_000).wrapping_add(count % clock * 1_000_000 / clock)
            }
        };
        write!(out, "m-lap-us-{micros}\r\n")
    }

    fn load<W: Write>(&mut self, bytes: usize, out: &mut W) -> Sent<W> {
        let capacity = self.parts.image.len();
        if bytes == 0 || bytes > capacity {
            return refuse(out, format_args!("db load {bytes}: the buffer takes 1 to {capacity} bytes"));
        }
        (self.expected, self.loaded) = (bytes, 0);
        write!(out, "m-[Expecting {bytes} bytes]\r\n")
    }

    fn data<W: Write>(&mut self, digits: &[u8], out: &mut W) -> Sent<W> {
        if self.expected == 0 {
            return refuse(out, "No bytes are expected: db load N first");
        }
        let before = self.loaded;
        let free = self.parts.image.get_mut(before..self.expected).unwrap_or_default();
        for (slot, byte) in free.iter_mut().zip(bytes(digits)) {
            *slot = byte;
            self.loaded += 1;
        }
        if before < self.loaded && self.loaded == self.expected {
            write!(out, "m-load-done\r\n")?;
        }
        Ok(())
    }

    fn print<W: Write>(&mut self, out: &mut W) -> Sent<W> {
        let loaded = self.parts.image.get(..self.loaded).unwrap_or_default();
        for bytes in loaded.chunks(PRINTED) {
            write!(out, "m-buffer")?;
            bytes.iter().try_for_each(|byte| write!(out, "-{byte:02x}"))?;
            write!(out, "\r\n")?;
        }
        Ok(())
    }

    fn infer<W: Write>(&mut self, count: u32, warm_up: u32, out: &mut W) -> Sent<W> {
        let needed = self.parts.image.len();
        if self.loaded != needed {
            let loaded = self.loaded;
            return refuse(out, format_args!("The model takes {needed} bytes and {loaded} are loaded"));
        }
        write!(out, "m-warmup-start-{warm_up}\r\n")?;
        for _ in 0..warm_up {
            if let Err(refusal) = self.inference() {
                return refuse(out, refusal);
            }
        }
        write!(out, "m-warmup-done\r\nm-infer-start-{count}\r\n")?;
        // Nothing of the report is on the wire while the clock runs.
        let _ = out.flush();
        self.timestamp(out)?;
        let _ = out.flush();
        let pin = self.parts.pin.set_high();
        for _ in 0..count {
            if let Err(refusal) = self.inference() {
                let _ = self.parts.pin.set_low();
                return refuse(out, refusal);
            }
        }
        if pin.and_then(|()| self.parts.pin.set_low()).is_err() {
            return refuse(out, "The pin that marks inference cannot be set");
        }
        self.timestamp(out)?;
        write!(out, "m-infer-done\r\n")?;
        self.results(out)
    }

    fn inference(&mut self) -> Result<(), lrpet_runtime::session::RunError> {
        let Parts { image, logits, hook, .. } = &mut self.parts;
        self.inferred = false;
        self.session.run_image(image, logits, *hook)?;
        self.inferred = true;
        Ok(())
    }

    /// The probabilities, in thousandths.
    fn results<W: Write>(&mut self, out: &mut W) -> Sent<W> {
        let logits = &*self.parts.logits;
        let largest = logits.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
        let sum: f32 = logits.iter().map(|logit| libm::expf(logit - largest)).sum();
        write!(out, "m-results-[")?;
        for (i, logit) in logits.iter().enumerate() {
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
