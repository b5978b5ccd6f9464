//! A buffered serial line whose driver is asynchronous, as a blocking one.
//!
//! Interrupts of the driver fill and drain the buffers: what arrives during an inference is kept as far as the buffer
//! reaches. Waiting is a busy loop, so that the cycle counter goes on.

use embassy_futures::block_on;
use embedded_io::{ErrorType, Read, Write};

/// Bytes of each of the driver's two buffers.
pub const BUFFER_BYTES: usize = 256;

/// Most bytes of one write: embassy's drivers for STM32 refuse more than their buffer takes.
const WRITE_BYTES: usize = BUFFER_BYTES / 4;

/// Static memory for the driver.
pub struct Buffers {
    /// What came.
    pub receive: [u8; BUFFER_BYTES],
    /// What is to be sent.
    pub send: [u8; BUFFER_BYTES],
}

impl Buffers {
    /// All zero, so that it takes no flash.
    pub const fn new() -> Self {
        Self { receive: [0; BUFFER_BYTES], send: [0; BUFFER_BYTES] }
    }
}

impl Default for Buffers {
    fn default() -> Self {
        Self::new()
    }
}

/// Blocks where `S` waits.
pub struct Blocking<S>(pub S);

impl<S: ErrorType> ErrorType for Blocking<S> {
    type Error = S::Error;
}

impl<S: embedded_io_async::Read> Read for Blocking<S> {
    fn read(&mut self, to: &mut [u8]) -> Result<usize, Self::Error> {
        block_on(self.0.read(to))
    }
}

impl<S: embedded_io_async::Write> Write for Blocking<S> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        let (first, _) = bytes.split_at(bytes.len().min(WRITE_BYTES));
        block_on(self.0.write(first))
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        block_on(self.0.flush())
    }
}
