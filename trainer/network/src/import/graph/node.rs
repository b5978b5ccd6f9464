//! Nodes of a graph and their attributes.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::import::tensor::Tensor;
use crate::onnx::proto::{AttributeProto, AttributeType, NodeProto};

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

/// Numbers of names.
#[derive(Default)]
pub(super) struct Names {
    pub ids: HashMap<String, Id>,
    pub names: Vec<String>,
}

impl Names {
    /// The number of a name.
    pub(super) fn id(&mut self, name: &str) -> Id {
        if let Some(&id) = self.ids.get(name) {
            return id;
        }
        self.names.push(name.to_owned());
        self.ids.insert(name.to_owned(), self.names.len() - 1);
        self.names.len() - 1
    }
}

/// True of ONNX's own operators.
pub(super) fn is_standard(domain: Option<&str>) -> bool {
    matches!(domain.unwrap_or_default(), "" | "ai.onnx")
}

/// A node of the file.
pub(super) fn read_node(node: &NodeProto, names: &mut Names, folder: Option<&Path>) -> Node {
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
