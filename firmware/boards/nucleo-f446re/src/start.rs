//! Clocks, pins and serial line of the board.

use cortex_m::Peripherals;
use embassy_stm32::gpio::{Level, Output, Speed};
use embassy_stm32::rcc::{
    AHBPrescaler, APBPrescaler, Hse, HseMode, Pll, PllMul, PllPDiv, PllPreDiv, PllSource, Sysclk,
};
use embassy_stm32::time::Hertz;
use embassy_stm32::usart::{BufferedUart, Config as SerialConfig};
use embassy_stm32::{Config, pac};
use embedded_hal::digital::OutputPin;
use embedded_io::{Read, Write};
use interrupts::Interrupts;
use lrpet_firmware_cortex_m::board::Lent;
use lrpet_firmware_cortex_m::serial::{Blocking, Buffers};

/// The macro defines the handlers that the vector table names.
#[allow(unsafe_code)]
mod interrupts {
    use embassy_stm32::{peripherals::USART2, usart::BufferedInterruptHandler};

    embassy_stm32::bind_interrupts!(pub struct Interrupts { USART2 => BufferedInterruptHandler<USART2>; });
}

/// Sets clocks and pins.
pub fn start(
    _core: &mut Peripherals,
    buffers: &'static mut Buffers,
) -> Lent<impl Read + Write + use<>, impl OutputPin + use<>, ()> {
    let mut config = Config::default();
    let clocks = &mut config.rcc;
    clocks.hse = Some(Hse { freq: Hertz(8_000_000), mode: HseMode::Bypass });
    clocks.pll_src = PllSource::HSE;
    // 8 MHz / 4 · 180 / 2; the buses stay below their 45 and 90 MHz. The driver adds over-drive and five wait states.
    clocks.pll = Some(Pll {
        prediv: PllPreDiv::DIV4,
        mul: PllMul::MUL180,
        divp: Some(PllPDiv::DIV2),
        divq: None,
        divr: None,
    });
    clocks.sys = Sysclk::PLL1_P;
    clocks.ahb_pre = AHBPrescaler::DIV1;
    clocks.apb1_pre = APBPrescaler::DIV4;
    clocks.apb2_pre = APBPrescaler::DIV2;
    let board = embassy_stm32::init(config);
    // The flash accelerator is off after a reset, and the driver leaves it so.
    pac::FLASH.acr().modify(|acr| {
        acr.set_prften(true);
        acr.set_icen(true);
        acr.set_dcen(true);
    });

    let Buffers { receive, send } = buffers;
    let config = SerialConfig::default(); // 115200 8N1
    let serial =
        BufferedUart::new(board.USART2, board.PA3, board.PA2, send, receive, Interrupts, config).unwrap();
    Lent { serial: Blocking(serial), pin: Output::new(board.PA8, Level::Low, Speed::High), hook: () }
}
