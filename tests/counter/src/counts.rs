//! Counters by address, and the segments between marks.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Result, Write};
use std::path::{Path, PathBuf};

/// The plugin's options.
pub struct Options {
    /// Where the counts go.
    out: PathBuf,
    /// Address of the first byte of code in the program's file; marks are relative to the same.
    base: Option<u64>,
    /// Addresses of the marks.
    marks: Vec<u64>,
}

impl Options {
    /// From `out=FILE`, `base=ADDRESS` and any number of `mark=ADDRESS`.
    pub fn read(arguments: &[String]) -> std::result::Result<Options, String> {
        let (mut out, mut base, mut marks) = (None, None, Vec::new());
        for argument in arguments {
            let number = |text: &str| {
                let digits = text.strip_prefix("0x").unwrap_or(text);
                u64::from_str_radix(digits, 16).map_err(|_| format!("{argument}: no hexadecimal number"))
            };
            match argument.split_once('=') {
                Some(("out", file)) => out = Some(PathBuf::from(file)),
                Some(("base", address)) => base = Some(number(address)?),
                Some(("mark", address)) => marks.push(number(address)?),
                _ => return Err(format!("{argument}: the options are out, base and mark")),
            }
        }
        Ok(Options { out: out.ok_or("out=FILE is missing")?, base, marks })
    }
}

/// An instruction that was translated.
struct Code {
    address: u64,
    bytes: Vec<u8>,
    /// Allocated once and never freed: translated code adds to it.
    counter: *mut u64,
}

/// What was executed between two marks.
struct Segment {
    /// The mark that began it; none for the start of the program.
    mark: Option<usize>,
    /// Index of an instruction, how often it was executed.
    counts: Vec<(usize, u64)>,
}

/// All that was counted.
pub struct Counts {
    options: Options,
    /// A program's memory is that of this process.
    maps: bool,
    /// Added to marks; none before the first block.
    bias: Option<u64>,
    codes: Vec<Code>,
    /// The last code at each address.
    by_address: HashMap<u64, usize>,
    segments: Vec<Segment>,
    mark: Option<usize>,
}

// SAFETY: the counters belong to this value, which is used by one thread at a time.
unsafe impl Send for Counts {}

impl Counts {
    pub fn new(options: Options, emulates_system: bool) -> Counts {
        Counts {
            options,
            maps: !emulates_system,
            bias: None,
            codes: Vec::new(),
            by_address: HashMap::new(),
            segments: Vec::new(),
            mark: None,
        }
    }

    pub fn file(&self) -> &Path {
        &self.options.out
    }

    /// Finds where the program was loaded, when its first block is there.
    pub fn find_bias(&mut self, start_of_code: impl FnOnce() -> u64) {
        if self.bias.is_none() {
            self.bias = Some(self.options.base.map_or(0, |base| start_of_code().wrapping_sub(base)));
        }
    }

    /// The counter of the instruction `bytes` at `address`; the same one when it is translated again.
    pub fn counter(&mut self, address: u64, bytes: &[u8]) -> *mut u64 {
        if let Some(code) = self.by_address.get(&address).and_then(|index| self.codes.get(*index))
            && code.bytes == bytes
        {
            return code.counter;
        }
        let counter = Box::into_raw(Box::new(0));
        self.by_address.insert(address, self.codes.len());
        self.codes.push(Code { address, bytes: bytes.to_vec(), counter });
        counter
    }

    /// The mark at `address`.
    pub fn mark_at(&self, address: u64) -> Option<usize> {
        let bias = self.bias.unwrap_or(0);
        self.options.marks.iter().position(|mark| mark.wrapping_add(bias) == address)
    }

    /// Ends the present segment and begins the one of `mark`.
    pub fn begin_segment(&mut self, mark: Option<usize>) {
        let mut counts = Vec::new();
        for (index, code) in self.codes.iter().enumerate() {
            // SAFETY: a live allocation, to which only translated code adds, on the thread that is here now.
            let count = unsafe { code.counter.replace(0) };
            if count > 0 {
                counts.push((index, count));
            }
        }
        self.segments.push(Segment { mark: self.mark, counts });
        self.mark = mark;
    }

    /// Ends the last segment and writes all to the file.
    pub fn write(&mut self) -> Result<()> {
        self.begin_segment(None);
        let mut out = BufWriter::new(File::create(&self.options.out)?);
        writeln!(out, "bias {:x}", self.bias.unwrap_or(0))?;
        if self.maps {
            self.write_maps(&mut out)?;
        }
        for (index, code) in self.codes.iter().enumerate() {
            write!(out, "code {index} {:x} ", code.address)?;
            code.bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
            writeln!(out)?;
        }
        for segment in &self.segments {
            match segment.mark {
                Some(mark) => writeln!(out, "segment {mark}")?,
                None => writeln!(out, "segment -")?,
            }
            for (index, count) in &segment.counts {
                writeln!(out, "{index} {count}")?;
            }
        }
        out.flush()
    }

    /// The files in this process's memory that have translated code: a program's own, at its own addresses.
    fn write_maps(&self, out: &mut impl Write) -> Result<()> {
        for line in std::fs::read_to_string("/proc/self/maps")?.lines() {
            let mut words = line.splitn(6, ' ');
            let (Some(range), Some(offset), Some(path)) = (words.next(), words.nth(1), words.nth(2)) else {
                continue;
            };
            let number = |text: &str| u64::from_str_radix(text, 16).unwrap_or(0);
            let Some((from, to)) = range.split_once('-') else { continue };
            let range = number(from)..number(to);
            let path = path.trim_start();
            if path.starts_with('/') && self.codes.iter().any(|code| range.contains(&code.address)) {
                writeln!(out, "map {from} {to} {offset} {path}")?;
            }
        }
        Ok(())
    }
}
