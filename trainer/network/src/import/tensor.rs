//! Constants of a graph: weights, and the numbers that shapes are computed from.

use std::path::Path;

use crate::onnx::proto::{DataType, TensorProto};
use half::{bf16, f16};

use crate::import::external;

/// Most elements that folding constants may make: what no network has in one tensor.
pub(crate) const MOST_ELEMENTS: usize = 1 << 28;

/// Elements of a constant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Data {
    /// Numbers with fractions.
    Floats(Vec<f32>),
    /// Whole numbers, and 0 or 1 for truth values.
    Ints(Vec<i64>),
}

/// A constant, row-major.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tensor {
    /// Lengths of its axes.
    pub shape: Vec<usize>,
    /// Its elements, as many as the axes say.
    pub data: Data,
}

/// Product of axes; `None` where it is more than [`MOST_ELEMENTS`].
pub(crate) fn elements(shape: &[usize]) -> Option<usize> {
    // An axis of length 0 empties the tensor, however long the others are.
    if shape.contains(&0) {
        return Some(0);
    }
    let count = shape.iter().try_fold(1_usize, |product, &axis| product.checked_mul(axis))?;
    (count <= MOST_ELEMENTS).then_some(count)
}

impl Tensor {
    /// Of numbers with fractions; `shape` has as many elements as `values`.
    pub(crate) fn floats(shape: Vec<usize>, values: Vec<f32>) -> Tensor {
        debug_assert_eq!(elements(&shape), Some(values.len()));
        Tensor { shape, data: Data::Floats(values) }
    }

    /// A list of whole numbers.
    pub(crate) fn list(values: Vec<i64>) -> Tensor {
        Tensor { shape: vec![values.len()], data: Data::Ints(values) }
    }

    /// Of numbers of its type, whole ones where `int`.
    pub(crate) fn of(shape: Vec<usize>, values: Vec<f64>, int: bool) -> Tensor {
        let data = if int {
            Data::Ints(values.into_iter().map(|value| value as i64).collect())
        } else {
            Data::Floats(values.into_iter().map(|value| value as f32).collect())
        };
        Tensor { shape, data }
    }

    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        match &self.data {
            Data::Floats(values) => values.len(),
            Data::Ints(values) => values.len(),
        }
    }

    /// True where the elements are whole numbers.
    pub(crate) fn is_int(&self) -> bool {
        matches!(self.data, Data::Ints(_))
    }

    /// The elements as f32.
    pub(crate) fn to_f32(&self) -> Vec<f32> {
        match &self.data {
            Data::Floats(values) => values.clone(),
            Data::Ints(values) => values.iter().map(|&value| value as f32).collect(),
        }
    }

    /// The elements as f64.
    pub(crate) fn to_f64(&self) -> Vec<f64> {
        match &self.data {
            Data::Floats(values) => values.iter().map(|&value| f64::from(value)).collect(),
            Data::Ints(values) => values.iter().map(|&value| value as f64).collect(),
        }
    }

    /// The elements as whole numbers, towards zero.
    pub(crate) fn to_ints(&self) -> Vec<i64> {
        match &self.data {
            Data::Floats(values) => values.iter().map(|&value| value as i64).collect(),
            Data::Ints(values) => values.clone(),
        }
    }

    /// The one element of a constant that has one.
    pub(crate) fn scalar(&self) -> Option<f64> {
        (self.len() == 1).then(|| self.to_f64()[0])
    }

    /// Reads a constant of a file in `folder`. Its size is checked against its bytes before anything is allocated.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(proto: &TensorProto, folder: Option<&Path>) -> Result<Tensor, String> {
        let axis = |&axis: &i64| usize::try_from(axis).map_err(|_| format!("an axis of length {axis}"));
        let shape = proto.dims.iter().map(axis).collect::<Result<Vec<_>, _>>()?;
        let count = elements(&shape).ok_or_else(|| format!("the shape {shape:?}, too large for a weight"))?;
        let number = proto.data_type.unwrap_or(0);
        let kind = DataType::try_from(number)
            .ok()
            .filter(|kind| !matches!(kind, DataType::Undefined | DataType::String))
            .ok_or_else(|| format!("elements of {}, which no weight of a network has", type_name(number)))?;
        let outside;
        let raw = if proto.data_location == Some(1) {
            outside = external::read(proto, count.saturating_mul(size(kind)), folder)?;
            Some(&outside[..])
        } else {
            proto.raw_data.as_deref()
        };
        let data = match raw.filter(|raw| !raw.is_empty() || count == 0) {
            Some(raw) if Some(raw.len()) != count.checked_mul(size(kind)) => {
                return Err(format!(
                    "{} bytes where {shape:?} of {kind:?} takes {}",
                    raw.len(),
                    count.saturating_mul(size(kind))
                ));
            }
            Some(raw) => from_raw(kind, raw),
            None => from_fields(kind, proto),
        };
        let tensor = Tensor { shape, data };
        if tensor.len() != count {
            return Err(format!("{} elements where {:?} has {count}", tensor.len(), tensor.shape));
        }
        Ok(tensor)
    }
}

