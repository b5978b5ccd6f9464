//! How a training read its folder, for the commands that test what came of it.

use std::fmt;
use std::str::FromStr;

/// How a folder was read, beside the share that was held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rule {
    /// The folders in it are the classes, by the user's word.
    pub flat: bool,
    /// The test images were in a folder of their own.
    pub elsewhere: bool,
}

/// The word for [`Rule::flat`].
const FLAT: &str = "flat";
/// The word for [`Rule::elsewhere`].
const ELSEWHERE: &str = "test-data";

/// As a checkpoint and a model's card hold it: its words, or `usual`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.flat, self.elsewhere) {
            (false, false) => f.write_str("usual"),
            (true, false) => f.write_str(FLAT),
            (false, true) => f.write_str(ELSEWHERE),
            (true, true) => write!(f, "{FLAT} {ELSEWHERE}"),
        }
    }
}

impl FromStr for Rule {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Rule, Self::Err> {
        let has = |word| text.split(' ').any(|found| found == word);
        Ok(Rule { flat: has(FLAT), elsewhere: has(ELSEWHERE) })
    }
}
