//! A JPEG before it is decoded: its size, and whether it is whole.
//!
//! Decoders fill what a truncated or damaged file lacks with grey and say nothing. So the codes of the scans are read here
//! first: a file whose picture is all there is decoded, with an end marker where only that is missing, and any other is
//! refused.

mod huffman;
mod markers;
mod scan;

use std::borrow::Cow;
use std::io::{BufRead, ErrorKind, Seek};

use image::metadata::Orientation;

use super::header::Header;
use markers::Tables;
use markers::{CODES, END, EXIF, Frame, RESTART, SCAN, cut, is_frame, next, segment, stands_alone};
use scan::Scans;

/// Zeros at the end of a file that may be data: of a smooth part in codes of its own.
const ZEROS: usize = 32;

/// Reads the header of the JPEG at the start of `reader`; the error says what is wrong with the file.
pub(super) fn header(reader: &mut (impl BufRead + Seek)) -> Result<Header, String> {
    frame(reader).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => cut(),
        ErrorKind::InvalidData => error.to_string(),
        _ => format!("cannot be read ({error})"),
    })
}

fn frame(reader: &mut (impl BufRead + Seek)) -> std::io::Result<Header> {
    let mut orientation = Orientation::NoTransforms;
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
            let header = Header { width: width.into(), height: height.into(), grey: components[0] == 1 };
            return Ok(header.turned(orientation));
        }
        let length = length.saturating_sub(2);
        if code == EXIF {
            let mut segment = vec![0; length.into()];
            reader.read_exact(&mut segment)?;
            let exif = segment.strip_prefix(b"Exif\0\0");
            orientation = exif.and_then(Orientation::from_exif_chunk).unwrap_or(orientation);
        } else {
            reader.seek_relative(length.into())?;
        }
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

/// The JPEG `bytes` with an end marker, where all of the picture is there; what lies behind the end marker (a second
/// picture, a film, zeros) is of no matter.
///
/// # Errors
/// What is wrong with the file: its data end in the middle of the picture, or are no codes.
pub(super) fn whole(bytes: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    let data = without_zeros(bytes);
    let mut at = 0;
    let mut tables = Tables { dc: Default::default(), ac: Default::default(), restart: 0 };
    let frame = loop {
        match next(data, &mut at).ok_or_else(cut)? {
            code if stands_alone(code) => {}
            END | SCAN => return Err("JPEG without a frame header".into()),
            code => {
                let segment = segment(data, &mut at).ok_or_else(cut)?;
                if is_frame(code) {
                    break Frame::new(code, segment)?;
                }
                note(&mut tables, code, segment)?;
            }
        }
    };
    let mut scans = Scans::new(&frame);
    loop {
        match next(data, &mut at) {
            Some(END) if scans.complete() => return Ok(Cow::Borrowed(bytes)),
            Some(END) if scans.begun() => return Err(blurred()),
            Some(END) => return Err("damaged JPEG (it has no data of some of its components)".into()),
            Some(code) if stands_alone(code) => {}
            Some(code) => match segment(data, &mut at) {
                Some(segment) if code == SCAN => {
                    at = scans.read(&markers::Header::new(&frame, segment)?, &tables, data, at)?;
                }
                Some(segment) => note(&mut tables, code, segment)?,
                None => at = data.len(),
            },
            None if scans.complete() => return Ok(Cow::Owned([data, &[0xff, END]].concat())),
            None if scans.begun() => return Err(blurred()),
            None => return Err(cut()),
        }
    }
}

/// The error of a progressive picture without some of its scans, which may have got an end marker later.
fn blurred() -> String {
    "truncated JPEG (scans that make the picture sharp are missing)".into()
}

/// Takes over what a segment says of the scans that follow.
fn note(tables: &mut Tables, code: u8, segment: &[u8]) -> Result<(), String> {
    match (code, segment) {
        (CODES, _) => tables.define(segment)?,
        (RESTART, &[high, low, ..]) => tables.restart = u16::from_be_bytes([high, low]).into(),
        _ => {}
    }
    Ok(())
}

/// `bytes` without the zeros behind them, with which a copy fills what it did not get, but for a few, which may be data.
fn without_zeros(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    &bytes[..(end + ZEROS).min(bytes.len())]
}

#[cfg(test)]
mod tests;
