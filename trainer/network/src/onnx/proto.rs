//! The part of ONNX's protocol buffers that a model of ours needs (`onnx.proto`, IR version 7; fields that are not named
//! here are never written).

use prost::{Enumeration, Message, Oneof};

/// Version of the file format, the one that came with operator set 13.
pub(super) const IR_VERSION: i64 = 7;

/// A whole file.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ModelProto {
    /// [`IR_VERSION`].
    #[prost(int64, optional, tag = "1")]
    pub ir_version: Option<i64>,
    /// The program that wrote the file.
    #[prost(string, optional, tag = "2")]
    pub producer_name: Option<String>,
    /// Its version.
    #[prost(string, optional, tag = "3")]
    pub producer_version: Option<String>,
    /// What the model is, for people.
    #[prost(string, optional, tag = "6")]
    pub doc_string: Option<String>,
    /// The network.
    #[prost(message, optional, tag = "7")]
    pub graph: Option<GraphProto>,
    /// Versions of the operators.
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSetIdProto>,
    /// Keys and values, for programs.
    #[prost(message, repeated, tag = "14")]
    pub metadata_props: Vec<StringStringEntryProto>,
}

/// Which version of which operators.
#[derive(Clone, PartialEq, Message)]
pub(super) struct OperatorSetIdProto {
    /// Empty: ONNX's own operators.
    #[prost(string, optional, tag = "1")]
    pub domain: Option<String>,
    /// The version.
    #[prost(int64, optional, tag = "2")]
    pub version: Option<i64>,
}

/// A key and its value.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StringStringEntryProto {
    /// The key.
    #[prost(string, optional, tag = "1")]
    pub key: Option<String>,
    /// The value.
    #[prost(string, optional, tag = "2")]
    pub value: Option<String>,
}

/// A network.
#[derive(Clone, PartialEq, Message)]
pub(super) struct GraphProto {
    /// Operations; each reads what earlier ones make.
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<NodeProto>,
    /// Its name.
    #[prost(string, optional, tag = "2")]
    pub name: Option<String>,
    /// Weights and other constants.
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<TensorProto>,
    /// What goes in and comes out, for people.
    #[prost(string, optional, tag = "10")]
    pub doc_string: Option<String>,
    /// What is given to the network.
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfoProto>,
    /// What it gives back.
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfoProto>,
}

/// An operation.
#[derive(Clone, PartialEq, Message)]
pub(super) struct NodeProto {
    /// Names of the values that it reads.
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    /// Names of the values that it makes.
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    /// Its name.
    #[prost(string, optional, tag = "3")]
    pub name: Option<String>,
    /// The operator.
    #[prost(string, optional, tag = "4")]
    pub op_type: Option<String>,
    /// Strides, padding and the like.
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<AttributeProto>,
}

/// An attribute of an operation.
#[derive(Clone, PartialEq, Message)]
pub(super) struct AttributeProto {
    /// Its name.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// Its value, where that is one number.
    #[prost(int64, optional, tag = "3")]
    pub i: Option<i64>,
    /// Its value, where that is a list of numbers.
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub ints: Vec<i64>,
    /// Which of the two it is.
    #[prost(enumeration = "AttributeType", optional, tag = "20")]
    pub r#type: Option<i32>,
}

/// Kinds of attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
pub(super) enum AttributeType {
    /// Never written.
    Undefined = 0,
    /// A number.
    Int = 2,
    /// A list of numbers.
    Ints = 7,
}

/// A constant.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorProto {
    /// Lengths of its axes.
    #[prost(int64, repeated, packed = "false", tag = "1")]
    pub dims: Vec<i64>,
    /// Type of its elements.
    #[prost(enumeration = "DataType", optional, tag = "2")]
    pub data_type: Option<i32>,
    /// Its name.
    #[prost(string, optional, tag = "8")]
    pub name: Option<String>,
    /// Its elements, little-endian, row-major.
    #[prost(bytes = "vec", optional, tag = "9")]
    pub raw_data: Option<Vec<u8>>,
}

/// Types of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
pub(super) enum DataType {
    /// Never written.
    Undefined = 0,
    /// f32.
    Float = 1,
    /// u8.
    Uint8 = 2,
    /// i64.
    Int64 = 7,
    /// f16.
    Float16 = 10,
}

/// An input or output of the network.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ValueInfoProto {
    /// Its name.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// Its type.
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<TypeProto>,
    /// What it is, for people.
    #[prost(string, optional, tag = "3")]
    pub doc_string: Option<String>,
}

/// Type of a value.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TypeProto {
    /// What kind of value it is.
    #[prost(oneof = "Kind", tags = "1")]
    pub value: Option<Kind>,
}

/// Kinds of values.
#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Kind {
    /// An array.
    #[prost(message, tag = "1")]
    TensorType(TensorTypeProto),
}

/// Type of an array.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorTypeProto {
    /// Type of its elements.
    #[prost(enumeration = "DataType", optional, tag = "1")]
    pub elem_type: Option<i32>,
    /// Its axes.
    #[prost(message, optional, tag = "2")]
    pub shape: Option<TensorShapeProto>,
}

/// Axes of an array.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorShapeProto {
    /// One after another.
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<DimensionProto>,
}

/// An axis.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DimensionProto {
    /// Its length, or the name of a length that is free.
    #[prost(oneof = "Length", tags = "1, 2")]
    pub value: Option<Length>,
}

/// The length of an axis.
#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Length {
    /// Fixed.
    #[prost(int64, tag = "1")]
    DimValue(i64),
    /// Free: all axes of one name have the same length.
    #[prost(string, tag = "2")]
    DimParam(String),
}
