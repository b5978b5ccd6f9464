//! A graph under construction: nodes, constants and their names.
//!
//! Names cannot meet: constants end in `.weight`, `.bias` or `.value`, constants made wider in `.f32`, what operation i
//! makes in `:i` or, on the way there, in `:i.` and a word.

use half::f16;
use lrpet_runtime::format::Dtype;
use lrpet_runtime::model::Model;
use prost::bytes::Bytes;

use super::OnnxError;
use super::proto::{AttributeProto, AttributeType, DataType, NodeProto, TensorProto};
use crate::quantise::scale::THIN;

/// Nodes and constants so far.
pub(super) struct Graph<'a> {
    model: &'a Model<'a>,
    f16_weights: bool,
    pub(super) nodes: Vec<NodeProto>,
    pub(super) constants: Vec<TensorProto>,
}

/// An attribute of one number.
pub(super) fn int(name: &str, value: i64) -> AttributeProto {
    let r#type = Some(AttributeType::Int.into());
    AttributeProto { name: Some(name.to_owned()), i: Some(value), r#type, ..AttributeProto::default() }
}

/// An attribute of one number with a fraction.
pub(super) fn float(name: &str, value: f32) -> AttributeProto {
    let r#type = Some(AttributeType::Float.into());
    AttributeProto { name: Some(name.to_owned()), f: Some(value), r#type, ..AttributeProto::default() }
}

/// An attribute that is a word.
pub(super) fn word(name: &str, value: &'static str) -> AttributeProto {
    let (name, s) = (Some(name.to_owned()), Some(Bytes::from_static(value.as_bytes())));
    AttributeProto { name, s, r#type: Some(AttributeType::String.into()), ..AttributeProto::default() }
}

/// An attribute of several numbers.
pub(super) fn ints(name: &str, values: &[u16]) -> AttributeProto {
    let values = values.iter().copied().map(i64::from).collect();
    let r#type = Some(AttributeType::Ints.into());
    AttributeProto { name: Some(name.to_owned()), ints: values, r#type, ..AttributeProto::default() }
}

impl<'a> Graph<'a> {
    pub(super) fn new(model: &'a Model<'a>, f16_weights: bool) -> Graph<'a> {
        Graph { model, f16_weights, nodes: Vec::new(), constants: Vec::new() }
    }

    /// Adds an operation of one result; the result's name, which is the operation's too.
    pub(super) fn node(
        &mut self,
        operator: &str,
        inputs: &[&str],
        output: String,
        attribute: Vec<AttributeProto>,
    ) -> String {
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|name| (*name).to_owned()).collect(),
            output: vec![output.clone()],
            name: Some(output.clone()),
            op_type: Some(operator.to_owned()),
            attribute,
            domain: None,
        });
        output
    }

    /// Adds a constant of f32, once for each name.
    pub(super) fn floats(&mut self, name: &str, dims: &[i64], values: &[f32]) -> String {
        let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, DataType::Float, dims.to_vec(), data)
    }

    /// Adds a constant list of i64, once for each name.
    pub(super) fn integers(&mut self, name: &str, values: &[i64]) -> String {
        let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, DataType::Int64, vec![values.len() as i64], data)
    }

    fn constant(&mut self, name: &str, data_type: DataType, dims: Vec<i64>, data: Vec<u8>) -> String {
        if !self.constants.iter().any(|constant| constant.name.as_deref() == Some(name)) {
            self.constants.push(TensorProto {
                dims,
                data_type: Some(data_type.into()),
                name: Some(name.to_owned()),
                raw_data: Some(data.into()),
                ..TensorProto::default()
            });
        }
        name.to_owned()
    }

    /// Adds a tensor of weights of the model file under its own name; the name of its values in f32. Those of 8 bits become f32 in the
    /// graph, each row by the scale that lies in the layer's tensor `biases`, of a thin half by 1 / 128.
    pub(super) fn weight(&mut self, layer: &str, suffix: &str, biases: &str) -> Result<String, OnnxError> {
        let (name, dims, bytes) = self.tensor(layer, suffix)?;
        if !self.is_of_bytes(layer, suffix) {
            return Ok(self.halves(name, dims, bytes.to_vec()));
        }
        let scale = if suffix == ".thin.weight" {
            self.floats("thin.scale.value", &[], &[THIN as f32])
        } else {
            let (_, _, data) = self.tensor(layer, biases)?;
            let rows = dims.first().copied().unwrap_or(0);
            let scales = data.get(data.len() / 2..).unwrap_or_default().to_vec();
            self.constant(&format!("{name}.scale.value"), DataType::Float, vec![rows], scales)
        };
        let name = self.constant(&name, DataType::Int8, dims, bytes.to_vec());
        let wide = format!("{name}.f32");
        Ok(self.node("DequantizeLinear", &[&name, &scale], wide, vec![int("axis", 0)]))
    }

    /// Whether a tensor of weights has 8 bits each.
    fn is_of_bytes(&self, layer: &str, suffix: &str) -> bool {
        let tensor = self.model.container().tensor(&format!("{layer}{suffix}"));
        tensor.is_some_and(|tensor| tensor.dtype == Dtype::I8)
    }

    /// As [`Graph::weight`] of a transposed convolution's `[n, c/groups, kh, kw]`, which ONNX has as `[c, n/groups, kh, kw]`.
    pub(super) fn turned_weight(&mut self, layer: &str, groups: u32) -> Result<String, OnnxError> {
        let (name, dims, bytes) = self.tensor(layer, ".weight")?;
        let groups = i64::from(groups);
        let [n, c, rest @ ..] = &dims[..] else { return Err(OnnxError::Missing { tensor: name }) };
        let (rows, columns) = ((n / groups) as usize, *c as usize);
        let taps = 2 * rest.iter().product::<i64>() as usize;
        let turned = bytes.chunks_exact(rows * columns * taps).flat_map(|group| {
            let filter = move |row, column| {
                let at = (row * columns + column) * taps;
                group[at..at + taps].iter().copied()
            };
            (0..columns).flat_map(move |column| (0..rows).flat_map(move |row| filter(row, column)))
        });
        let turned = turned.collect();
        let dims = [c * groups, n / groups].iter().chain(rest).copied().collect();
        Ok(self.halves(name, dims, turned))
    }

    /// Adds a constant of f16, in f32 where they are to be; the name of its values in f32.
    fn halves(&mut self, name: String, dims: Vec<i64>, bytes: Vec<u8>) -> String {
        if self.f16_weights {
            let name = self.constant(&name, DataType::Float16, dims, bytes);
            let to = int("to", DataType::Float as i64);
            return self.node("Cast", &[&name], format!("{name}.f32"), vec![to]);
        }
        let halves = bytes.chunks_exact(2).map(|half| f16::from_le_bytes([half[0], half[1]]));
        let data = halves.flat_map(|half| half.to_f32().to_le_bytes()).collect();
        self.constant(&name, DataType::Float, dims, data)
    }

    /// Adds an f32 tensor of the model file under its own name, without the scales that may lie behind the biases.
    pub(super) fn bias(&mut self, layer: &str, suffix: &str) -> Result<String, OnnxError> {
        let (name, dims, bytes) = self.tensor(layer, suffix)?;
        let count = if let [2, n] = dims[..] { n } else { dims.iter().product() };
        let biases = bytes.get(..4 * count as usize).unwrap_or_default();
        Ok(self.constant(&name, DataType::Float, vec![count], biases.to_vec()))
    }

    /// Adds an f32 tensor `[c]` of the model file under its own name, as `[c, 1, 1]`: one number for each plane.
    pub(super) fn planes(&mut self, layer: &str, suffix: &str) -> Result<String, OnnxError> {
        let (name, mut dims, bytes) = self.tensor(layer, suffix)?;
        dims.extend([1, 1]);
        Ok(self.constant(&name, DataType::Float, dims, bytes.to_vec()))
    }

    /// Name, axes and bytes of a tensor.
    fn tensor(&self, layer: &str, suffix: &str) -> Result<(String, Vec<i64>, &'a [u8]), OnnxError> {
        let name = format!("{layer}{suffix}");
        match self.model.container().tensor(&name) {
            Some(tensor) => {
                let dims = tensor.shape.as_slice().iter().copied().map(i64::from).collect();
                Ok((name, dims, tensor.data))
            }
            None => Err(OnnxError::Missing { tensor: name }),
        }
    }
}
