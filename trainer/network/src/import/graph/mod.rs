//! A graph as a file has it: nodes in an order in which each reads what earlier ones make.

mod functions;
mod node;
mod order;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use crate::import::tensor::Tensor;
use crate::onnx::proto::{DataType, FunctionProto, Kind, Length, ModelProto, TensorProto, ValueInfoProto};

use functions::write_out;
pub(crate) use node::{Attribute, Id, Node};
use node::{Names, is_standard, read_node};
use order::ordered;

/// Operator sets that are understood.
const OLDEST: i64 = 6;

/// What is given to the graph.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    pub id: Id,
    pub name: String,
    /// Lengths of its axes, `Err` with the name of one that is free; `None` where the file does not say.
    pub axes: Option<Vec<Result<i64, String>>>,
    /// Number of the type of its elements.
    pub element: i32,
}

/// A file's graph.
#[derive(Debug)]
pub(crate) struct Graph {
    pub opset: i64,
    pub producer: String,
    pub nodes: Vec<Node>,
    pub inputs: Vec<Input>,
    pub outputs: Vec<Id>,
    pub constants: HashMap<Id, Arc<Tensor>>,
    /// Constants whose type has no sign.
    pub unsigned: HashSet<Id>,
    /// Values that something reads.
    pub read: HashSet<Id>,
    /// Names of the values, by number.
    pub names: Vec<String>,
}

impl Graph {
    /// The graph of a file in `folder`, for the values called `wanted`, or, where there are none, for its outputs.
    ///
    /// # Errors
    /// Where it breaks ONNX's rules; the error says how.
    pub(crate) fn new(
        mut model: ModelProto,
        folder: Option<&Path>,
        wanted: &[String],
    ) -> Result<Graph, String> {
        let proto = model.graph.take().ok_or("it holds no graph: is it an ONNX model?")?;
        let sets = model.opset_import.iter();
        let opset = sets.filter(|set| is_standard(set.domain.as_deref())).filter_map(|set| set.version).max();
        let opset = opset.ok_or("it does not say which version of ONNX's operators it uses")?;
        if opset < OLDEST {
            return Err(format!(
                "it uses operator set {opset}, and {OLDEST} is the oldest that is understood; \
                 onnx.version_converter writes it in a newer one"
            ));
        }
        let mut names = Names::default();
        let mut constants = HashMap::new();
        for tensor in &proto.initializer {
            let name = tensor.name.as_deref().unwrap_or_default();
            let value =
                Tensor::read(tensor, folder).map_err(|reason| format!("the weight `{name}` has {reason}"))?;
            if constants.insert(names.id(name), Arc::new(value)).is_some() {
                return Err(format!("two weights are called `{name}`"));
            }
        }
        let is_unsigned = |tensor: &&TensorProto| {
            let kind = tensor.data_type.and_then(|number| DataType::try_from(number).ok());
            matches!(kind, Some(DataType::Uint8 | DataType::Uint16))
        };
        let unsigned: Vec<&TensorProto> = proto.initializer.iter().filter(is_unsigned).collect();
        let unsigned =
            unsigned.into_iter().map(|tensor| names.id(tensor.name.as_deref().unwrap_or_default()));
        let unsigned = unsigned.collect();
        let mut inputs = Vec::new();
        for input in &proto.input {
            let id = names.id(input.name.as_deref().unwrap_or_default());
            // Old files list their weights among the inputs.
            if !constants.contains_key(&id) {
                inputs.push(read_input(id, input));
            }
        }
        let functions: HashMap<(String, String), &FunctionProto> = model
            .functions
            .iter()
            .map(|function| {
                let key = |text: &Option<String>| text.clone().unwrap_or_default();
                ((key(&function.domain), key(&function.name)), function)
            })
            .collect();
        let mut written = Vec::new();
        write_out(&proto.node, &functions, 0, "", &mut written)?;
        let mut nodes = Vec::with_capacity(written.len());
        for node in &written {
            nodes.push(read_node(node, &mut names, folder));
        }
        let listed: Vec<&str> =
            proto.output.iter().map(|output| output.name.as_deref().unwrap_or_default()).collect();
        if let Some(wanted) = wanted.iter().find(|wanted| !names.ids.contains_key(*wanted)) {
            return Err(format!("it has no value called `{wanted}`; its outputs are {}", listed.join(", ")));
        }
        let chosen: Vec<&str> = match wanted {
            [] => listed,
            wanted => wanted.iter().map(String::as_str).collect(),
        };
        if let Some(at) = (1..chosen.len()).find(|&at| chosen[..at].contains(&chosen[at])) {
            return Err(format!("its output `{}` is there twice", chosen[at]));
        }
        let outputs: Vec<Id> = chosen.into_iter().map(|name| names.id(name)).collect();
        let given: HashSet<Id> =
            inputs.iter().map(|input| input.id).chain(constants.keys().copied()).collect();
        let nodes = ordered(nodes, &given, &outputs, &names.names)?;
        let read =
            nodes.iter().flat_map(|node| node.inputs.iter().flatten()).chain(&outputs).copied().collect();
        Ok(Graph {
            opset,
            producer: model.producer_name.unwrap_or_default(),
            nodes,
            inputs,
            outputs,
            constants,
            unsigned,
            read,
            names: names.names,
        })
    }
}

fn read_input(id: Id, input: &ValueInfoProto) -> Input {
    let tensor =
        input.r#type.as_ref().and_then(|of| of.value.as_ref()).map(|Kind::TensorType(tensor)| tensor);
    let axes = tensor.and_then(|tensor| tensor.shape.as_ref()).map(|shape| {
        let axis = |length: &Option<Length>| match length {
            Some(Length::DimValue(length)) if *length > 0 => Ok(*length),
            Some(Length::DimParam(name)) => Err(name.clone()),
            _ => Err(String::new()),
        };
        shape.dim.iter().map(|dim| axis(&dim.value)).collect()
    });
    let element = tensor.and_then(|tensor| tensor.elem_type).unwrap_or(1);
    Input { id, name: input.name.clone().unwrap_or_default(), axes, element }
}
