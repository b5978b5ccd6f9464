//! Arm MPS2 AN500 (Cortex-M7 at 25 MHz) as QEMU emulates it: counts instructions, reports through
//! semihosting or serves on UART0.
#![no_std]
#![no_main]
#![deny(unsafe_code)]

lrpet_firmware_cortex_m::emulated_board! {
    name: "qemu-mps2-an500",
    core: "Cortex-M7",
    clock_hz: 25_000_000,
    // A step of SysTick, 25 MHz, is 40 instructions of 1 ns of virtual time.
    quarters: 4 * 40,
    uart: 0x4000_4000,
}
