//! The chunks of a PNG: the last one, which only says that the file ends, may be missing.

use std::borrow::Cow;

/// Bytes before the first chunk.
const SIGNATURE: usize = 8;
/// The last chunk: its length, name and checksum.
const END: [u8; 12] = [0, 0, 0, 0, b'I', b'E', b'N', b'D', 0xae, 0x42, 0x60, 0x82];

/// The PNG `bytes` with a last chunk, where only that is missing; what lies there instead is left out.
pub(super) fn whole(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut at = SIGNATURE;
    let mut has_data = false;
    while let Some(&[l0, l1, l2, l3, ref name @ ..]) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        if name == b"IEND" || !name.iter().all(u8::is_ascii_alphabetic) {
            break;
        }
        let is_data = name == b"IDAT";
        match at.checked_add(length).and_then(|end| end.checked_add(12)).filter(|&end| end <= bytes.len()) {
            Some(end) => at = end,
            // The decoder says what is missing.
            None if is_data => return Cow::Borrowed(bytes),
            None => break,
        }
        has_data |= is_data;
    }
    if !has_data || bytes[at..].starts_with(&END) {
        return Cow::Borrowed(bytes);
    }
    Cow::Owned([&bytes[..at], &END].concat())
}
