//! A graph as a file has it: nodes in an order in which each reads what earlier ones make.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use crate::onnx::proto::{
    AttributeProto, AttributeType, DataType, FunctionProto, Kind, Length, ModelProto, NodeProto, TensorProto,
    ValueInfoProto,
};

use crate::import::tensor::Tensor;

/// Most nodes of a file, its own operators written out.
const MOST_NODES: usize = 1 << 14;
/// Operators of a file that are made of operators of the file, so deep.
const MOST_NESTED: usize = 16;
/// Operator sets that are understood.
const OLDEST: i64 = 6;

/// Number of a value of the graph.
pub(crate) type Id = usize;

/// Value of an attribute.
#[derive(Debug, Clone)]
pub(crate) enum Attribute {
    Int(i64),
    Float(f32),
    Text(String),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Tensor(Result<Tensor, String>),
    Other,
}

/// An operation.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Its name, or that of its first result.
    pub name: String,
    /// The operator; with its domain where that is not ONNX's own.
    pub operator: String,
    /// Values read; `None` for an optional one that is left out.
    pub inputs: Vec<Option<Id>>,
    /// Values made.
    pub outputs: Vec<Option<Id>>,
    pub attributes: BTreeMap<String, Attribute>,
}

impl Node {
    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        match self.attributes.get(name) {
            Some(Attribute::Int(value)) => Some(*value),
            _ => None,
        }
    }

    pub(crate) fn float(&self, name: &str) -> Option<f32> {
        match self.attributes.get(name) {
            Some(Attribute::Float(value)) => Some(*value),
            _ => None,
        }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.attributes.get(name) {
            Some(Attribute::Text(value)) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.attributes.get(name) {
            Some(Attribute::Ints(values)) => Some(values),
            _ => None,
        }
    }

    /// The value read at a place.
    pub(crate) fn input(&self, place: usize) -> Option<Id> {
        self.inputs.get(place).copied().flatten()
    }
}

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

/// Numbers of names.
#[derive(Default)]
struct Names {
    ids: HashMap<String, Id>,
    names: Vec<String>,
}

impl Names {
    fn id(&mut self, name: &str) -> Id {
        if let Some(&id) = self.ids.get(name) {
            return id;
        }
        self.names.push(name.to_owned());
        self.ids.insert(name.to_owned(), self.names.len() - 1);
        self.names.len() - 1
    }
}

/// True of ONNX's own operators.
fn is_standard(domain: Option<&str>) -> bool {
    matches!(domain.unwrap_or_default(), "" | "ai.onnx")
}

