//! Activations: what is applied to a value before it is rounded.

use serde::{Deserialize, Serialize};

use super::needs::ACTIVATIONS;

/// What is applied to an output value after bias and residual. Semantics are those of the ONNX operations named.
///
/// New kinds are added at the end. Those behind [`Activation::Relu6`] need [`Needs::ACTIVATIONS`](super::Needs::ACTIVATIONS).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(any(feature = "std", feature = "activations")), serde(from = "Plain"))]
pub enum Activation {
    /// Nothing.
    None,
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
    /// x where x ≥ 0, else slope·x (LeakyRelu).
    LeakyRelu {
        /// Factor of negative values.
        slope: f32,
    },
    /// 1 / (1 + e^−x) (Sigmoid).
    Sigmoid,
    /// max(0, min(1, alpha·x + beta)) (HardSigmoid).
    HardSigmoid {
        /// Slope between 0 and 1: 1/6 in PyTorch, 0.2 unless an ONNX file says otherwise.
        alpha: f32,
        /// Value at 0: mostly 0.5.
        beta: f32,
    },
    /// x · max(0, min(1, x/6 + 1/2)) (HardSwish).
    HardSwish,
    /// x / (1 + e^−x), also called swish.
    Silu,
    /// tanh x (Tanh).
    Tanh,
    /// x where x ≥ 0, else alpha·(e^x − 1) (Elu).
    Elu {
        /// What large negative values tend to, negated.
        alpha: f32,
    },
    /// x/2 · (1 + erf(x / √2)) (Gelu).
    Gelu,
    /// x/2 · (1 + tanh(√(2/π) · (x + 0.044715·x³))) (Gelu with `approximate = tanh`).
    GeluTanh,
    /// max(min, min(max, x)) (Clip).
    Clip {
        /// Least value.
        min: f32,
        /// Largest value, at least `min`.
        max: f32,
    },
    /// ln(1 + e^x) (Softplus).
    Softplus,
    /// e^x (Exp).
    Exp,
    /// √x; of negative values NaN (Sqrt).
    Sqrt,
}

/// Those that a build without the feature `activations` decodes.
#[cfg(not(any(feature = "std", feature = "activations")))]
#[derive(Deserialize)]
enum Plain {
    None,
    Relu,
    Relu6,
}

#[cfg(not(any(feature = "std", feature = "activations")))]
impl From<Plain> for Activation {
    fn from(plain: Plain) -> Self {
        match plain {
            Plain::None => Activation::None,
            Plain::Relu => Activation::Relu,
            Plain::Relu6 => Activation::Relu6,
        }
    }
}

impl Activation {
    /// True of those that every build has: none, ReLU and ReLU6.
    pub fn is_plain(&self) -> bool {
        !ACTIVATIONS || matches!(self, Activation::None | Activation::Relu | Activation::Relu6)
    }

    /// True where its parameters are finite numbers, those of a clip in order.
    pub fn is_sound(&self) -> bool {
        match *self {
            _ if !ACTIVATIONS => true,
            Activation::LeakyRelu { slope: x } | Activation::Elu { alpha: x } => x.is_finite(),
            Activation::HardSigmoid { alpha: a, beta: b } => a.is_finite() && b.is_finite(),
            Activation::Clip { min, max } => min.is_finite() && max.is_finite() && min <= max,
            _ => true,
        }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Activation::None => "none",
            Activation::Relu => "ReLU",
            Activation::Relu6 => "ReLU6",
            Activation::LeakyRelu { .. } => "leaky ReLU",
            Activation::Sigmoid => "sigmoid",
            Activation::HardSigmoid { .. } => "hard sigmoid",
            Activation::HardSwish => "hard swish",
            Activation::Silu => "SiLU",
            Activation::Tanh => "tanh",
            Activation::Elu { .. } => "ELU",
            Activation::Gelu => "GELU",
            Activation::GeluTanh => "GELU (tanh)",
            Activation::Clip { .. } => "clip",
            Activation::Softplus => "softplus",
            Activation::Exp => "exp",
            Activation::Sqrt => "square root",
        }
    }
}
