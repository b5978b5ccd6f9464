//! A view of a safetensors file: no copy, no allocation, checked once.
//!
//! The container: eight bytes with the header's length (little-endian), the header (JSON: a tensor's name → dtype,
//! shape, offsets into the data; `__metadata__` → strings), the data. See <https://github.com/huggingface/safetensors>.
//! This module knows the container only, nothing of networks.

mod entries;
mod error;
mod json;
mod tensor;

pub use error::FormatError;
pub use json::RawStr;
pub use tensor::{Dims, Dtype, TensorView};

use entries::{Entries, Info, METADATA, Names, Strings};
use json::Scanner;

/// Most tensors of a file that does not list them in the order of their data (checking such takes quadratic time).
const MAX_UNORDERED: usize = 2048;

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
