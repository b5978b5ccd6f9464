//! Batch normalisation, normalisations by a value's own statistics, and softmax.

use lrpet_runtime::model::NormaliseOver;

use super::{Inputs, Lower, Reason};
use crate::import::fold::index;
use crate::import::graph::Node;
use crate::import::step::{BatchNorm, What};
use crate::import::tensor::Tensor;
use crate::import::view::View;

/// A constant of `n` numbers.
fn numbers(tensor: &Tensor, what: &str, n: usize) -> Result<Vec<f32>, Reason> {
    if tensor.len() != n {
        return Err(format!("its {what} has {} numbers where {n} are needed", tensor.len()));
    }
    Ok(tensor.to_f32())
}

impl Lower<'_> {
    pub(super) fn batch_norm(&mut self, node: &Node, inputs: &Inputs) -> Result<View, Reason> {
        if node.int("training_mode").unwrap_or(0) == 1 {
            return Err("its training_mode is 1: export the network for inference (model.eval())".to_owned());
        }
        if node.int("spatial").unwrap_or(1) != 1 {
            return Err("its spatial is 0, statistics for each pixel".to_owned());
        }
        let view = inputs.view(0)?;
        let rank = view.axes.len();
        let value = self.channels_first(view)?;
        let shape = self.shape(value);
        let get = |place: usize, what: &str| numbers(inputs.needed(place, what)?, what, shape[0]);
        let norm = BatchNorm {
            name: self.layer_name(node, node.input(1)),
            gamma: get(1, "scale")?,
            beta: get(2, "bias")?,
            mean: get(3, "mean")?,
            variance: get(4, "variance")?,
            epsilon: f64::from(node.float("epsilon").unwrap_or(1e-5)),
            keeps: f64::from(node.float("momentum").unwrap_or(0.9)),
        };
        if norm.variance.iter().any(|&value| f64::from(value) + norm.epsilon <= 0.0) {
            return Err("its variance has numbers below 0".to_owned());
        }
        let name = norm.name.clone();
        let made = self.push(What::BatchNorm(norm), &[value], shape, name)?;
        Ok(View::of_map(made, shape, rank))
    }

    pub(super) fn layer_norm(&mut self, node: &Node, inputs: &Inputs) -> Result<View, Reason> {
        let view = inputs.view(0)?;
        let rank = view.axes.len();
        let first = index(node.int("axis").unwrap_or(-1), rank)?;
        if first == 0 && rank > 1 {
            return Err("normalises over the axis of the images".to_owned());
        }
        let over: Vec<usize> = (first..rank).collect();
        let epsilon = node.float("epsilon").unwrap_or(1e-5);
        let name = self.layer_name(node, node.input(1));
        let (scale, shift) = (inputs.needed(1, "scale")?, inputs.constant(2, "bias")?);
        let dims = view.dims();
        let all = view.axes[..first].iter().all(Vec::is_empty);
        let flat = over.iter().filter(|&&axis| !view.axes[axis].is_empty()).count() > 1;
        if all && flat {
            // Each number has a scale of its own, behind the normalisation.
            let shape = self.shape(view.value);
            let (one, none) = (vec![1.0; shape[0]], vec![0.0; shape[0]]);
            let what = What::Normalise { over: NormaliseOver::All, epsilon, scale: one, shift: none };
            let value = self.push(what, &[view.value], shape, name.clone())?;
            let view = View { value, axes: view.axes.clone() };
            let (value, scale) = self.per_channel(&view, scale)?;
            let shift = match shift {
                Some(shift) => {
                    let (other, shift) = self.per_channel(&view, shift)?;
                    if other == value {
                        shift
                    } else {
                        return Err("its scale and bias differ in shape".to_owned());
                    }
                }
                None => vec![0.0; scale.len()],
            };
            let name = self.names.layer(None, &format!("{name}_scale"), "scale");
            let value = self.push(What::Affine { scale, shift }, &[value], self.shape(value), name)?;
            return Ok(View { value, axes: view.axes });
        }
        let count: usize = dims[first..].iter().product();
        let wide = |tensor: &Tensor| -> Result<Vec<f32>, Reason> {
            Ok(crate::import::fold::spread(tensor, &dims[first..])?.to_f32())
        };
        let scale = wide(scale)?;
        let shift = shift.map(wide).transpose()?.unwrap_or_else(|| vec![0.0; count]);
        let (value, mut view) = self.with_channels(view, &over)?;
        let shape = self.shape(value);
        let what = What::Normalise { over: NormaliseOver::Channels, epsilon, scale, shift };
        view.value = self.push(what, &[value], shape, name)?;
        Ok(view)
    }

    pub(super) fn instance_norm(&mut self, node: &Node, inputs: &Inputs) -> Result<View, Reason> {
        let view = inputs.view(0)?;
        let rank = view.axes.len();
        let value = self.channels_first(view)?;
        let shape = self.shape(value);
        let scale = numbers(inputs.needed(1, "scale")?, "scale", shape[0])?;
        let shift = numbers(inputs.needed(2, "bias")?, "bias", shape[0])?;
        let epsilon = node.float("epsilon").unwrap_or(1e-5);
        let name = self.layer_name(node, node.input(1));
        let what = What::Normalise { over: NormaliseOver::Plane, epsilon, scale, shift };
        let made = self.push(what, &[value], shape, name)?;
        Ok(View::of_map(made, shape, rank))
    }

    pub(super) fn group_norm(&mut self, node: &Node, inputs: &Inputs) -> Result<View, Reason> {
        let view = inputs.view(0)?;
        let rank = view.axes.len();
        let value = self.channels_first(view)?;
        let shape = self.shape(value);
        let groups = node.int("num_groups").and_then(|groups| usize::try_from(groups).ok()).unwrap_or(0);
        if groups == 0 || !shape[0].is_multiple_of(groups) {
            return Err(format!("its num_groups is {groups}, for {} channels", shape[0]));
        }
        // Before operator set 21 there is one scale a group.
        let wide = |place: usize, what: &str| -> Result<Vec<f32>, Reason> {
            let tensor = inputs.needed(place, what)?;
            if tensor.len() == groups {
                let each = shape[0] / groups;
                return Ok(tensor.to_f32().iter().flat_map(|&value| vec![value; each]).collect());
            }
            numbers(tensor, what, shape[0])
        };
        let (scale, shift) = (wide(1, "scale")?, wide(2, "bias")?);
        let epsilon = node.float("epsilon").unwrap_or(1e-5);
        let name = self.layer_name(node, node.input(1));
        let what = What::Normalise { over: NormaliseOver::Groups(groups as u32), epsilon, scale, shift };
        let made = self.push(what, &[value], shape, name)?;
        Ok(View::of_map(made, shape, rank))
    }

    pub(super) fn softmax(&mut self, node: &Node, inputs: &Inputs) -> Result<View, Reason> {
        let view = inputs.view(0)?;
        let rank = view.axes.len();
        // Before operator set 13 it goes over this axis and all behind it.
        let one = self.graph.opset >= 13;
        let axis = index(node.int("axis").unwrap_or(if one { -1 } else { 1 }), rank)?;
        let over: Vec<usize> = if one { vec![axis] } else { (axis..rank).collect() };
        let (value, mut view) = self.with_channels(view, &over)?;
        let what = What::Softmax { log: node.operator == "LogSoftmax" };
        view.value = self.push(what, &[value], self.shape(value), String::new())?;
        Ok(view)
    }
}
