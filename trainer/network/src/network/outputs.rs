//! What a network gives: one result, or several.

use std::collections::HashSet;

use lrpet_runtime::model::{Op, Outputs, Shape, Value};

use super::{Layer, Network, OutputKind};

/// What the only result of a network is called where it is of classes.
pub const LOGITS: &str = "logits";
/// What the only result of a network is called where it is values.
pub const RESULT: &str = "result";

/// What the input is called among the names of layers.
pub(crate) const INPUT: &str = "input";

impl Network {
    /// The values that a network with several outputs gives, in order; none of one with a single result.
    pub fn output_values(&self) -> Option<&[Value]> {
        match &self.layers.last()?.op {
            Op::Outputs(Outputs { inputs, .. }) => Some(inputs.values()),
            _ => None,
        }
    }

    /// Name and shape of each output, in order: those that it was given, or else the layers'.
    pub fn outputs(&self) -> Vec<(String, Shape)> {
        let shapes = self.value_shapes().unwrap_or_default();
        let Some(values) = self.output_values() else {
            let name = if self.output_kind == OutputKind::Classes { LOGITS } else { RESULT };
            let last = shapes.last().copied().unwrap_or(self.input);
            return vec![(name.to_owned(), last)];
        };
        let outputs = values.iter().enumerate().map(|(at, &value)| {
            let layer = usize::from(value).checked_sub(1).map(|layer| self.layers[layer].name());
            let own = self.output_names.get(at).map(String::as_str);
            let name = own.or(layer).unwrap_or(INPUT).to_owned();
            (name, shapes.get(usize::from(value)).copied().unwrap_or(self.input))
        });
        outputs.collect()
    }

    /// The layers but for the one that lists several outputs.
    pub fn computing_layers(&self) -> &[Layer] {
        match self.output_values() {
            Some(_) => &self.layers[..self.layers.len() - 1],
            None => &self.layers,
        }
    }
}

/// True of names that outputs may have together.
pub(crate) fn are_names(names: &[String]) -> bool {
    let fits =
        |name: &String| !name.is_empty() && name.len() <= LONGEST_NAME && !name.chars().any(char::is_control);
    names.iter().all(fits) && names.iter().collect::<HashSet<_>>().len() == names.len()
}

/// Longest name of a network, a layer, a normalisation or an output, in bytes.
pub(crate) const LONGEST_NAME: usize = 200;
