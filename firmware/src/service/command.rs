//! What the host asks for.

use core::fmt;

/// Inferences that one `infer` may ask for.
pub const MAX_INFERENCES: u32 = 1_000_000;

/// Warm-ups of an `infer` that names none.
const WARM_UP: u32 = 10;

/// A command of the protocol.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command<'c> {
    Name,
    Profile,
    Timestamp,
    Help,
    Memory,
    Load {
        bytes: usize,
    },
    /// Hexadecimal digits, an even number of them.
    Data(&'c [u8]),
    Print,
    Infer {
        count: u32,
        warm_up: u32,
    },
    Results,
}

/// Why a command cannot be obeyed; printed inside `e-[…]`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal<'c> {
    Unknown(&'c [u8]),
    Argument {
        command: &'static str,
        usage: &'static str,
    },
    OddDigits,
    BadDigit {
        at: usize,
    },
    /// Words behind the last that the command takes: what a lost `%` makes of two commands.
    Surplus,
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(word) => {
                f.write_str("Unknown command: ")?;
                word.iter().try_for_each(|byte| write!(f, "{}", printable(*byte)))
            }
            Self::Argument { command, usage } => write!(f, "Wrong argument: {command} takes {usage}"),
            Self::OddDigits => f.write_str("Odd number of hexadecimal digits: nothing of the line was taken"),
            Self::BadDigit { at } => {
                write!(f, "Digit {at} is not hexadecimal: nothing of the line was taken")
            }
            Self::Surplus => f.write_str(
                "More words than the command takes (was a % lost?): nothing of the line was taken",
            ),
        }
    }
}

/// A byte as it may be sent back: printable, and no end of an error's text.
fn printable(byte: u8) -> char {
    if byte.is_ascii_graphic() && byte != b']' { char::from(byte) } else { '?' }
}

impl<'c> Command<'c> {
    pub(super) fn parse(line: &'c [u8]) -> Result<Self, Refusal<'c>> {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let word = words.next().unwrap_or_default();
        let command = Self::with_words(word, &mut words)?;
        if words.next().is_some() { Err(Refusal::Surplus) } else { Ok(command) }
    }

    /// The command that begins with `word`; takes what it needs of the words behind it.
    fn with_words(word: &'c [u8], words: &mut impl Iterator<Item = &'c [u8]>) -> Result<Self, Refusal<'c>> {
        let mut next = || words.next();
        match word {
            b"name" => Ok(Command::Name),
            b"profile" => Ok(Command::Profile),
            b"timestamp" => Ok(Command::Timestamp),
            b"help" => Ok(Command::Help),
            b"memory" => Ok(Command::Memory),
            b"results" => Ok(Command::Results),
            b"infer" => {
                let usage = "a number of inferences and of warm-ups";
                let refused = || Refusal::Argument { command: "infer", usage };
                let count = next().and_then(number).filter(|count| (1..=MAX_INFERENCES).contains(count));
                let warm_up = next().map_or(Some(WARM_UP), number).filter(|count| *count <= MAX_INFERENCES);
                Ok(Command::Infer {
                    count: count.ok_or_else(refused)?,
                    warm_up: warm_up.ok_or_else(refused)?,
                })
            }
            b"db" => {
                let usage = "load N, print, or hexadecimal digits";
                match next() {
                    None => Err(Refusal::Argument { command: "db", usage }),
                    Some(b"print") => Ok(Command::Print),
                    Some(b"load") => {
                        let bytes = next().and_then(number).and_then(|bytes| usize::try_from(bytes).ok());
                        let bytes =
                            bytes.ok_or(Refusal::Argument { command: "db load", usage: "a number" })?;
                        Ok(Command::Load { bytes })
                    }
                    Some(digits) => match digits.iter().position(|digit| !digit.is_ascii_hexdigit()) {
                        Some(at) => Err(Refusal::BadDigit { at }),
                        None if !digits.len().is_multiple_of(2) => Err(Refusal::OddDigits),
                        None => Ok(Command::Data(digits)),
                    },
                }
            }
            word => Err(Refusal::Unknown(word)),
        }
    }
}

/// A decimal number; `None` where there is another byte or it exceeds u32.
fn number(word: &[u8]) -> Option<u32> {
    let digits = word.iter().all(u8::is_ascii_digit);
    core::str::from_utf8(word).ok().filter(|_| digits)?.parse().ok()
}

/// The bytes that pairs of hexadecimal digits stand for.
pub(super) fn bytes(digits: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let value = |digit: &u8| char::from(*digit).to_digit(16).unwrap_or(0) as u8;
    digits.chunks_exact(2).map(move |pair| pair.iter().fold(0, |byte, digit| byte << 4 | value(digit)))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::ToString;

    use super::*;

    #[test]
    fn commands_are_read_as_the_protocol_writes_them() {
        assert_eq!(Command::parse(b"name"), Ok(Command::Name));
        assert_eq!(Command::parse(b"infer 20 5"), Ok(Command::Infer { count: 20, warm_up: 5 }));
        assert_eq!(Command::parse(b"infer 1"), Ok(Command::Infer { count: 1, warm_up: WARM_UP }));
        assert_eq!(Command::parse(b"db load 3072"), Ok(Command::Load { bytes: 3072 }));
        assert_eq!(Command::parse(b"db  00fF"), Ok(Command::Data(b"00fF")));
        assert!(bytes(b"00fFa5").eq([0, 0xff, 0xa5]));
    }

    #[test]
    fn what_is_no_command_is_refused_with_a_reason() {
        let refusal = |line: &[u8]| Command::parse(line).unwrap_err().to_string();
        assert_eq!(refusal(b"reboot now"), "Unknown command: reboot");
        assert_eq!(refusal(b"\xff]\x00"), "Unknown command: ???");
        assert_eq!(refusal(b""), "Unknown command: ");
        for line in
            ["infer", "infer 0", "infer x", "infer 1 -1", "infer 1 x", "infer 1000001", "infer 99999999999"]
        {
            assert_eq!(
                refusal(line.as_bytes()),
                "Wrong argument: infer takes a number of inferences and of warm-ups"
            );
        }
        assert_eq!(refusal(b"db load +3"), "Wrong argument: db load takes a number");
        assert_eq!(refusal(b"db 0g"), "Digit 1 is not hexadecimal: nothing of the line was taken");
        assert!(refusal(b"db 012").starts_with("Odd number"));
        assert!(refusal(b"db").starts_with("Wrong argument: db takes load N"));
        for line in [
            "name x",
            "results results",
            "db print 1",
            "db load 3 db",
            "db 0011 22",
            "infer 1 0 2",
            "help\r\nname",
        ] {
            assert!(refusal(line.as_bytes()).starts_with("More words than the command takes"), "{line}");
        }
    }
}
