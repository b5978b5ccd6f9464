//! Texts for the caller's buffer.

use core::ffi::c_char;
use core::fmt::{Display, Write};

use crate::Status;

/// The caller's buffer; nothing is written where it is NULL or empty.
pub(crate) struct Message {
    to: *mut c_char,
    /// Bytes left, the zero at the end included.
    left: usize,
}

impl Message {
    /// A buffer of `bytes` bytes at `to`, which may be NULL; empty at first.
    ///
    /// # Safety
    ///
    /// It is valid for that long.
    pub(crate) unsafe fn new(to: *mut c_char, bytes: usize) -> Message {
        let left = if to.is_null() { 0 } else { bytes };
        if left > 0 {
            // SAFETY: there is a byte.
            unsafe { to.write(0) };
        }
        Message { to, left }
    }

    /// Writes `what`, and gives `status` back.
    pub(crate) fn say(&mut self, status: Status, what: impl Display) -> Status {
        // A text that does not fit is cut.
        let _ = write!(self, "{what}");
        status
    }
}

impl Write for Message {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let room = self.left.saturating_sub(1);
        let end = text.floor_char_boundary(room.min(text.len()));
        if self.left > 0 {
            // SAFETY: `end` bytes and the zero behind them fit.
            unsafe {
                self.to.copy_from_nonoverlapping(text.as_ptr().cast(), end);
                self.to = self.to.add(end);
                self.to.write(0);
            }
            self.left -= end;
        }
        if end < text.len() { Err(core::fmt::Error) } else { Ok(()) }
    }
}
