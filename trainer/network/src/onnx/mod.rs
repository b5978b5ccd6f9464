//! A model file as ONNX, for other engines: [`convert`].
//!
//! The graph computes in f32 what the runtime computes from the same weights with values rounded to f16 between layers. A
//! pair is two convolutions: the engines have no operator for it.

mod activation;
mod general;
mod graph;
mod ops;
pub mod proto;
#[cfg(test)]
mod tests;

use std::fmt::{self, Write};
use std::num::NonZeroU32;
use std::str::FromStr;

use lrpet_runtime::host::output_names;
use lrpet_runtime::model::program::MAX_INPUT_CHANNELS;
use lrpet_runtime::model::{Header, InputKind, Model, Op, OutputKind, Shape};
use prost::Message;

use graph::{Graph, int, ints};
use ops::Values;
use proto::{
    DataType, DimensionProto, GENERAL_IR_VERSION, GraphProto, IR_VERSION, Kind, Length, ModelProto,
    OperatorSetIdProto, StringStringEntryProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

/// Version of the operators: old enough for every engine in use, new enough for all that most programs hold.
pub const OPERATOR_SET: i64 = 13;

/// Version of the operators of a program with general operations, the first that resizes two of four axes.
pub const GENERAL_OPERATOR_SET: i64 = 18;

pub use crate::network::{LOGITS, RESULT};

/// Protocol buffers hold no more bytes than this.
const MOST_BYTES: usize = i32::MAX as usize;

/// What the graph takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Input {
    /// Bytes of pictures, u8 `[n, h, w, c]`; the graph normalises them.
    #[default]
    Image,
    /// Values f32 `[n, c, h, w]` that are normalised already.
    Values,
}

/// How many images the graph takes at once: the first axis of its input and of its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// Always so many.
    Of(NonZeroU32),
    /// Any number, another one each time. The axis is called [`BATCH`].
    Dynamic,
}

/// Images of a batch that a file may be made for: what no program holds in memory is a slip of the hand.
const MOST_IMAGES: u32 = 1 << 16;

/// Name of a free first axis.
pub const BATCH: &str = "batch";

impl Default for Batch {
    fn default() -> Batch {
        Batch::Of(NonZeroU32::MIN)
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Batch::Of(images) => write!(f, "{images}"),
            Batch::Dynamic => f.write_str(BATCH),
        }
    }
}

impl FromStr for Batch {
    type Err = String;

    /// A number from 1 to 65536, or `dynamic`.
    fn from_str(text: &str) -> Result<Batch, String> {
        let number =
            || text.parse().ok().filter(|images: &NonZeroU32| images.get() <= MOST_IMAGES).map(Batch::Of);
        let found = if text == "dynamic" { Some(Batch::Dynamic) } else { number() };
        found.ok_or_else(|| format!("give a number of images from 1 to {MOST_IMAGES}, or `dynamic`"))
    }
}

/// How a model is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// What the graph takes.
    pub input: Input,
    /// How many images at once.
    pub batch: Batch,
    /// Weights stay f16 in the file, each behind a `Cast` to f32; else they are f32.
    pub f16_weights: bool,
}

/// Why a model cannot be written as ONNX.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// More bytes than the format holds.
    #[error(
        "as ONNX the model takes {bytes} bytes, more than the format's {MOST_BYTES}; {}",
        if *.f16_weights { "use fewer weights" } else { "f16 weights take half of it" }
    )]
    TooLarge {
        /// Bytes of the encoded model.
        bytes: usize,
        /// Whether the weights were f16.
        f16_weights: bool,
    },
    /// A picture is asked for where the model takes values.
    #[error("the model takes values, not pictures: ask for an input of values")]
    NoPicture,
    /// A resizing that ONNX has no form for.
    #[error(
        "layer {layer}: its scales make no {}×{} pixels of {}×{}, and ONNX takes scales or sizes, not both; leave its scales away",
        .to[0], .to[1], .from[0], .from[1]
    )]
    Scales {
        /// The layer.
        layer: String,
        /// Height and width of what it reads.
        from: [u32; 2],
        /// Height and width of what it makes.
        to: [u32; 2],
    },
    /// A layer's tensor is not there; a checked model has them all.
    #[error("the model has no tensor {tensor}")]
    Missing {
        /// Its name.
        tensor: String,
    },
    /// A value is read before it is made, or in a form that it does not have; a checked model does neither.
    #[error("the program reads value {number}, which it does not have")]
    Value {
        /// Its number.
        number: lrpet_runtime::model::Value,
    },
}

