//! Where the program panicked or faulted, kept in RAM over the reset that follows.
//!
//! The panic handler cannot know in what state the serial line is. It writes down the place and resets the board; the
//! program that then starts says it on the line.

use core::cell::UnsafeCell;
use core::fmt::{self, Write};
use core::mem::MaybeUninit;
use core::panic::PanicInfo;

use cortex_m::peripheral::{CPUID, SCB};
use cortex_m_rt::{ExceptionFrame, exception};

/// Longest text; more is cut off.
const TEXT_BYTES: usize = 120;

/// Says that a text follows; after power-up RAM holds this by chance once in 2³² times.
const MAGIC: u32 = 0x6c72_7065;

/// A text that outlives a reset.
struct Record {
    magic: u32,
    length: u32,
    text: [u8; TEXT_BYTES],
}

/// RAM that the start-up code leaves as it is.
struct Kept(UnsafeCell<MaybeUninit<Record>>);

// SAFETY: one core uses it, either before anything else or in a handler that never returns.
#[allow(unsafe_code)]
unsafe impl Sync for Kept {}

#[allow(unsafe_code)]
#[unsafe(link_section = ".uninit.crash")]
static KEPT: Kept = Kept(UnsafeCell::new(MaybeUninit::uninit()));

/// What the run before the last reset left.
pub struct Crash {
    text: [u8; TEXT_BYTES],
    length: usize,
}

impl Crash {
    /// Takes what was left, if anything was.
    #[allow(unsafe_code)]
    pub fn take() -> Option<Self> {
        let kept = KEPT.0.get().cast::<Record>();
        // SAFETY: the address is that of a static; integers take any bits; volatile, because the compiler cannot know of
        // the reset between writing and reading.
        let record = unsafe {
            let record = kept.read_volatile();
            (&raw mut (*kept).magic).write_volatile(0);
            record
        };
        let length = record.length as usize;
        (record.magic == MAGIC && length <= TEXT_BYTES).then_some(Self { text: record.text, length })
    }
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text.get(..self.length).unwrap_or_default();
        f.write_str(core::str::from_utf8(text).unwrap_or("unreadable"))
    }
}

/// Keeps what is written, as far as it fits.
struct Text {
    bytes: [u8; TEXT_BYTES],
    length: usize,
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Whole characters only, or the text could not be read again.
        for character in text.chars() {
            let end = self.length + character.len_utf8();
            let slot = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
            character.encode_utf8(slot);
            self.length = end;
        }
        Ok(())
    }
}

/// Keeps `what` and resets the board.
#[allow(unsafe_code)]
fn keep_and_reset(what: fmt::Arguments<'_>) -> ! {
    cortex_m::interrupt::disable();
    let mut text = Text { bytes: [0; TEXT_BYTES], length: 0 };
    // A text that is too long is cut off.
    let _ = text.write_fmt(what);
    let record = Record { magic: MAGIC, length: text.length as u32, text: text.bytes };
    let kept = KEPT.0.get().cast::<Record>();
    // SAFETY: as in `Crash::take`; interrupts are off and nothing comes after.
    unsafe { kept.write_volatile(record) };
    if SCB::dcache_enabled() {
        // SAFETY: nothing else uses the caches any more. A reset throws away what the cache alone holds.
        let mut core = unsafe { cortex_m::Peripherals::steal() };
        let (scb, cpuid): (&mut SCB, &mut CPUID) = (&mut core.SCB, &mut core.CPUID);
        scb.clean_dcache(cpuid);
    }
    SCB::sys_reset()
}

/// For a board's panic handler.
pub fn after_panic(info: &PanicInfo<'_>) -> ! {
    match info.location() {
        Some(place) => keep_and_reset(format_args!("panic at {}:{}", place.file(), place.line())),
        None => keep_and_reset(format_args!("panic")),
    }
}

#[exception]
#[allow(unsafe_code)]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    keep_and_reset(format_args!("fault at address {:#010x}", frame.pc()))
}
