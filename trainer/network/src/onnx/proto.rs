//! The part of ONNX's protocol buffers that networks need (`onnx.proto`), for writing and for reading. Fields that are not
//! named here are never written, and passed over where they are read.

use prost::bytes::Bytes;
use prost::{Enumeration, Message, Oneof};

/// Version of the file format that is written, the one that came with operator set 13.
pub const IR_VERSION: i64 = 7;

/// The one that came with operator set 18.
pub const GENERAL_IR_VERSION: i64 = 8;

/// A whole file.
#[derive(Clone, PartialEq, Message)]
pub struct ModelProto {
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
    /// Operators that the file defines itself.
    #[prost(message, repeated, tag = "25")]
    pub functions: Vec<FunctionProto>,
}

/// An operator made of others.
#[derive(Clone, PartialEq, Message)]
pub struct FunctionProto {
    /// Its name.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// Names of the values that it takes.
    #[prost(string, repeated, tag = "4")]
    pub input: Vec<String>,
    /// Names of the values that it gives.
    #[prost(string, repeated, tag = "5")]
    pub output: Vec<String>,
    /// Its operations.
    #[prost(message, repeated, tag = "7")]
    pub node: Vec<NodeProto>,
    /// Its domain.
    #[prost(string, optional, tag = "10")]
    pub domain: Option<String>,
    /// Attributes that it takes, with the values that stand where none is given.
    #[prost(message, repeated, tag = "11")]
    pub attribute_proto: Vec<AttributeProto>,
}

/// Which version of which operators.
#[derive(Clone, PartialEq, Message)]
pub struct OperatorSetIdProto {
    /// Empty: ONNX's own operators.
    #[prost(string, optional, tag = "1")]
    pub domain: Option<String>,
    /// The version.
    #[prost(int64, optional, tag = "2")]
    pub version: Option<i64>,
}

/// A key and its value.
#[derive(Clone, PartialEq, Message)]
pub struct StringStringEntryProto {
    /// The key.
    #[prost(string, optional, tag = "1")]
    pub key: Option<String>,
    /// The value.
    #[prost(string, optional, tag = "2")]
    pub value: Option<String>,
}

