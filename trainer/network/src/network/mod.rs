//! Networks: one description that serves training, cost counting and export.
//!
//! A network is a list of the runtime's own operations ([`lrpet_runtime::model::Op`]) with torchvision-style names,
//! plus the name of the batch normalisation that follows a convolution while it trains. Weights are
//! dense or depthwise here; export replaces some by pairs and folds the normalisation.

mod builder;
mod file;
mod forms;
mod googlenet;
mod known;
mod layer;
mod mobilenet;
mod outputs;
#[cfg(test)]
mod published;
mod resnet;
mod same;
mod vgg;

use builder::same;
pub use file::{FILE_VERSION, FileError};
pub use known::{KNOWN, Known, NetworkError, names};

pub(crate) use forms::{convolution, pooling};
pub use layer::{EPSILON, Layer, MOMENTUM, Norm};
pub(crate) use outputs::{INPUT, LONGEST_NAME, are_names};
pub use outputs::{LOGITS, RESULT};
pub use same::{NETWORK_DIGEST, NETWORK_FILE, first_difference};

use std::collections::{HashMap, HashSet};

use lrpet_runtime::model::cost::{self, Cost, Matrix};
pub use lrpet_runtime::model::{InputKind, OutputKind};
use lrpet_runtime::model::{Op, Shape};

/// A network: layer `i` makes value `i + 1` of the program, value 0 is the input.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Name: in [`KNOWN`], or any other.
    pub name: String,
    /// What it is, in a line; may be empty.
    pub about: String,
    /// Shape of the input.
    pub input: Shape,
    /// What the input is.
    pub input_kind: InputKind,
    /// What the last layer's result is.
    pub output_kind: OutputKind,
    /// Number of values of the last layer's result: of a classification one logit for each class.
    pub classes: u32,
    /// What each of several outputs is called, in order; none for the names of their layers, and where there is one.
    pub output_names: Vec<String>,
    /// Layers in order of execution; the last lists the outputs where there are several.
    pub layers: Vec<Layer>,
}

impl Network {
    /// A network of `layers` that tells `classes` classes of pictures apart.
    pub fn new(name: impl Into<String>, input: Shape, classes: u32, layers: Vec<Layer>) -> Network {
        let (name, about) = (name.into(), String::new());
        let (input_kind, output_kind) = (InputKind::Picture, OutputKind::Classes);
        let output_names = Vec::new();
        Network { name, about, input, input_kind, output_kind, classes, output_names, layers }.labelled()
    }

    /// The network called `name` for images of shape `input`; `None` where [`KNOWN`] has no such name or the image is
    /// too small for it.
    pub fn by_name(name: &str, input: Shape, classes: u32) -> Option<Network> {
        Known::by_name(name)?.build(input, classes)
    }

    /// The same network with `epsilon` in all its batch normalisations.
    #[must_use]
    pub fn with_epsilon(mut self, epsilon: f64) -> Network {
        self.layers.iter_mut().flat_map(|layer| &mut layer.norm).for_each(|norm| norm.epsilon = epsilon);
        self
    }

    /// The same network with a name for each layer that has none: what it does, with a number from the second on.
    #[must_use]
    pub fn labelled(mut self) -> Network {
        let own = |layer: &Layer| match layer.has_weights() {
            true => Some(layer.op.name().to_owned()),
            false => layer.label.clone(),
        };
        let norms = self.layers.iter().filter_map(|layer| Some(layer.norm.as_ref()?.name.clone()));
        let mut taken: HashSet<String> = self.layers.iter().filter_map(own).chain(norms).collect();
        let mut counts: HashMap<String, u32> = HashMap::new();
        for layer in self.layers.iter_mut().filter(|layer| !layer.has_weights() && layer.label.is_none()) {
            let base = layer.op.name().replace(' ', "_");
            let count = counts.entry(base.clone()).or_default();
            let label = loop {
                *count += 1;
                let label = if *count == 1 { base.clone() } else { format!("{base}{count}") };
                if taken.insert(label.clone()) {
                    break label;
                }
            };
            layer.label = Some(label);
        }
        self
    }

    /// ε of its batch normalisations where all have the same; `None` without any.
    pub fn epsilon(&self) -> Option<f64> {
        let mut all = self.layers.iter().filter_map(|layer| Some(layer.norm.as_ref()?.epsilon));
        let first = all.next()?;
        all.all(|epsilon| epsilon == first).then_some(first)
    }

    /// Shapes of all values, the input image first; `None` where the layers do not chain.
    pub fn value_shapes(&self) -> Option<Vec<Shape>> {
        let mut shapes = vec![self.input];
        for layer in &self.layers {
            let inputs = layer.op.inputs();
            let inputs = inputs.values().iter().map(|&value| shapes.get(usize::from(value)).copied());
            let inputs = inputs.collect::<Option<Vec<Shape>>>()?;
            let output = layer.op.output_shape(*inputs.first()?)?;
            shapes.push(layer.op.joins(output, &inputs).then_some(output)?);
        }
        Some(shapes)
    }

    /// The layers with weights: index into [`Network::layers`], name and matrix, in order.
    pub fn matrices(&self) -> Vec<(usize, &str, Matrix)> {
        let shapes = self.value_shapes().expect("a network built by this module chains");
        self.layers
            .iter()
            .enumerate()
            .filter_map(|(index, layer)| {
                let input = shapes[usize::from(layer.op.inputs().first())];
                Matrix::of(&layer.op, input).map(|matrix| (index, layer.op.name(), matrix))
            })
            .collect()
    }

    /// Costs of the dense network.
    pub fn cost(&self) -> Cost {
        self.matrices().iter().fold(Cost::default(), |sum, (_, _, matrix)| sum + matrix.cost(0))
    }
}

/// Costs of a list of layers stored as given.
pub fn stored_cost(layers: &[(Op<String>, Shape)]) -> Cost {
    layers.iter().fold(Cost::default(), |sum, (op, input)| sum + cost::stored(op, *input))
}
