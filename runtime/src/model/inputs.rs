//! The values that an operation reads: a list of a few, without an allocator.

use core::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::needs::{FEW_INPUTS, MANY};
use super::program::Value;

/// Most values that one operation reads: 64 in builds with the feature `many` (and `std`), else [`FEW_INPUTS`].
pub const MAX_INPUTS: usize = if MANY { 64 } else { FEW_INPUTS };

/// 1 to [`MAX_INPUTS`] values, in order. Written as a list: their number, then the values.
#[derive(Clone, Copy)]
pub struct Inputs {
    /// The first `count` count.
    values: [Value; MAX_INPUTS],
    count: u8,
}

impl Inputs {
    /// The list of `values`; `None` where there is none, or more than [`MAX_INPUTS`].
    pub fn new(values: &[Value]) -> Option<Inputs> {
        let mut list = Inputs { values: [0; MAX_INPUTS], count: u8::try_from(values.len()).ok()? };
        list.values.get_mut(..values.len())?.copy_from_slice(values);
        list.values().first().map(|_| list)
    }

    /// One value.
    pub(crate) const fn one(value: Value) -> Inputs {
        Inputs { values: [value; MAX_INPUTS], count: 1 }
    }

    /// Two values.
    pub(crate) const fn two(first: Value, second: Value) -> Inputs {
        let mut values = [0; MAX_INPUTS];
        (values[0], values[1]) = (first, second);
        Inputs { values, count: 2 }
    }

    /// The values.
    pub fn values(&self) -> &[Value] {
        self.values.get(..usize::from(self.count)).unwrap_or_default()
    }

    /// The first value.
    pub fn first(&self) -> Value {
        let [first, ..] = self.values;
        first
    }

    /// The second value: a residual or second summand.
    pub fn second(&self) -> Option<Value> {
        self.values().get(1).copied()
    }
}

impl PartialEq for Inputs {
    fn eq(&self, other: &Self) -> bool {
        self.values() == other.values()
    }
}

impl Eq for Inputs {}

impl fmt::Debug for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.values().fmt(f)
    }
}

impl Serialize for Inputs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.values())
    }
}

impl<'de> Deserialize<'de> for Inputs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Inputs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "1 to {MAX_INPUTS} values")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Inputs, A::Error> {
                let (mut values, mut count) = ([0; MAX_INPUTS], 0);
                while let Some(value) = list.next_element()? {
                    let place = values.get_mut(count);
                    *place.ok_or(A::Error::custom("too many values"))? = value;
                    count += 1;
                }
                let values = values.get(..count).and_then(Inputs::new);
                values.ok_or(A::Error::custom("no value"))
            }
        }

        deserializer.deserialize_seq(List)
    }
}
