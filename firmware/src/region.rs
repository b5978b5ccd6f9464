//! A model in a region of flash of its own, so that a new one needs no new build.
//!
//! The region begins with 16 bytes — the letters `LRPETMDL`, the length of the model file and its CRC-32, both u32 in little
//! endian — and the file follows, aligned as the region is. It is checked at each start: a write that did not come to its
//! end is refused by name.

use core::fmt;

use crate::checksum::crc32;

/// Bytes before the model file.
pub const HEADER_BYTES: usize = 16;

const MARK: [u8; 8] = *b"LRPETMDL";

/// What erased flash reads as.
const ERASED: u8 = 0xff;

/// Why a region holds no model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegionError {
    /// Nothing was written since it was erased.
    Erased,
    /// It begins with something else.
    Foreign,
    /// The length exceeds the region.
    Length {
        /// Bytes of the model file, as the header states.
        stated: u32,
        /// Bytes that the region has for one.
        room: usize,
    },
    /// The bytes are not those that were meant.
    Checksum {
        /// CRC-32 that the header states.
        stated: u32,
        /// CRC-32 of the bytes that are there.
        found: u32,
    },
}

impl fmt::Display for RegionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Erased => f.write_str("the model region is erased: write a model to it"),
            Self::Foreign => f.write_str("the model region holds something else: write a model to it"),
            Self::Length { stated, room } => {
                write!(
                    f,
                    "the model region has room for {room} bytes and its header states {stated}: write the model again"
                )
            }
            Self::Checksum { stated, found } => write!(
                f,
                "the model region is damaged or its writing was cut short (CRC-32 {found:08x} and not {stated:08x}): write \
                 the model again"
            ),
        }
    }
}

impl core::error::Error for RegionError {}

/// The header of a region with `model`, whose bytes follow it; `None` where they exceed u32.
pub fn header(model: &[u8]) -> Option<[u8; HEADER_BYTES]> {
    let length = u32::try_from(model.len()).ok()?.to_le_bytes();
    let crc = crc32(model).to_le_bytes();
    let mut header = [0; HEADER_BYTES];
    let fields = MARK.iter().chain(&length).chain(&crc);
    header.iter_mut().zip(fields).for_each(|(to, byte)| *to = *byte);
    Some(header)
}

/// The model file in `region`, checked to the last byte.
pub fn open(region: &[u8]) -> Result<&[u8], RegionError> {
    let Some((header, rest)) = region.split_first_chunk::<HEADER_BYTES>() else {
        return Err(RegionError::Length { stated: HEADER_BYTES as u32, room: region.len() });
    };
    let [mark @ .., l0, l1, l2, l3, c0, c1, c2, c3] = *header;
    if mark != MARK {
        let erased = header.iter().all(|byte| *byte == ERASED);
        return Err(if erased { RegionError::Erased } else { RegionError::Foreign });
    }
    let (length, stated) = (u32::from_le_bytes([l0, l1, l2, l3]), u32::from_le_bytes([c0, c1, c2, c3]));
    let model = usize::try_from(length).ok().and_then(|length| rest.get(..length));
    let model = model.ok_or(RegionError::Length { stated: length, room: rest.len() })?;
    let found = crc32(model);
    if found == stated { Ok(model) } else { Err(RegionError::Checksum { stated, found }) }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::ToString;
    use std::vec::Vec;

    use super::*;

    const MODEL: &[u8] = b"any bytes that a model may have";

    fn written(size: usize) -> Vec<u8> {
        let mut region = [&header(MODEL).unwrap()[..], MODEL].concat();
        region.resize(size, ERASED);
        region
    }

    #[test]
    fn what_was_written_is_read_back() {
        assert_eq!(open(&written(4096)), Ok(MODEL));
        assert_eq!(open(&written(HEADER_BYTES + MODEL.len())), Ok(MODEL));
    }

    #[test]
    fn a_write_that_was_cut_short_anywhere_is_refused() {
        let whole = written(4096);
        for length in 0..HEADER_BYTES + MODEL.len() {
            let mut torn = whole.clone();
            torn[length..].fill(ERASED);
            let error = open(&torn).unwrap_err();
            let expected = match length {
                0 => error == RegionError::Erased,
                1..8 => error == RegionError::Foreign,
                8..16 => matches!(error, RegionError::Length { .. } | RegionError::Checksum { .. }),
                _ => matches!(error, RegionError::Checksum { .. }),
            };
            assert!(expected, "{length}: {error}");
            assert!(error.to_string().contains("write "));
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let whole = written(HEADER_BYTES + MODEL.len());
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_region_that_is_too_small_is_refused() {
        let whole = written(HEADER_BYTES + MODEL.len());
        let error = open(&whole[..whole.len() - 1]).unwrap_err();
        assert_eq!(error, RegionError::Length { stated: MODEL.len() as u32, room: MODEL.len() - 1 });
        assert!(open(&[]).is_err());
    }
}
