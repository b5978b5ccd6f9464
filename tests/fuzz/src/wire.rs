//! The serial service of a board on a wire of bytes.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;

use embedded_hal::digital::{ErrorType, OutputPin};
use embedded_io::ErrorKind;
use lrpet_firmware::counter::{Counter, Kind};
use lrpet_firmware::run::{Board, Hardware};
use lrpet_firmware::source::Source;
use lrpet_runtime::session::Arena;

const BOARD: Board = Board { name: "fuzz", core: "none", clock_hz: 2_000_000 };

/// 1000 cycles from one exact reading to the next; the wire adds what passes while nothing comes.
#[derive(Clone, Default)]
struct Clock(Rc<Cell<u64>>);

impl Clock {
    fn pass(&self, cycles: u64) {
        self.0.set(self.0.get() + cycles);
    }
}

impl Counter for Clock {
    fn kind(&self) -> Kind {
        Kind::Cycles
    }

    fn resolution(&self) -> u32 {
        1
    }

    fn start(&mut self) -> u64 {
        self.stop()
    }

    fn stop(&mut self) -> u64 {
        self.pass(1000);
        self.0.get()
    }

    fn roughly(&mut self) -> u64 {
        self.0.get()
    }
}

struct Pin;

impl ErrorType for Pin {
    type Error = Infallible;
}

impl OutputPin for Pin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Bytes as they come: a byte 0xfe is a failure of the wire, 0xfd a second without any.
struct Wire<'b> {
    left: &'b [u8],
    sent: Vec<u8>,
    clock: Clock,
}

impl embedded_io::ErrorType for Wire<'_> {
    type Error = ErrorKind;
}

impl embedded_io::Read for Wire<'_> {
    fn read(&mut self, to: &mut [u8]) -> Result<usize, ErrorKind> {
        while let Some((0xfd, rest)) = self.left.split_first() {
            self.left = rest;
            self.clock.pass(u64::from(BOARD.clock_hz));
        }
        match self.left.split_first() {
            Some((0xfe, rest)) => {
                self.left = rest;
                Err(ErrorKind::Other)
            }
            _ => {
                let plain = self.left.iter().take_while(|byte| !matches!(byte, 0xfd | 0xfe)).count();
                let count = plain.min(to.len());
                let (now, later) = self.left.split_at(count);
                to[..count].copy_from_slice(now);
                self.left = later;
                Ok(count)
            }
        }
    }
}

impl embedded_io::Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        self.sent.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

/// The text that the service of `model` sends back for `bytes`.
pub fn serve(model: &[u8], bytes: &[u8]) -> String {
    let mut memory = Box::new(Arena([0; 1 << 14]));
    let clock = Clock::default();
    let (mut counter, mut pin, mut hook) = (clock.clone(), Pin, ());
    let mut wire = Wire { left: bytes, sent: Vec::new(), clock };
    let hardware = Hardware { counter: &mut counter, pin: &mut pin, hook: &mut hook, stack_bytes: &|| 1234 };
    lrpet_firmware::service::serve(&BOARD, Source::Linked(model), &mut memory.0, hardware, &mut wire);
    String::from_utf8(wire.sent).expect("text")
}
