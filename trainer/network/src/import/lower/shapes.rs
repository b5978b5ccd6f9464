//! Operators that change how a value is seen and not the value, and those that are left out.

use std::sync::Arc;

use lrpet_runtime::model::Activation;

use super::{Inputs, Known, Lower, Reason};
use crate::import::fold;
use crate::import::graph::Node;
use crate::import::tensor::{Data, Tensor};
use crate::import::view::{Stored, View, length};

/// Operators that are left out.
pub(super) const PASSED: [&str; 7] =
    ["Identity", "Dropout", "Cast", "CastLike", "QuantizeLinear", "DequantizeLinear", "ArgMax"];

impl Lower<'_> {
    pub(super) fn shapes(&mut self, node: &Node, inputs: &Inputs) -> Result<Vec<Known>, Reason> {
        let view = match inputs.view(0) {
            Ok(view) => view.clone(),
            // A weight cast to the type of a value.
            Err(reason) => match (node.operator.as_str(), inputs.get(0)) {
                ("CastLike", Some(constant @ Known::Constant(_))) => return Ok(vec![constant.clone()]),
                _ => return Err(reason),
            },
        };
        let dims = view.dims();
        let ints = |place: usize, name: &str| -> Result<Option<Vec<i64>>, Reason> {
            match node.ints(name) {
                Some(values) => Ok(Some(values.to_vec())),
                None => Ok(inputs.constant(place, name)?.map(Tensor::to_ints)),
            }
        };
        let made = match node.operator.as_str() {
            "Shape" => {
                let dims = fold::part_of_shape(node, dims.iter().map(|&dim| dim as i64).collect());
                self.folded += 1;
                return Ok(vec![Known::Constant(Arc::new(Tensor::list(dims)))]);
            }
            "Size" => {
                let size = dims.iter().product::<usize>() as i64;
                self.folded += 1;
                let size = Tensor { shape: vec![], data: Data::Ints(vec![size]) };
                return Ok(vec![Known::Constant(Arc::new(size))]);
            }
            "Reshape" => {
                let wanted = ints(1, "shape")?.ok_or("its shape is missing")?;
                let shape = self.reshaped_dims(&dims, &wanted, node.int("allowzero") == Some(1))?;
                self.seen_as(&view, &shape)?
            }
            "Flatten" => {
                let axis = fold::index(node.int("axis").unwrap_or(1), dims.len() + 1)?;
                let count = |dims: &[usize]| dims.iter().product();
                self.seen_as(&view, &[count(&dims[..axis]), count(&dims[axis..])])?
            }
            "Squeeze" => {
                let shape = fold::squeezed(&dims, ints(1, "axes")?.as_deref())?;
                self.seen_as(&view, &shape)?
            }
            "Unsqueeze" => {
                let shape = fold::unsqueezed(&dims, &ints(1, "axes")?.ok_or("its axes are missing")?)?;
                self.seen_as(&view, &shape)?
            }
            "Transpose" => {
                let order = fold::axis_order(node.ints("perm"), dims.len())?;
                view.transposed(&order).ok_or("its order of axes")?
            }
            "Expand" => {
                let wanted = ints(1, "shape")?.ok_or("its shape is missing")?;
                let wanted = wanted.iter().map(|&axis| usize::try_from(axis)).collect::<Result<Vec<_>, _>>();
                let shape = fold::broadcast(&dims, &wanted.map_err(|_| "its shape has negative numbers")?)?;
                if shape.iter().product::<usize>() != dims.iter().product::<usize>() {
                    return Err(format!("repeats a value of the axes {dims:?} to {shape:?}"));
                }
                self.seen_as(&view, &shape)?
            }
            "ArgMax" => self.arg_max(node, view)?,
            operator => {
                self.check_passed(node, operator)?;
                self.pass(format!("{operator}, which changes nothing here"));
                if operator == "QuantizeLinear" { self.quantised(node, inputs, view)? } else { view }
            }
        };
        Ok(vec![Known::View(made)])
    }

    /// Dims of a reshape. A file made for several images at once may name their number: it is 1 here.
    fn reshaped_dims(
        &self,
        dims: &[usize],
        wanted: &[i64],
        zero_is_zero: bool,
    ) -> Result<Vec<usize>, Reason> {
        let found = fold::reshaped(dims, wanted, zero_is_zero);
        match (wanted.split_first(), found) {
            (Some((&images, rest)), Err(_)) if images > 1 && dims.first() == Some(&1) => {
                let one: Vec<i64> = std::iter::once(1).chain(rest.iter().copied()).collect();
                fold::reshaped(dims, &one, zero_is_zero)
            }
            (_, found) => found,
        }
    }

    /// The view with other axes.
    fn seen_as(&mut self, view: &View, dims: &[usize]) -> Result<View, Reason> {
        if let Some(seen) = view.reshaped(dims) {
            return Ok(seen);
        }
        // The numbers in the order of the file's.
        let all: Vec<usize> = (0..view.axes.len()).collect();
        let value = self.chw(view, [&all, &[], &[]])?;
        let total: usize = view.axes.iter().map(|axis| length(axis)).product();
        let flat = View::of_map(value, [total, 1, 1], 1);
        flat.reshaped(dims).ok_or_else(|| format!("makes {:?} into {dims:?}", view.dims()))
    }

    /// A class number at the end: its logits are given.
    fn arg_max(&mut self, node: &Node, view: View) -> Result<View, Reason> {
        let output = node.outputs.first().copied().flatten();
        let read =
            self.graph.nodes.iter().any(|other| other.inputs.iter().any(|id| id.is_some() && *id == output));
        if read {
            return Err(
                "is imported as the last operation alone, where the values that it compares are the result"
                    .to_owned(),
            );
        }
        self.pass("ArgMax at the end: the values that it compares are the result");
        Ok(view)
    }

    /// Refuses a cast that would round.
    fn check_passed(&self, node: &Node, operator: &str) -> Result<(), Reason> {
        let to = node.int("to").unwrap_or(1);
        let floats = matches!(to, 1 | 10 | 11 | 16);
        if operator == "Cast" && !floats {
            return Err(format!("casts a value to whole numbers (to = {to})"));
        }
        if operator == "Dropout" && node.int("is_test").unwrap_or(1) == 0 {
            return Err("is a dropout of training (is_test = 0)".to_owned());
        }
        Ok(())
    }

    /// A value whose rounding to 8 bits is left out. Where the range begins at 0, the rounding is a ReLU too.
    fn quantised(&mut self, node: &Node, inputs: &Inputs, view: View) -> Result<View, Reason> {
        let unsigned = match node.input(2) {
            Some(id) => self.graph.unsigned.contains(&id),
            None => matches!(node.int("output_dtype").unwrap_or(2), 0 | 2),
        };
        let zeros = match inputs.constant(2, "zero point")? {
            Some(zero) => zero.to_ints(),
            None => vec![0],
        };
        let least = if unsigned { 0 } else { -128 };
        let from_zero = zeros.iter().all(|&zero| zero == least);
        let is_positive = view.value > 0 && self.steps[view.value - 1].is_positive();
        if !from_zero || is_positive {
            return Ok(view);
        }
        self.pass("ReLU for a QuantizeLinear whose range begins at 0");
        self.activated(&view, Activation::Relu)
    }
}

impl Lower<'_> {
    /// The stored value of the network's result: a vector, or a map in the order of the file's axes; channels-last maps stay
    /// channels first, and are told of by `true`.
    ///
    /// # Errors
    /// Where its axes cannot be brought into order.
    pub(crate) fn result(&mut self, view: &View) -> Result<(Stored, bool), Reason> {
        let shape = self.shape(view.value);
        let in_order = view.order().len() <= 1;
        let lengthy = view.axes.iter().filter(|axis| !axis.is_empty()).count();
        let last = self.channels_last
            && view.axes.len() == 4
            && view.transposed(&[0, 3, 1, 2]).is_some_and(|first| first.order().len() <= 1);
        if lengthy > 1 && last && !in_order {
            self.pass("channels-last axes of the result: the network's has channels first");
            return Ok((view.value, true));
        }
        if in_order && (lengthy > 1 || shape[1] * shape[2] == 1) {
            return Ok((view.value, false));
        }
        let placed = self.placed(view)?;
        if placed.view.order().len() <= 1 {
            return Ok((placed.view.value, false));
        }
        let all: Vec<usize> = (0..view.axes.len()).collect();
        Ok((self.chw(view, [&all, &[], &[]])?, false))
    }
}