/// What a type is called that is not read.
pub(crate) fn type_name(number: i32) -> String {
    match number {
        0 => "no type".to_owned(),
        8 => "texts".to_owned(),
        14 | 15 => "complex numbers".to_owned(),
        17..=20 => "8-bit floating point".to_owned(),
        21 | 22 => "4-bit whole numbers".to_owned(),
        _ => format!("type {number}"),
    }
}

/// Bytes of an element.
fn size(kind: DataType) -> usize {
    match kind {
        DataType::Undefined | DataType::String | DataType::Uint8 | DataType::Int8 | DataType::Bool => 1,
        DataType::Uint16 | DataType::Int16 | DataType::Float16 | DataType::Bfloat16 => 2,
        DataType::Float | DataType::Int32 | DataType::Uint32 => 4,
        DataType::Int64 | DataType::Double | DataType::Uint64 => 8,
    }
}

/// Elements from their bytes.
fn from_raw(kind: DataType, raw: &[u8]) -> Data {
    fn each<const N: usize, T>(raw: &[u8], value: impl Fn([u8; N]) -> T) -> Vec<T> {
        raw.as_chunks::<N>().0.iter().map(|&bytes| value(bytes)).collect()
    }
    match kind {
        DataType::Float => Data::Floats(each(raw, f32::from_le_bytes)),
        DataType::Double => Data::Floats(each(raw, |bytes| f64::from_le_bytes(bytes) as f32)),
        DataType::Float16 => Data::Floats(each(raw, |bytes| f16::from_le_bytes(bytes).to_f32())),
        DataType::Bfloat16 => Data::Floats(each(raw, |bytes| bf16::from_le_bytes(bytes).to_f32())),
        DataType::Int8 => Data::Ints(each(raw, |bytes| i8::from_le_bytes(bytes).into())),
        DataType::Uint16 => Data::Ints(each(raw, |bytes| u16::from_le_bytes(bytes).into())),
        DataType::Int16 => Data::Ints(each(raw, |bytes| i16::from_le_bytes(bytes).into())),
        DataType::Int32 => Data::Ints(each(raw, |bytes| i32::from_le_bytes(bytes).into())),
        DataType::Uint32 => Data::Ints(each(raw, |bytes| u32::from_le_bytes(bytes).into())),
        DataType::Int64 => Data::Ints(each(raw, i64::from_le_bytes)),
        DataType::Uint64 => Data::Ints(each(raw, |bytes| u64::from_le_bytes(bytes) as i64)),
        DataType::Undefined | DataType::String | DataType::Uint8 | DataType::Bool => {
            Data::Ints(raw.iter().map(|&byte| byte.into()).collect())
        }
    }
}

/// Elements from the field that their type has.
fn from_fields(kind: DataType, proto: &TensorProto) -> Data {
    let bits = || proto.int32_data.iter().map(|&bits| bits as u16);
    match kind {
        DataType::Float => Data::Floats(proto.float_data.clone()),
        DataType::Double => Data::Floats(proto.double_data.iter().map(|&value| value as f32).collect()),
        DataType::Float16 => Data::Floats(bits().map(|bits| f16::from_bits(bits).to_f32()).collect()),
        DataType::Bfloat16 => Data::Floats(bits().map(|bits| bf16::from_bits(bits).to_f32()).collect()),
        DataType::Int64 => Data::Ints(proto.int64_data.clone()),
        DataType::Uint32 | DataType::Uint64 => {
            Data::Ints(proto.uint64_data.iter().map(|&value| value as i64).collect())
        }
        _ => Data::Ints(proto.int32_data.iter().map(|&value| value.into()).collect()),
    }
}