/// A model as ONNX.
#[derive(Clone, Debug)]
pub struct Converted {
    /// The file.
    pub bytes: Vec<u8>,
    /// Number of operations.
    pub nodes: usize,
    /// Number of constants.
    pub constants: usize,
    /// Number of tensors of weights of 8 bits, which the graph makes f32 of (DequantizeLinear).
    pub eights: usize,
    /// Version of the operators: [`OPERATOR_SET`] or [`GENERAL_OPERATOR_SET`].
    pub operator_set: i64,
    /// Name of each output, [`LOGITS`] or [`RESULT`] of a single one, and its axes behind the one of the images.
    pub outputs: Vec<(String, Vec<u32>)>,
}

impl Input {
    /// Name of the graph's input.
    pub fn name(self) -> &'static str {
        match self {
            Input::Image => "image",
            Input::Values => "values",
        }
    }

    /// Type of its elements.
    pub fn type_name(self) -> &'static str {
        match self {
            Input::Image => "u8",
            Input::Values => "f32",
        }
    }

    /// Its axes behind the one of the images.
    pub fn axes(self, shape: Shape) -> [u32; 3] {
        let Shape { channels, height, width } = shape;
        match self {
            Input::Image => [height, width, channels],
            Input::Values => [channels, height, width],
        }
    }
}

/// Writes `model` as ONNX (operator set [`OPERATOR_SET`], or [`GENERAL_OPERATOR_SET`] where it has general operations): one input
/// of [`Options::input`], one output, [`LOGITS`], f32 `[n, classes]`, or [`RESULT`], f32 `[n, c, h, w]`, or several of that form with
/// the names that the model's card has, with n as [`Options::batch`] says: no operation depends on it. Constants have the names of the model file's tensors, nodes those of its
/// layers with the number of the operation. The model card becomes the file's metadata.
///
/// # Errors
/// [`OnnxError::TooLarge`] from 2 GiB on; [`OnnxError::NoPicture`] where the model takes values and a picture is asked for;
/// [`OnnxError::Scales`] of a resizing.
pub fn convert(model: &Model<'_>, options: Options) -> Result<Converted, OnnxError> {
    let header = model.program().header();
    if header.kind == InputKind::Values && options.input == Input::Image {
        return Err(OnnxError::NoPicture);
    }
    let general = model.program().layers().any(|layer| layer.op.is_general());
    let (operator_set, ir_version) =
        if general { (GENERAL_OPERATOR_SET, GENERAL_IR_VERSION) } else { (OPERATOR_SET, IR_VERSION) };
    let mut graph = Graph::new(model, options.f16_weights);
    let input = match options.input {
        Input::Image => normalise(&mut graph, header),
        Input::Values => Input::Values.name().to_owned(),
    };
    let mut values = Values::new(&mut graph, input);
    let mut several = None;
    for layer in model.program().layers() {
        match &layer.op {
            Op::Outputs(outputs) => several = Some(outputs.inputs),
            _ => values.push(&layer)?,
        }
    }
    let axes = |shape: Shape| match header.result {
        OutputKind::Classes => vec![header.classes],
        OutputKind::Values => shape.axes().to_vec(),
    };
    let mut outputs: Vec<(String, Vec<u32>)> =
        output_names(model).into_iter().zip(model.program().outputs().map(axes)).collect();
    match several {
        Some(several) => {
            for ((name, _), value) in outputs.iter_mut().zip(several.values()) {
                values.output(*value, name, options.input.name())?;
            }
        }
        None => {
            let name = outputs.first().map_or(RESULT, |(name, _)| name);
            values.finish(name, header.result == OutputKind::Values)?;
        }
    }
    let Graph { nodes, constants, .. } = graph;
    let counts = (nodes.len(), constants.len());

    let axes = options.input.axes(header.input);
    let element = match options.input {
        Input::Image => DataType::Uint8,
        Input::Values => DataType::Float,
    };
    let text = |key: &str| model.container().metadata_value(key).map(|value| value.to_string());
    let name = text("network").filter(|name| !name.is_empty()).unwrap_or_else(|| "lrpet".to_owned());
    let about = |(name, axes): &(String, Vec<u32>)| match header.result {
        OutputKind::Classes => describe_logits(text("classes")),
        OutputKind::Values => {
            let axes: Vec<String> = axes.iter().map(u32::to_string).collect();
            format!("Output {name}: values, {}.", axes.join(" × "))
        }
    };
    let about_output = outputs.iter().map(about).collect::<Vec<_>>().join(" ");
    let about_input = describe(options, header);
    let whole = ModelProto {
        ir_version: Some(ir_version),
        producer_name: Some("lrpet".to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        doc_string: Some(format!("{name}, written by lrpet. {about_input} {about_output}")),
        graph: Some(GraphProto {
            node: nodes,
            name: Some(name),
            initializer: constants,
            doc_string: Some(format!("{about_input} {about_output}")),
            input: vec![value(options.input.name(), element, options.batch, &axes, about_input)],
            output: outputs
                .iter()
                .map(|output| value(&output.0, DataType::Float, options.batch, &output.1, about(output)))
                .collect(),
        }),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(operator_set) }],
        metadata_props: model
            .metadata()
            .map(|(key, value)| StringStringEntryProto {
                key: Some(key.to_string()),
                value: Some(value.to_string()),
            })
            .collect(),
        functions: Vec::new(),
    };
    let nodes = whole.graph.iter().flat_map(|graph| &graph.node);
    let eights = nodes.filter(|node| node.op_type.as_deref() == Some("DequantizeLinear")).count();
    let bytes = whole.encoded_len();
    if bytes > MOST_BYTES {
        return Err(OnnxError::TooLarge { bytes, f16_weights: options.f16_weights });
    }
    let bytes = whole.encode_to_vec();
    Ok(Converted { bytes, nodes: counts.0, constants: counts.1, eights, operator_set, outputs })
}

