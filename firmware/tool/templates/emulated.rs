//! The serial line of the {{board}}, which QEMU connects to its own standard input and output.
#![allow(unsafe_code)]

use cortex_m::Peripherals;
use lrpet_firmware_cortex_m::cmsdk_uart::Uart;
use lrpet_firmware_cortex_m::emulated::NoPin;

/// What a board lends to the program.
pub struct Lent {
    /// The serial line.
    pub serial: Uart,
    /// High during inference: an emulator has none that anything is connected to.
    pub pin: NoPin,
}

/// Memory for a driver, which this one does without.
pub struct Buffers;

impl Buffers {
    pub const fn new() -> Self {
        Self
    }
}

/// The board's first UART.
pub fn start(_core: &mut Peripherals, _buffers: &'static mut Buffers) -> Lent {
    // SAFETY: the board has this UART, and this is the only use of it.
    let serial = unsafe { Uart::new({{uart}}) };
    Lent { serial, pin: NoPin }
}
