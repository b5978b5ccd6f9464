//! What a file of NumPy's has to pass before a parser sees its header.

use std::format;
use std::string::String;

/// Longest header of an array in bytes: what `numpy.load` takes by default (`max_header_size`).
pub const LONGEST_HEADER: usize = 10_000;

/// Bytes of a file from its beginning that [`check_header`] looks at.
pub const START: usize = LONGEST_HEADER + 12;

/// Brackets in one another: those of the dictionary, of a record's list of fields, of a field and of its shape.
const DEEPEST: usize = 4;

/// Checks the beginning of a file: all of it, or [`START`] bytes. Parsers allocate a header as long as it claims to be, take twice the time for
/// each bracket within another, and multiply the axes without a look.
///
/// # Errors
/// What is wrong with the header. A file of another kind passes, which a parser tells.
pub fn check_header(start: &[u8]) -> Result<(), String> {
    let Some(&[version, _, ref rest @ ..]) = start.strip_prefix(b"\x93NUMPY") else { return Ok(()) };
    let (length, header) = match *rest {
        [low, high, ref header @ ..] if version < 2 => (usize::from(u16::from_le_bytes([low, high])), header),
        [a, b, c, d, ref header @ ..] => (u32::from_le_bytes([a, b, c, d]) as usize, header),
        _ => return Ok(()),
    };
    if length > LONGEST_HEADER {
        return Err(format!(
            "its header claims {length} bytes, where those of arrays have {LONGEST_HEADER} at most"
        ));
    }
    let header = header.get(..length).unwrap_or(header);
    let mut depth = 0_usize;
    for byte in header {
        match byte {
            b'[' | b'(' | b'{' => depth += 1,
            b']' | b')' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return Err("its header has more brackets in one another than that of an array".into());
        }
    }
    // Digits of the axes; two that stand together are no number of a header.
    let axes = header.split(|byte| !byte.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let mut whole = 1_u64;
    for digits in axes {
        let axis = digits
            .iter()
            .try_fold(0_u64, |axis, digit| axis.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
        whole = axis
            .and_then(|axis| whole.checked_mul(axis.max(1)))
            .ok_or("its header has a shape that no file can hold")?;
    }
    Ok(())
}

/// What is wrong by the parser's error, which quotes the header, however long.
pub fn reason(error: &impl core::fmt::Display) -> String {
    let text = format!("{error}");
    text.lines().next_back().unwrap_or_default().trim_start_matches([' ', '=']).into()
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::{check_header, reason};

    fn file(version: u8, length: u32, header: &[u8]) -> Vec<u8> {
        let length = length.to_le_bytes();
        let length = if version < 2 { &length[..2] } else { &length };
        [b"\x93NUMPY", &[version, 0][..], length, header].concat()
    }

    #[test]
    fn a_header_is_not_quoted() {
        assert_eq!(reason(&"could not parse\n  |\n1 | ((((\n  |\n  = expected value"), "expected value");
        assert_eq!(reason(&"magic not found"), "magic not found");
    }

    #[test]
    fn headers_that_would_take_time_or_memory_are_refused() {
        let usual = b"{'descr': '<f4', 'fortran_order': False, 'shape': (512, 3, 224, 224), }";
        let records =
            b"{'descr': [('a', '<f4', (2, 3)), ('b', '<i2')], 'fortran_order': False, 'shape': (4,), }";
        for header in [&usual[..], records, b""] {
            for version in 1..4 {
                check_header(&file(version, header.len() as u32, header)).unwrap();
            }
        }
        check_header(b"\x93NUMPY").unwrap();
        check_header(b"\x93NUMPY\x01\0\x80").unwrap();
        check_header(&[0; 40]).unwrap();
        let said = |version, length, header: &[u8]| check_header(&file(version, length, header)).unwrap_err();
        assert!(said(3, 3_632_567_329, b"{'descr': ").contains("claims 3632567329 bytes"));
        assert!(said(1, 60_000, b"").contains("claims 60000 bytes"));
        assert!(said(1, 9_000, b"{'descr': [[[[[[[[ '<f4' ]]").contains("brackets"));
        let shape = b"{'shape': (4611686018427387904, 1, 28, 28)}";
        assert!(said(1, shape.len() as u32, shape).contains("no file can hold"));
        let shape = b"{'shape': (99999999999999999999999, 1)}";
        assert!(said(2, shape.len() as u32, shape).contains("no file can hold"));
    }
}
