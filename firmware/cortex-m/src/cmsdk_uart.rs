//! The UART of Arm's Cortex-M System Design Kit, which QEMU's MPS boards have (DDI 0479, chapter 4).
#![allow(unsafe_code)]

use core::convert::Infallible;

use embedded_io::{ErrorType, Read, Write};

/// Words from one register to the next: DATA, STATE, CTRL, INTSTATUS, BAUDDIV.
const STATE: usize = 1;
const CTRL: usize = 2;
const BAUDDIV: usize = 4;
/// In STATE: the buffers are full.
const SENDING: u32 = 1;
const RECEIVED: u32 = 2;
/// In CTRL: both directions on.
const BOTH: u32 = 3;

/// A UART that is polled.
pub struct Uart {
    registers: *mut u32,
}

impl Uart {
    /// The UART whose registers begin at `address`, on, at a divider that an emulator does not look at.
    ///
    /// # Safety
    ///
    /// There is such a UART, and nobody else uses it.
    pub unsafe fn new(address: usize) -> Uart {
        let uart = Uart { registers: core::ptr::with_exposed_provenance_mut(address) };
        uart.write(BAUDDIV, 16);
        uart.write(CTRL, BOTH);
        uart
    }

    fn read(&self, register: usize) -> u32 {
        // SAFETY: a register of the UART that this is, by the promise of `new`.
        unsafe { self.registers.add(register).read_volatile() }
    }

    fn write(&self, register: usize, value: u32) {
        // SAFETY: as for `read`.
        unsafe { self.registers.add(register).write_volatile(value) }
    }
}

impl ErrorType for Uart {
    type Error = Infallible;
}

impl Read for Uart {
    /// Waits for one byte.
    fn read(&mut self, to: &mut [u8]) -> Result<usize, Infallible> {
        let Some(first) = to.first_mut() else { return Ok(0) };
        while Uart::read(self, STATE) & RECEIVED == 0 {}
        *first = Uart::read(self, 0) as u8;
        Ok(1)
    }
}

impl Write for Uart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for byte in bytes {
            while Uart::read(self, STATE) & SENDING != 0 {}
            Uart::write(self, 0, u32::from(*byte));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        while Uart::read(self, STATE) & SENDING != 0 {}
        Ok(())
    }
}
