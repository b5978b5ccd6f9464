//! Arm MPS3 AN547 (Cortex-M55 at 32 MHz) as QEMU emulates it: counts instructions, reports through
//! semihosting or serves on UART0.
#![no_std]
#![no_main]
#![deny(unsafe_code)]

lrpet_firmware_cortex_m::emulated_board! {
    name: "qemu-mps3-an547",
    core: "Cortex-M55",
    clock_hz: 32_000_000,
    // A step of SysTick, 32 MHz, is 31.25 instructions of 1 ns of virtual time.
    quarters: 125,
    // UART0 as the secure world sees it, in which the core starts.
    uart: 0x5930_3000,
}
