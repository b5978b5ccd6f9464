//! Nordic nRF52840 DK: Cortex-M4F at 64 MHz from its crystal. Serial line: the debugger's virtual COM port (UARTE0, P0.06 and
//! P0.08). Pin that is high during inference: D7 of the Arduino header (P1.08).
#![no_std]
#![no_main]
#![deny(unsafe_code)]

mod start;

lrpet_firmware_cortex_m::board! {
    name: "nrf52840-dk",
    core: "Cortex-M4F",
    clock_hz: 64_000_000,
    start: start::start,
}
