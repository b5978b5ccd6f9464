//! Python's pickles, as far as it takes to find tensors in them: nothing is called, and what is not understood stays a value that
//! says nothing.
//!
//! Every instruction adds at most one value, and a value refers to others by number: a pickle cannot make more than its own length
//! allows, however its values refer to each other. The instructions are those of CPython's `pickletools`.

use std::collections::HashMap;

/// Number of a value.
pub(super) type Id = u32;

/// A value of Python.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    /// None, a number with a point, bytes, a set: nothing that a tensor is made of.
    Other,
    Bool(bool),
    Int(i64),
    Text(&'a str),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    /// Keys and values in order; the last of equal keys counts.
    Dict(Vec<(Id, Id)>),
    /// A class or function: module and name.
    Global(&'a str, &'a str),
    /// What a callable made of its arguments.
    Call {
        callable: Id,
        arguments: Id,
    },
    /// What lies outside of the pickle, by what names it.
    Persistent(Id),
}

/// All values of a pickle.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    values: Vec<Value<'a>>,
    root: Id,
}

impl<'a> Pickle<'a> {
    /// Runs the instructions up to the one that stops.
    ///
    /// # Errors
    /// Where they are cut off, make no sense, or are none of Python's.
    pub fn read(bytes: &'a [u8]) -> Result<Pickle<'a>, String> {
        let mut machine = Machine { rest: bytes, ..Machine::default() };
        while !machine.step().map_err(|error| {
            format!("its pickle cannot be read: {error} at byte {}", bytes.len() - machine.rest.len())
        })? {}
        let root = *machine.stack.last().ok_or("its pickle is empty")?;
        Ok(Pickle { values: machine.values, root })
    }

    /// The value that the whole pickle is.
    pub fn root(&self) -> Id {
        self.root
    }

    /// The value of number `id`.
    pub fn get(&self, id: Id) -> &Value<'a> {
        &self.values[id as usize]
    }

    /// The text that a value is.
    pub fn text(&self, id: Id) -> Option<&'a str> {
        if let Value::Text(text) = *self.get(id) { Some(text) } else { None }
    }

    /// The elements of a tuple or list.
    pub fn elements(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Tuple(elements) | Value::List(elements) => Some(elements),
            _ => None,
        }
    }
}

/// What is left to read, and what was made so far.
#[derive(Default)]
struct Machine<'a> {
    rest: &'a [u8],
    values: Vec<Value<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack at its marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

type Done<T> = Result<T, &'static str>;

