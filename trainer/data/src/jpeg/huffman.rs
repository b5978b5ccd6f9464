//! Huffman codes of a JPEG, and the bits that hold them (ITU-T T.81, annexes C and F).

/// Why no value could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The data end here: at a marker, or the file does.
    End,
    /// There is no such code, or no such value here.
    Wrong,
}

/// The bits of entropy-coded data, up to the next marker.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// The byte that is read next.
    at: usize,
    /// Bits that are read, the next one uppermost.
    buffer: u64,
    /// How many there are.
    count: u32,
    /// All bits that were taken since [`Bits::mark`], one over the other.
    taken: u64,
}

impl<'a> Bits<'a> {
    /// Those of `bytes` from `at` on.
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Bits { bytes, at, buffer: 0, count: 0, taken: 0 }
    }

    /// Fills the buffer to more than 48 bits, where there are so many before the next marker.
    fn fill(&mut self) {
        while self.count <= 56 {
            let Some(byte) = self.next_byte() else { return };
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// The next byte of data; none at a marker or at the end.
    fn next_byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        if byte == 0xff {
            // A zero is stuffed behind a byte that would else begin a marker.
            if self.bytes.get(self.at + 1) != Some(&0) {
                return None;
            }
            self.at += 1;
        }
        self.at += 1;
        Some(byte)
    }

    fn need(&mut self, count: u32) -> Result<(), Stop> {
        if self.count < count {
            self.fill();
        }
        if self.count < count { Err(Stop::End) } else { Ok(()) }
    }

    fn drop(&mut self, count: u32) {
        self.taken |= self.buffer & !(u64::MAX >> count);
        self.buffer <<= count;
        self.count -= count;
    }

    /// Begins to note whether a bit is set.
    pub(super) fn mark(&mut self) {
        self.taken = 0;
    }

    /// Whether all bits since [`Bits::mark`] were zero.
    pub(super) fn all_zero(&self) -> bool {
        self.taken == 0
    }

    /// Passes over `count` bits, at most 16.
    pub(super) fn skip(&mut self, count: u32) -> Result<(), Stop> {
        self.need(count)?;
        self.drop(count);
        Ok(())
    }

    /// A number of `count` bits, at most 16.
    pub(super) fn number(&mut self, count: u32) -> Result<u32, Stop> {
        if count == 0 {
            return Ok(0);
        }
        self.need(count)?;
        let number = (self.buffer >> (64 - count)) as u32;
        self.drop(count);
        Ok(number)
    }

    /// The symbol of the next code.
    pub(super) fn symbol(&mut self, table: &Table) -> Result<u8, Stop> {
        if self.count < 16 {
            self.fill();
        }
        let ahead = (self.buffer >> 48) as u32;
        let [length, symbol] = table.fast[(ahead >> (16 - FAST)) as usize];
        let (length, symbol) = if length > 0 { (length.into(), symbol) } else { table.slow(ahead)? };
        if length > self.count {
            return Err(Stop::End);
        }
        self.drop(length);
        Ok(symbol)
    }

    /// Passes over the data that are left before the next marker: where that is, and how many bytes were left that are
    /// neither zero nor 0xFF, besides the bits that fill the last byte.
    pub(super) fn finish(mut self) -> (usize, usize) {
        self.drop(self.count % 8);
        let mut left = 0;
        let mut count = |byte: u8| left += usize::from(!matches!(byte, 0 | 0xff));
        (0..self.count / 8).for_each(|byte| count((self.buffer >> (56 - 8 * byte)) as u8));
        while let Some(byte) = self.next_byte() {
            count(byte);
        }
        (self.at, left)
    }
}

/// Bits of the codes that are looked up at once.
const FAST: u32 = 9;

/// A table of codes.
pub(super) struct Table {
    /// For each beginning the length of its code and its symbol; length 0 where the code is longer.
    fast: Box<[[u8; 2]; 1 << FAST]>,
    /// For each length what all its codes are below, as 16 bits.
    below: [u32; 17],
    /// For each length what to add to a code for the place of its symbol.
    offset: [i32; 17],
    symbols: Vec<u8>,
}

