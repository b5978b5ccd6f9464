//! Functions of one number.

use lrpet_runtime::model::{Activation, BinaryKind};

use super::{Inputs, Lower, Reason};
use crate::import::graph::Node;
use crate::import::step::{Part, What};
use crate::import::view::View;

/// Operators that are imported here.
pub(super) const OPERATORS: [&str; 22] = [
    "Relu",
    "LeakyRelu",
    "Sigmoid",
    "HardSigmoid",
    "HardSwish",
    "Tanh",
    "Elu",
    "Selu",
    "Celu",
    "Gelu",
    "Softplus",
    "Softsign",
    "Erf",
    "Sqrt",
    "Exp",
    "Log",
    "Reciprocal",
    "Abs",
    "Neg",
    "Clip",
    "Mish",
    "Swish",
];

/// min(max(x, min), max).
pub(super) fn clip(min: f32, max: f32) -> Activation {
    let unlimited = max >= f32::MAX;
    match (min, max) {
        (0.0, _) if unlimited => Activation::Relu,
        (0.0, 6.0) => Activation::Relu6,
        _ => Activation::Clip { min: min.max(f32::MIN), max: max.min(f32::MAX) },
    }
}

impl Lower<'_> {
    pub(super) fn unary(&mut self, node: &Node, inputs: &Inputs) -> Result<View, Reason> {
        if !OPERATORS.contains(&node.operator.as_str()) {
            return Err(super::unknown(node));
        }
        let x = inputs.view(0)?;
        let float = |name: &str, usual: f32| node.float(name).unwrap_or(usual);
        let activation = match node.operator.as_str() {
            "Relu" => Activation::Relu,
            "LeakyRelu" => Activation::LeakyRelu { slope: float("alpha", 0.01) },
            "Sigmoid" => Activation::Sigmoid,
            "HardSigmoid" => Activation::HardSigmoid { alpha: float("alpha", 0.2), beta: float("beta", 0.5) },
            "HardSwish" => Activation::HardSwish,
            "Tanh" => Activation::Tanh,
            "Elu" => Activation::Elu { alpha: float("alpha", 1.0) },
            "Gelu" if node.text("approximate") == Some("tanh") => Activation::GeluTanh,
            "Gelu" => Activation::Gelu,
            "Swish" if float("alpha", 1.0) == 1.0 => Activation::Silu,
            "Softplus" => Activation::Softplus,
            "Sqrt" => Activation::Sqrt,
            "Exp" => Activation::Exp,
            // −x below 0.
            "Abs" => Activation::LeakyRelu { slope: -1.0 },
            "Clip" => {
                let limit = |name: &str, place: usize, usual: f32| -> Result<f32, Reason> {
                    let given = match node.float(name) {
                        Some(value) => Some(value),
                        None => match inputs.constant(place, name)? {
                            Some(limit) => {
                                Some(limit.scalar().ok_or(format!("its {name} is not one number"))? as f32)
                            }
                            None => None,
                        },
                    };
                    Ok(given.unwrap_or(usual))
                };
                let (min, max) = (limit("min", 1, f32::MIN)?, limit("max", 2, f32::MAX)?);
                if min.is_nan() || max.is_nan() {
                    return Err("its limits are no numbers".to_owned());
                }
                // Where they cross, the upper one counts.
                if min > max { Activation::Clip { min: max, max } } else { clip(min, max) }
            }
            _ => return self.composed(node, x),
        };
        self.activated(x, activation)
    }

    /// Functions that are made of others.
    fn composed(&mut self, node: &Node, x: &View) -> Result<View, Reason> {
        let float = |name: &str, usual: f32| node.float(name).unwrap_or(usual);
        match node.operator.as_str() {
            "Neg" => self.scaled(node, x, -1.0, 0.0),
            // 1 as 0 · x + 1.
            "Reciprocal" => {
                let one = self.scaled(node, x, 0.0, 1.0)?;
                self.binary(BinaryKind::Div, &one, x)
            }
            "Selu" => {
                let (alpha, gamma) = (float("alpha", 1.673_263_2), float("gamma", 1.050_701));
                let x = self.activated(x, Activation::Elu { alpha })?;
                self.scaled(node, &x, gamma, 0.0)
            }
            "Celu" => {
                let alpha = float("alpha", 1.0);
                let x = self.scaled(node, x, 1.0 / alpha, 0.0)?;
                let x = self.activated(&x, Activation::Elu { alpha: 1.0 })?;
                self.scaled(node, &x, alpha, 0.0)
            }
            "Softsign" => {
                let size = self.activated(x, Activation::LeakyRelu { slope: -1.0 })?;
                let size = self.scaled(node, &size, 1.0, 1.0)?;
                self.binary(BinaryKind::Div, x, &size)
            }
            "Mish" => {
                let y = self.activated(x, Activation::Softplus)?;
                let y = self.activated(&y, Activation::Tanh)?;
                self.binary(BinaryKind::Mul, x, &y)
            }
            "Swish" => {
                let y = self.scaled(node, x, float("alpha", 1.0), 0.0)?;
                let y = self.activated(&y, Activation::Sigmoid)?;
                self.binary(BinaryKind::Mul, x, &y)
            }
            operator => {
                let part = if operator == "Erf" { Part::Erf } else { Part::Log };
                let shape = self.shape(x.value);
                let made = self.push(What::Part(part), &[x.value], shape, String::new())?;
                Ok(View { value: made, axes: x.axes.clone() })
            }
        }
    }
}
