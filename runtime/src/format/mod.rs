//! A view of a safetensors file: no copy, no allocation, checked once.
//!
//! The container: eight bytes with the header's length (little-endian), the header (JSON: a tensor's name → dtype,
//! shape, offsets into the data; `__metadata__` → strings), the data. See <https://github.com/huggingface/safetensors>.
//! This module knows the container only, nothing of networks.

mod error;
mod json;

pub use error::FormatError;
pub use json::RawStr;

use json::{Fault, Scanner};

/// Key of the strings that describe the file.
const METADATA: &str = "__metadata__";
/// Most tensors of a file that does not list them in the order of their data (checking such takes quadratic time).
const MAX_UNORDERED: usize = 2048;

/// Type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Dtype {
    Bool,
    U8,
    I8,
    F8E4M3,
    F8E5M2,
    U16,
    I16,
    F16,
    BF16,
    U32,
    I32,
    F32,
    U64,
    I64,
    F64,
}

impl Dtype {
    const NAMES: [(&'static str, Dtype); 15] = [
        ("BOOL", Dtype::Bool),
        ("U8", Dtype::U8),
        ("I8", Dtype::I8),
        ("F8_E4M3", Dtype::F8E4M3),
        ("F8_E5M2", Dtype::F8E5M2),
        ("U16", Dtype::U16),
        ("I16", Dtype::I16),
        ("F16", Dtype::F16),
        ("BF16", Dtype::BF16),
        ("U32", Dtype::U32),
        ("I32", Dtype::I32),
        ("F32", Dtype::F32),
        ("U64", Dtype::U64),
        ("I64", Dtype::I64),
        ("F64", Dtype::F64),
    ];

    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Dtype::Bool | Dtype::U8 | Dtype::I8 | Dtype::F8E4M3 | Dtype::F8E5M2 => 1,
            Dtype::U16 | Dtype::I16 | Dtype::F16 | Dtype::BF16 => 2,
            Dtype::U32 | Dtype::I32 | Dtype::F32 => 4,
            Dtype::U64 | Dtype::I64 | Dtype::F64 => 8,
        }
    }

    /// The name in the file.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, dtype)| *dtype == self).map_or("", |(name, _)| name)
    }

    #[inline(never)]
    fn by_name(name: RawStr<'_>) -> Option<Dtype> {
        Self::NAMES.iter().find(|(known, _)| name == *known).map(|(_, dtype)| *dtype)
    }
}

/// Lengths of a tensor's axes, up to four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Dims {
    axes: [u32; 4],
    count: u8,
}

impl Dims {
    /// The axes of `lengths`, of which the first four count.
    pub fn new(lengths: &[u32]) -> Self {
        let mut dims = Self::default();
        for &length in lengths {
            dims.push(length);
        }
        dims
    }

    /// The lengths.
    pub fn as_slice(&self) -> &[u32] {
        self.axes.get(..usize::from(self.count)).unwrap_or_default()
    }

    /// Adds an axis; false where there are four already.
    fn push(&mut self, length: u32) -> bool {
        let axis = self.axes.get_mut(usize::from(self.count));
        let room = axis.is_some();
        if let Some(axis) = axis {
            *axis = length;
            self.count += 1;
        }
        room
    }
}

impl core::fmt::Display for Dims {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("[")?;
        for (i, axis) in self.as_slice().iter().enumerate() {
            write!(f, "{}{axis}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str("]")
    }
}

/// One tensor, in place.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// Its name.
    pub name: RawStr<'a>,
    /// Type of its elements.
    pub dtype: Dtype,
    /// Lengths of its axes.
    pub shape: Dims,
    /// Its elements, little-endian, row-major.
    pub data: &'a [u8],
    /// Offset of the data from the beginning of the file.
    pub offset: usize,
}

/// A checked safetensors file: every tensor lies in the file, has the bytes that its dtype and shape need, and shares
/// none with another; no byte is left over; no name occurs twice.
#[derive(Clone, Copy, Debug)]
pub struct SafeTensors<'a> {
    header: &'a str,
    data: &'a [u8],
}

