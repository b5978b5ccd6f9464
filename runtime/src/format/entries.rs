//! The members of a header, one after another.

use super::json::{Fault, Scanner};
use super::{Dims, Dtype, FormatError, RawStr};

/// Key of the strings that describe the file.
pub(super) const METADATA: &str = "__metadata__";
/// dtype, shape and offsets into the data of one tensor, as its entry states them.
pub(super) struct Info {
    pub(super) dtype: Dtype,
    pub(super) shape: Dims,
    pub(super) begin: usize,
    pub(super) end: usize,
}

/// Goes through the members of the header's object.
#[derive(Clone, Copy)]
pub(super) struct Entries<'a> {
    pub(super) scanner: Scanner<'a>,
    first: bool,
    done: bool,
    /// Offset behind the metadata, 0 where that is not known.
    behind_metadata: usize,
}

impl<'a> Entries<'a> {
    /// The members of `header`, whose metadata end at `behind_metadata` (0: not known).
    pub(super) fn new(header: &'a str, behind_metadata: usize) -> Result<Self, Fault> {
        let mut scanner = Scanner::new(header);
        // The format allows white space behind the object, not before it.
        if !header.starts_with('{') {
            return Err(scanner.fault("an object"));
        }
        scanner.expect(b'{', "an object")?;
        Ok(Self { scanner, first: true, done: false, behind_metadata })
    }

    /// The next key; its value comes next and must be passed by the caller.
    #[inline(never)]
    pub(super) fn key(&mut self) -> Result<Option<RawStr<'a>>, Fault> {
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

    /// Passes the value of `key` in a header that was checked.
    pub(super) fn skip(&mut self, key: RawStr<'a>) {
        if key == METADATA {
            self.scanner.at = self.behind_metadata;
        } else {
            self.scanner.skip_entry();
        }
    }

    pub(super) fn next_tensor(&mut self) -> Result<Option<(RawStr<'a>, Info)>, FormatError<'a>> {
        while let Some(key) = self.key()? {
            if key != METADATA {
                return self.info(key).map(|info| Some((key, info)));
            }
            self.skip(key);
        }
        Ok(None)
    }

    /// Passes the entry of the tensor called `tensor`.
    #[inline(never)]
    pub(super) fn info(&mut self, tensor: RawStr<'a>) -> Result<Info, FormatError<'a>> {
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
pub(super) struct Strings<'a> {
    pub(super) scanner: Scanner<'a>,
    first: bool,
    done: bool,
}

impl<'a> Strings<'a> {
    /// `scanner` stands before the opening brace.
    pub(super) fn new(scanner: Scanner<'a>) -> Self {
        Self { scanner, first: true, done: false }
    }

    #[inline(never)]
    pub(super) fn next_pair(&mut self) -> Result<Option<(RawStr<'a>, RawStr<'a>)>, Fault> {
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