impl Graph {
    /// The graph of a file in `folder`, for all its outputs or for one.
    ///
    /// # Errors
    /// Where it breaks ONNX's rules; the error says how.
    pub(crate) fn new(
        mut model: ModelProto,
        folder: Option<&Path>,
        output: Option<&str>,
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
        if let Some(wanted) = output.filter(|wanted| !names.ids.contains_key(*wanted)) {
            return Err(format!("it has no value called `{wanted}`; its outputs are {}", listed.join(", ")));
        }
        let outputs: Vec<Id> = match output {
            Some(wanted) => vec![names.id(wanted)],
            None => listed.iter().map(|name| names.id(name)).collect(),
        };
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

/// Writes out the operators that the file defines itself.
fn write_out(
    nodes: &[NodeProto],
    functions: &HashMap<(String, String), &FunctionProto>,
    depth: usize,
    prefix: &str,
    written: &mut Vec<NodeProto>,
) -> Result<(), String> {
    if depth > MOST_NESTED {
        return Err(format!("its own operators are nested more than {MOST_NESTED} deep, or in themselves"));
    }
    for (index, node) in nodes.iter().enumerate() {
        let key = (node.domain.clone().unwrap_or_default(), node.op_type.clone().unwrap_or_default());
        let Some(function) = functions.get(&key) else {
            written.push(node.clone());
            if written.len() > MOST_NODES {
                return Err(format!("it has more than {MOST_NODES} nodes"));
            }
            continue;
        };
        // Values inside get names of their own; what goes in and out has the names of the node.
        let prefix = format!("{prefix}{}#{index}/", node.name.as_deref().unwrap_or_default());
        let mut known: HashMap<&str, &str> = HashMap::new();
        for (inner, outer) in [(&function.input, &node.input), (&function.output, &node.output)] {
            for (place, name) in inner.iter().enumerate() {
                known.insert(name, outer.get(place).map_or("", String::as_str));
            }
        }
        let rename = |name: &String| match known.get(name.as_str()) {
            Some(outer) => (*outer).to_owned(),
            None if name.is_empty() => String::new(),
            None => format!("{prefix}{name}"),
        };
        let inner: Vec<NodeProto> = function
            .node
            .iter()
            .map(|inner| NodeProto {
                input: inner.input.iter().map(rename).collect(),
                output: inner.output.iter().map(rename).collect(),
                name: Some(format!("{prefix}{}", inner.name.as_deref().unwrap_or_default())),
                attribute: inner.attribute.iter().filter_map(|of| given(of, node, function)).collect(),
                ..inner.clone()
            })
            .collect();
        write_out(&inner, functions, depth + 1, &prefix, written)?;
    }
    Ok(())
}

/// An attribute of a node inside a function, with the value that the function is given.
fn given(attribute: &AttributeProto, node: &NodeProto, function: &FunctionProto) -> Option<AttributeProto> {
    let Some(wanted) = attribute.ref_attr_name.as_deref().filter(|name| !name.is_empty()) else {
        return Some(attribute.clone());
    };
    let mut from = node.attribute.iter().chain(&function.attribute_proto);
    let found = from.find(|of| of.name.as_deref() == Some(wanted))?;
    Some(AttributeProto { name: attribute.name.clone(), ..found.clone() })
}

fn read_node(node: &NodeProto, names: &mut Names, folder: Option<&Path>) -> Node {
    let mut ids = |list: &[String]| -> Vec<Option<Id>> {
        list.iter().map(|name| (!name.is_empty()).then(|| names.id(name))).collect()
    };
    let (inputs, outputs) = (ids(&node.input), ids(&node.output));
    let operator = node.op_type.clone().unwrap_or_default();
    let operator = match node.domain.as_deref() {
        domain if is_standard(domain) => operator,
        domain => format!("{}.{operator}", domain.unwrap_or_default()),
    };
    let name = node.name.clone().filter(|name| !name.is_empty());
    let attribute = |of: &AttributeProto| {
        let kind = of.r#type.and_then(|number| AttributeType::try_from(number).ok());
        let value = match kind {
            Some(AttributeType::Int) => Attribute::Int(of.i.unwrap_or(0)),
            Some(AttributeType::Float) => Attribute::Float(of.f.unwrap_or(0.0)),
            Some(AttributeType::String) => {
                Attribute::Text(String::from_utf8_lossy(of.s.as_deref().unwrap_or_default()).into_owned())
            }
            Some(AttributeType::Ints) => Attribute::Ints(of.ints.clone()),
            Some(AttributeType::Floats) => Attribute::Floats(of.floats.clone()),
            Some(AttributeType::Tensor) => match &of.t {
                Some(tensor) => Attribute::Tensor(Tensor::read(tensor, folder)),
                None => Attribute::Other,
            },
            _ => Attribute::Other,
        };
        (of.name.clone().unwrap_or_default(), value)
    };
    Node {
        name: name.or_else(|| node.output.first().cloned()).unwrap_or_default(),
        operator,
        inputs,
        outputs,
        attributes: node.attribute.iter().map(attribute).collect(),
    }
}

/// The nodes that the outputs need, each behind those that make what it reads.
fn ordered(
    nodes: Vec<Node>,
    given: &HashSet<Id>,
    outputs: &[Id],
    names: &[String],
) -> Result<Vec<Node>, String> {
    let mut maker: HashMap<Id, usize> = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        for id in node.outputs.iter().flatten() {
            if given.contains(id) || maker.insert(*id, index).is_some() {
                return Err(format!("the value `{}` is made twice, last by `{}`", names[*id], node.name));
            }
        }
    }
    if outputs.is_empty() {
        return Err("it has no output".to_owned());
    }
    if let Some(missing) = outputs.iter().find(|id| !maker.contains_key(id) && !given.contains(id)) {
        return Err(format!("nothing makes its output `{}`", names[*missing]));
    }
    let mut needed = vec![false; nodes.len()];
    let mut stack: Vec<usize> = outputs.iter().filter_map(|id| maker.get(id).copied()).collect();
    let mut missing = Vec::new();
    while let Some(index) = stack.pop() {
        if std::mem::replace(&mut needed[index], true) {
            continue;
        }
        for id in nodes[index].inputs.iter().flatten() {
            match maker.get(id) {
                Some(&maker) => stack.push(maker),
                None if !given.contains(id) => missing.push((*id, index)),
                None => {}
            }
        }
    }
    if !missing.is_empty() {
        missing.sort_unstable_by_key(|&(_, index)| index);
        let one = |&(id, index): &(Id, usize)| format!("`{}` (for `{}`)", names[id], nodes[index].name);
        let shown: Vec<String> = missing.iter().take(8).map(one).collect();
        return Err(format!(
            "{} values are read that nothing makes and no weight is called: {}",
            missing.len(),
            shown.join(", ")
        ));
    }
    // Those that wait for nothing any more, in the file's order.
    let mut waits = vec![0_usize; nodes.len()];
    let mut readers: HashMap<usize, Vec<usize>> = HashMap::new();
    for (index, node) in nodes.iter().enumerate().filter(|&(index, _)| needed[index]) {
        for maker in node.inputs.iter().flatten().filter_map(|id| maker.get(id)) {
            waits[index] += 1;
            readers.entry(*maker).or_default().push(index);
        }
    }
    let ready = |index: &usize| needed[*index] && waits[*index] == 0;
    let mut ready: std::collections::BTreeSet<usize> = (0..nodes.len()).filter(ready).collect();
    let mut order = Vec::new();
    while let Some(index) = ready.pop_first() {
        order.push(index);
        for &reader in readers.get(&index).into_iter().flatten() {
            waits[reader] -= 1;
            if waits[reader] == 0 {
                ready.insert(reader);
            }
        }
    }
    let placed: HashSet<usize> = order.iter().copied().collect();
    if let Some(index) = (0..nodes.len()).find(|index| needed[*index] && !placed.contains(index)) {
        return Err(format!(
            "the node `{}` reads what depends on itself: the graph is cyclic",
            nodes[index].name
        ));
    }
    let mut nodes: Vec<Option<Node>> = nodes.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|index| nodes[index].take()).collect())
}