impl<'a> SafeTensors<'a> {
    /// Checks `bytes`, the whole file.
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self, FormatError<'a>> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(FormatError::FileTooLarge);
        }
        let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
            return Err(FormatError::TooShort { given: bytes.len() });
        };
        let length = u64::from_le_bytes(*length);
        let split = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
        let (header, data) = split.ok_or(FormatError::HeaderLength { length, available: rest.len() })?;
        let header = core::str::from_utf8(header).map_err(|_| FormatError::NotUtf8)?;
        let file = Self { header, data };
        file.check()?;
        Ok(file)
    }

    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<TensorView<'a>> {
        self.find(&[name])
    }

    /// The tensor whose name is `parts` one after another (for names made of a layer's and a suffix, without a buffer).
    #[inline(never)]
    pub fn find(&self, parts: &[&str]) -> Option<TensorView<'a>> {
        let mut entries = Entries::new(self.header).ok()?;
        while let Ok(Some(key)) = entries.key() {
            if key == METADATA {
                entries.skip_strings().ok()?;
            } else if key.is_concat(parts) {
                return Some(self.view(key, entries.info(key).ok()?));
            } else {
                entries.scanner.skip_entry();
            }
        }
        None
    }

    /// All tensors, in the order of the header.
    pub fn tensors(&self) -> impl Iterator<Item = TensorView<'a>> + use<'a> {
        let file = *self;
        let mut entries = Entries::new(self.header).ok();
        core::iter::from_fn(move || {
            let (name, info) = entries.as_mut()?.next_tensor().ok()??;
            Some(file.view(name, info))
        })
    }

    /// The strings of `__metadata__`, in the order of the header.
    pub fn metadata(&self) -> impl Iterator<Item = (RawStr<'a>, RawStr<'a>)> + use<'a> {
        let mut entries = Entries::new(self.header).ok();
        let strings = core::iter::from_fn(move || {
            loop {
                let entries = entries.as_mut()?;
                if entries.key().ok()?? == METADATA {
                    return Some(Strings::new(entries.scanner));
                }
                entries.scanner.skip_entry();
            }
        });
        strings.take(1).flatten()
    }

    /// The string of `__metadata__` called `key`.
    pub fn metadata_value(&self, key: &str) -> Option<RawStr<'a>> {
        self.metadata().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    fn view(&self, name: RawStr<'a>, info: Info) -> TensorView<'a> {
        TensorView {
            name,
            dtype: info.dtype,
            shape: info.shape,
            data: self.data.get(info.begin..info.end).unwrap_or_default(),
            offset: 8 + self.header.len() + info.begin,
        }
    }

    #[inline(never)]
    fn check(&self) -> Result<(), FormatError<'a>> {
        let mut entries = Entries::new(self.header)?;
        let mut names = Names::default();
        let (mut count, mut end, mut ordered) = (0, 0, true);
        while let Some(key) = entries.key()? {
            if names.seen_before(key) && self.keys().take(count).any(|earlier| earlier == key) {
                return Err(FormatError::Duplicate { name: key });
            }
            count += 1;
            if key == METADATA {
                self.check_metadata(&mut entries.scanner)?;
                continue;
            }
            let info = entries.info(key)?;
            let size = info.end.checked_sub(info.begin).filter(|_| info.end <= self.data.len());
            let available = self.data.len();
            let size =
                size.ok_or(FormatError::OutOfBounds { tensor: key, end: info.end as u64, available })?;
            let elements =
                info.shape.as_slice().iter().try_fold(1usize, |n, &axis| n.checked_mul(axis as usize));
            if elements.and_then(|n| n.checked_mul(info.dtype.bytes())) != Some(size) {
                return Err(FormatError::Size { tensor: key, given: size });
            }
            ordered &= info.begin == end;
            end = info.end;
        }
        if entries.scanner.peek().is_some() {
            return Err(entries.scanner.fault("the end of the header").into());
        }
        if !ordered {
            end = self.check_unordered(count)?;
        }
        if end != self.data.len() {
            return Err(FormatError::Hole { at: end });
        }
        Ok(())
    }

    /// Goes through the tensors in the order of their data, looking for the next one each time; returns the end of
    /// the last.
    fn check_unordered(&self, count: usize) -> Result<usize, FormatError<'a>> {
        if count > MAX_UNORDERED {
            return Err(FormatError::TooManyTensors);
        }
        let (mut end, mut last) = (0, None);
        loop {
            let order = |(i, tensor): (usize, TensorView<'a>)| {
                ((tensor.offset, tensor.offset + tensor.data.len(), i), tensor.name)
            };
            let after =
                |candidate: &((usize, usize, usize), RawStr<'a>)| last.is_none_or(|last| candidate.0 > last);
            let next =
                self.tensors().enumerate().map(order).filter(after).min_by_key(|(position, _)| *position);
            let Some((position, tensor)) = next else { return Ok(end) };
            let begin = position.0 - 8 - self.header.len();
            if begin < end {
                return Err(FormatError::Overlap { tensor });
            } else if begin > end {
                return Err(FormatError::Hole { at: end });
            }
            end = position.1 - 8 - self.header.len();
            last = Some(position);
        }
    }

    fn check_metadata(&self, scanner: &mut Scanner<'a>) -> Result<(), FormatError<'a>> {
        let mut names = Names::default();
        let start = *scanner;
        let mut strings = Strings::new(*scanner);
        let mut count = 0;
        while let Some((key, _)) = strings.next_pair()? {
            if names.seen_before(key) && Strings::new(start).take(count).any(|(earlier, _)| earlier == key) {
                return Err(FormatError::Duplicate { name: key });
            }
            count += 1;
        }
        *scanner = strings.scanner;
        Ok(())
    }

    /// The header's keys as far as they were checked.
    fn keys(&self) -> impl Iterator<Item = RawStr<'a>> + use<'a> {
        let mut entries = Entries::new(self.header).ok();
        core::iter::from_fn(move || {
            let entries = entries.as_mut()?;
            let key = entries.key().ok()??;
            if key == METADATA {
                entries.skip_strings().ok()?;
            } else {
                entries.scanner.skip_entry();
            }
            Some(key)
        })
    }
}

