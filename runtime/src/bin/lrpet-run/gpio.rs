//! A line of a GPIO character device that is high during inference.

#[cfg(all(feature = "gpio", target_os = "linux"))]
use gpio_cdev::{Chip, LineHandle, LineRequestFlags};

use anyhow::{Context, Result};

/// The chip and the line of `/dev/gpiochip0:17`.
fn parts(text: &str) -> Result<(&str, u32)> {
    let parts = text.rsplit_once(':').and_then(|(chip, line)| Some((chip, line.parse().ok()?)));
    parts.with_context(|| {
        format!("--gpio {text}: a chip and the number of a line are wanted, as /dev/gpiochip0:17")
    })
}

/// An output line.
#[cfg(all(feature = "gpio", target_os = "linux"))]
pub struct Line(LineHandle);

#[cfg(all(feature = "gpio", target_os = "linux"))]
impl Line {
    /// Takes the line for this process, low.
    pub fn open(text: &str) -> Result<Line> {
        let (chip, number) = parts(text)?;
        let open = || Chip::new(chip)?.get_line(number)?.request(LineRequestFlags::OUTPUT, 0, "lrpet-run");
        let line = open().with_context(|| {
            format!("--gpio {text}: cannot take the line (may this user open {chip}? is the line free? `gpioinfo` lists them)")
        })?;
        Ok(Line(line))
    }

    /// Sets it.
    pub fn set(&mut self, high: bool) -> std::io::Result<()> {
        self.0.set_value(high.into()).map_err(std::io::Error::other)
    }
}

/// A line that this build cannot have.
#[cfg(not(all(feature = "gpio", target_os = "linux")))]
pub enum Line {}

#[cfg(not(all(feature = "gpio", target_os = "linux")))]
impl Line {
    /// An error that says what to do.
    pub fn open(text: &str) -> Result<Line> {
        parts(text)?;
        anyhow::bail!(
            "--gpio {text}: this program was built without the feature `gpio` (`cargo xtask pi` builds it with)"
        )
    }

    /// Nothing.
    pub fn set(&mut self, _high: bool) -> std::io::Result<()> {
        match *self {}
    }
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn lines_are_named_by_chip_and_number() {
        assert_eq!(parts("/dev/gpiochip0:17").unwrap(), ("/dev/gpiochip0", 17));
        for wrong in ["", "17", "/dev/gpiochip0:", "/dev/gpiochip0:-1", "/dev/gpiochip0:x"] {
            assert!(parts(wrong).unwrap_err().to_string().contains("/dev/gpiochip0:17"), "{wrong}");
        }
    }
}
