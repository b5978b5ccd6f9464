//! The JSON that a safetensors header uses: objects, strings, arrays and unsigned integers, read in place.

use core::cmp::Ordering;

use super::FormatError;

/// A JSON string as it stands in the file, between its quotes; escapes are known to be valid and undone on reading.
#[derive(Clone, Copy)]
pub struct RawStr<'a>(&'a str);

impl<'a> RawStr<'a> {
    /// `text` stands between the quotes of a JSON string and is known to be valid.
    pub(super) fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// The text as it stands in the file.
    pub(super) fn text(&self) -> &'a str {
        self.0
    }

    /// The order of the characters of two such texts, whatever way of escaping them.
    pub(super) fn order(a: &str, b: &str) -> Ordering {
        RawStr(a).cmp(&RawStr(b))
    }

    /// The characters, escapes undone.
    pub fn chars(&self) -> impl Iterator<Item = char> + 'a {
        Unescape(self.0)
    }

    /// The string where it holds no escape (names and numbers written by the trainer never do).
    pub fn as_plain(&self) -> Option<&'a str> {
        if self.0.contains('\\') { None } else { Some(self.0) }
    }

    /// True where the string is `parts`, one after another.
    #[inline(never)]
    pub fn is_concat(&self, parts: &[&str]) -> bool {
        if let Some(mut plain) = self.as_plain() {
            for part in parts {
                match plain.strip_prefix(part) {
                    Some(rest) => plain = rest,
                    None => return false,
                }
            }
            return plain.is_empty();
        }
        self.chars().eq(parts.iter().flat_map(|part| part.chars()))
    }
}

impl PartialEq for RawStr<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for RawStr<'_> {}

/// The order of the characters, whatever way of escaping them.
impl Ord for RawStr<'_> {
    #[inline(never)]
    fn cmp(&self, other: &Self) -> Ordering {
        let mut others = other.chars();
        for c in self.chars() {
            match others.next().map(|other| c.cmp(&other)) {
                Some(Ordering::Equal) => {}
                Some(order) => return order,
                None => return Ordering::Greater,
            }
        }
        others.next().map_or(Ordering::Equal, |_| Ordering::Less)
    }
}

impl PartialOrd for RawStr<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq<str> for RawStr<'_> {
    fn eq(&self, other: &str) -> bool {
        self.is_concat(&[other])
    }
}

impl PartialEq<&str> for RawStr<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.is_concat(&[other])
    }
}

impl core::fmt::Display for RawStr<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        use core::fmt::Write;
        self.chars().try_for_each(|c| f.write_char(c))
    }
}

impl core::fmt::Debug for RawStr<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

/// The characters of a valid JSON string; ends early where an escape is invalid.
struct Unescape<'a>(&'a str);

impl Iterator for Unescape<'_> {
    type Item = char;

    // Kept a function, for size: it is used in many places, and names are short.
    #[inline(never)]
    fn next(&mut self) -> Option<char> {
        let mut chars = self.0.chars();
        let first = chars.next()?;
        if first != '\\' {
            self.0 = chars.as_str();
            return Some(first);
        }
        let (c, rest) = escape(chars.as_str())?;
        self.0 = rest;
        Some(c)
    }
}

/// Reads what follows a backslash: the character and the text after it, `None` where it is no JSON escape.
fn escape(text: &str) -> Option<(char, &str)> {
    let mut chars = text.chars();
    let c = match chars.next()? {
        c @ ('"' | '\\' | '/') => c,
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => {
            let (high, rest) = hex4(chars.as_str())?;
            if !(0xd800..0xdc00).contains(&high) {
                return Some((char::from_u32(high)?, rest));
            }
            let (low, rest) = hex4(rest.strip_prefix("\\u")?)?;
            let low = low.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
            return Some((char::from_u32(0x10000 + ((high - 0xd800) << 10) + low)?, rest));
        }
        _ => return None,
    };
    Some((c, chars.as_str()))
}

#[inline(never)]
fn hex4(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    let number = digits.chars().try_fold(0, |number, digit| Some(number * 16 + digit.to_digit(16)?))?;
    Some((number, rest))
}

/// Why the text is not what was expected; small, because every step of the scanner returns it.
#[derive(Clone, Copy)]
pub(super) struct Fault {
    at: usize,
    /// `None` where a number is too large.
    expected: Option<&'static str>,
}

impl From<Fault> for FormatError<'_> {
    fn from(Fault { at, expected }: Fault) -> Self {
        match expected {
            Some(expected) => FormatError::Json { at, expected },
            None => FormatError::NumberTooLarge { at },
        }
    }
}

/// A position in the header's text.
#[derive(Clone, Copy)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    pub(super) at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn fault(&self, expected: &'static str) -> Fault {
        Fault { at: self.at, expected: Some(expected) }
    }

    /// The next byte that is no white space, without passing it.
    #[inline(never)]
    pub(super) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(self.at) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    /// Passes `byte` where it comes next.
    #[inline(never)]
    pub(super) fn accept(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    #[inline(never)]
    pub(super) fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), Fault> {
        if self.accept(byte) { Ok(()) } else { Err(self.fault(expected)) }
    }

    /// Passes a string and checks its escapes.
    #[inline(never)]
    pub(super) fn string(&mut self) -> Result<RawStr<'a>, Fault> {
        self.expect(b'"', "a string")?;
        let rest = self.text.get(self.at..).unwrap_or_default();
        let bytes = rest.as_bytes();
        let mut end = 0;
        loop {
            match bytes.get(end) {
                Some(b'"') => break,
                Some(b'\\') => {
                    let after = rest.get(end + 1..).and_then(escape);
                    let (_, after) = after.ok_or(self.fault("a valid escape in a string"))?;
                    end = rest.len() - after.len();
                }
                Some(0..0x20) | None => return Err(self.fault("the end of a string")),
                Some(_) => end += 1,
            }
        }
        self.at += end + 1;
        Ok(RawStr(rest.get(..end).unwrap_or_default()))
    }

    /// Passes an unsigned integer without fraction or exponent.
    #[inline(never)]
    pub(super) fn integer(&mut self) -> Result<u64, Fault> {
        let first = self.peek();
        let mut number = 0u64;
        let start = self.at;
        while let Some(digit @ b'0'..=b'9') = self.text.as_bytes().get(self.at) {
            let next = number.checked_mul(10).and_then(|n| n.checked_add(u64::from(digit - b'0')));
            number = next.ok_or(Fault { at: start, expected: None })?;
            self.at += 1;
        }
        let digits = self.at - start;
        if digits == 0 || (first == Some(b'0') && digits > 1) {
            return Err(self.fault("an unsigned integer"));
        }
        Ok(number)
    }

    /// Passes an unsigned integer of at most 32 bits.
    pub(super) fn integer_u32(&mut self) -> Result<u32, Fault> {
        let at = self.at;
        u32::try_from(self.integer()?).map_err(|_| Fault { at, expected: None })
    }

    /// After one member of an object or array: true where another follows, false where `close` was passed.
    #[inline(never)]
    pub(super) fn more(&mut self, close: u8) -> Result<bool, Fault> {
        if self.accept(b',') {
            return Ok(true);
        }
        self.expect(close, "a comma or a closing bracket").map(|()| false)
    }

    /// Passes everything up to and including the next `}`. Only right inside a tensor's entry that was checked: no
    /// string in there holds a brace.
    pub(super) fn skip_entry(&mut self) {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        self.at += rest.iter().position(|&b| b == b'}').map_or(rest.len(), |end| end + 1);
    }
}
