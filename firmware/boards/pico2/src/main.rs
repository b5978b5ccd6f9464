//! Raspberry Pi Pico 2: RP2350, one Cortex-M33 at 150 MHz from the 12 MHz crystal, code and model in QSPI flash behind its cache.
//! Serial line: UART0 on GP0 (out) and GP1 (in), for a debug probe or USB adapter. Pin that is high during inference: GP2.
#![no_std]
#![no_main]
#![deny(unsafe_code)]

mod start;

lrpet_firmware_cortex_m::board! {
    name: "pico2",
    core: "Cortex-M33",
    clock_hz: 150_000_000,
    start: start::start,
}
