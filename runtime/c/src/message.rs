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

/// A number of at least 0 in three digits, such as 1.24e-2. The standard library's texts of numbers are exact, which takes 14 KB of a
/// microcontroller's flash.
pub(crate) struct Brief(pub f32);

impl Display for Brief {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if !self.0.is_finite() {
            return f.write_str("more than any number");
        }
        let (mut value, mut exponent) = (self.0, 0);
        while value >= 10.0 {
            (value, exponent) = (value / 10.0, exponent + 1);
        }
        while value > 0.0 && value < 1.0 {
            (value, exponent) = (value * 10.0, exponent - 1);
        }
        let mut digits = (value * 100.0 + 0.5) as u32;
        if digits >= 1000 {
            (digits, exponent) = (digits / 10, exponent + 1);
        }
        let (whole, tenths, hundredths) = (digits / 100, digits / 10 % 10, digits % 10);
        write!(f, "{whole}.{tenths}{hundredths}e{exponent}")
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

#[cfg(test)]
mod tests {
    use super::Brief;

    #[test]
    fn three_digits_of_any_number() {
        for (value, text) in [
            (0.0, "0.00e0"),
            (1.0, "1.00e0"),
            (0.012_34, "1.23e-2"),
            (9.999, "1.00e1"),
            (123_456.0, "1.23e5"),
            (f32::MAX, "3.40e38"),
            (1e-40, "1.00e-40"),
            (f32::INFINITY, "more than any number"),
            (f32::NAN, "more than any number"),
        ] {
            assert_eq!(format!("{}", Brief(value)), text);
        }
    }
}
