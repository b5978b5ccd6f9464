//! Arm MPS2 AN505 (Cortex-M33 at 20 MHz) as QEMU emulates it: counts instructions, reports through
//! semihosting or serves on UART0.
#![no_std]
#![no_main]
#![deny(unsafe_code)]

lrpet_firmware_cortex_m::emulated_board! {
    name: "qemu-mps2-an505",
    core: "Cortex-M33",
    clock_hz: 20_000_000,
    // A step of SysTick, 20 MHz, is 50 instructions of 1 ns of virtual time.
    quarters: 4 * 50,
    // UART0 as the secure world sees it, in which the core starts.
    uart: 0x5020_0000,
}
