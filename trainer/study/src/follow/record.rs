//! TFRecord framing: length, its checksum, bytes, their checksum. All numbers are little-endian; the checksums are CRC-32C
//! (Castagnoli), masked so that a record may hold records (TensorFlow, `record_writer`).

use crc::{CRC_32_ISCSI, Crc};

const CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
/// Bytes around a record's own.
const LENGTH: usize = 8;
const CHECKSUM: usize = 4;

/// The masked CRC-32C of `bytes`.
fn masked_crc(bytes: &[u8]) -> u32 {
    CRC32C.checksum(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Adds the record that holds `data` to `out`.
pub(super) fn write(data: &[u8], out: &mut Vec<u8>) {
    let length = (data.len() as u64).to_le_bytes();
    out.extend(length);
    out.extend(masked_crc(&length).to_le_bytes());
    out.extend(data);
    out.extend(masked_crc(data).to_le_bytes());
}

/// The contents of the whole and sound records at the start of `bytes`: a file that was cut or damaged ends before the first
/// record that is neither.
pub(super) fn read(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while let Some((data, rest)) = split(bytes) {
        records.push(data);
        bytes = rest;
    }
    records
}

/// The first record's content, and what follows it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = checked(bytes, LENGTH)?;
    checked(rest, usize::try_from(u64::from_le_bytes(length.try_into().ok()?)).ok()?)
}

/// The first `length` bytes where their checksum follows, and what follows that.
fn checked(bytes: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    let (data, rest) = bytes.split_at_checked(length)?;
    let (checksum, rest) = rest.split_at_checked(CHECKSUM)?;
    (checksum == masked_crc(data).to_le_bytes()).then_some((data, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_of_rfc_3720() {
        let ascending: Vec<u8> = (0..32).collect();
        let vectors: [(&[u8], u32); 4] = [
            (b"123456789", 0xe306_9283),
            (&[0; 32], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&ascending, 0x46dd_794e),
        ];
        for (bytes, crc) in vectors {
            assert_eq!(CRC32C.checksum(bytes), crc);
            assert_eq!(masked_crc(bytes).wrapping_sub(0xa282_ead8).rotate_left(15), crc);
        }
        // The twelve bytes with which TensorFlow's own files begin: a record of 24 bytes.
        let mut record = Vec::new();
        write(&[0; 24], &mut record);
        assert_eq!(record[..12], [0x18, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22]);
        assert_eq!(record.len(), 24 + 16);
    }

    #[test]
    fn a_cut_or_damaged_file_ends_before_its_first_bad_record() {
        let mut file = Vec::new();
        let contents: [&[u8]; 3] = [b"one", b"", b"three"];
        let mut ends = Vec::new();
        for data in contents {
            write(data, &mut file);
            ends.push(file.len());
        }
        assert_eq!(read(&file), contents);
        let whole = |end: usize| ends.iter().filter(|whole| **whole <= end).count();
        for length in 0..file.len() {
            assert_eq!(read(&file[..length]), contents[..whole(length)], "{length}");
            let mut damaged = file.clone();
            damaged[length] ^= 0x10;
            assert_eq!(read(&damaged), contents[..whole(length)], "{length}");
        }
    }
}
