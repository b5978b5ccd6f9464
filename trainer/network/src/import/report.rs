//! What an import did, for people.

use std::collections::BTreeMap;

use crate::network::Network;
use lrpet_runtime::model::Shape;
use serde::Serialize;

use crate::import::graph::{Graph, Input};
use crate::import::view::{View, planes};

/// What an import did.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Program that wrote the file, as it says.
    pub producer: String,
    /// Version of the file's operators.
    pub opset: i64,
    /// Nodes of the file that its output depends on.
    pub nodes: usize,
    /// Operations of the network.
    pub operations: usize,
    /// Nodes that depend on constants or shapes alone, and were computed.
    pub folded: usize,
    /// What was left out, and how often.
    pub left_out: BTreeMap<String, usize>,
    /// Patterns that were seen, and how often.
    pub patterns: BTreeMap<String, usize>,
    /// Name of the file's input.
    pub input: String,
    /// Its axes in the file, one image.
    pub input_axes: Vec<usize>,
    /// Whether they have channels behind height and width.
    pub channels_last: bool,
    /// Names of the outputs, as the file has them.
    pub outputs: Vec<String>,
    /// Of each whether the file has its channels behind height and width; the network has them first.
    pub outputs_channels_last: Vec<bool>,
    /// What else is to be known.
    pub notes: Vec<String>,
}

impl Report {
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        graph: &Graph,
        network: &Network,
        nodes: usize,
        folded: usize,
        left_out: BTreeMap<String, usize>,
        patterns: BTreeMap<&'static str, usize>,
        notes: Vec<String>,
        input: &Input,
        view: &View,
        outputs_channels_last: Vec<bool>,
    ) -> Report {
        let Shape { channels, height, width } = network.input;
        let input_shape = [channels, height, width].map(|size| size as usize);
        Report {
            producer: graph.producer.clone(),
            opset: graph.opset,
            nodes,
            operations: network.layers.len(),
            folded,
            left_out,
            patterns: patterns.into_iter().map(|(what, count)| (what.to_owned(), count)).collect(),
            input: input.name.clone(),
            input_axes: view.dims(),
            channels_last: view.axes.len() == 4 && view.axes[1..] != planes(input_shape),
            outputs: graph.outputs.iter().map(|&id| graph.names[id].clone()).collect(),
            outputs_channels_last,
            notes,
        }
    }
}