impl Table {
    /// The table of as many codes of 1 to 16 bits as `counts` says; none where so many are not possible.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Table> {
        let mut table = Table {
            fast: Box::new([[0; 2]; 1 << FAST]),
            below: [0; 17],
            offset: [0; 17],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut place) = (0_u32, 0_usize);
        for length in 1..=16_u32 {
            let count = usize::from(counts[length as usize - 1]);
            table.offset[length as usize] = place as i32 - code as i32;
            for &symbol in symbols.get(place..place + count)? {
                if length <= FAST {
                    let first = (code << (FAST - length)) as usize;
                    table.fast.get_mut(first..first + (1 << (FAST - length)))?.fill([length as u8, symbol]);
                }
                code += 1;
            }
            if code > 1 << length {
                return None;
            }
            table.below[length as usize] = code << (16 - length);
            place += count;
            code <<= 1;
        }
        Some(table)
    }

    /// Length and symbol of the code of more than [`FAST`] bits at the beginning of the 16 `ahead`.
    fn slow(&self, ahead: u32) -> Result<(u32, u8), Stop> {
        let length =
            (FAST + 1..=16).find(|&length| ahead < self.below[length as usize]).ok_or(Stop::Wrong)?;
        let place = (ahead >> (16 - length)) as i32 + self.offset[length as usize];
        let symbol = usize::try_from(place).ok().and_then(|place| self.symbols.get(place));
        Ok((length, *symbol.ok_or(Stop::Wrong)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_every_length_are_read_up_to_the_marker() {
        // One code of each length: 0, 10, 110, …
        let symbols: Vec<u8> = (1..=16).collect();
        let table = Table::new(&[1; 16], &symbols).unwrap();
        let bits: String = (0..16).map(|ones| "1".repeat(ones) + "0").collect();
        let bits = format!("{bits:1<136}");
        let bytes: Vec<u8> = bits.as_bytes().chunks(8).fold(Vec::new(), |mut bytes, eight| {
            let byte = u8::from_str_radix(std::str::from_utf8(eight).unwrap(), 2).unwrap();
            bytes.push(byte);
            if byte == 0xff {
                bytes.push(0);
            }
            bytes
        });
        let bytes = [&bytes[..], &[0xff, 0xd9]].concat();
        let mut reader = Bits::new(&bytes, 0);
        let found: Vec<u8> = (0..16).map(|_| reader.symbol(&table).unwrap()).collect();
        assert_eq!(found, symbols);
        // Sixteen ones are no code; what is there of them at the end is none either.
        assert_eq!(reader.symbol(&table), Err(Stop::End));
        assert_eq!(reader.finish(), (bytes.len() - 2, 0));
        assert_eq!(Bits::new(&[0xff, 0, 0xff, 0], 0).symbol(&table), Err(Stop::Wrong));
    }

    #[test]
    fn numbers_end_with_the_data_and_the_rest_is_counted() {
        let mut bits = Bits::new(&[0xa5, 7, 0, 0xff, 0, 9, 0xff, 0xd9, 1], 0);
        assert_eq!((bits.number(4), bits.number(0), bits.skip(3)), (Ok(10), Ok(0), Ok(())));
        // Of what is left, 7 and 9 count; the rest of the first byte, zeros and 0xff do not.
        assert_eq!(bits.finish(), (6, 2));
        let mut bits = Bits::new(&[1, 2], 0);
        assert_eq!((bits.number(16), bits.number(1)), (Ok(0x0102), Err(Stop::End)));
    }

    #[test]
    fn impossible_tables_are_none() {
        let mut counts = [0; 16];
        counts[0] = 3;
        assert!(Table::new(&counts, &[1, 2, 3]).is_none());
        counts[0] = 2;
        assert!(Table::new(&counts, &[1]).is_none());
        assert!(Table::new(&counts, &[1, 2]).is_some());
    }
}
