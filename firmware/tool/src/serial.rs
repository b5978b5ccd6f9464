//! The report of a real board, over its serial line.

use std::io::{ErrorKind, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serial2::SerialPort;

use crate::events::{Reader, Report};

/// What every board's serial line runs at, 8N1.
const BAUD: u32 = 115_200;
/// Longest line that is kept; the firmware's are shorter.
const LINE_BYTES: usize = 4096;
/// How long a read waits.
const READ: Duration = Duration::from_millis(200);

/// A board's serial line.
pub struct Line(SerialPort);

impl Line {
    /// Opens the port.
    pub fn open(port: &Path) -> Result<Line> {
        let open = || {
            let mut line = SerialPort::open(port, BAUD)?;
            line.set_read_timeout(READ)?;
            // What came before the board was started anew.
            line.discard_buffers()?;
            Ok::<_, std::io::Error>(line)
        };
        let line = open().with_context(|| {
            format!(
                "cannot open the serial line {} (is the board connected? may this user open it? on Linux the group `dialout` \
                 may; {})",
                port.display(),
                ports()
            )
        })?;
        Ok(Line(line))
    }

    /// Reads the report; each line also goes to `relay`. An error where it does not come to its end within `limit`.
    pub fn report(&mut self, limit: Duration, relay: &mut dyn FnMut(&str)) -> Result<Report> {
        read(&mut self.0, limit, relay)
    }
}

/// As [`Line::report`], from anything whose reads come back soon.
fn read(line: &mut impl Read, limit: Duration, relay: &mut dyn FnMut(&str)) -> Result<Report> {
    let deadline = Instant::now() + limit;
    let (mut reader, mut text, mut buffer) = (Reader::default(), Vec::new(), [0; 256]);
    let mut came = 0;
    loop {
        if Instant::now() > deadline {
            // The reader says which line did not come.
            let silence = silence(came, reader.has_begun(), limit);
            return reader.finish().with_context(|| silence);
        }
        let length = match line.read(&mut buffer) {
            Ok(0) => bail!("the serial line was closed before the report came to its end"),
            Ok(length) => length,
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::TimedOut | ErrorKind::WouldBlock | ErrorKind::Interrupted
                ) =>
            {
                continue;
            }
            Err(error) => return Err(error).context("cannot read the serial line"),
        };
        came += length;
        for byte in &buffer[..length] {
            if *byte == b'\n' {
                let whole = String::from_utf8_lossy(&text).trim_end().to_owned();
                text.clear();
                relay(&whole);
                // A damaged line of the right form is no reason to give up: a reset sends it again.
                if reader.line(&whole).unwrap_or(false) {
                    return reader.finish();
                }
            } else if text.len() < LINE_BYTES {
                text.push(*byte);
            }
        }
    }
}

/// What is likely wrong where `came` bytes came within `limit` and no whole report, of which a part may have `begun`.
fn silence(came: usize, begun: bool, limit: Duration) -> String {
    let limit = limit.as_secs();
    match came {
        _ if begun => format!(
            "no whole report came in {limit} s, in {came} bytes: press the board's reset button, or give it more time with \
             --timeout"
        ),
        0 => format!(
            "not one byte came in {limit} s: press the board's reset button. If that changes nothing: is this the board's line \
             ({})? Is it wired as docs/boards.md says, the board's output to the adapter's input, and ground to ground? Is the \
             firmware flashed?",
            ports()
        ),
        _ => format!(
            "{came} bytes came in {limit} s and no line of a report among them: press the board's reset button. If that changes \
             nothing, the line runs at another rate than {BAUD} 8N1 (is the core's clock right?), or the board has another \
             program"
        ),
    }
}

/// The serial lines that this machine has, in words.
fn ports() -> String {
    let names = SerialPort::available_ports().unwrap_or_default();
    let names: Vec<String> = names.iter().map(|port| port.display().to_string()).collect();
    if names.is_empty() {
        "this machine has none".to_owned()
    } else {
        format!("here are {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::tests::LINES;

    /// Gives its bytes in pieces, with time-outs in between, and then time-outs for ever.
    struct Pieces<'a>(&'a [u8], bool);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.1 = !self.1;
            let length = self.0.len().min(7).min(buffer.len());
            if self.1 || length == 0 {
                return Err(ErrorKind::TimedOut.into());
            }
            let (piece, rest) = self.0.split_at(length);
            buffer[..length].copy_from_slice(piece);
            self.0 = rest;
            Ok(length)
        }
    }

    #[test]
    fn a_report_comes_in_pieces_and_after_noise() {
        let noise = "x".repeat(3 * LINE_BYTES);
        let text = format!("half a line\r\n\u{fffd}{noise}\n{}\r\n", LINES.replace('\n', "\r\n"));
        let mut lines = 0;
        let report = read(&mut Pieces(text.as_bytes(), false), Duration::from_secs(20), &mut |_| lines += 1);
        assert_eq!((report.unwrap().total.median, lines), (5, 7));
    }

    #[test]
    fn a_report_that_does_not_end_is_an_error() {
        let part = LINES.rsplit_once('\n').unwrap().0;
        let error = read(&mut Pieces(part.as_bytes(), false), Duration::from_millis(50), &mut |_| ());
        let error = format!("{:#}", error.unwrap_err());
        assert!(error.contains("reset button") && error.contains("`total`"), "{error}");
        assert!(error.contains(&format!(" in {} bytes", part.len())), "{error}");
        assert!(read(&mut &b""[..], Duration::from_secs(1), &mut |_| ()).is_err());
    }

    #[test]
    fn a_silent_line_says_how_many_bytes_came_and_where_to_look() {
        let error = |sent: &[u8]| {
            let error = read(&mut Pieces(sent, false), Duration::from_millis(20), &mut |_| ());
            format!("{:#}", error.unwrap_err())
        };
        let nothing = error(b"");
        assert!(nothing.starts_with("not one byte came"), "{nothing}");
        assert!(nothing.contains("wired") && nothing.contains("docs/boards.md"), "{nothing}");
        // Another rate gives noise, and another program its own lines.
        for sent in [&b"\xf0\x00\x81\xff"[..], b"hello\r\n"] {
            let noise = error(sent);
            assert!(noise.starts_with(&format!("{} bytes came", sent.len())), "{noise}");
            assert!(
                noise.contains("another rate than 115200 8N1") && noise.contains("another program"),
                "{noise}"
            );
        }
    }

    #[test]
    fn a_port_that_is_not_there_is_named() {
        let error = Line::open(Path::new("/dev/lrpet-nothing")).err().unwrap().to_string();
        assert!(error.contains("/dev/lrpet-nothing"), "{error}");
        assert!(error.contains("here are /dev/") || error.contains("this machine has none"), "{error}");
    }
}
