//! Activations.

use candle_core::{Result, Tensor};
use lrpet_runtime::model::Activation;

/// The activation of every value of `x`.
pub(crate) fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::None => Ok(x.clone()),
        Activation::Relu => x.relu(),
        Activation::Relu6 => x.clamp(0f32, 6f32),
        // slope·x + (1 − slope)·max(x, 0).
        Activation::LeakyRelu { slope } => {
            let slope = f64::from(slope);
            x.affine(slope, 0.0)? + x.relu()?.affine(1.0 - slope, 0.0)?
        }
        Activation::Sigmoid => candle_nn::ops::sigmoid(x),
        Activation::HardSigmoid { alpha, beta } => gate(x, f64::from(alpha), f64::from(beta)),
        Activation::HardSwish => x * gate(x, 1.0 / 6.0, 0.5)?,
        Activation::Silu => x.silu(),
        Activation::Tanh => x.tanh(),
        // The exponential of negative values alone: of large ones it is infinite, and so would be its gradient.
        Activation::Elu { alpha } => {
            let negative = x.neg()?.relu()?.neg()?.exp()?.affine(f64::from(alpha), -f64::from(alpha))?;
            x.relu()? + negative
        }
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluTanh => x.gelu(),
        Activation::Clip { min, max } => x.clamp(min, max),
        // max(x, 0) + ln(1 + e^−|x|), which overflows nowhere.
        Activation::Softplus => x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?,
        Activation::Exp => x.exp(),
        Activation::Sqrt => x.sqrt(),
    }
}

/// max(0, min(1, alpha·x + beta)).
fn gate(x: &Tensor, alpha: f64, beta: f64) -> Result<Tensor> {
    x.affine(alpha, beta)?.clamp(0f32, 1f32)
}
