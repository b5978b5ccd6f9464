//! Clocks, pins and serial line of the board.

use cortex_m::Peripherals;
use embassy_rp::config::Config;
use embassy_rp::gpio::{Level, Output};
use embassy_rp::uart::{BufferedUart, Config as SerialConfig};
use embedded_hal::digital::OutputPin;
use embedded_io::{Read, Write};
use interrupts::Interrupts;
use lrpet_firmware_cortex_m::board::Lent;
use lrpet_firmware_cortex_m::serial::{Blocking, Buffers};

/// The macro defines the handlers that the vector table names.
#[allow(unsafe_code)]
mod interrupts {
    use embassy_rp::{peripherals::UART0, uart::BufferedInterruptHandler};

    embassy_rp::bind_interrupts!(pub struct Interrupts { UART0_IRQ => BufferedInterruptHandler<UART0>; });
}

/// Sets clocks and pins.
pub fn start(
    _core: &mut Peripherals,
    buffers: &'static mut Buffers,
) -> Lent<impl Read + Write + use<>, impl OutputPin + use<>, ()> {
    // The driver's own clocks: 150 MHz. The boot ROM has turned the cache of the flash on.
    let board = embassy_rp::init(Config::default());
    let Buffers { receive, send } = buffers;
    let config = SerialConfig::default(); // 115200 8N1
    let serial = BufferedUart::new(board.UART0, board.PIN_0, board.PIN_1, Interrupts, send, receive, config);
    Lent { serial: Blocking(serial), pin: Output::new(board.PIN_2, Level::Low), hook: () }
}
