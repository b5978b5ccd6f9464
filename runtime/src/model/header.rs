//! The head of a program: input, result, and what it needs.

use core::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::needs::{FEW_LIVE, Needs};
use super::program::Op;
use super::shape::Shape;

/// Latest version of the program that this crate writes and reads; it also writes and reads version 1.
pub const FORMAT_VERSION: u16 = 2;

/// Channels of an input whose mean and standard deviation a program holds one by one.
pub const MAX_INPUT_CHANNELS: usize = 4;

/// What the input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// A picture of bytes, which mean and standard deviation normalise.
    Picture,
    /// Values as they are.
    Values,
}

/// What the result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// One logit for each class.
    Classes,
    /// Values as they are, of any shape.
    Values,
}

/// The head of a program.
///
/// Written as version 1 where [`Header::version`] is 1: then the input is a picture of at most [`MAX_INPUT_CHANNELS`] channels, the
/// result one logit a class, and nothing is needed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Header {
    /// Version of the format: 1, or [`FORMAT_VERSION`]. Always the first field, whatever the version.
    pub version: u16,
    /// Shape of the input.
    pub input: Shape,
    /// What the input is.
    pub kind: InputKind,
    /// Mean of each input channel, of pixels scaled to 0..1 (unused entries 0); of a picture with more channels, the first is that of all.
    pub mean: [f32; MAX_INPUT_CHANNELS],
    /// Standard deviation of each input channel, of pixels scaled to 0..1 (unused entries 1), as the mean.
    pub std: [f32; MAX_INPUT_CHANNELS],
    /// Number of values of the result: of a classifier, its classes.
    pub classes: u32,
    /// Shape of the result, of `classes` values.
    pub output: Shape,
    /// What the result is.
    pub result: OutputKind,
    /// What a reader must have.
    pub needs: Needs,
    /// Number of operations that follow.
    pub ops: u16,
}

impl Header {
    /// That of a classifier of pictures with these means and standard deviations, one for each channel or one for all, in version 1
    /// where that holds it. `None` where there are other numbers of them.
    pub fn classifier(input: Shape, mean: &[f32], std: &[f32], classes: u32) -> Option<Header> {
        let mut header = Header {
            version: 1,
            input,
            kind: InputKind::Picture,
            mean: [0.0; MAX_INPUT_CHANNELS],
            std: [1.0; MAX_INPUT_CHANNELS],
            classes,
            output: Shape::vector(classes),
            result: OutputKind::Classes,
            needs: Needs::NONE,
            ops: 0,
        };
        let all = input.channels as usize;
        let listed = if all > MAX_INPUT_CHANNELS { 1 } else { all };
        for (values, to) in [(mean, &mut header.mean), (std, &mut header.std)] {
            let one = values.iter().all(|value| Some(value) == values.first());
            if values.len() != all && values.len() != 1 || listed < all && !one {
                return None;
            }
            to.iter_mut().zip(values.iter().cycle()).take(listed).for_each(|(to, from)| *to = *from);
        }
        header.version = header.least_version();
        Some(header)
    }

    /// The same in front of `ops`: with their number and what they need beside weights of 8 bits, in the first version that holds it. `None` where there are
    /// too many.
    pub fn of_ops<N: AsRef<str>>(self, ops: &[Op<N>]) -> Option<Header> {
        let read = |value: usize, ops: &[Op<N>]| {
            ops.iter().any(|op| op.inputs().values().iter().any(|&read| usize::from(read) == value))
        };
        // What operations do not say.
        let mut needs = Needs(self.needs.0 & Needs::EIGHTS.0);
        let mut alive = usize::from(read(0, ops));
        for (index, op) in ops.iter().enumerate() {
            needs = needs.and(op.needs());
            if alive > FEW_LIVE {
                needs = needs.and(Needs::MANY);
            }
            let later = ops.get(index + 1..).unwrap_or_default();
            let inputs = op.inputs();
            for (at, &value) in inputs.values().iter().enumerate() {
                let first = !inputs.values().iter().take(at).any(|before| *before == value);
                alive -= usize::from(first && alive > 0 && !read(value.into(), later));
            }
            alive += 1;
        }
        let mut header = Header { ops: u16::try_from(ops.len()).ok()?, needs, ..self };
        header.version = header.least_version();
        Some(header)
    }

    /// The first version that holds it.
    pub fn least_version(&self) -> u16 {
        let plain = self.kind == InputKind::Picture
            && self.input.channels as usize <= MAX_INPUT_CHANNELS
            && self.result == OutputKind::Classes
            && self.output == Shape::vector(self.classes)
            && self.needs.is_none();
        if plain { 1 } else { FORMAT_VERSION }
    }

    /// Mean and standard deviation of an input channel, of pixels scaled to 0..1.
    pub fn normalisation(&self, channel: usize) -> (f32, f32) {
        let channel = if self.input.channels as usize > MAX_INPUT_CHANNELS { 0 } else { channel };
        let of = |values: &[f32], usual| values.get(channel).copied().unwrap_or(usual);
        (of(&self.mean, 0.0), of(&self.std, 1.0))
    }
}

/// Fields of the longer of the two forms.
const FIELDS: usize = 9;

impl Serialize for Header {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_tuple(FIELDS)?;
        fields.serialize_element(&self.version)?;
        fields.serialize_element(&self.input)?;
        if self.version > 1 {
            fields.serialize_element(&u8::from(self.kind == InputKind::Values))?;
        }
        fields.serialize_element(&self.mean)?;
        fields.serialize_element(&self.std)?;
        if self.version > 1 {
            fields.serialize_element(&self.output)?;
            fields.serialize_element(&u8::from(self.result == OutputKind::Values))?;
            fields.serialize_element(&self.needs.0)?;
        } else {
            fields.serialize_element(&self.classes)?;
        }
        fields.serialize_element(&self.ops)?;
        fields.end()
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the head of a program")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut fields: A) -> Result<Header, A::Error> {
                let version: u16 = next(&mut fields)?;
                let input = next(&mut fields)?;
                let one = |field: u8| match field {
                    0 => Ok(false),
                    1 => Ok(true),
                    _ => Err(A::Error::custom("no such kind")),
                };
                let later = version > 1;
                let values = later && one(next(&mut fields)?)?;
                let kind = if values { InputKind::Values } else { InputKind::Picture };
                let (mean, std) = (next(&mut fields)?, next(&mut fields)?);
                let output = match later {
                    true => next(&mut fields)?,
                    false => Shape::vector(next(&mut fields)?),
                };
                let values = later && one(next(&mut fields)?)?;
                let result = if values { OutputKind::Values } else { OutputKind::Classes };
                let needs = Needs(if later { next(&mut fields)? } else { 0 });
                let classes = if later { output.len() as u32 } else { output.channels };
                let ops = next(&mut fields)?;
                Ok(Header { version, input, kind, mean, std, classes, output, result, needs, ops })
            }
        }

        deserializer.deserialize_tuple(FIELDS, Fields)
    }
}

/// The next field, which must be there.
fn next<'de, A: SeqAccess<'de>, T: Deserialize<'de>>(fields: &mut A) -> Result<T, A::Error> {
    fields.next_element()?.ok_or(A::Error::custom("cut off"))
}
