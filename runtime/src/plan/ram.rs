//! The schedule for the memory that there is.

use core::fmt;
use core::str::FromStr;
use std::format;
use std::string::String;

use super::Choice;

/// How much memory there is for an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ram {
    /// As little as any schedule takes.
    Least,
    /// Enough for layer by layer.
    Fastest,
    /// So many bytes.
    Bytes(u64),
}

/// No schedule fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoneFits {
    /// Bytes of the least arena.
    pub least: u64,
    /// Bytes that there are.
    pub given: u64,
}

impl FromStr for Ram {
    type Err = String;

    fn from_str(text: &str) -> Result<Ram, String> {
        let lower = text.trim().to_ascii_lowercase();
        let failed = || format!("{text}: it is a size such as 32KB or 1.5MB, or `least`, or `fastest`");
        let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let factor = match lower.get(digits.len()..).unwrap_or_default() {
            "least" if digits.is_empty() => return Ok(Ram::Least),
            "fastest" if digits.is_empty() => return Ok(Ram::Fastest),
            "" | "b" => 1.0,
            "kb" | "k" | "kib" => 1024.0,
            "mb" | "m" | "mib" => 1024.0 * 1024.0,
            _ => return Err(failed()),
        };
        let number: f64 = digits.trim().parse().map_err(|_| failed())?;
        if number.is_finite() && number > 0.0 {
            Ok(Ram::Bytes((number * factor) as u64))
        } else {
            Err(failed())
        }
    }
}

/// As [`FromStr`] reads it.
impl fmt::Display for Ram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ram::Least => f.write_str("least"),
            Ram::Fastest => f.write_str("fastest"),
            Ram::Bytes(bytes) => bytes.fmt(f),
        }
    }
}

impl fmt::Display for NoneFits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no schedule of this model needs less than {} bytes of arena; {} were given. Lower ranks do not change that: a smaller \
             image or narrower layers do",
            self.least, self.given
        )
    }
}

impl core::error::Error for NoneFits {}

impl Ram {
    /// The index of the cheapest of `choices` that fits; [`curve`](super::curve) gives at least the one of layer by layer, the first.
    ///
    /// # Errors
    /// [`NoneFits`].
    pub fn choose(self, choices: &[Choice]) -> Result<usize, NoneFits> {
        let known = || choices.iter().enumerate();
        let most = match self {
            Ram::Fastest => return Ok(0),
            Ram::Least => {
                let least = known().min_by_key(|(_, choice)| choice.plan.arena_bytes);
                return Ok(least.map_or(0, |(index, _)| index));
            }
            Ram::Bytes(most) => most,
        };
        let bytes = |choice: &Choice| choice.plan.arena_bytes as u64;
        let fits = known().filter(|(_, choice)| bytes(choice) <= most);
        let found = fits.min_by_key(|(_, choice)| choice.cost).map(|(index, _)| index);
        found.ok_or(NoneFits { least: choices.iter().map(bytes).min().unwrap_or(0), given: most })
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::plan::Plan;

    #[test]
    fn sizes_are_read() {
        for (text, ram) in [
            ("32KB", Ram::Bytes(32 << 10)),
            ("1.5 MB", Ram::Bytes(3 << 19)),
            ("70448", Ram::Bytes(70_448)),
            ("least", Ram::Least),
            ("Fastest", Ram::Fastest),
        ] {
            assert_eq!(text.parse(), Ok(ram), "{text}");
            assert_eq!(format!("{ram}").parse(), Ok(ram), "{text}");
        }
        for wrong in ["", "KB", "0", "-1KB", "nan", "32XB", "1least", "least1", "é"] {
            assert!(wrong.parse::<Ram>().unwrap_err().contains("32KB"), "{wrong}");
        }
    }

    #[test]
    fn the_cheapest_that_fits_is_chosen() {
        let choice = |(arena_bytes, cost)| Choice {
            stretches: Vec::new(),
            plan: Plan {
                arena_bytes,
                fastest_bytes: arena_bytes,
                table_bytes: 0,
                activation_bytes: 0,
                scratch_bytes: 0,
                peak_layer: 0,
            },
            cost,
        };
        // A schedule may be cheaper than layer by layer, which comes first all the same.
        let choices: Vec<Choice> = [(100, 10), (90, 8), (50, 12), (40, 20)].map(choice).into();
        assert_eq!(Ram::Fastest.choose(&choices), Ok(0));
        assert_eq!(Ram::Least.choose(&choices), Ok(3));
        for (bytes, index) in [(1000, 1), (100, 1), (90, 1), (89, 2), (50, 2), (49, 3), (40, 3)] {
            assert_eq!(Ram::Bytes(bytes).choose(&choices), Ok(index), "{bytes}");
        }
        assert_eq!(Ram::Bytes(39).choose(&choices), Err(NoneFits { least: 40, given: 39 }));
    }
}
