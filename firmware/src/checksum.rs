//! Checksums: of a model file, and of what a board computes.

use crc::{CRC_32_ISO_HDLC, Crc, Digest, Table};

/// CRC-32 as zlib, gzip and Python's `zlib.crc32` compute it.
const CRC_32: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);

/// CRC-32 of `bytes`.
pub fn crc32(bytes: &[u8]) -> u32 {
    CRC_32.checksum(bytes)
}

/// CRC-32 of logits as little-endian f32, over any number of inferences.
pub struct OutputCrc(Digest<'static, u32, Table<1>>);

impl OutputCrc {
    /// Of no logits.
    pub fn new() -> Self {
        static CRC: Crc<u32, Table<1>> = CRC_32;
        Self(CRC.digest())
    }

    /// Appends the logits of one inference.
    pub fn update(&mut self, logits: &[f32]) {
        for value in logits {
            self.0.update(&value.to_le_bytes());
        }
    }

    /// The CRC-32 of everything appended.
    pub fn finish(self) -> u32 {
        self.0.finalize()
    }
}

impl Default for OutputCrc {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_is_zlibs() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let mut crc = OutputCrc::new();
        crc.update(&[1.0]);
        crc.update(&[-2.5]);
        assert_eq!(crc.finish(), crc32(&[0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0]));
    }
}
