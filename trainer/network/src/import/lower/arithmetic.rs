//! Add, Sub, Mul, Div and their like, of two values or with constants.

use std::sync::Arc;

use lrpet_runtime::model::{Activation, BinaryKind};

use super::arrange::follow;
use super::{Inputs, Known, Lower, Reason};
use crate::import::fold::{broadcast, index, places, strides};
use crate::import::graph::Node;
use crate::import::step::What;
use crate::import::tensor::Tensor;
use crate::import::view::{Atom, Stored, View, merged};

impl Lower<'_> {
    pub(super) fn arithmetic(&mut self, node: &Node, inputs: &Inputs) -> Result<View, Reason> {
        if node.operator == "PRelu" {
            let (view, slope) = (inputs.view(0)?, inputs.needed(1, "slope")?);
            // Old files have one for each channel without axes behind it.
            let mut slope = slope.clone();
            if self.graph.opset < 7 && slope.shape.len() == 1 {
                slope.shape.extend(vec![1; view.axes.len().saturating_sub(2)]);
            }
            let (value, slope) = self.per_channel(view, &slope)?;
            let name = self.layer_name(node, node.input(1));
            let made = self.push(What::PRelu { slope }, &[value], self.shape(value), name)?;
            return Ok(View { value: made, axes: view.axes.clone() });
        }
        let get =
            |place: usize| inputs.get(place).cloned().ok_or_else(|| format!("its input {place} is missing"));
        let mut result = get(0)?;
        for place in 1..inputs.len() {
            let mut other = get(place)?;
            // Before operator set 7 an attribute says at which axis the second begins.
            if let (Some(axis), Known::View(view)) = (node.int("axis"), &result) {
                let rank = view.axes.len();
                let behind = |own: usize| rank.checked_sub(index(axis, rank).unwrap_or(rank) + own);
                match &mut other {
                    Known::Constant(constant) => {
                        let ones = behind(constant.shape.len()).ok_or("its axis")?;
                        Arc::make_mut(constant).shape.extend(vec![1; ones]);
                    }
                    Known::View(other) => {
                        let ones = behind(other.axes.len()).ok_or("its axis")?;
                        other.axes.extend(vec![Vec::new(); ones]);
                    }
                    Known::Nothing => {}
                }
            }
            result = Known::View(self.two(node, result, other)?);
        }
        match result {
            Known::View(view) => Ok(view),
            _ => Err("has one input alone, a constant".to_owned()),
        }
    }

    fn two(&mut self, node: &Node, a: Known, b: Known) -> Result<View, Reason> {
        let operator = node.operator.as_str();
        match (a, b) {
            (Known::View(a), Known::View(b)) => match operator {
                "Sub" => self.binary(BinaryKind::Sub, &a, &b),
                "Mul" => self.binary(BinaryKind::Mul, &a, &b),
                "Div" => self.binary(BinaryKind::Div, &a, &b),
                "Add" | "Sum" => self.binary(BinaryKind::Add, &a, &b),
                // max(a, b) = a + max(b − a, 0), min(a, b) = a − max(a − b, 0).
                "Max" | "Min" => {
                    let (more, kind) = if operator == "Max" {
                        ((&b, &a), BinaryKind::Add)
                    } else {
                        ((&a, &b), BinaryKind::Sub)
                    };
                    let difference = self.binary(BinaryKind::Sub, more.0, more.1)?;
                    let value = self.push_activation(Activation::Relu, difference.value)?;
                    self.binary(kind, &a, &View { value, ..difference })
                }
                _ => Err(
                    "takes two values that depend on the network's input; a constant exponent is imported"
                        .to_owned(),
                ),
            },
            (Known::View(x), Known::Constant(constant)) => self.with_constant(node, &x, &constant, false),
            (Known::Constant(constant), Known::View(x)) => self.with_constant(node, &x, &constant, true),
            (Known::Constant(_), Known::Constant(_)) => {
                Err("begins with two constants: put them into one".to_owned())
            }
            _ => Err(String::new()),
        }
    }

    /// A value with a constant, which stands `first` or second.
    fn with_constant(
        &mut self,
        node: &Node,
        x: &View,
        constant: &Tensor,
        first: bool,
    ) -> Result<View, Reason> {
        let operator = node.operator.as_str();
        let one = |values: &[f32]| vec![1.0; values.len()];
        let none = |values: &[f32]| vec![0.0; values.len()];
        match (operator, first) {
            ("Pow", false) => {
                let exponent = constant.scalar().ok_or("its exponent is not one number")?;
                return self.power(x, exponent);
            }
            // max(x, c) = c + max(x − c, 0), min(x, c) = c − max(c − x, 0).
            ("Max" | "Min", _) if constant.len() != 1 => {
                let sign = if operator == "Max" { 1.0 } else { -1.0 };
                let wide = View { value: x.value, axes: widened(&x.axes, constant.shape.len()) };
                let (value, limits) = self.per_channel(&wide, constant)?;
                let shape = self.shape(value);
                let signs = vec![sign; limits.len()];
                let shift = limits.iter().map(|limit| -sign * limit).collect();
                let name = self.layer_name(node, None);
                let over = self.push(What::Affine { scale: signs.clone(), shift }, &[value], shape, name)?;
                let over = self.push_activation(Activation::Relu, over)?;
                let name = self.layer_name(node, None);
                let made = self.push(What::Affine { scale: signs, shift: limits }, &[over], shape, name)?;
                return Ok(View { value: made, axes: wide.axes });
            }
            ("Max" | "Min", _) => {
                let limit = constant.scalar().unwrap_or(0.0) as f32;
                let (min, max) = if operator == "Max" { (limit, f32::MAX) } else { (f32::MIN, limit) };
                return self.activated(x, super::unary::clip(min, max));
            }
            _ => {}
        }
        let wide = View { value: x.value, axes: widened(&x.axes, constant.shape.len()) };
        let (value, values) = self.per_channel(&wide, constant)?;
        let (scale, shift) = match (operator, first) {
            ("Add" | "Sum", _) => (one(&values), values),
            ("Sub", false) => (one(&values), values.iter().map(|value| -value).collect()),
            ("Sub", true) => (values.iter().map(|_| -1.0).collect(), values),
            ("Mul", _) => {
                let shift = none(&values);
                (values, shift)
            }
            ("Div", false) => (values.iter().map(|value| 1.0 / value).collect(), none(&values)),
            ("Div", true) => {
                // The constant as a map, 0 · x + c, divided by x.
                let shape = self.shape(value);
                let what = What::Affine { scale: none(&values), shift: values };
                let name = self.layer_name(node, None);
                let constant = self.push(what, &[value], shape, name)?;
                let made =
                    self.push(What::Binary(BinaryKind::Div), &[constant, value], shape, String::new())?;
                return Ok(View { value: made, axes: wide.axes });
            }
            _ => return Err("its exponent depends on the network's input".to_owned()),
        };
        let other = node.input(usize::from(!first));
        let name = self.layer_name(node, other.filter(|_| scale.len() > 1 && constant.len() > 1));
        let shape = self.shape(value);
        let made = self.push(What::Affine { scale, shift }, &[value], shape, name)?;
        Ok(View { value: made, axes: wide.axes })
    }

    fn power(&mut self, x: &View, exponent: f64) -> Result<View, Reason> {
        if exponent == 0.5 {
            return self.activated(x, Activation::Sqrt);
        }
        if exponent == 1.0 {
            return Ok(x.clone());
        }
        if exponent != 2.0 && exponent != 3.0 {
            return Err(format!("its exponent is {exponent}; 0.5, 1, 2 and 3 are imported"));
        }
        let square = self.binary(BinaryKind::Mul, x, x)?;
        if exponent == 2.0 { Ok(square) } else { self.binary(BinaryKind::Mul, &square, x) }
    }

    /// A value through an activation.
    pub(super) fn activated(&mut self, x: &View, activation: Activation) -> Result<View, Reason> {
        Ok(View { value: self.push_activation(activation, x.value)?, axes: x.axes.clone() })
    }

    /// scale · x + shift, the same for all numbers.
    pub(super) fn scaled(&mut self, node: &Node, x: &View, scale: f32, shift: f32) -> Result<View, Reason> {
        let shape = self.shape(x.value);
        let name = self.layer_name(node, None);
        let what = What::Affine { scale: vec![scale; shape[0]], shift: vec![shift; shape[0]] };
        Ok(View { value: self.push(what, &[x.value], shape, name)?, axes: x.axes.clone() })
    }

    /// Two values, number by number, each repeated along axes where it has length 1.
    pub(super) fn binary(&mut self, kind: BinaryKind, a: &View, b: &View) -> Result<View, Reason> {
        let rank = a.axes.len().max(b.axes.len());
        let (a, b) = (
            View { value: a.value, axes: widened(&a.axes, rank) },
            View { value: b.value, axes: widened(&b.axes, rank) },
        );
        let dims = broadcast(&a.dims(), &b.dims())?;
        let same = a.axes == b.axes && self.shape(a.value) == self.shape(b.value);
        if same {
            let made =
                self.push(What::Binary(kind), &[a.value, b.value], self.shape(a.value), String::new())?;
            return Ok(View { value: made, axes: a.axes });
        }
        for (whole, other, turned) in [(&a, &b, false), (&b, &a, true)] {
            if whole.dims() != dims {
                continue;
            }
            let shape = self.shape(whole.value);
            let (first, second, axes) = match follow(whole, shape, other) {
                Some(groups) => (whole.value, self.arranged(other.value, groups)?, whole.axes.clone()),
                // Axes that run over the borders of the stored map's: all in one.
                None if other.dims() == dims => {
                    let all: Vec<usize> = (0..rank).collect();
                    let (first, view) = self.with_channels(whole, &all)?;
                    (first, self.with_channels(other, &all)?.0, view.axes)
                }
                None => continue,
            };
            let shape = self.shape(first);
            let inputs = if turned { [second, first] } else { [first, second] };
            let made = self.push(What::Binary(kind), &inputs, shape, String::new())?;
            return Ok(View { value: made, axes });
        }
        // Each is repeated: the last three axes are channels, rows and columns.
        let trailing: Vec<usize> = (rank.saturating_sub(3)..rank).collect();
        let mut inner = a.axes[..rank - trailing.len()].iter().chain(&b.axes[..rank - trailing.len()]);
        if trailing.len() < 3 || !inner.all(Vec::is_empty) {
            return Err(format!("repeats {:?} and {:?} in a way that is not imported", a.dims(), b.dims()));
        }
        let slots = [&trailing[..1], &trailing[1..2], &trailing[2..]];
        let (first, second) = (self.chw(&a, slots)?, self.chw(&b, slots)?);
        let (x, y) = (self.shape(first), self.shape(second));
        let shape: [usize; 3] = std::array::from_fn(|axis| x[axis].max(y[axis]));
        let made = self.push(What::Binary(kind), &[first, second], shape, String::new())?;
        let mut axes = vec![Vec::new(); rank - 3];
        axes.extend(crate::import::view::planes(shape));
        Ok(View { value: made, axes })
    }

    /// A constant as one number for each channel of a stored value: the value, which is a vector where the constant differs along
    /// rows or columns, and the numbers.
    pub(super) fn per_channel(
        &mut self,
        view: &View,
        constant: &Tensor,
    ) -> Result<(Stored, Vec<f32>), Reason> {
        let dims = view.dims();
        if broadcast(&dims, &constant.shape)? != dims {
            return Err(format!(
                "repeats its input of the axes {dims:?} along those of a constant of the shape {:?}",
                constant.shape
            ));
        }
        let numbers = constant.to_f32();
        let shape = self.shape(view.value);
        if numbers.len() == 1 {
            return Ok((view.value, vec![numbers[0]; shape[0]]));
        }
        let steps = strides(&constant.shape, dims.len());
        // Each atom with the constant's step along it, in the order of storage.
        let mut atoms: Vec<(Atom, usize)> = Vec::new();
        for (axis, step) in view.axes.iter().zip(steps) {
            let mut inner = 1;
            for atom in axis.iter().rev() {
                atoms.push((*atom, step * inner));
                inner *= atom.size;
            }
        }
        atoms.sort_by_key(|(atom, _)| std::cmp::Reverse(atom.stride));
        let pixels = shape[1] * shape[2];
        let by_channel = atoms.iter().all(|(atom, step)| *step == 0 || atom.stride >= pixels);
        let (value, atoms) = if by_channel {
            let channels = atoms.iter().filter(|(atom, _)| atom.stride >= pixels).copied().collect();
            (view.value, channels)
        } else {
            // Atoms behind the last along which the constant changes are pixels.
            let all: usize = shape.iter().product();
            let last = atoms.iter().rposition(|(_, step)| *step != 0).map_or(0, |at| at + 1);
            let pixels: usize = atoms[last..].iter().map(|(atom, _)| atom.size).product();
            atoms.truncate(last);
            let [height, width] = match dims[..] {
                [_, _, height, width] if height * width == pixels => [height, width],
                _ => [1, pixels],
            };
            (self.reshape(view.value, [all / pixels, height, width])?, atoms)
        };
        let (sizes, steps): (Vec<usize>, Vec<usize>) =
            atoms.iter().map(|(atom, step): &(Atom, usize)| (atom.size, *step)).unzip();
        let values: Vec<f32> = places(&sizes, &steps).into_iter().map(|at| numbers[at]).collect();
        if values.len() != self.shape(value)[0] {
            return Err("meets a constant in a way that is not imported".to_owned());
        }
        Ok((value, values))
    }
}

/// Axes with more of length 1 in front.
fn widened(axes: &[Vec<Atom>], rank: usize) -> Vec<Vec<Atom>> {
    let missing = rank.saturating_sub(axes.len());
    let mut wide = vec![Vec::new(); missing];
    wide.extend(axes.iter().map(|axis| merged(axis.iter().copied())));
    wide
}
