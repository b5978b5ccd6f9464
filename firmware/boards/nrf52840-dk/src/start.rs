//! Clocks, pins and serial line of the board.

use cortex_m::Peripherals;
use embassy_nrf::buffered_uarte::BufferedUarte;
use embassy_nrf::config::{Config, HfclkSource};
use embassy_nrf::gpio::{Level, Output, OutputDrive};
use embassy_nrf::pac;
use embassy_nrf::uarte::Config as SerialConfig;
use embedded_hal::digital::OutputPin;
use embedded_io::{Read, Write};
use interrupts::Interrupts;
use lrpet_firmware_cortex_m::board::Lent;
use lrpet_firmware_cortex_m::serial::{Blocking, Buffers};

/// The macro defines the handlers that the vector table names.
#[allow(unsafe_code)]
mod interrupts {
    use embassy_nrf::{buffered_uarte::InterruptHandler, peripherals::UARTE0};

    embassy_nrf::bind_interrupts!(pub struct Interrupts { UARTE0 => InterruptHandler<UARTE0>; });
}

/// Sets clocks and pins.
pub fn start(
    _core: &mut Peripherals,
    buffers: &'static mut Buffers,
) -> Lent<impl Read + Write + use<>, impl OutputPin + use<>, ()> {
    let mut config = Config::default();
    config.hfclk_source = HfclkSource::ExternalXtal;
    let board = embassy_nrf::init(config);
    // The flash's cache is off after a reset, and the driver leaves it so.
    pac::NVMC.icachecnf().modify(|cache| cache.set_cacheen(true));

    let Buffers { receive, send } = buffers;
    let serial = BufferedUarte::new(
        board.UARTE0,
        board.TIMER0,
        board.PPI_CH0,
        board.PPI_CH1,
        board.PPI_GROUP0,
        board.P0_08,
        board.P0_06,
        Interrupts,
        SerialConfig::default(), // 115200 8N1
        receive,
        send,
    );
    let pin = Output::new(board.P1_08, Level::Low, OutputDrive::Standard);
    Lent { serial: Blocking(serial), pin, hook: () }
}
