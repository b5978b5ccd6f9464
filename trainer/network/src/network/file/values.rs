//! Values of several layers' fields: windows, normalisations, activations.

use lrpet_runtime::model::{Activation, Shape, Window};
use toml::Spanned;
use toml::de::DeValue;

use super::fields::Fields;
use super::{FileError, one_of};
use crate::network::{Norm, same};

/// Activations by name, with what their parameters are where nothing is said.
pub(super) const ACTIVATIONS: &[(&str, Activation)] = &[
    ("none", Activation::None),
    ("relu", Activation::Relu),
    ("relu6", Activation::Relu6),
    ("leaky_relu", Activation::LeakyRelu { slope: 0.01 }),
    ("sigmoid", Activation::Sigmoid),
    ("hard_sigmoid", Activation::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }),
    ("hard_swish", Activation::HardSwish),
    ("silu", Activation::Silu),
    ("tanh", Activation::Tanh),
    ("elu", Activation::Elu { alpha: 1.0 }),
    ("gelu", Activation::Gelu),
    ("gelu_tanh", Activation::GeluTanh),
    ("clip", Activation::Clip { min: 0.0, max: 1.0 }),
    ("softplus", Activation::Softplus),
    ("exp", Activation::Exp),
    ("sqrt", Activation::Sqrt),
];

/// What [`window`] reads, in words.
const PAIR: &str = "an integer above 0, or a list of height and width";
const SIDES: &str = "\"same\", an integer, [vertical, horizontal] or [top, left, bottom, right]";

/// The fields `kernel`, `stride` and `padding`, over an input of shape `input`.
pub(super) fn window(fields: &mut Fields<'_>, input: Shape) -> Result<Window, FileError> {
    let kernel = pair(fields, "kernel")?.ok_or_else(|| fields.missing("kernel", PAIR))?;
    let stride = pair(fields, "stride")?.unwrap_or([1, 1]);
    let is_same = matches!(
        fields.get("padding").map(Spanned::get_ref), Some(DeValue::String(text)) if text == "same"
    );
    if is_same {
        return Ok(same(input, kernel, stride));
    }
    let padding = match fields.integers("padding", 0, SIDES)?.as_deref() {
        None => [0; 4],
        Some(&[all]) => [all; 4],
        Some(&[vertical, horizontal]) => [vertical, horizontal, vertical, horizontal],
        Some(&[top, left, bottom, right]) => [top, left, bottom, right],
        Some(_) => return Err(fields.fails_at("padding", format!("it must be {SIDES}"))),
    };
    Ok(Window { kernel, stride, padding })
}

/// One integer for both axes, or a list of height and width.
pub(super) fn pair(fields: &mut Fields<'_>, field: &'static str) -> Result<Option<[u16; 2]>, FileError> {
    match fields.integers(field, 1, PAIR)?.as_deref() {
        None => Ok(None),
        Some(&[both]) => Ok(Some([both, both])),
        Some(&[height, width]) => Ok(Some([height, width])),
        Some(_) => Err(fields.fails_at(field, format!("it must be {PAIR}"))),
    }
}

/// The field `activation`: a name, or a table with the name as `kind` and parameters.
pub(super) fn activation(fields: &mut Fields<'_>) -> Result<Activation, FileError> {
    let Some(value) = fields.get("activation") else { return Ok(Activation::None) };
    if value.get_ref().is_str() {
        return Ok(one_of(fields, "activation", ACTIVATIONS)?.unwrap_or(Activation::None));
    }
    let place = format!("{}: activation", fields.place);
    let mut of = Fields::of(fields.text, "activation", value)?;
    of.place = place;
    let kind = one_of(&mut of, "kind", ACTIVATIONS)?.ok_or_else(|| of.missing("kind", "its name"))?;
    let mut or = |field, usual: f32| Ok(of.single(field)?.unwrap_or(usual));
    let activation = match kind {
        Activation::LeakyRelu { slope } => Activation::LeakyRelu { slope: or("slope", slope)? },
        Activation::HardSigmoid { alpha, beta } => {
            Activation::HardSigmoid { alpha: or("alpha", alpha)?, beta: or("beta", beta)? }
        }
        Activation::Elu { alpha } => Activation::Elu { alpha: or("alpha", alpha)? },
        Activation::Clip { min, max } => Activation::Clip { min: or("min", min)?, max: or("max", max)? },
        plain => plain,
    };
    if !activation.is_sound() {
        return Err(of.fails_at("min", "it must not be above `max`"));
    }
    of.finish("this activation")?;
    Ok(activation)
}

/// The field `counted` of an average pooling: how much of the padding counts in the divisor.
pub(super) fn counted(fields: &mut Fields<'_>, window: &Window) -> Result<[u16; 4], FileError> {
    const EXPECTED: &str = "true, false or [top, left, bottom, right], at most the padding";
    if let Some(DeValue::Boolean(all)) = fields.get("counted").map(Spanned::get_ref) {
        return Ok(if *all { window.padding } else { [0; 4] });
    }
    let Some(sides) = fields.integers("counted", 0, EXPECTED)? else { return Ok([0; 4]) };
    let sides = <[u16; 4]>::try_from(sides).ok();
    sides
        .filter(|sides| sides.iter().zip(window.padding).all(|(counted, padding)| *counted <= padding))
        .ok_or_else(|| fields.fails_at("counted", format!("it must be {EXPECTED}")))
}

/// The field `norm`: a name, or a table.
pub(super) fn norm(fields: &mut Fields<'_>) -> Result<Option<Norm>, FileError> {
    let Some(value) = fields.get("norm") else { return Ok(None) };
    if let DeValue::String(name) = value.get_ref() {
        fields.check_name("norm", name)?;
        return Ok(Some(Norm::new(name.as_ref())));
    }
    let place = format!("{}: norm", fields.place);
    let mut of = Fields::of(fields.text, "norm", value)?;
    of.place = place;
    let name = of.name("name")?.ok_or_else(|| of.missing("name", "a text"))?;
    let mut norm = Norm::new(name);
    if let Some(epsilon) = of.number("epsilon")? {
        if !(f64::from(f32::MIN_POSITIVE)..1.0).contains(&epsilon) {
            return Err(of.fails_at("epsilon", "it must be above 0 and below 1, such as 1e-3"));
        }
        norm.epsilon = epsilon;
    }
    if let Some(momentum) = of.number("momentum")? {
        if !(momentum > 0.0 && momentum <= 1.0) {
            return Err(of.fails_at("momentum", "it must be above 0 and at most 1, such as 0.1"));
        }
        norm.momentum = momentum;
    }
    norm.scale = of.flag("scale")?.unwrap_or(true);
    norm.shift = of.flag("shift")?.unwrap_or(true);
    of.finish("norm")?;
    Ok(Some(norm))
}
