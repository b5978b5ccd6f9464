//! Numbers computed from the numbers of constants.

use super::parts::spread;
use super::shape::{broadcast, index, places, strides};
use crate::import::error::Reason;
use crate::import::graph::Node;
use crate::import::tensor::{Data, Tensor, elements};

/// (q − zero point) · scale, with one scale for all or for each index along an axis.
pub(super) fn dequantise(
    node: &Node,
    q: &Tensor,
    scale: &Tensor,
    zero: Option<&Tensor>,
) -> Result<Tensor, Reason> {
    by_scale(node, q, scale, zero, |q, scale, zero| (q - zero) * scale)
}

/// x / scale + zero point, not rounded: roundings are left out, and what dequantises it has the weight itself.
pub(super) fn quantise(
    node: &Node,
    x: &Tensor,
    scale: &Tensor,
    zero: Option<&Tensor>,
) -> Result<Tensor, Reason> {
    if scale.to_f64().contains(&0.0) {
        return Err("its scale is 0".to_owned());
    }
    by_scale(node, x, scale, zero, |x, scale, zero| x / scale + zero)
}

/// A function of each number, its scale and its zero point.
fn by_scale(
    node: &Node,
    x: &Tensor,
    scale: &Tensor,
    zero: Option<&Tensor>,
    function: impl Fn(f64, f64, f64) -> f64,
) -> Result<Tensor, Reason> {
    let scales = scale.to_f64();
    let zeros = zero.map_or_else(|| vec![0.0; scales.len()], Tensor::to_f64);
    if node.int("block_size").unwrap_or(0) != 0 {
        return Err("its scales are of blocks; use one scale for each channel".to_owned());
    }
    let (length, inner) = if scales.len() == 1 {
        (1, x.len().max(1))
    } else {
        let axis = index(node.int("axis").unwrap_or(1), x.shape.len())?;
        (x.shape[axis], x.shape[axis + 1..].iter().product::<usize>().max(1))
    };
    if length != scales.len() || zeros.len() != scales.len() {
        return Err(format!(
            "it has {} scales and {} zero points for {length} channels",
            scales.len(),
            zeros.len()
        ));
    }
    let value = |(at, x): (usize, f64)| {
        let channel = at / inner % length;
        function(x, scales[channel], zeros[channel])
    };
    Ok(Tensor::of(x.shape.clone(), x.to_f64().into_iter().enumerate().map(value).collect(), false))
}

pub(super) fn binary(operator: &str, a: &Tensor, b: &Tensor) -> Result<Tensor, Reason> {
    let shape = broadcast(&a.shape, &b.shape)?;
    let (x, y) = (spread(a, &shape)?, spread(b, &shape)?);
    let truth = |value: bool| f64::from(u8::from(value));
    if let (Data::Ints(x), Data::Ints(y)) = (&x.data, &y.data)
        && ["Div", "Mod", "Add", "Sub", "Mul"].contains(&operator)
    {
        let one = |(&x, &y): (&i64, &i64)| match operator {
            "Div" => x.checked_div(y),
            "Mod" => x.checked_rem_euclid(y),
            "Add" => x.checked_add(y),
            "Sub" => x.checked_sub(y),
            _ => x.checked_mul(y),
        };
        let values: Option<Vec<i64>> = x.iter().zip(y).map(one).collect();
        return Ok(Tensor { shape, data: Data::Ints(values.ok_or("whole numbers of it overflow")?) });
    }
    let one = |(x, y): (f64, f64)| match operator {
        "Add" | "Sum" => x + y,
        "Sub" => x - y,
        "Mul" => x * y,
        "Div" => x / y,
        "Pow" => x.powf(y),
        "Max" => x.max(y),
        "Min" => x.min(y),
        "Mod" => x % y,
        "And" => truth(x != 0.0 && y != 0.0),
        "Or" => truth(x != 0.0 || y != 0.0),
        "Equal" => truth(x == y),
        "Greater" => truth(x > y),
        _ => truth(x < y),
    };
    let values = x.to_f64().into_iter().zip(y.to_f64()).map(one).collect();
    let int = a.is_int() || ["And", "Or", "Equal", "Greater", "Less"].contains(&operator);
    Ok(Tensor::of(shape, values, int))
}

pub(super) fn unary(operator: &str, x: &Tensor) -> Result<Tensor, Reason> {
    let one: fn(f64) -> f64 = match operator {
        "Neg" => |x| -x,
        "Sqrt" => f64::sqrt,
        "Floor" => f64::floor,
        "Ceil" => f64::ceil,
        "Round" => f64::round_ties_even,
        "Abs" => f64::abs,
        "Exp" => f64::exp,
        "Log" => f64::ln,
        "Reciprocal" => |x| 1.0 / x,
        "Not" => |x| f64::from(u8::from(x == 0.0)),
        "Relu" => |x| x.max(0.0),
        "Sigmoid" => |x| 1.0 / (1.0 + (-x).exp()),
        "Tanh" => f64::tanh,
        _ => return Err("depends on constants of the file alone, and is not computed".to_owned()),
    };
    Ok(Tensor::of(x.shape.clone(), x.to_f64().into_iter().map(one).collect(), x.is_int()))
}

pub(super) fn reduce(node: &Node, x: &Tensor, axes: Option<Vec<i64>>) -> Result<Tensor, Reason> {
    let rank = x.shape.len();
    let axes = match axes {
        Some(axes) if !axes.is_empty() => axes,
        _ => (0..rank as i64).collect(),
    };
    let mut gone = vec![false; rank];
    for axis in axes {
        gone[index(axis, rank)?] = true;
    }
    let kept: Vec<usize> = (0..rank).map(|axis| if gone[axis] { 1 } else { x.shape[axis] }).collect();
    let to = places(&x.shape, &strides(&kept, rank));
    let count = x.len() / elements(&kept).unwrap_or(1).max(1);
    let start = match node.operator.as_str() {
        "ReduceProd" => 1.0,
        "ReduceMax" => f64::NEG_INFINITY,
        "ReduceMin" => f64::INFINITY,
        _ => 0.0,
    };
    let mut values = vec![start; kept.iter().product()];
    for (&to, x) in to.iter().zip(x.to_f64()) {
        values[to] = match node.operator.as_str() {
            "ReduceProd" => values[to] * x,
            "ReduceMax" => values[to].max(x),
            "ReduceMin" => values[to].min(x),
            _ => values[to] + x,
        };
    }
    if node.operator == "ReduceMean" {
        values.iter_mut().for_each(|value| *value /= count as f64);
    }
    let shape = if node.int("keepdims") == Some(0) {
        kept.iter().zip(&gone).filter(|(_, gone)| !**gone).map(|(&axis, _)| axis).collect()
    } else {
        kept
    };
    Ok(Tensor::of(shape, values, x.is_int()))
}
