//! The markers of a JPEG file: its size without decoding it, and whether it is whole.
//!
//! Decoders fill what a truncated file lacks with grey and say nothing, so its end is looked for here. Source: ITU-T T.81,
//! annex B: a marker is 0xFF and a code; all but a few are followed by a length that counts itself; entropy-coded
//! data holds 0xFF only before 0x00 or a restart marker.

use std::io::{BufRead, ErrorKind, Seek};

use super::picture::Header;

/// End of the image.
const END: u8 = 0xd9;
/// Start of a scan.
const SCAN: u8 = 0xda;

/// Code without length: TEM, RST0 to RST7, SOI.
fn stands_alone(code: u8) -> bool {
    matches!(code, 0x01 | 0xd0..=0xd8)
}

/// Frame header (SOF0 to SOF15, without the three codes between them that mean something else).
fn is_frame(code: u8) -> bool {
    matches!(code, 0xc0..=0xcf) && !matches!(code, 0xc4 | 0xc8 | 0xcc)
}

/// Reads the frame header of the JPEG at the start of `reader`; the error says what is wrong with the file.
pub(super) fn header(reader: &mut (impl BufRead + Seek)) -> Result<Header, String> {
    frame(reader).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => "truncated JPEG (it ends before its first scan)".into(),
        ErrorKind::InvalidData => error.to_string(),
        _ => format!("cannot be read ({error})"),
    })
}

fn frame(reader: &mut (impl BufRead + Seek)) -> std::io::Result<Header> {
    loop {
        let code = marker(reader)?;
        if stands_alone(code) {
            continue;
        }
        if code == END || code == SCAN {
            return Err(std::io::Error::new(ErrorKind::InvalidData, "JPEG without a frame header"));
        }
        let [length] = words(reader)?;
        if is_frame(code) {
            let mut precision = [0];
            reader.read_exact(&mut precision)?;
            let [height, width] = words(reader)?;
            let mut components = [0];
            reader.read_exact(&mut components)?;
            return Ok(Header { width: width.into(), height: height.into(), grey: components[0] == 1 });
        }
        reader.seek_relative((i64::from(length) - 2).max(0))?;
    }
}

/// Code of the next marker.
fn marker(reader: &mut impl BufRead) -> std::io::Result<u8> {
    let mut byte = [0];
    while byte[0] != 0xff {
        reader.read_exact(&mut byte)?;
    }
    while byte[0] == 0xff {
        reader.read_exact(&mut byte)?;
    }
    Ok(byte[0])
}

/// Big-endian numbers of 16 bits.
fn words<const N: usize>(reader: &mut impl BufRead) -> std::io::Result<[u16; N]> {
    let mut found = [0; N];
    for word in &mut found {
        let mut bytes = [0; 2];
        reader.read_exact(&mut bytes)?;
        *word = u16::from_be_bytes(bytes);
    }
    Ok(found)
}

/// Whether the JPEG reaches its end marker. The one of a thumbnail inside a segment does not count.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    let mut at = 0;
    loop {
        let Some(code) = next_marker(bytes, &mut at) else { return false };
        if code == END {
            return true;
        }
        // Zero stuffed into entropy-coded data is no marker.
        if code == 0 || stands_alone(code) {
            continue;
        }
        let Some(&[high, low]) = bytes.get(at..at + 2) else { return false };
        at += usize::from(u16::from_be_bytes([high, low])).max(2);
    }
}

/// Code of the next marker from `at` on, which moves behind it.
fn next_marker(bytes: &[u8], at: &mut usize) -> Option<u8> {
    let rest = bytes.get(*at..)?;
    let mark = rest.iter().position(|&byte| byte == 0xff)?;
    let code = mark + rest[mark..].iter().position(|&byte| byte != 0xff)?;
    *at += code + 1;
    Some(rest[code])
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::codecs::jpeg::JpegEncoder;
    use std::io::Cursor;

    fn encoded(width: u32, height: u32) -> Vec<u8> {
        let picture = image::RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([(x * 7 + y) as u8, (x * y) as u8, (y * 31 % 251) as u8])
        });
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, 100).encode_image(&picture).unwrap();
        bytes
    }

    #[test]
    fn every_truncation_is_told() {
        let bytes = encoded(50, 40);
        assert!(bytes.windows(2).filter(|pair| *pair == [0xff, 0]).count() > 2, "stuffed zeros are met");
        assert!(is_whole(&bytes) && is_whole(&[&bytes[..], b"more"].concat()));
        assert!((0..bytes.len()).all(|length| !is_whole(&bytes[..length])));
    }

    #[test]
    fn the_end_of_a_thumbnail_is_not_the_files() {
        let (inner, mut bytes) = (encoded(8, 8), encoded(30, 20));
        let length = ((inner.len() + 2) as u16).to_be_bytes();
        let segment = [&[0xff, 0xe1], &length[..], &inner].concat();
        bytes.splice(2..2, segment);
        assert!(is_whole(&bytes));
        assert!(!is_whole(&bytes[..bytes.len() - 1]));
        let found = header(&mut Cursor::new(&bytes)).unwrap();
        assert_eq!((found.width, found.height, found.grey), (30, 20, false));
    }

    #[test]
    fn headers_that_end_early_are_errors() {
        let bytes = encoded(50, 40);
        let scan = bytes.windows(2).position(|pair| pair == [0xff, SCAN]).unwrap();
        let frame = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
        for length in 0..frame + 10 {
            assert!(header(&mut Cursor::new(&bytes[..length])).unwrap_err().contains("truncated"));
        }
        let headless = [&bytes[..2], &bytes[scan..]].concat();
        assert!(header(&mut Cursor::new(&headless)).unwrap_err().contains("without a frame header"));
    }
}
