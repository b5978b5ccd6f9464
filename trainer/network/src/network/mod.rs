//! Networks: one description that serves training, cost counting and export.
//!
//! A network is a list of the runtime's own operations ([`lrpet_runtime::model::Op`]) with torchvision-style names,
//! plus the name of the batch normalisation that follows a convolution while it trains. Weights are
//! dense or depthwise here; export replaces some by pairs and folds the normalisation.

mod builder;
mod googlenet;
mod known;
mod mobilenet;
#[cfg(test)]
mod published;
mod resnet;
mod vgg;

pub use known::{KNOWN, Known, NetworkError, names};

use lrpet_runtime::model::cost::{self, Cost, Matrix};
use lrpet_runtime::model::{Op, Shape};

/// Added to the variance of a batch normalisation under the root, where nothing else is said (the default of PyTorch's
/// BatchNorm2d).
pub const EPSILON: f64 = 1e-5;

/// One operation, with what only training needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// The operation as the device will run it.
    pub op: Op<String>,
    /// The batch normalisation between the convolution and its residual, where there is one.
    pub norm: Option<Norm>,
}

/// A batch normalisation: γ·(x − μ)/√(σ² + ε) + β.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    /// Its name.
    pub name: String,
    /// ε: [`EPSILON`] in PyTorch's networks and in those that start here, 1e-3 in most of Keras'.
    pub epsilon: f64,
}

/// A network: layer `i` makes value `i + 1` of the program, value 0 is the image.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Name in [`KNOWN`].
    pub name: String,
    /// Shape of the input image.
    pub input: Shape,
    /// Number of logits.
    pub classes: u32,
    /// Layers in order of execution.
    pub layers: Vec<Layer>,
}

impl Network {
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

    /// ε of its batch normalisations, which all have the same; `None` without any.
    pub fn epsilon(&self) -> Option<f64> {
        self.layers.iter().find_map(|layer| Some(layer.norm.as_ref()?.epsilon))
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