impl<'a> Machine<'a> {
    fn take(&mut self, count: usize) -> Done<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or("it is cut off")?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Done<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or("it is cut off")?;
        self.rest = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Done<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn word(&mut self) -> Done<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// As many bytes as the `N` bytes before them say, little-endian.
    fn counted<const N: usize>(&mut self) -> Done<&'a [u8]> {
        let mut count = [0; 8];
        count[..N].copy_from_slice(&self.array::<N>()?);
        self.take(usize::try_from(u64::from_le_bytes(count)).map_err(|_| "it is cut off")?)
    }

    fn line(&mut self) -> Done<&'a str> {
        let end = self.rest.iter().position(|&byte| byte == b'\n').ok_or("it is cut off")?;
        let line = self.take(end + 1)?;
        str::from_utf8(&line[..end]).map_err(|_| "a text is no UTF-8").map(str::trim_ascii_end)
    }

    fn push(&mut self, value: Value<'a>) -> Done<()> {
        let id = Id::try_from(self.values.len()).map_err(|_| "it is too long")?;
        self.values.push(value);
        self.stack.push(id);
        Ok(())
    }

    /// The height below which nothing may be taken.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Done<Id> {
        if self.stack.len() <= self.floor() {
            return Err("a value is missing");
        }
        self.stack.pop().ok_or("a value is missing")
    }

    fn top(&self) -> Done<Id> {
        self.stack[self.floor().min(self.stack.len())..].last().copied().ok_or("a value is missing")
    }

    fn above_mark(&mut self) -> Done<Vec<Id>> {
        let mark = self.marks.pop().ok_or("a mark is missing")?;
        Ok(self.stack.drain(mark.min(self.stack.len())..).collect())
    }

    fn tuple(&mut self, count: usize) -> Done<()> {
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(self.pop()?);
        }
        elements.reverse();
        self.push(Value::Tuple(elements))
    }

    /// Adds to the list, set or object on top.
    fn append(&mut self, mut more: Vec<Id>) -> Done<()> {
        let top = self.top()?;
        if let Value::List(elements) = &mut self.values[top as usize] {
            elements.append(&mut more);
        }
        Ok(())
    }

    /// Adds keys and values in turn to the dictionary or object on top.
    fn set(&mut self, more: &[Id]) -> Done<()> {
        let (pairs, rest) = more.as_chunks::<2>();
        if !rest.is_empty() {
            return Err("a key has no value");
        }
        let top = self.top()?;
        if let Value::Dict(entries) = &mut self.values[top as usize] {
            entries.extend(pairs.iter().map(|&[key, value]| (key, value)));
        }
        Ok(())
    }

    /// What `callable` makes of `arguments`; dictionaries in an order are dictionaries.
    fn call(&mut self, callable: Id, arguments: Id) -> Done<()> {
        let dict = matches!(
            self.values[callable as usize],
            Value::Global("collections", "OrderedDict" | "defaultdict")
                | Value::Global("builtins" | "__builtin__", "dict")
        );
        self.push(if dict { Value::Dict(Vec::new()) } else { Value::Call { callable, arguments } })
    }

    fn remember(&mut self, key: u32) -> Done<()> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Done<()> {
        let id = *self.memo.get(&key).ok_or("it refers to what is not there")?;
        self.stack.push(id);
        Ok(())
    }

    /// A whole number of up to eight bytes, little-endian; longer ones say nothing.
    fn long(&mut self, bytes: &[u8]) -> Done<()> {
        let mut wide = [if bytes.last().is_some_and(|last| *last >= 0x80) { 0xff } else { 0 }; 8];
        let Some(low) = wide.get_mut(..bytes.len()) else { return self.push(Value::Other) };
        low.copy_from_slice(bytes);
        self.push(Value::Int(i64::from_le_bytes(wide)))
    }

    fn text(&mut self, bytes: &'a [u8]) -> Done<()> {
        self.push(str::from_utf8(bytes).map_or(Value::Other, Value::Text))
    }

    /// One instruction; true for the one that stops.
    fn step(&mut self) -> Done<bool> {
        match self.byte()? {
            b'.' => return self.top().map(|_| true),
            // Protocol and frame.
            0x80 => drop(self.byte()?),
            0x95 => drop(self.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.above_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'N' => self.push(Value::Other)?,
            0x88 => self.push(Value::Bool(true))?,
            0x89 => self.push(Value::Bool(false))?,
            b'K' => {
                let value = self.byte()?;
                self.push(Value::Int(value.into()))?;
            }
            b'M' => {
                let value = u16::from_le_bytes(self.array()?);
                self.push(Value::Int(value.into()))?;
            }
            b'J' => {
                let value = i32::from_le_bytes(self.array()?);
                self.push(Value::Int(value.into()))?;
            }
            b'I' | b'L' => {
                let line = self.line()?;
                let value = match line {
                    "00" => Value::Bool(false),
                    "01" => Value::Bool(true),
                    _ => line.trim_end_matches('L').parse().map_or(Value::Other, Value::Int),
                };
                self.push(value)?;
            }
            0x8a => {
                let bytes = self.counted::<1>()?;
                self.long(bytes)?;
            }
            0x8b => {
                let bytes = self.counted::<4>()?;
                self.long(bytes)?;
            }
            b'G' => {
                self.take(8)?;
                self.push(Value::Other)?;
            }
            b'F' | b'S' => {
                self.line()?;
                self.push(Value::Other)?;
            }
            b'V' => {
                let line = self.line()?;
                self.push(Value::Text(line))?;
            }
            b'X' | b'T' => {
                let bytes = self.counted::<4>()?;
                self.text(bytes)?;
            }
            0x8c | b'U' => {
                let bytes = self.counted::<1>()?;
                self.text(bytes)?;
            }
            0x8d => {
                let bytes = self.counted::<8>()?;
                self.text(bytes)?;
            }
            b'B' => {
                self.counted::<4>()?;
                self.push(Value::Other)?;
            }
            b'C' => {
                self.counted::<1>()?;
                self.push(Value::Other)?;
            }
            0x8e | 0x96 => {
                self.counted::<8>()?;
                self.push(Value::Other)?;
            }
            b')' => self.push(Value::Tuple(Vec::new()))?,
            b't' => {
                let elements = self.above_mark()?;
                self.push(Value::Tuple(elements))?;
            }
            code @ 0x85..=0x87 => self.tuple(usize::from(code - 0x84))?,
            b']' => self.push(Value::List(Vec::new()))?,
            b'l' => {
                let elements = self.above_mark()?;
                self.push(Value::List(elements))?;
            }
            b'a' => {
                let element = self.pop()?;
                self.append(vec![element])?;
            }
            b'e' | 0x90 => {
                let elements = self.above_mark()?;
                self.append(elements)?;
            }
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b'd' => {
                let elements = self.above_mark()?;
                self.push(Value::Dict(Vec::new()))?;
                self.set(&elements)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])?;
            }
            b'u' => {
                let elements = self.above_mark()?;
                self.set(&elements)?;
            }
            0x8f => self.push(Value::Other)?,
            0x91 => {
                self.above_mark()?;
                self.push(Value::Other)?;
            }
            b'p' => {
                let key = self.line()?.parse().map_err(|_| "a number is none")?;
                self.remember(key)?;
            }
            b'q' => {
                let key = self.byte()?;
                self.remember(key.into())?;
            }
            b'r' => {
                let key = self.word()?;
                self.remember(key)?;
            }
            0x94 => self.remember(u32::try_from(self.memo.len()).map_err(|_| "it is too long")?)?,
            b'g' => {
                let key = self.line()?.parse().map_err(|_| "a number is none")?;
                self.recall(key)?;
            }
            b'h' => {
                let key = self.byte()?;
                self.recall(key.into())?;
            }
            b'j' => {
                let key = self.word()?;
                self.recall(key)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Value::Global(module, name))?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |id: Id| match self.values[id as usize] {
                    Value::Text(text) => Ok(text),
                    _ => Err("a class has no name"),
                };
                let (module, name) = (text(module)?, text(name)?);
                self.push(Value::Global(module, name))?;
            }
            b'R' | 0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.call(callable, arguments)?;
            }
            0x92 => {
                let (_, arguments, callable) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(callable, arguments)?;
            }
            // Fields of an object say nothing of its tensors.
            b'b' => drop(self.pop()?),
            b'o' | b'i' => return Err("an object of an old class"),
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Persistent(id))?;
            }
            _ => return Err("an unknown instruction"),
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(bytes: &[u8]) -> Pickle<'_> {
        Pickle::read(bytes).unwrap()
    }

    #[test]
    fn values_of_every_protocol_are_read() {
        // {"a": (1, -2, 300, True)} in protocols 0, 2 and 4, as CPython writes it.
        let protocols: [&[u8]; 3] = [
            b"(dp0\nVa\np1\n(I1\nI-2\nI300\nI01\ntp2\ns.",
            b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01(K\x01J\xfe\xff\xff\xffM,\x01\x88tq\x02s.",
            b"\x80\x04\x95\x18\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01a\x94(K\x01J\xfe\xff\xff\xffM,\x01\x88t\x94s.",
        ];
        for bytes in protocols {
            let pickle = reads(bytes);
            let Value::Dict(entries) = pickle.get(pickle.root()) else { panic!("{pickle:?}") };
            let [(key, value)] = entries[..] else { panic!("{pickle:?}") };
            assert_eq!(pickle.text(key), Some("a"));
            let values = pickle.elements(value).unwrap().iter().map(|id| pickle.get(*id).clone());
            let expected = [Value::Int(1), Value::Int(-2), Value::Int(300), Value::Bool(true)];
            assert_eq!(values.collect::<Vec<_>>(), expected);
        }
        for (bytes, value) in [
            (&b"\x8a\x02\x00\x80."[..], Value::Int(-32768)),
            (b"\x8a\x00.", Value::Int(0)),
            (b"\x8a\x09\0\0\0\0\0\0\0\0\x01.", Value::Other),
            (b"L7L\n.", Value::Int(7)),
            (b"\x8c\x01m\x8c\x01n\x93.", Value::Global("m", "n")),
            (b"cm\nn\n.", Value::Global("m", "n")),
        ] {
            let pickle = reads(bytes);
            assert_eq!(*pickle.get(pickle.root()), value);
        }
    }

    #[test]
    fn a_dictionary_is_filled_after_it_is_remembered() {
        let pickle = reads(b"\x80\x02ccollections\nOrderedDict\n)Rq\x00X\x01\x00\x00\x00aK\x01sh\x00\x86.");
        let both = pickle.elements(pickle.root()).unwrap();
        assert!(
            both[0] == both[1] && matches!(pickle.get(both[0]), Value::Dict(entries) if entries.len() == 1)
        );
    }

    #[test]
    fn nonsense_is_an_error_and_takes_no_memory() {
        let cases: [&[u8]; 14] = [
            b"",
            b".",
            b"\x80",
            b"X\xff\xff\xff\xffabc.",
            b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc.",
            b"t.",
            b"K\x01(0.",
            b"(K\x01u.",
            b"}K\x01s.",
            b"h\x05.",
            b"K\x01K\x02\x93.",
            b"cos\nsystem",
            b"\xff.",
            b"(i\n.",
        ];
        for bytes in cases {
            assert!(Pickle::read(bytes).is_err(), "{bytes:?}");
        }
        // A tuple in a tuple, a million times, and one that doubles with each instruction where values are copied.
        let nested = [&b")"[..], &[0x85; 1_000_000], b"."].concat();
        reads(&nested);
        let doubling = [&b")"[..], &b"2\x86".repeat(100_000), b"."].concat();
        assert!(reads(&doubling).values.len() < 200_000);
    }
}
