//! Commands out of a stream of bytes.

/// Longest command, without the `%` that ends it, as in MLPerf Tiny's reference.
pub const LINE_BYTES: usize = 80;

/// Collects a command up to its `%`.
#[derive(Debug)]
pub(super) struct Line {
    bytes: [u8; LINE_BYTES],
    length: usize,
    /// Something of it is lost: it was too long.
    broken: bool,
}

/// What a byte made of the line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event<'l> {
    /// Nothing yet.
    More,
    /// A command, without line ends and blanks around it; empty where nothing came before the `%`.
    Command(&'l [u8]),
    /// The end of a command that exceeds [`LINE_BYTES`].
    TooLong,
}

impl Line {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; LINE_BYTES], length: 0, broken: false }
    }

    /// Forgets what came so far.
    pub(super) fn clear(&mut self) {
        (self.length, self.broken) = (0, false);
    }

    /// Takes a byte. One that is no text is noise, and nothing before it belongs to the command that follows.
    pub(super) fn push(&mut self, byte: u8) -> Event<'_> {
        if byte == b'%' {
            let (length, broken) = (self.length, self.broken);
            self.clear();
            let command = self.bytes.get(..length).unwrap_or_default();
            return if broken { Event::TooLong } else { Event::Command(command.trim_ascii()) };
        }
        if !byte.is_ascii_graphic() && !byte.is_ascii_whitespace() {
            self.clear();
            return Event::More;
        }
        // Blanks and line ends before a command are none of it, however many.
        if self.length == 0 && byte.is_ascii_whitespace() {
            return Event::More;
        }
        match self.bytes.get_mut(self.length) {
            Some(slot) => {
                *slot = byte;
                self.length += 1;
            }
            None => self.broken = true,
        }
        Event::More
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last<'l>(line: &'l mut Line, bytes: &[u8]) -> Event<'l> {
        let (end, start) = bytes.split_last().unwrap();
        for byte in start {
            assert_eq!(line.push(*byte), Event::More);
        }
        line.push(*end)
    }

    #[test]
    fn a_command_ends_with_a_percent_sign() {
        let line = &mut Line::new();
        assert_eq!(last(line, b"\r\n name%"), Event::Command(b"name"));
        assert_eq!(last(line, b"db load 3 \r\n%"), Event::Command(b"db load 3"));
        assert_eq!(last(line, b"%"), Event::Command(b""));
    }

    #[test]
    fn a_long_command_is_one_error_and_the_next_is_read() {
        let line = &mut Line::new();
        assert_eq!(
            last(line, &[[b'a'; LINE_BYTES].as_slice(), b"%"].concat()),
            Event::Command(&[b'a'; LINE_BYTES])
        );
        assert_eq!(last(line, &[[b'a'; LINE_BYTES + 1].as_slice(), b"%"].concat()), Event::TooLong);
        assert_eq!(last(line, &[[b'a'; 10 * LINE_BYTES].as_slice(), b"%"].concat()), Event::TooLong);
        assert_eq!(last(line, b"help%"), Event::Command(b"help"));
    }

    #[test]
    fn what_is_no_text_is_noise_and_ends_what_came_before_it() {
        let line = &mut Line::new();
        assert_eq!(last(line, b"\x00\xff\xfename%"), Event::Command(b"name"));
        assert_eq!(last(line, b"\xff\x00 \x1b \r\nname%"), Event::Command(b"name"));
        assert_eq!(last(line, b"db 00\xffname%"), Event::Command(b"name"));
        assert_eq!(last(line, b"name\x80%"), Event::Command(b""));
        let long = [[b'a'; LINE_BYTES + 1].as_slice(), b"\x00name%"].concat();
        assert_eq!(last(line, &long), Event::Command(b"name"));
    }
}
