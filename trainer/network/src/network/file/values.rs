//! Values of several layers' fields: windows, normalisations, activations.

use lrpet_runtime::model::{Activation, Shape, Window};
use toml::Spanned;
use toml::de::DeValue;

use super::fields::Fields;
use super::{FileError, one_of};
use crate::network::{Norm, same};

/// Activations by name.
pub(super) const ACTIVATIONS: &[(&str, Activation)] =
    &[("none", Activation::None), ("relu", Activation::Relu), ("relu6", Activation::Relu6)];

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
    let [top, left, bottom, right] = padding;
    if top.max(bottom) >= kernel[0] || left.max(right) >= kernel[1] {
        return Err(fields.fails_at("padding", "it must be smaller than the kernel"));
    }
    Ok(Window { kernel, stride, padding })
}

fn pair(fields: &mut Fields<'_>, field: &'static str) -> Result<Option<[u16; 2]>, FileError> {
    match fields.integers(field, 1, PAIR)?.as_deref() {
        None => Ok(None),
        Some(&[both]) => Ok(Some([both, both])),
        Some(&[height, width]) => Ok(Some([height, width])),
        Some(_) => Err(fields.fails_at(field, format!("it must be {PAIR}"))),
    }
}

pub(super) fn activation(fields: &mut Fields<'_>) -> Result<Activation, FileError> {
    Ok(one_of(fields, "activation", ACTIVATIONS)?.unwrap_or(Activation::None))
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