/// A network.
#[derive(Clone, PartialEq, Message)]
pub struct GraphProto {
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
pub struct NodeProto {
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
    /// Whose operator it is: nothing or `ai.onnx` for ONNX's own.
    #[prost(string, optional, tag = "7")]
    pub domain: Option<String>,
}

/// An attribute of an operation.
#[derive(Clone, PartialEq, Message)]
pub struct AttributeProto {
    /// Its name.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// Its value, where that is one number with a fraction.
    #[prost(float, optional, tag = "2")]
    pub f: Option<f32>,
    /// Its value, where that is one number.
    #[prost(int64, optional, tag = "3")]
    pub i: Option<i64>,
    /// Its value, where that is a text.
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub s: Option<Bytes>,
    /// Its value, where that is a constant.
    #[prost(message, optional, tag = "5")]
    pub t: Option<TensorProto>,
    /// Its value, where that is a graph.
    #[prost(message, optional, boxed, tag = "6")]
    pub g: Option<Box<GraphProto>>,
    /// Its value, where that is a list of numbers with fractions.
    #[prost(float, repeated, packed = "false", tag = "7")]
    pub floats: Vec<f32>,
    /// Its value, where that is a list of numbers.
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub ints: Vec<i64>,
    /// Which of these it is.
    #[prost(enumeration = "AttributeType", optional, tag = "20")]
    pub r#type: Option<i32>,
    /// In an operator that the file defines: the operator's attribute whose value it takes.
    #[prost(string, optional, tag = "21")]
    pub ref_attr_name: Option<String>,
}

/// Kinds of attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
pub enum AttributeType {
    /// Never written.
    Undefined = 0,
    /// A number with a fraction.
    Float = 1,
    /// A number.
    Int = 2,
    /// A text.
    String = 3,
    /// A constant.
    Tensor = 4,
    /// A graph.
    Graph = 5,
    /// A list of numbers with fractions.
    Floats = 6,
    /// A list of numbers.
    Ints = 7,
}

/// A constant.
#[derive(Clone, PartialEq, Message)]
pub struct TensorProto {
    /// Lengths of its axes.
    #[prost(int64, repeated, packed = "false", tag = "1")]
    pub dims: Vec<i64>,
    /// Type of its elements.
    #[prost(enumeration = "DataType", optional, tag = "2")]
    pub data_type: Option<i32>,
    /// Its elements, where they are f32 in this form.
    #[prost(float, repeated, tag = "4")]
    pub float_data: Vec<f32>,
    /// Its elements, where they are whole numbers of up to 32 bits, or the bits of f16 or bf16, in this form.
    #[prost(int32, repeated, tag = "5")]
    pub int32_data: Vec<i32>,
    /// Its elements, where they are i64 in this form.
    #[prost(int64, repeated, tag = "7")]
    pub int64_data: Vec<i64>,
    /// Its name.
    #[prost(string, optional, tag = "8")]
    pub name: Option<String>,
    /// Its elements, little-endian, row-major.
    #[prost(bytes = "bytes", optional, tag = "9")]
    pub raw_data: Option<Bytes>,
    /// Its elements, where they are f64 in this form.
    #[prost(double, repeated, tag = "10")]
    pub double_data: Vec<f64>,
    /// Its elements, where they are whole numbers without sign of 32 or 64 bits in this form.
    #[prost(uint64, repeated, tag = "11")]
    pub uint64_data: Vec<u64>,
    /// Where its elements lie in another file: `location`, `offset` and `length`.
    #[prost(message, repeated, tag = "13")]
    pub external_data: Vec<StringStringEntryProto>,
    /// 1 where its elements lie in another file.
    #[prost(int32, optional, tag = "14")]
    pub data_location: Option<i32>,
}

/// Types of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
pub enum DataType {
    /// Never written.
    Undefined = 0,
    /// f32.
    Float = 1,
    /// u8.
    Uint8 = 2,
    /// i8.
    Int8 = 3,
    /// u16.
    Uint16 = 4,
    /// i16.
    Int16 = 5,
    /// i32.
    Int32 = 6,
    /// i64.
    Int64 = 7,
    /// Texts.
    String = 8,
    /// True or false, one byte each.
    Bool = 9,
    /// f16.
    Float16 = 10,
    /// f64.
    Double = 11,
    /// u32.
    Uint32 = 12,
    /// u64.
    Uint64 = 13,
    /// bf16.
    Bfloat16 = 16,
}

/// An input or output of the network.
#[derive(Clone, PartialEq, Message)]
pub struct ValueInfoProto {
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
pub struct TypeProto {
    /// What kind of value it is.
    #[prost(oneof = "Kind", tags = "1")]
    pub value: Option<Kind>,
}

/// Kinds of values.
#[derive(Clone, PartialEq, Oneof)]
pub enum Kind {
    /// An array.
    #[prost(message, tag = "1")]
    TensorType(TensorTypeProto),
}

/// Type of an array.
#[derive(Clone, PartialEq, Message)]
pub struct TensorTypeProto {
    /// Type of its elements.
    #[prost(enumeration = "DataType", optional, tag = "1")]
    pub elem_type: Option<i32>,
    /// Its axes.
    #[prost(message, optional, tag = "2")]
    pub shape: Option<TensorShapeProto>,
}

/// Axes of an array.
#[derive(Clone, PartialEq, Message)]
pub struct TensorShapeProto {
    /// One after another.
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<DimensionProto>,
}

/// An axis.
#[derive(Clone, PartialEq, Message)]
pub struct DimensionProto {
    /// Its length, or the name of a length that is free.
    #[prost(oneof = "Length", tags = "1, 2")]
    pub value: Option<Length>,
}

/// The length of an axis.
#[derive(Clone, PartialEq, Oneof)]
pub enum Length {
    /// Fixed.
    #[prost(int64, tag = "1")]
    DimValue(i64),
    /// Free: all axes of one name have the same length.
    #[prost(string, tag = "2")]
    DimParam(String),
}
