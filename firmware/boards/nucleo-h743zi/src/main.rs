//! ST Nucleo-H743ZI (or H743ZI2): STM32H743ZI, Cortex-M7 at 400 MHz from the ST-LINK's 8 MHz, which every revision of the chip
//! allows (480 MHz needs revision V). Serial line: the ST-LINK's virtual COM port (USART3, PD8 and PD9). Pin that is high during
//! inference: D6 of the Arduino header (PE9).
#![no_std]
#![no_main]
#![deny(unsafe_code)]

mod start;

lrpet_firmware_cortex_m::board! {
    name: "nucleo-h743zi",
    core: "Cortex-M7",
    clock_hz: 400_000_000,
    start: start::start,
}
