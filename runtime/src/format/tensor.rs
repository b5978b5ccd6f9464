//! Tensors as a file describes them.

use super::RawStr;

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
    pub(super) fn by_name(name: RawStr<'_>) -> Option<Dtype> {
        // A slice of a length that the compiler does not know, or it would write the loop out, for three times the code.
        let names = core::hint::black_box(&Self::NAMES[..]);
        names.iter().find(|(known, _)| name == *known).map(|(_, dtype)| *dtype)
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
    pub(super) fn push(&mut self, length: u32) -> bool {
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
