//! A view of a safetensors file: no copy, no allocation, checked once.
//!
//! The container: eight bytes with the header's length (little-endian), the header (JSON: a tensor's name → dtype,
//! shape, offsets into the data; `__metadata__` → strings), the data. See <https://github.com/huggingface/safetensors>.
//! This module knows the container only, nothing of networks.

mod entries;
mod error;
mod json;
mod least;
mod tensor;

pub use error::FormatError;
pub use json::RawStr;
pub use tensor::{Dims, Dtype, TensorView};

use entries::{Entries, Info, METADATA, Strings};
use json::Scanner;
use least::Least;
pub(crate) use least::{Item, repeated};

/// Most bytes of a header. This and the two limits below bound the time of checking, which grows with the square of their
/// numbers: a file of a few hundred kilobytes must not keep a small core busy for minutes.
pub const MAX_HEADER_BYTES: usize = 1 << 20;
/// Most tensors.
pub const MAX_TENSORS: usize = 1024;
/// Most keys of `__metadata__`.
pub const MAX_METADATA: usize = 1024;

/// A checked safetensors file: every tensor lies in the file, has the bytes that its dtype and shape need, and shares
/// none with another; no byte is left over; no name occurs twice.
#[derive(Clone, Copy, Debug)]
pub struct SafeTensors<'a> {
    header: &'a str,
    data: &'a [u8],
    /// Offset in the header behind the metadata, 0 where there are none.
    behind_metadata: usize,
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
        if header.len() > MAX_HEADER_BYTES {
            return Err(FormatError::HeaderTooLong { length: header.len() });
        }
        let header = core::str::from_utf8(header).map_err(|_| FormatError::NotUtf8)?;
        let mut file = Self { header, data, behind_metadata: 0 };
        file.check()?;
        Ok(file)
    }

    /// The tensor called `name`.
    #[inline(never)]
    pub fn tensor(&self, name: &str) -> Option<TensorView<'a>> {
        self.find(&[name])
    }

    /// The tensor whose name is `parts` one after another (for names made of a layer's and a suffix, without a buffer).
    pub fn find(&self, parts: &[&str]) -> Option<TensorView<'a>> {
        self.search(&mut self.entries()?, parts)
    }

    /// Looks for many tensors, one after another.
    pub(crate) fn finder(&self) -> Finder<'a> {
        Finder { file: *self, next: [self.entries(); Finder::KINDS] }
    }

    fn entries(&self) -> Option<Entries<'a>> {
        Entries::new(self.header, self.behind_metadata).ok()
    }

    /// Goes from `entries` on to the tensor whose name is `parts` and passes it.
    #[inline(never)]
    fn search(&self, entries: &mut Entries<'a>, parts: &[&str]) -> Option<TensorView<'a>> {
        while let Ok(Some(key)) = entries.key() {
            if key != METADATA && key.is_concat(parts) {
                return Some(self.view(key, entries.info(key).ok()?));
            }
            entries.skip(key);
        }
        None
    }

    /// All tensors, in the order of the header.
    pub fn tensors(&self) -> impl Iterator<Item = TensorView<'a>> + use<'a> {
        let file = *self;
        let mut entries = self.entries();
        core::iter::from_fn(move || {
            let (name, info) = entries.as_mut()?.next_tensor().ok()??;
            Some(file.view(name, info))
        })
    }

    /// The strings of `__metadata__`, in the order of the header.
    pub fn metadata(&self) -> impl Iterator<Item = (RawStr<'a>, RawStr<'a>)> + use<'a> {
        let mut entries = self.entries();
        let strings = core::iter::from_fn(move || {
            loop {
                let entries = entries.as_mut()?;
                let key = entries.key().ok()??;
                if key == METADATA {
                    return Some(Strings::new(entries.scanner));
                }
                entries.skip(key);
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
    fn check(&mut self) -> Result<(), FormatError<'a>> {
        let mut entries = Entries::new(self.header, 0)?;
        let (mut count, mut end, mut ordered) = (0, 0, true);
        while let Some(key) = entries.key()? {
            if key == METADATA {
                if self.behind_metadata > 0 {
                    return Err(FormatError::Duplicate { name: key });
                }
                check_metadata(&mut entries.scanner)?;
                self.behind_metadata = entries.scanner.at;
                continue;
            }
            count += 1;
            if count > MAX_TENSORS {
                return Err(FormatError::TooManyTensors);
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
        let file = *self;
        if let Some(name) = repeated(RawStr::order, &|take| file.each_name(take)) {
            return Err(FormatError::Duplicate { name: RawStr::new(name) });
        }
        if !ordered {
            end = self.check_unordered()?;
        }
        if end != self.data.len() {
            return Err(FormatError::Hole { at: end });
        }
        Ok(())
    }

    /// Goes through the tensors in the order of their data; returns the end of the last.
    fn check_unordered(&self) -> Result<usize, FormatError<'a>> {
        let base = 8 + self.header.len();
        // Files are below 4 GiB.
        let place = |tensor: &TensorView<'_>| {
            let begin = tensor.offset - base;
            [begin, begin + tensor.data.len()].map(|at| at as u32)
        };
        let (mut least, mut end) = (Least::new(RawStr::order), 0);
        // Names are known to differ, so that no pass fails.
        let each = |take: &mut dyn FnMut(Item<'a>) -> bool| {
            let _ = self.tensors().all(|tensor| take((place(&tensor), tensor.name.text())));
        };
        while least.pick(&each) == Ok(true) {
            for &([begin, behind], name) in least.picked() {
                let begin = begin as usize;
                if begin > end {
                    return Err(FormatError::Hole { at: end });
                }
                if begin < end {
                    return Err(FormatError::Overlap { tensor: RawStr::new(name) });
                }
                end = behind as usize;
            }
        }
        Ok(end)
    }

    /// The tensors' names.
    fn each_name(&self, take: &mut dyn FnMut(Item<'a>) -> bool) {
        let Some(mut entries) = self.entries() else { return };
        while let Ok(Some(key)) = entries.key() {
            entries.skip(key);
            if key != METADATA && !take(([0; 2], key.text())) {
                return;
            }
        }
    }
}

/// Passes an object of strings, the metadata, and checks it.
fn check_metadata<'a>(scanner: &mut Scanner<'a>) -> Result<(), FormatError<'a>> {
    let start = *scanner;
    let mut strings = Strings::new(start);
    let mut count = 0;
    while strings.next_pair()?.is_some() {
        count += 1;
        if count > MAX_METADATA {
            return Err(FormatError::TooMuchMetadata);
        }
    }
    *scanner = strings.scanner;
    let keys = |take: &mut dyn FnMut(Item<'a>) -> bool| {
        let _ = Strings::new(start).all(|(key, _)| take(([0; 2], key.text())));
    };
    match repeated(RawStr::order, &keys) {
        Some(name) => Err(FormatError::Duplicate { name: RawStr::new(name) }),
        None => Ok(()),
    }
}

/// Finds tensors of a file, each from where the last one of its kind was found: files list the layers' tensors of one kind
/// more or less in the order of the layers, so that all of them together take a few passes.
pub(crate) struct Finder<'a> {
    file: SafeTensors<'a>,
    next: [Option<Entries<'a>>; Finder::KINDS],
}

impl<'a> Finder<'a> {
    /// Kinds of tensors.
    const KINDS: usize = 3;

    /// The tensor of this kind (below 3) whose name is `parts` one after another.
    #[inline(never)]
    pub(crate) fn find(&mut self, kind: usize, parts: &[&str]) -> Option<TensorView<'a>> {
        let next = self.next.get_mut(kind)?;
        let ahead = next.as_mut().and_then(|entries| self.file.search(entries, parts));
        ahead.or_else(|| {
            *next = self.file.entries();
            self.file.search(next.as_mut()?, parts)
        })
    }
}
