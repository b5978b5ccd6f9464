//! Reads the records of a program: postcard's wire format, as far as the types of a program have it.
//!
//! The crate postcard puts the loop over a number's bytes wherever a number is read, which is in each field of each operation. Here every
//! kind of value has one function, which takes 10 KB of code less on a Cortex-M.

use core::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, IntoDeserializer, SeqAccess, VariantAccess, Visitor};

/// A value that `bytes` begin with, and the bytes behind it; `None` where they are damaged or cut off.
pub(crate) fn take<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<(T, &'a [u8])> {
    let mut reader = Reader { rest: bytes };
    let value = T::deserialize(&mut reader).ok()?;
    Some((value, reader.rest))
}

/// What is left to read.
struct Reader<'a> {
    rest: &'a [u8],
}

/// The bytes are no such value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Damaged;

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("damaged")
    }
}

impl core::error::Error for Damaged {}

impl de::Error for Damaged {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Damaged
    }
}

impl<'a> Reader<'a> {
    // These are kept functions, for size.
    #[inline(never)]
    fn byte(&mut self) -> Result<u8, Damaged> {
        let (byte, rest) = self.rest.split_first().ok_or(Damaged)?;
        self.rest = rest;
        Ok(*byte)
    }

    /// A number of this many bits: seven in each byte, the lowest first, and the eighth bit set where more follow.
    #[inline(never)]
    fn number(&mut self, bits: u32) -> Result<u32, Damaged> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = u32::from(self.byte()?);
            let (value, left) = (byte & 0x7f, bits - shift);
            // The last byte has fewer bits.
            if left < 7 && byte >> left != 0 {
                return Err(Damaged);
            }
            number |= value << shift;
            if byte < 0x80 {
                return Ok(number);
            }
            shift += 7;
        }
    }

    /// 0 or 1.
    #[inline(never)]
    fn either(&mut self) -> Result<bool, Damaged> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Damaged),
        }
    }

    #[inline(never)]
    fn float(&mut self) -> Result<f32, Damaged> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Damaged)?;
        self.rest = rest;
        Ok(f32::from_le_bytes(*bytes))
    }

    #[inline(never)]
    fn text(&mut self) -> Result<&'a str, Damaged> {
        let length = self.number(32)? as usize;
        let (text, rest) = self.rest.split_at_checked(length).ok_or(Damaged)?;
        self.rest = rest;
        core::str::from_utf8(text).map_err(|_| Damaged)
    }
}

impl<'a> de::Deserializer<'a> for &mut Reader<'a> {
    type Error = Damaged;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_bool<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Damaged> {
        visitor.visit_bool(self.either()?)
    }

    fn deserialize_u8<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Damaged> {
        visitor.visit_u8(self.byte()?)
    }

    fn deserialize_u16<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Damaged> {
        visitor.visit_u16(self.number(16)? as u16)
    }

    fn deserialize_u32<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Damaged> {
        visitor.visit_u32(self.number(32)?)
    }

    fn deserialize_f32<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Damaged> {
        visitor.visit_f32(self.float()?)
    }

    fn deserialize_str<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Damaged> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Damaged> {
        if self.either()? { visitor.visit_some(self) } else { visitor.visit_none() }
    }

    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Damaged> {
        let left = self.number(32)? as usize;
        visitor.visit_seq(Fields { reader: self, left })
    }

    fn deserialize_tuple<V: Visitor<'a>>(self, left: usize, visitor: V) -> Result<V::Value, Damaged> {
        visitor.visit_seq(Fields { reader: self, left })
    }

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Damaged> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Damaged> {
        visitor.visit_enum(self)
    }

    /// No type of a program has any of these.
    fn deserialize_any<V: Visitor<'a>>(self, _: V) -> Result<V::Value, Damaged> {
        Err(Damaged)
    }

    serde::forward_to_deserialize_any! {
        <V: Visitor<'a>>
        i8 i16 i32 i64 u64 f64 char string bytes byte_buf unit unit_struct newtype_struct tuple_struct map identifier ignored_any
    }
}

/// Values that follow each other.
struct Fields<'r, 'a> {
    reader: &'r mut Reader<'a>,
    left: usize,
}

impl<'a> SeqAccess<'a> for Fields<'_, 'a> {
    type Error = Damaged;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, Damaged> {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                seed.deserialize(&mut *self.reader).map(Some)
            }
            None => Ok(None),
        }
    }
}

impl<'a> de::EnumAccess<'a> for &mut Reader<'a> {
    type Error = Damaged;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'a>>(self, seed: V) -> Result<(V::Value, Self), Damaged> {
        let index = self.number(32)?;
        let variant = seed.deserialize(IntoDeserializer::<Damaged>::into_deserializer(index))?;
        Ok((variant, self))
    }
}

impl<'a> VariantAccess<'a> for &mut Reader<'a> {
    type Error = Damaged;

    fn unit_variant(self) -> Result<(), Damaged> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<T::Value, Damaged> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'a>>(self, length: usize, visitor: V) -> Result<V::Value, Damaged> {
        de::Deserializer::deserialize_tuple(self, length, visitor)
    }

    fn struct_variant<V: Visitor<'a>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Damaged> {
        de::Deserializer::deserialize_tuple(self, fields.len(), visitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Activation, Header, Op};

    /// postcard reads the same, and leaves the same.
    fn as_postcard<'a, T: Deserialize<'a> + fmt::Debug>(bytes: &'a [u8]) {
        // As text, in which what is no number is what is no number.
        let found = take::<T>(bytes).map(|found| std::format!("{found:?}"));
        match postcard::take_from_bytes::<T>(bytes) {
            Ok(expected) => {
                // It takes lengths of as many bytes as the machine's have bits for; nothing writes these.
                let padded = bytes.windows(5).any(|five| five.iter().all(|byte| *byte >= 0x80));
                assert!(padded || found == Some(std::format!("{expected:?}")), "{bytes:?}");
            }
            Err(_) => assert_eq!(found, None, "{bytes:?}"),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn records_are_what_postcard_reads(
            kind in 0u8..30,
            small in prop::collection::vec(0u8..4, 0..40),
            any in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            for rest in [&small, &any] {
                let bytes = [&[kind], &rest[..]].concat();
                as_postcard::<Op<&str>>(&bytes);
                as_postcard::<Header>(&bytes);
                as_postcard::<Activation>(&bytes);
                as_postcard::<(u16, u32, Option<bool>)>(rest);
            }
        }
    }
}
