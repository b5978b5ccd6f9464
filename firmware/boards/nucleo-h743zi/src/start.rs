//! Clocks, pins and serial line of the board.

use cortex_m::Peripherals;
use embassy_stm32::Config;
use embassy_stm32::gpio::{Level, Output, Speed};
use embassy_stm32::rcc::{
    AHBPrescaler, APBPrescaler, Hse, HseMode, Pll, PllDiv, PllMul, PllPreDiv, PllSource, Sysclk, VoltageScale,
};
use embassy_stm32::time::Hertz;
use embassy_stm32::usart::{BufferedUart, Config as SerialConfig};
use embedded_hal::digital::OutputPin;
use embedded_io::{Read, Write};
use interrupts::Interrupts;
use lrpet_firmware_cortex_m::board::Lent;
use lrpet_firmware_cortex_m::serial::{Blocking, Buffers};

/// The macro defines the handlers that the vector table names.
#[allow(unsafe_code)]
mod interrupts {
    use embassy_stm32::{peripherals::USART3, usart::BufferedInterruptHandler};

    embassy_stm32::bind_interrupts!(pub struct Interrupts { USART3 => BufferedInterruptHandler<USART3>; });
}

/// Sets clocks and pins.
pub fn start(
    core: &mut Peripherals,
    buffers: &'static mut Buffers,
) -> Lent<impl Read + Write + use<>, impl OutputPin + use<>, ()> {
    core.SCB.enable_icache();
    core.SCB.enable_dcache(&mut core.CPUID);

    let mut config = Config::default();
    let clocks = &mut config.rcc;
    clocks.hse = Some(Hse { freq: Hertz(8_000_000), mode: HseMode::Bypass });
    // 8 MHz · 100 / 2; the buses run at 200 and 100 MHz. The driver sets the wait states.
    clocks.pll1 = Some(Pll {
        source: PllSource::HSE,
        prediv: PllPreDiv::DIV1,
        mul: PllMul::MUL100,
        fracn: None,
        divp: Some(PllDiv::DIV2),
        divq: None,
        divr: None,
    });
    clocks.sys = Sysclk::PLL1_P;
    clocks.voltage_scale = VoltageScale::Scale1;
    clocks.d1c_pre = AHBPrescaler::DIV1;
    clocks.ahb_pre = AHBPrescaler::DIV2;
    clocks.apb1_pre = APBPrescaler::DIV2;
    clocks.apb2_pre = APBPrescaler::DIV2;
    clocks.apb3_pre = APBPrescaler::DIV2;
    clocks.apb4_pre = APBPrescaler::DIV2;
    let board = embassy_stm32::init(config);

    let Buffers { receive, send } = buffers;
    let config = SerialConfig::default(); // 115200 8N1
    let serial =
        BufferedUart::new(board.USART3, board.PD9, board.PD8, send, receive, Interrupts, config).unwrap();
    Lent { serial: Blocking(serial), pin: Output::new(board.PE9, Level::Low, Speed::High), hook: () }
}
