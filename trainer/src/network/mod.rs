//! Networks: one description that serves training, cost counting and export.
//!
//! A network is a list of the runtime's own operations ([`lrpet_runtime::model::Op`]) with torchvision-style names,
//! plus the name of the batch normalisation that follows a convolution while it trains. Weights are
//! [`Weights::Dense`] or [`Weights::Depthwise`] here; export replaces some by pairs and folds the normalisation.

mod resnet;

use lrpet_runtime::model::cost::{self, Cost, Matrix};
use lrpet_runtime::model::{Activation, Conv, Linear, Op, PadShortcut, Shape, Value, Weights, Window};

/// One operation, with what only training needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// The operation as the device will run it.
    pub op: Op<String>,
    /// Name of the batch normalisation between the convolution and its residual, where there is one.
    pub norm: Option<String>,
}

/// A network: layer `i` makes value `i + 1` of the program, value 0 is the image.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Name in [`NAMES`].
    pub name: String,
    /// Shape of the input image.
    pub input: Shape,
    /// Number of logits.
    pub classes: u32,
    /// Layers in order of execution.
    pub layers: Vec<Layer>,
}

/// Names that [`Network::by_name`] knows, with one line about each.
pub const NAMES: &[(&str, &str)] = &[
    ("resnet8", "3 stages 16/32/64 of one block, 1×1 projection shortcuts (the MLPerf-Tiny class)"),
    ("resnet20", "3 stages 16/32/64 of three blocks, option-A shortcuts (He et al. 2016, section 4.2)"),
    ("resnet20b", "as resnet20 with 1×1 projection shortcuts (option B)"),
    ("resnet32", "as resnet20 with five blocks a stage"),
    ("resnet56", "as resnet20 with nine blocks a stage"),
    ("resnet56b", "as resnet56 with 1×1 projection shortcuts (option B)"),
    ("resnet110", "as resnet20 with eighteen blocks a stage"),
];

impl Network {
    /// The network called `name` for images of shape `input`; `None` where [`NAMES`] has no such name or the image is
    /// too small for it.
    pub fn by_name(name: &str, input: Shape, classes: u32) -> Option<Network> {
        let network = match name {
            "resnet8" => resnet::cifar(name, input, classes, 1, resnet::Shortcut::Projection),
            "resnet20" => resnet::cifar(name, input, classes, 3, resnet::Shortcut::Pad),
            "resnet20b" => resnet::cifar(name, input, classes, 3, resnet::Shortcut::Projection),
            "resnet32" => resnet::cifar(name, input, classes, 5, resnet::Shortcut::Pad),
            "resnet56" => resnet::cifar(name, input, classes, 9, resnet::Shortcut::Pad),
            "resnet56b" => resnet::cifar(name, input, classes, 9, resnet::Shortcut::Projection),
            "resnet110" => resnet::cifar(name, input, classes, 18, resnet::Shortcut::Pad),
            _ => return None,
        };
        network.value_shapes().map(|_| network)
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

/// Collects layers; each method returns the value that its layer makes.
pub(crate) struct Builder {
    layers: Vec<Layer>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self { layers: Vec::new() }
    }

    fn push(&mut self, op: Op<String>, norm: Option<&str>) -> Value {
        self.layers.push(Layer { op, norm: norm.map(str::to_owned) });
        Value::try_from(self.layers.len()).expect("a network has fewer than 65 536 layers")
    }

    /// Convolution, batch normalisation, residual, activation.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn conv(
        &mut self,
        name: &str,
        norm: &str,
        input: Value,
        out_channels: u32,
        window: Window,
        residual: Option<Value>,
        activation: Activation,
    ) -> Value {
        let conv = Conv {
            name: name.to_owned(),
            input,
            out_channels,
            window,
            weights: Weights::Dense,
            residual,
            activation,
        };
        self.push(Op::Conv(conv), Some(norm))
    }

    pub(crate) fn pad_shortcut(&mut self, input: Value, out_channels: u32, stride: u16) -> Value {
        self.push(Op::PadShortcut(PadShortcut { input, out_channels, stride }), None)
    }

    pub(crate) fn global_average_pool(&mut self, input: Value) -> Value {
        self.push(Op::GlobalAveragePool { input }, None)
    }

    pub(crate) fn linear(&mut self, name: &str, input: Value, out_features: u32) -> Value {
        let linear = Linear {
            name: name.to_owned(),
            input,
            out_features,
            weights: Weights::Dense,
            activation: Activation::None,
        };
        self.push(Op::Linear(linear), None)
    }

    pub(crate) fn finish(self, name: &str, input: Shape, classes: u32) -> Network {
        Network { name: name.to_owned(), input, classes, layers: self.layers }
    }
}

/// Costs of a list of layers stored as given.
pub fn stored_cost(layers: &[(Op<String>, Shape)]) -> Cost {
    layers.iter().fold(Cost::default(), |sum, (op, input)| sum + cost::stored(op, *input))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CIFAR: Shape = Shape::new(3, 32, 32);

    #[test]
    fn costs_are_the_published_ones() {
        let millions = |macs: u64| (macs as f64 / 1e4).round() / 100.0;
        let resnet20 = Network::by_name("resnet20", CIFAR, 10).unwrap().cost();
        assert_eq!(millions(resnet20.macs), 40.55);
        assert_eq!((resnet20.params as f64 / 1e3).round(), 268.0);
        let resnet56 = Network::by_name("resnet56", CIFAR, 10).unwrap().cost();
        assert_eq!((millions(resnet56.macs), (resnet56.params as f64 / 1e3).round()), (125.49, 849.0));
        let resnet110 = Network::by_name("resnet110", CIFAR, 10).unwrap().cost();
        assert_eq!((millions(resnet110.macs), (resnet110.params as f64 / 1e4).round()), (252.89, 172.0));
        assert_eq!(millions(Network::by_name("resnet56b", CIFAR, 10).unwrap().cost().macs), 125.75);
        assert_eq!(millions(Network::by_name("resnet20b", CIFAR, 10).unwrap().cost().macs), 40.81);
        assert_eq!(millions(Network::by_name("resnet8", CIFAR, 10).unwrap().cost().macs), 12.5);
    }

    #[test]
    fn unknown_names_and_empty_images_are_refused() {
        assert!(Network::by_name("resnet9", CIFAR, 10).is_none());
        assert!(Network::by_name("resnet8", Shape::new(3, 0, 32), 10).is_none());
    }
}