/// Adds the nodes from bytes of a picture to normalised planes, in the runtime's order: (p / 255 − mean) / std.
fn normalise(graph: &mut Graph<'_>, header: &Header) -> String {
    let channels = header.input.channels as usize;
    let (means, stds): (Vec<f32>, Vec<f32>) =
        (0..channels).map(|channel| header.normalisation(channel)).unzip();
    let planes = [1, i64::from(header.input.channels), 1, 1];
    let largest = graph.floats("image.largest.value", &[], &[255.0]);
    let mean = graph.floats("image.mean.value", &planes, &means);
    let std = graph.floats("image.std.value", &planes, &stds);
    let name = |word: &str| format!("image:{word}");
    let to = vec![int("to", DataType::Float as i64)];
    let wide = graph.node("Cast", &[Input::Image.name()], name("wide"), to);
    let planes = vec![ints("perm", &[0, 3, 1, 2])];
    let planes = graph.node("Transpose", &[&wide], name("planes"), planes);
    let unit = graph.node("Div", &[&planes, &largest], name("unit"), Vec::new());
    let centred = graph.node("Sub", &[&unit, &mean], name("centred"), Vec::new());
    graph.node("Div", &[&centred, &std], name("normalised"), Vec::new())
}

/// An input or output, whose first axis is the one of the images.
fn value(name: &str, element: DataType, batch: Batch, axes: &[u32], about: String) -> ValueInfoProto {
    let images = match batch {
        Batch::Of(images) => Length::DimValue(images.get().into()),
        Batch::Dynamic => Length::DimParam(BATCH.to_owned()),
    };
    let lengths = axes.iter().map(|axis| Length::DimValue(i64::from(*axis)));
    let dim = std::iter::once(images).chain(lengths).map(|length| DimensionProto { value: Some(length) });
    let shape = Some(TensorShapeProto { dim: dim.collect() });
    let kind = Kind::TensorType(TensorTypeProto { elem_type: Some(element.into()), shape });
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { value: Some(kind) }),
        doc_string: Some(about),
    }
}

/// What the graph takes, in a sentence.
fn describe(options: Options, header: &Header) -> String {
    let Shape { channels, height, width } = header.input;
    let batch = options.batch;
    if header.kind == InputKind::Values {
        return format!("Input values: f32 [{batch}, {channels}, {height}, {width}].");
    }
    let mut text = match options.input {
        Input::Image => format!(
            "Input image: u8 [{batch}, {height}, {width}, {channels}], the bytes of a picture row by row with channels \
             interleaved; the graph makes (byte / 255 - mean) / std of each channel of them,"
        ),
        Input::Values => format!(
            "Input values: f32 [{batch}, {channels}, {height}, {width}], planes of (byte / 255 - mean) / std of each channel,"
        ),
    };
    // One for each channel, or the first for all.
    let listed = if channels as usize > MAX_INPUT_CHANNELS { 1 } else { channels as usize };
    let list = |values: &[f32]| {
        let values: Vec<String> = values.iter().take(listed).map(|value| value.to_string()).collect();
        values.join(", ")
    };
    let _ = write!(text, " mean {}, std {}.", list(&header.mean), list(&header.std));
    text
}

/// What comes out, in a sentence.
fn describe_logits(classes: Option<String>) -> String {
    match classes.filter(|classes| !classes.is_empty()) {
        Some(classes) => format!("Output logits: one value for each class, in this order: {classes}."),
        None => "Output logits: one value for each class.".to_owned(),
    }
}
