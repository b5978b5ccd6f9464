//! UF2: the file that is copied to a board's boot ROM as to a USB stick (<https://github.com/microsoft/uf2>).

use anyhow::{Context, Result, bail};

/// Family of programs for the RP2350's Arm cores, secure (RP2350 data sheet, 5.5.3).
pub const RP2350_ARM_S: u32 = 0xe48b_ff59;

const MAGIC_FIRST: u32 = 0x0a32_4655;
const MAGIC_SECOND: u32 = 0x9e5d_5157;
const MAGIC_LAST: u32 = 0x0ab1_6f30;
/// The block names its family.
const FAMILY_PRESENT: u32 = 0x2000;
/// Behind the page stand further words.
const EXTENSION_PRESENT: u32 = 0x8000;

/// Family of what is written to addresses as they are, whatever partitions the flash has.
const RP2350_ABSOLUTE: u32 = 0xe48b_ff57;
/// A word behind the page: the boot ROM is to leave the block out.
const RP2350_IGNORE: u32 = 0x9957_e304;

/// Bytes of a block.
const BLOCK: usize = 512;
/// Bytes of flash in a block, a page of it.
const PAGE: usize = 256;
/// What the boot ROM erases at a time: whole sectors are written.
const SECTOR: usize = 4096;
/// Where the page lies in a block.
const DATA_AT: usize = 32;

/// The first block of an RP2350's file, which writes nothing. Without it the boot ROM of the revision A2 does not take files
/// that are dropped on it where the flash has a partition table (erratum RP2350-E10); other revisions ignore it. It names the
/// last page of the 16 MiB of flash, as the chip maker's own tools do.
fn absolute_block() -> Vec<u8> {
    const ADDRESS: u32 = 0x1100_0000 - PAGE as u32;
    let flags = FAMILY_PRESENT | EXTENSION_PRESENT;
    // Block 0 of two, of which the other never comes.
    let header = [MAGIC_FIRST, MAGIC_SECOND, flags, ADDRESS, PAGE as u32, 0, 2, RP2350_ABSOLUTE];
    let mut block: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    block.resize(DATA_AT + PAGE, 0xef);
    block.extend(RP2350_IGNORE.to_le_bytes());
    block.resize(BLOCK - 4, 0);
    block.extend(MAGIC_LAST.to_le_bytes());
    block
}

/// Blocks that write `parts`, bytes by address, to flash. What lies between them, and up to the end of the last sector, is
/// written as zeros.
pub fn encode(parts: &[(u32, &[u8])], family: u32) -> Result<Vec<u8>> {
    let parts: Vec<_> = parts.iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
    let (Some(start), Some(end)) = (
        parts.iter().map(|(address, _)| *address as usize).min(),
        parts.iter().map(|(address, bytes)| *address as usize + bytes.len()).max(),
    ) else {
        bail!("the image is empty");
    };
    if !start.is_multiple_of(SECTOR) {
        bail!("the image begins at {start:#x}, in the middle of a sector of {SECTOR} bytes");
    }
    let mut flash = vec![0; (end - start).next_multiple_of(SECTOR)];
    for (address, bytes) in parts {
        let at = *address as usize - start;
        flash[at..at + bytes.len()].copy_from_slice(bytes);
    }
    let count = flash.len() / PAGE;
    let mut file = if family == RP2350_ARM_S { absolute_block() } else { Vec::new() };
    file.reserve(count * BLOCK);
    for (index, page) in flash.chunks(PAGE).enumerate() {
        let address = (start + index * PAGE) as u32;
        let header = [
            MAGIC_FIRST,
            MAGIC_SECOND,
            FAMILY_PRESENT,
            address,
            PAGE as u32,
            index as u32,
            count as u32,
            family,
        ];
        let block = file.len();
        file.extend(header.iter().flat_map(|word| word.to_le_bytes()));
        file.extend(page);
        file.resize(block + BLOCK - 4, 0);
        file.extend(MAGIC_LAST.to_le_bytes());
    }
    Ok(file)
}

