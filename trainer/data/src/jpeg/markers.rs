//! The markers of a JPEG and what their segments say (ITU-T T.81, annex B): a marker is 0xFF and a code; all but a few are
//! followed by a length that counts itself; entropy-coded data hold 0xFF only before 0x00 or a restart marker.

use super::huffman::Table;

/// End of the image.
pub(super) const END: u8 = 0xd9;
/// Start of a scan.
pub(super) const SCAN: u8 = 0xda;
/// Tables of Huffman codes.
pub(super) const CODES: u8 = 0xc4;
/// Restart interval.
pub(super) const RESTART: u8 = 0xdd;
/// The segment in which EXIF lies.
pub(super) const EXIF: u8 = 0xe1;

/// Code without length: TEM, RST0 to RST7, SOI.
pub(super) fn stands_alone(code: u8) -> bool {
    matches!(code, 0x01 | 0xd0..=0xd8)
}

/// Frame header (SOF0 to SOF15, without the three codes between them that mean something else).
pub(super) fn is_frame(code: u8) -> bool {
    matches!(code, 0xc0..=0xcf) && !matches!(code, 0xc4 | 0xc8 | 0xcc)
}

/// One component of a frame: brightness, or a colour.
pub(super) struct Component {
    id: u8,
    /// Blocks of a unit, by rows and columns.
    pub sampling: [usize; 2],
}

/// A picture's size and how it is coded.
pub(super) struct Frame {
    pub progressive: bool,
    /// Height and width in pixels.
    size: [usize; 2],
    pub components: Vec<Component>,
    /// Units of interleaved data, by rows and columns.
    pub units: [usize; 2],
    /// The largest sampling of all components.
    most: [usize; 2],
}

impl Frame {
    /// The frame of a segment with this code; the error says what is wrong with the file.
    pub(super) fn new(code: u8, segment: &[u8]) -> Result<Frame, String> {
        let &[precision, h1, h0, w1, w0, count, ref rest @ ..] = segment else { return Err(cut()) };
        let coding = match code {
            0xc0..=0xc2 if precision == 8 => None,
            0xc0..=0xc2 => Some("values of more than 8 bits"),
            0xc3 | 0xc7 | 0xcb | 0xcf => Some("lossless coding"),
            0xc9 | 0xca => Some("arithmetic coding"),
            _ => Some("hierarchical coding"),
        };
        if let Some(coding) = coding {
            return Err(format!(
                "a JPEG with {coding}, which is not read: save it as an ordinary JPEG or PNG"
            ));
        }
        let (triples, _) = rest.as_chunks::<3>();
        let triples = triples.get(..usize::from(count)).ok_or_else(cut)?;
        let component = |&[id, sampling, _]: &[u8; 3]| {
            let sampling = [sampling & 15, sampling >> 4].map(usize::from);
            sampling.iter().all(|factor| (1..=4).contains(factor)).then_some(Component { id, sampling })
        };
        let components: Option<Vec<Component>> = triples.iter().map(component).collect();
        let components = components.filter(|found| (1..=4).contains(&found.len()));
        let components = components.ok_or("damaged JPEG (its frame header is wrong)")?;
        let size = [[h1, h0], [w1, w0]].map(|side| usize::from(u16::from_be_bytes(side)));
        let axis = |axis: usize| components.iter().map(|of| of.sampling[axis]).max().unwrap_or(1);
        let most = [axis(0), axis(1)];
        let units = [0, 1].map(|axis| size[axis].div_ceil(8 * most[axis]));
        Ok(Frame { progressive: code == 0xc2, size, components, units, most })
    }

    /// Blocks of a component, by rows and columns, without those that fill the last units.
    pub(super) fn blocks(&self, component: usize) -> [usize; 2] {
        let sampling = self.components[component].sampling;
        [0, 1].map(|axis| (self.size[axis] * sampling[axis]).div_ceil(8 * self.most[axis]))
    }
}

/// The header of a scan.
pub(super) struct Header {
    /// For each component of the scan its number in the frame and those of its tables for DC and AC coefficients.
    pub components: Vec<[usize; 3]>,
    /// First and last coefficient.
    pub band: [usize; 2],
    /// Bits of the coefficients that were to come before and after the scan; before is 0 for a first scan.
    pub approximation: [u8; 2],
}

/// The tables and the restart interval that are in force.
pub(super) struct Tables {
    pub dc: [Option<Table>; 4],
    pub ac: [Option<Table>; 4],
    /// Units between restart markers; 0 for none.
    pub restart: usize,
}

impl Header {
    /// The header of a scan of `frame`.
    pub(super) fn new(frame: &Frame, segment: &[u8]) -> Result<Header, String> {
        let wrong = || "damaged JPEG (the header of a scan is wrong)".to_owned();
        let (&count, rest) = segment.split_first().ok_or_else(cut)?;
        let (pairs, _) = rest.as_chunks::<2>();
        let pairs = pairs.get(..usize::from(count)).filter(|pairs| !pairs.is_empty()).ok_or_else(wrong)?;
        let components: Option<Vec<[usize; 3]>> = pairs
            .iter()
            .map(|&[id, tables]| {
                let number = frame.components.iter().position(|component| component.id == id)?;
                Some([number, usize::from(tables >> 4) & 3, usize::from(tables) & 3])
            })
            .collect();
        let components = components.ok_or_else(wrong)?;
        let &[first, last, bits, ..] = &rest[2 * pairs.len()..] else { return Err(cut()) };
        if !frame.progressive {
            return Ok(Header { components, band: [0, 63], approximation: [0, 0] });
        }
        let band = [first, last].map(usize::from);
        let fits = if band[0] == 0 { band[1] == 0 } else { components.len() == 1 };
        if band[0] > band[1] || band[1] > 63 || !fits {
            return Err(wrong());
        }
        Ok(Header { components, band, approximation: [bits >> 4, bits & 15] })
    }
}

impl Tables {
    /// Takes over the tables of codes in a segment.
    pub(super) fn define(&mut self, mut segment: &[u8]) -> Result<(), String> {
        let wrong = || "damaged JPEG (a table of codes is wrong)".to_owned();
        while let Some((&place, rest)) = segment.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or_else(wrong)?;
            let total = counts.iter().map(|&count| usize::from(count)).sum();
            let (symbols, rest) = rest.split_at_checked(total).ok_or_else(wrong)?;
            let tables = if place >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            tables[usize::from(place & 3)] = Some(Table::new(counts, symbols).ok_or_else(wrong)?);
            segment = rest;
        }
        Ok(())
    }
}

/// Code of the next marker from `at` on, which moves behind it.
pub(super) fn next(bytes: &[u8], at: &mut usize) -> Option<u8> {
    loop {
        let rest = bytes.get(*at..)?;
        let mark = rest.iter().position(|&byte| byte == 0xff)?;
        let code = mark + rest[mark..].iter().position(|&byte| byte != 0xff)?;
        *at += code + 1;
        // Zero stuffed into entropy-coded data is no marker.
        if rest[code] != 0 {
            return Some(rest[code]);
        }
    }
}

/// The segment at `at`, which moves behind it.
pub(super) fn segment<'b>(bytes: &'b [u8], at: &mut usize) -> Option<&'b [u8]> {
    let length = bytes.get(*at..)?.first_chunk().map(|&length| u16::from_be_bytes(length))?;
    let segment = bytes.get(*at + 2..*at + usize::from(length).max(2))?;
    *at += segment.len() + 2;
    Some(segment)
}

/// The error of a file that ends before its first scan.
pub(super) fn cut() -> String {
    "truncated JPEG (it ends before its first scan)".into()
}
