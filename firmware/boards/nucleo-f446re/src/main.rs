//! ST Nucleo-F446RE: STM32F446RE, Cortex-M4F at 180 MHz from the ST-LINK's 8 MHz. Serial line: the ST-LINK's virtual COM
//! port (USART2, PA2 and PA3). Pin that is high during inference: D7 of the Arduino header (PA8).
#![no_std]
#![no_main]
#![deny(unsafe_code)]

mod start;

lrpet_firmware_cortex_m::board! {
    name: "nucleo-f446re",
    core: "Cortex-M4F",
    clock_hz: 180_000_000,
    start: start::start,
}