/// Reads a file back: the first address and the bytes from there on. An error where a block is none, out of order, or of
/// another family, or where the block is missing that an RP2350's file begins with.
pub fn decode(file: &[u8], family: u32) -> Result<(u32, Vec<u8>)> {
    let (mut start, mut flash) = (None, Vec::new());
    let file = match family {
        RP2350_ARM_S => {
            file.strip_prefix(&*absolute_block()).context("the first block is not the absolute one")?
        }
        _ => file,
    };
    if file.is_empty() || !file.len().is_multiple_of(BLOCK) {
        bail!("{} bytes are no whole number of blocks", file.len());
    }
    let count = file.len() / BLOCK;
    for (index, block) in file.chunks_exact(BLOCK).enumerate() {
        let word =
            |at: usize| block[at..at + 4].iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
        let address = *start.get_or_insert(word(12)) + (index * PAGE) as u32;
        let expected = [
            (0, MAGIC_FIRST),
            (4, MAGIC_SECOND),
            (8, FAMILY_PRESENT),
            (12, address),
            (16, PAGE as u32),
            (20, index as u32),
            (24, count as u32),
            (28, family),
            (BLOCK - 4, MAGIC_LAST),
        ];
        for (at, expected) in expected {
            if word(at) != expected {
                bail!("block {index}, byte {at}: {:#x} instead of {expected:#x}", word(at));
            }
        }
        flash.extend(&block[DATA_AT..DATA_AT + PAGE]);
    }
    Ok((start.unwrap_or(0), flash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_hold_the_image_page_by_page() {
        let first: Vec<u8> = (0..300).map(|i| i as u8).collect();
        let file = encode(&[(0x1000_0000, &first), (0x1000_1001, &[7; 3])], RP2350_ARM_S).unwrap();
        // Two sectors of 16 pages, behind the block that writes nothing.
        assert_eq!(file.len(), (1 + 32) * 512);
        assert_eq!(file[..4], *b"UF2\n");
        let block = |index: usize| &file[(1 + index) * 512..][..512];
        assert_eq!(block(1)[12..16], 0x1000_0100_u32.to_le_bytes());
        assert_eq!(block(1)[24..28], 32_u32.to_le_bytes());
        assert_eq!(block(1)[28..32], [0x59, 0xff, 0x8b, 0xe4]);
        assert_eq!(block(1)[32..32 + 44], first[256..]);
        assert_eq!(block(1)[76..508], [0; 432]);
        assert_eq!(block(16)[32..37], [0, 7, 7, 7, 0]);
        assert_eq!(block(31)[508..], [0x30, 0x6f, 0xb1, 0x0a]);
        // Other families need no such block.
        assert_eq!(encode(&[(0, &first)], 1).unwrap().len(), 16 * 512);
    }

    /// What the chip maker's tool writes where it is asked for the block (`picotool uf2 convert --abs-block`).
    #[test]
    fn the_first_block_of_an_rp2350_writes_nothing() {
        let file = encode(&[(0x1000_0000, &[1])], RP2350_ARM_S).unwrap();
        let words: Vec<u32> =
            file[..32].chunks_exact(4).map(|word| u32::from_le_bytes(*word.first_chunk().unwrap())).collect();
        let header = [0x0a32_4655, 0x9e5d_5157, 0xa000, 0x10ff_ff00, 256, 0, 2, 0xe48b_ff57];
        assert_eq!(words, header);
        assert_eq!(file[32..288], [0xef; 256]);
        assert_eq!(file[288..292], [0x04, 0xe3, 0x57, 0x99]);
        assert_eq!(file[292..508], [0; 216]);
        assert_eq!(file[508..516], *b"\x30\x6f\xb1\x0aUF2\n");
        let error = decode(&file[512..], RP2350_ARM_S).unwrap_err().to_string();
        assert!(error.contains("absolute"), "{error}");
    }

    #[test]
    fn what_was_written_is_read_back() {
        let bytes: Vec<u8> = (0..5000).map(|i| (i % 251) as u8).collect();
        let mut file = encode(&[(0x1000_0000, &bytes)], RP2350_ARM_S).unwrap();
        let (start, flash) = decode(&file, RP2350_ARM_S).unwrap();
        assert_eq!((start, flash.len()), (0x1000_0000, 8192));
        assert_eq!(flash[..5000], bytes);
        assert!(flash[5000..].iter().all(|byte| *byte == 0));
        assert!(decode(&file, 1).is_err());
        assert!(decode(&file[..700], RP2350_ARM_S).is_err());
        file[1024 + 20] ^= 1;
        assert!(decode(&file, RP2350_ARM_S).unwrap_err().to_string().starts_with("block 1, byte 20"));
    }

    #[test]
    fn an_image_that_cannot_be_written_is_refused() {
        assert!(encode(&[], RP2350_ARM_S).is_err());
        assert!(encode(&[(0x1000_0100, &[1])], RP2350_ARM_S).is_err());
    }
}