/// dtype, shape and offsets into the data of one tensor, as its entry states them.
struct Info {
    dtype: Dtype,
    shape: Dims,
    begin: usize,
    end: usize,
}

/// Goes through the members of the header's object.
struct Entries<'a> {
    scanner: Scanner<'a>,
    first: bool,
    done: bool,
}

impl<'a> Entries<'a> {
    fn new(header: &'a str) -> Result<Self, Fault> {
        let mut scanner = Scanner::new(header);
        // The format allows white space behind the object, not before it.
        if !header.starts_with('{') {
            return Err(scanner.fault("an object"));
        }
        scanner.expect(b'{', "an object")?;
        Ok(Self { scanner, first: true, done: false })
    }

    /// The next key; its value comes next and must be passed by the caller.
    #[inline(never)]
    fn key(&mut self) -> Result<Option<RawStr<'a>>, Fault> {
        if self.first {
            self.first = false;
            self.done = self.scanner.accept(b'}');
        } else if !self.done {
            self.done = !self.scanner.more(b'}')?;
        }
        if self.done {
            return Ok(None);
        }
        let key = self.scanner.string()?;
        self.scanner.expect(b':', "a colon")?;
        Ok(Some(key))
    }

    /// Passes an object of strings.
    fn skip_strings(&mut self) -> Result<(), Fault> {
        let mut strings = Strings::new(self.scanner);
        while strings.next_pair()?.is_some() {}
        self.scanner = strings.scanner;
        Ok(())
    }

    fn next_tensor(&mut self) -> Result<Option<(RawStr<'a>, Info)>, FormatError<'a>> {
        while let Some(key) = self.key()? {
            if key != METADATA {
                return self.info(key).map(|info| Some((key, info)));
            }
            self.skip_strings()?;
        }
        Ok(None)
    }

    /// Passes the entry of the tensor called `tensor`.
    #[inline(never)]
    fn info(&mut self, tensor: RawStr<'a>) -> Result<Info, FormatError<'a>> {
        let scanner = &mut self.scanner;
        let (mut dtype, mut shape, mut offsets) = (None, None, None);
        scanner.expect(b'{', "a tensor's entry")?;
        loop {
            let field = scanner.string()?;
            scanner.expect(b':', "a colon")?;
            if field == "dtype" && dtype.is_none() {
                let name = scanner.string()?;
                dtype = Some(Dtype::by_name(name).ok_or(FormatError::Dtype { tensor, dtype: name })?);
            } else if field == "shape" && shape.is_none() {
                let mut dims = Dims::default();
                scanner.expect(b'[', "an array")?;
                let mut more = !scanner.accept(b']');
                while more {
                    if !dims.push(scanner.integer_u32()?) {
                        return Err(FormatError::Axes { tensor });
                    }
                    more = scanner.more(b']')?;
                }
                shape = Some(dims);
            } else if field == "data_offsets" && offsets.is_none() {
                scanner.expect(b'[', "an array")?;
                let begin = scanner.integer()?;
                scanner.expect(b',', "a comma")?;
                let end = scanner.integer()?;
                scanner.expect(b']', "a closing bracket")?;
                offsets = Some((begin, end));
            } else {
                return Err(FormatError::Fields { tensor });
            }
            if !scanner.more(b'}')? {
                break;
            }
        }
        let (Some(dtype), Some(shape), Some((begin, end))) = (dtype, shape, offsets) else {
            return Err(FormatError::Fields { tensor });
        };
        let out_of_bounds = |_| FormatError::OutOfBounds { tensor, end, available: 0 };
        let begin = usize::try_from(begin).map_err(out_of_bounds)?;
        let end = usize::try_from(end).map_err(out_of_bounds)?;
        Ok(Info { dtype, shape, begin, end })
    }
}

/// Goes through an object whose values are strings.
struct Strings<'a> {
    scanner: Scanner<'a>,
    first: bool,
    done: bool,
}

