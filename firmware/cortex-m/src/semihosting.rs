//! Console and exit status through semihosting.

use core::fmt::Write as _;

use cortex_m_semihosting::debug::{self, EXIT_FAILURE, EXIT_SUCCESS};
use cortex_m_semihosting::hio::{self, HostStream};
use embedded_io::{Error, ErrorKind, ErrorType, Write};

/// The host's standard output.
pub struct Console(HostStream);

/// The host refuses output.
#[derive(Debug)]
pub struct Refused;

impl core::fmt::Display for Refused {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the semihosting host refuses output")
    }
}

impl core::error::Error for Refused {}

impl Error for Refused {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

impl Console {
    /// Opens the host's standard output.
    pub fn open() -> Result<Self, Refused> {
        hio::hstdout().map(Self).map_err(|_| Refused)
    }
}

impl ErrorType for Console {
    type Error = Refused;
}

impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Refused> {
        self.0.write_all(bytes).map(|()| bytes.len()).map_err(|()| Refused)
    }

    fn flush(&mut self) -> Result<(), Refused> {
        Ok(())
    }
}

/// SYS_GET_CMDLINE (Arm's semihosting specification, 7.7).
const GET_COMMAND_LINE: usize = 0x15;

/// True where the host's command line for this program is `word` and nothing else.
#[allow(unsafe_code)]
pub fn is_argument(word: &[u8]) -> bool {
    #[repr(C)]
    struct Buffer {
        text: *mut u8,
        length: usize,
    }
    // A longer command line is refused by the host.
    let mut text = [0u8; 16];
    let buffer = Buffer { text: text.as_mut_ptr(), length: text.len() };
    // SAFETY: the host writes at most `length` bytes to `text`, which outlives the call, and the length to the block: the
    // instruction is no `pure` one to the compiler.
    let refused = unsafe { cortex_m_semihosting::syscall(GET_COMMAND_LINE, &buffer) };
    let text = core::hint::black_box(&text);
    refused == 0 && text.strip_prefix(word).is_some_and(|rest| rest.first() == Some(&0))
}

/// Ends the program; the host's exit status is 0 where `pass`, else 1.
pub fn exit(pass: bool) -> ! {
    debug::exit(if pass { EXIT_SUCCESS } else { EXIT_FAILURE });
    // A host that does not end the program.
    loop {
        cortex_m::asm::wfi();
    }
}

/// Says where the program panicked and ends it with status 1: for a board's panic handler.
pub fn exit_after_panic(info: &core::panic::PanicInfo<'_>) -> ! {
    if let Ok(mut console) = hio::hstdout() {
        // The status says "failed" even where the host refuses output.
        let _ = match info.location() {
            Some(place) => writeln!(
                console,
                "{{\"event\":\"error\",\"message\":\"panic at {}:{}\"}}",
                place.file(),
                place.line()
            ),
            None => writeln!(console, "{{\"event\":\"error\",\"message\":\"panic\"}}"),
        };
    }
    exit(false)
}
