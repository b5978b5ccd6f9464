//! What can be wrong with a safetensors file.

use core::fmt;

use super::{MAX_HEADER_BYTES, MAX_METADATA, MAX_TENSORS, RawStr};

/// Why bytes are no safetensors file that this crate reads. Offsets count bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FormatError<'a> {
    /// Fewer bytes than the length of the header takes.
    TooShort {
        /// Bytes given.
        given: usize,
    },
    /// The header would be longer than the file.
    HeaderLength {
        /// Length that the first eight bytes state.
        length: u64,
        /// Bytes that follow them.
        available: usize,
    },
    /// More than 4 GiB.
    FileTooLarge,
    /// The header has more than [`MAX_HEADER_BYTES`].
    HeaderTooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// The header is not UTF-8.
    NotUtf8,
    /// The header is not the JSON that safetensors uses.
    Json {
        /// Offset in the header.
        at: usize,
        /// What should have been there.
        expected: &'static str,
    },
    /// A number exceeds its range.
    NumberTooLarge {
        /// Offset in the header.
        at: usize,
    },
    /// A name or metadata key occurs twice.
    Duplicate {
        /// The name.
        name: RawStr<'a>,
    },
    /// A tensor's entry lacks a field, has one twice or has one that safetensors does not know.
    Fields {
        /// Name of the tensor.
        tensor: RawStr<'a>,
    },
    /// A dtype that safetensors does not know.
    Dtype {
        /// Name of the tensor.
        tensor: RawStr<'a>,
        /// The dtype.
        dtype: RawStr<'a>,
    },
    /// More than four axes.
    Axes {
        /// Name of the tensor.
        tensor: RawStr<'a>,
    },
    /// The data lie outside the file or end before they begin.
    OutOfBounds {
        /// Name of the tensor.
        tensor: RawStr<'a>,
        /// Offset of the end of its data.
        end: u64,
        /// Bytes of data in the file.
        available: usize,
    },
    /// dtype and shape need another number of bytes than the offsets give.
    Size {
        /// Name of the tensor.
        tensor: RawStr<'a>,
        /// Bytes between the offsets.
        given: usize,
    },
    /// The data begin inside another tensor's.
    Overlap {
        /// Name of the tensor.
        tensor: RawStr<'a>,
    },
    /// Bytes that belong to no tensor.
    Hole {
        /// Offset in the data.
        at: usize,
    },
    /// More than [`MAX_TENSORS`] tensors.
    TooManyTensors,
    /// More than [`MAX_METADATA`] keys in the metadata.
    TooMuchMetadata,
}

impl fmt::Display for FormatError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { given } => {
                write!(f, "{given} bytes are no safetensors file; is the file empty or cut off?")
            }
            Self::HeaderLength { length, available } => write!(
                f,
                "the header would take {length} bytes and {available} are there; no safetensors file, or cut off"
            ),
            Self::FileTooLarge => f.write_str("the file exceeds 4 GiB"),
            Self::NotUtf8 => f.write_str("the header is not UTF-8; no safetensors file, or damaged"),
            Self::Json { at, expected } => {
                write!(
                    f,
                    "the header is damaged: expected {expected} at byte {at}; export or copy the file again"
                )
            }
            Self::NumberTooLarge { at } => write!(f, "a number is too large at byte {at} of the header"),
            Self::Duplicate { name } => write!(f, "the name {name} occurs twice"),
            Self::Fields { tensor } => {
                write!(f, "tensor {tensor}: its entry must have dtype, shape and data_offsets, once each")
            }
            Self::Dtype { tensor, dtype } => write!(f, "tensor {tensor}: unknown dtype {dtype}"),
            Self::Axes { tensor } => write!(f, "tensor {tensor}: more than 4 axes"),
            Self::OutOfBounds { tensor, end, available } => write!(
                f,
                "tensor {tensor}: data up to byte {end} of {available}; the file is cut off or its offsets are damaged"
            ),
            Self::Size { tensor, given } => {
                write!(f, "tensor {tensor}: {given} bytes of data do not match its dtype and shape")
            }
            Self::Overlap { tensor } => write!(f, "tensor {tensor}: its data overlap another tensor's"),
            Self::Hole { at } => write!(f, "the bytes from {at} on belong to no tensor"),
            Self::HeaderTooLong { length } => write!(
                f,
                "the header has {length} bytes and may have {MAX_HEADER_BYTES}; leave metadata out that no device needs"
            ),
            Self::TooManyTensors => {
                write!(f, "more than {MAX_TENSORS} tensors; keep those that the network needs")
            }
            Self::TooMuchMetadata => {
                write!(f, "more than {MAX_METADATA} keys of metadata; leave those out that no device needs")
            }
        }
    }
}

impl core::error::Error for FormatError<'_> {}
