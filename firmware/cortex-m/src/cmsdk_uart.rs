//! The UART of Arm's Cortex-M System Design Kit, which QEMU's MPS boards have (DDI 0479, chapter 4).
//!
//! Reading sleeps until a byte has come: a core that asks again and again keeps the emulator from receiving, and one byte then
//! takes some hundred microseconds.
#![allow(unsafe_code)]

use core::convert::Infallible;

use cortex_m::peripheral::NVIC;
use embedded_io::{ErrorType, Read, Write};

/// Words from one register to the next: DATA, STATE, CTRL, INTSTATUS, BAUDDIV.
const STATE: usize = 1;
const CTRL: usize = 2;
const INTSTATUS: usize = 3;
const BAUDDIV: usize = 4;
/// In STATE: the buffers are full.
const SENDING: u32 = 1;
const RECEIVED: u32 = 2;
/// In CTRL: both directions on, and the interrupt for a byte that has come.
const BOTH: u32 = 3;
const RECEIVE_INTERRUPT: u32 = 8;
/// Words of interrupts among which the UART's is, whatever its number on a board.
const INTERRUPT_WORDS: usize = 2;

/// A UART, used without handlers of interrupts.
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
        uart.write(CTRL, BOTH | RECEIVE_INTERRUPT);
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

    /// Sleeps until some interrupt is pending; returns at once where a byte is there. Only the UART's and SysTick's are on.
    fn sleep(&self) {
        cortex_m::interrupt::free(|_| {
            // SAFETY: enabled here and disabled again before interrupts are taken, they wake the core and do no more: there are
            // no handlers for them.
            unsafe { (*NVIC::PTR).iser.iter().take(INTERRUPT_WORDS).for_each(|word| word.write(u32::MAX)) };
            if Uart::read(self, STATE) & RECEIVED == 0 {
                cortex_m::asm::wfi();
            }
            // SAFETY: as above.
            unsafe {
                let nvic = &*NVIC::PTR;
                nvic.icer.iter().take(INTERRUPT_WORDS).for_each(|word| word.write(u32::MAX));
                self.write(INTSTATUS, u32::MAX);
                nvic.icpr.iter().take(INTERRUPT_WORDS).for_each(|word| word.write(u32::MAX));
            }
        });
    }
}

impl ErrorType for Uart {
    type Error = Infallible;
}

impl Read for Uart {
    /// Waits for one byte.
    fn read(&mut self, to: &mut [u8]) -> Result<usize, Infallible> {
        let Some(first) = to.first_mut() else { return Ok(0) };
        while Uart::read(self, STATE) & RECEIVED == 0 {
            self.sleep();
        }
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