impl<'a> Strings<'a> {
    /// `scanner` stands before the opening brace.
    fn new(scanner: Scanner<'a>) -> Self {
        Self { scanner, first: true, done: false }
    }

    #[inline(never)]
    fn next_pair(&mut self) -> Result<Option<(RawStr<'a>, RawStr<'a>)>, Fault> {
        if self.first {
            self.first = false;
            self.scanner.expect(b'{', "an object of strings")?;
            self.done = self.scanner.accept(b'}');
        } else if !self.done {
            self.done = !self.scanner.more(b'}')?;
        }
        if self.done {
            return Ok(None);
        }
        let key = self.scanner.string()?;
        self.scanner.expect(b':', "a colon")?;
        Ok(Some((key, self.scanner.string()?)))
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = (RawStr<'a>, RawStr<'a>);

    /// Ends early where the object is invalid, which a checked one never is.
    fn next(&mut self) -> Option<Self::Item> {
        self.next_pair().ok()?
    }
}

/// A set of names that errs on the side of "seen": spares all but a few of the comparisons of each with each.
#[derive(Default)]
struct Names([u64; 32]);

impl Names {
    fn seen_before(&mut self, name: RawStr<'_>) -> bool {
        let hash = name.hash();
        let bit = 1u64 << (hash & 63);
        // A multiplicative hash is best in its upper bits.
        let Some(word) = self.0.get_mut((hash >> 27) as usize) else { return true };
        let seen = *word & bit != 0;
        *word |= bit;
        seen
    }
}
