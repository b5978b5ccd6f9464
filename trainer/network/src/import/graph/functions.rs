//! Operators that a file defines itself.

use std::collections::HashMap;

use crate::onnx::proto::{AttributeProto, FunctionProto, NodeProto};

/// Most nodes of a file, its own operators written out.
const MOST_NODES: usize = 1 << 14;
/// Operators of a file that are made of operators of the file, so deep.
const MOST_NESTED: usize = 16;

/// Writes out the operators that the file defines itself.
pub(super) fn write_out(
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
