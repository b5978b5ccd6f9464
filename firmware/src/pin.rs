//! A board without a pin for a logic analyser or power meter.

use core::convert::Infallible;

use embedded_hal::digital::{ErrorType, OutputPin};

/// A pin that is not there.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPin;

impl ErrorType for NoPin {
    type Error = Infallible;
}

impl OutputPin for NoPin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
