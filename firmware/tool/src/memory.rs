//! What a model takes on a board, before it is flashed.

use std::fmt;

use serde::Serialize;

/// Bytes that are needed of one kind of memory, and those that the board has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Need {
    /// Needed.
    pub needed: u64,
    /// On the board.
    pub available: u64,
}

impl Need {
    /// Bytes that are missing.
    pub fn missing(&self) -> u64 {
        self.needed.saturating_sub(self.available)
    }
}

/// A model that does not fit a board; one of the two at least is larger than the board's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// File of the model.
    pub model: String,
    /// Name of the board.
    pub board: &'static str,
    /// Code, constants, initial values and model; none where they fit.
    pub flash: Option<Need>,
    /// Variables, and what is kept for the stack; none where they fit.
    pub ram: Option<Need>,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} does not fit {}: ", self.model, self.board)?;
        let kinds = [
            ("flash", self.flash, "lower ranks take less"),
            ("RAM", self.ram, "a smaller input image takes less"),
        ];
        let mut before = "";
        for (name, need, help) in kinds {
            let Some(need) = need else { continue };
            let Need { needed, available } = need;
            let missing = need.missing();
            write!(
                f,
                "{before}{name}: {needed} bytes needed, {available} available, {missing} missing ({help})"
            )?;
            before = "; ";
        }
        Ok(())
    }
}

impl std::error::Error for TooLarge {}
