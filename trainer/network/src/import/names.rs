//! Names of layers, from those of the file's weights and nodes.

use std::collections::HashSet;

/// Names that are taken.
#[derive(Default)]
pub(crate) struct LayerNames {
    taken: HashSet<String>,
}

/// Longest name that is kept.
const LONGEST: usize = 120;

impl LayerNames {
    /// The name of a layer: that of its weight without `.weight`, or of the module in the node's name, or of the operator; with a
    /// number where it is taken.
    pub(crate) fn layer(&mut self, weight: Option<&str>, node: &str, operator: &str) -> String {
        let name =
            weight.and_then(of_weight).or_else(|| of_node(node)).unwrap_or_else(|| operator.to_lowercase());
        let mut unique = name.clone();
        let mut number = 1;
        while !self.taken.insert(unique.clone()) {
            number += 1;
            unique = format!("{name}_{number}");
        }
        unique
    }
}

/// `layer1.0.conv1` of `layer1.0.conv1.weight`; nothing of a name that the exporter made up.
fn of_weight(name: &str) -> Option<String> {
    // tf2onnx: StatefulPartitionedCall/model/conv1/Conv2D/ReadVariableOp:0.
    let name = name.split(":0").next().unwrap_or(name);
    let ends = [
        ".weight",
        ".gamma",
        ".scale",
        "/kernel",
        "/gamma",
        "/ReadVariableOp",
        "_weight",
        "_w",
        "_W",
        "_kernel",
    ];
    let stem = ends.iter().find_map(|end| name.strip_suffix(end))?;
    let made_up = stem.starts_with("onnx::") || stem.is_empty();
    (!made_up).then(|| tidy(stem)).filter(|name| !name.is_empty())
}

/// `layer1.0.conv1` of PyTorch's `/layer1/layer1.0/conv1/Conv`.
fn of_node(name: &str) -> Option<String> {
    let mut parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty()).collect();
    if parts.len() > 1 {
        parts.pop();
    } else if name.starts_with('/') {
        return None;
    }
    // A module in a list is called by the list's name too.
    let mut path: Vec<&str> = Vec::new();
    for part in parts {
        let again =
            path.last().is_some_and(|last| part.strip_prefix(last).is_some_and(|rest| rest.starts_with('.')));
        if again {
            path.pop();
        }
        path.push(part);
    }
    Some(tidy(&path.join("."))).filter(|name| !name.is_empty())
}

/// Letters, digits, `.`, `_` and `-`.
fn tidy(name: &str) -> String {
    let letter = |letter: char| match letter {
        '/' => '.',
        letter if letter.is_ascii_alphanumeric() || ".-_".contains(letter) => letter,
        _ => '_',
    };
    let name: String = name.chars().map(letter).take(LONGEST).collect();
    name.trim_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_called_as_in_the_file() {
        let mut names = LayerNames::default();
        assert_eq!(names.layer(Some("layer1.0.conv1.weight"), "Conv_5", "Conv"), "layer1.0.conv1");
        let node = "/layer1/layer1.1/downsample/downsample.0/Conv";
        assert_eq!(names.layer(Some("onnx::Conv_193"), node, "Conv"), "layer1.1.downsample.0");
        assert_eq!(names.layer(None, node, "Conv"), "layer1.1.downsample.0_2");
        assert_eq!(names.layer(None, "", "Conv"), "conv");
        assert_eq!(
            names.layer(Some("model/conv1/Conv2D/ReadVariableOp:0"), "x", "Conv"),
            "model.conv1.Conv2D"
        );
    }
}
