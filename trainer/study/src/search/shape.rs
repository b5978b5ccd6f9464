//! What decides a layer's cost on a board: its shape, not its weights.

use std::fmt;

use lrpet_runtime::model::cost::Matrix;
use lrpet_runtime::model::{Activation, Conv, Linear, Op, Shape, Value, Weights};

use lrpet_network::network::Network;

/// A convolution or linear layer without its name, weights and place in a network.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerShape {
    /// The layer, nameless and dense, reading value 0.
    op: Op<String>,
    /// Shape of its input.
    input: Shape,
}

impl LayerShape {
    /// The shape of `op` over an input of shape `input`; none for depthwise convolutions and for what has no weights.
    pub fn of(op: &Op<String>, input: Shape) -> Option<LayerShape> {
        op.output_shape(input)?;
        let nameless = match op {
            Op::Conv(conv) if conv.weights != Weights::Depthwise => Op::Conv(Conv {
                name: String::new(),
                input: 0,
                weights: Weights::Dense,
                residual: conv.residual.map(|_| 0),
                ..*conv
            }),
            Op::Linear(linear) => {
                Op::Linear(Linear { name: String::new(), input: 0, weights: Weights::Dense, ..*linear })
            }
            _ => return None,
        };
        Some(LayerShape { op: nameless, input })
    }

    /// The shapes of the layers of `network` that can be factored: name and shape, in order.
    pub fn all(network: &Network) -> Vec<(String, LayerShape)> {
        let shapes = network.value_shapes().unwrap_or_default();
        let layer = |layer: &lrpet_network::network::Layer| {
            let input = shapes.get(usize::from(layer.op.inputs().first()))?;
            Some((layer.op.name().to_owned(), LayerShape::of(&layer.op, *input)?))
        };
        network.layers.iter().filter_map(layer).collect()
    }

    /// Shape of the input.
    pub fn input(&self) -> Shape {
        self.input
    }

    /// Shape of the output.
    pub fn output(&self) -> Shape {
        self.op.output_shape(self.input).unwrap_or(self.input)
    }

    /// Whether it adds a residual.
    pub fn residual(&self) -> bool {
        self.op.inputs().second().is_some()
    }

    /// Its matrix.
    pub fn matrix(&self) -> Matrix {
        Matrix::of(&self.op, self.input).unwrap_or(Matrix { rows: 1, columns: 1, pixels: 1 })
    }

    /// The layer as `name` at `rank` (0: dense), over the given values.
    pub(super) fn layer(&self, name: String, rank: u64, input: Value, residual: Option<Value>) -> Op<String> {
        let weights = match rank {
            0 => Weights::Dense,
            // At most a number of channels, which is a u32.
            rank => Weights::Pair { rank: rank as u32 },
        };
        match &self.op {
            Op::Linear(linear) => Op::Linear(Linear { name, input, weights, ..*linear }),
            Op::Conv(conv) => {
                let residual = conv.residual.and(residual);
                Op::Conv(Conv { name, input, weights, residual, ..*conv })
            }
            other => other.clone(),
        }
    }

    /// Ranks whose pair has fewer multiply-adds than the dense layer.
    pub fn paying(&self) -> std::ops::RangeInclusive<u64> {
        let matrix = self.matrix();
        let most = matrix.rows.min(matrix.columns);
        1..=(1..=most).take_while(|&rank| matrix.pays(rank)).last().unwrap_or(0)
    }
}

/// The name of the shape in a cost table: `conv 16x32x32 to 32, kernel 3x3, stride 2x2, padding 1 1 1 1, relu`.
impl fmt::Display for LayerShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shape { channels, height, width } = self.input;
        let activation = match &self.op {
            Op::Conv(Conv { out_channels, window, activation, .. }) => {
                let ([kh, kw], [sh, sw]) = (window.kernel, window.stride);
                let [top, left, bottom, right] = window.padding;
                write!(
                    f,
                    "conv {channels}x{height}x{width} to {out_channels}, kernel {kh}x{kw}, stride {sh}x{sw}, \
                     padding {top} {left} {bottom} {right}"
                )?;
                activation
            }
            Op::Linear(Linear { out_features, activation, .. }) => {
                write!(f, "linear {channels} to {out_features}")?;
                activation
            }
            other => return f.write_str(other.name()),
        };
        if self.residual() {
            f.write_str(", residual")?;
        }
        match activation {
            Activation::None => Ok(()),
            Activation::Relu => f.write_str(", relu"),
            Activation::Relu6 => f.write_str(", relu6"),
            other => write!(f, ", {other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_of_one_shape_share_a_name_and_others_do_not() {
        let network = Network::by_name("resnet20", Shape::new(3, 32, 32), 10).unwrap();
        let all = LayerShape::all(&network);
        assert_eq!(all.len(), network.matrices().len());
        let name = |layer: &str| all.iter().find(|(name, _)| name == layer).unwrap().1.to_string();
        assert_eq!(name("layer1.0.conv1"), name("layer1.2.conv1"));
        assert_ne!(name("layer1.0.conv1"), name("layer1.0.conv2"), "one adds a residual");
        assert_ne!(name("layer2.0.conv1"), name("layer2.1.conv1"), "one has a stride");
        assert_eq!(
            name("layer2.0.conv1"),
            "conv 16x32x32 to 32, kernel 3x3, stride 2x2, padding 1 1 1 1, relu"
        );
        assert_eq!(name("fc"), "linear 64 to 10");
        for (name, shape) in &all {
            let (.., matrix) = network.matrices().into_iter().find(|(_, of, _)| of == name).unwrap();
            assert_eq!(shape.matrix(), matrix);
            assert!(shape.paying().all(|rank| matrix.pays(rank)));
            assert!(!matrix.pays(shape.paying().end() + 1));
        }
    }
}
