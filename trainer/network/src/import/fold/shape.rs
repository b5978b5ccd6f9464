//! Shapes and axes, and what operators make of them.

use crate::import::error::Reason;
use crate::import::graph::Node;
use crate::import::tensor::elements;

/// Lengths of axes.
pub(super) fn axes(values: &[i64]) -> Result<Vec<usize>, Reason> {
    let shape: Result<Vec<usize>, _> = values.iter().map(|&value| usize::try_from(value)).collect();
    let shape = shape.map_err(|_| format!("the shape {values:?}"))?;
    elements(&shape).map(|_| shape).ok_or_else(|| format!("the shape {values:?}, too large"))
}

/// An index that may count from the end.
pub(crate) fn index(axis: i64, rank: usize) -> Result<usize, Reason> {
    let at = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    let at = at.and_then(|at| usize::try_from(at).ok()).filter(|&at| at < rank);
    at.ok_or_else(|| format!("its axis {axis} is not among {rank} axes"))
}

/// The part of a shape that a node Shape asks for.
pub(crate) fn part_of_shape(node: &Node, dims: Vec<i64>) -> Vec<i64> {
    let rank = dims.len() as i64;
    let at =
        |value: i64| (if value < 0 { value.saturating_add(rank) } else { value }).clamp(0, rank) as usize;
    let (start, end) = (at(node.int("start").unwrap_or(0)), at(node.int("end").unwrap_or(rank)));
    dims.get(start..end.max(start)).unwrap_or_default().to_vec()
}

pub(crate) fn unsqueezed(dims: &[usize], axes: &[i64]) -> Result<Vec<usize>, Reason> {
    let rank = dims.len().saturating_add(axes.len());
    if axes.len() > 16 {
        return Err(format!("it adds {} axes", axes.len()));
    }
    let mut new = vec![false; rank];
    for &axis in axes {
        let at = index(axis, rank)?;
        if std::mem::replace(&mut new[at], true) {
            return Err(format!("it adds the axis {axis} twice"));
        }
    }
    let mut old = dims.iter();
    Ok(new.into_iter().map(|new| if new { 1 } else { old.next().copied().unwrap_or(1) }).collect())
}

pub(crate) fn squeezed(dims: &[usize], axes: Option<&[i64]>) -> Result<Vec<usize>, Reason> {
    let mut gone: Vec<bool> = dims.iter().map(|&dim| axes.is_none() && dim == 1).collect();
    for &axis in axes.unwrap_or_default() {
        let at = index(axis, dims.len())?;
        if dims[at] != 1 {
            return Err(format!("it takes away the axis {axis}, of length {}", dims[at]));
        }
        gone[at] = true;
    }
    Ok(dims.iter().zip(gone).filter(|(_, gone)| !gone).map(|(&dim, _)| dim).collect())
}

/// A new shape, where 0 keeps an axis and -1 stands for what is left.
pub(crate) fn reshaped(dims: &[usize], wanted: &[i64], zero_is_zero: bool) -> Result<Vec<usize>, Reason> {
    let total = elements(dims).ok_or("its input is too large")?;
    let fails = || format!("it makes {dims:?} into {wanted:?}, of another size");
    let mut shape = Vec::with_capacity(wanted.len().min(16));
    for (at, &axis) in wanted.iter().enumerate().take(17) {
        shape.push(match axis {
            0 if !zero_is_zero => *dims.get(at).ok_or_else(fails)?,
            -1 => 1,
            axis => usize::try_from(axis).map_err(|_| fails())?,
        });
    }
    if wanted.len() > 16 || wanted.iter().filter(|&&axis| axis == -1).count() > 1 {
        return Err(fails());
    }
    if let Some(free) = wanted.iter().position(|&axis| axis == -1) {
        let others = elements(&shape).filter(|&others| others > 0).ok_or_else(fails)?;
        shape[free] = total / others;
    }
    if elements(&shape) != Some(total) { Err(fails()) } else { Ok(shape) }
}

/// The shape of two that are repeated along axes of length 1.
pub(crate) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, Reason> {
    let rank = a.len().max(b.len());
    let at =
        |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis]);
    let one = |axis: usize| match (at(a, axis), at(b, axis)) {
        (a, b) if a == b || b == 1 => Ok(a),
        (1, b) => Ok(b),
        _ => Err(format!("the shapes {a:?} and {b:?} do not go together")),
    };
    (0..rank).map(one).collect()
}

/// Strides of a row-major shape, 0 along axes of length 1, for a shape of `rank` axes that it is repeated to.
pub(crate) fn strides(shape: &[usize], rank: usize) -> Vec<usize> {
    let mut strides = vec![0; rank.saturating_sub(shape.len())];
    for axis in 0..shape.len() {
        strides.push(if shape[axis] == 1 { 0 } else { shape[axis + 1..].iter().product() });
    }
    strides
}

/// For each element of `shape` the place that it is read from.
pub(crate) fn places(shape: &[usize], strides: &[usize]) -> Vec<usize> {
    let mut places = vec![0];
    for (&length, &stride) in shape.iter().zip(strides) {
        places = places.iter().flat_map(|&place| (0..length).map(move |at| place + at * stride)).collect();
    }
    places
}

/// An order of axes, reversed where none is given.
pub(crate) fn axis_order(order: Option<&[i64]>, rank: usize) -> Result<Vec<usize>, Reason> {
    let Some(order) = order else { return Ok((0..rank).rev().collect()) };
    let found = order.iter().map(|&axis| index(axis, rank)).collect::<Result<Vec<_>, _>>()?;
    let mut sorted = found.clone();
    sorted.sort_unstable();
    if sorted.into_iter().eq(0..rank) { Ok(found) } else { Err(format!("its order of axes {order:?}")) }
}

/// For each axis that a node Slice cuts: the axis, start, step and number of indices.
pub(crate) fn slice_ranges(
    dims: &[usize],
    ints: &dyn Fn(usize, &str) -> Option<Vec<i64>>,
) -> Result<Vec<(usize, i64, i64, usize)>, Reason> {
    let starts = ints(1, "starts").ok_or("its starts are missing")?;
    let ends = ints(2, "ends").ok_or("its ends are missing")?;
    let axes = ints(3, "axes").unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = ints(4, "steps").unwrap_or_else(|| vec![1; starts.len()]);
    if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
        return Err("its starts, ends, axes and steps are not of one length".to_owned());
    }
    let mut ranges = Vec::new();
    for (at, &axis) in axes.iter().enumerate() {
        let axis = index(axis, dims.len())?;
        let (size, step) = (dims[axis] as i64, steps[at]);
        let from_end = |value: i64| if value < 0 { value.saturating_add(size) } else { value };
        let (start, end) = (from_end(starts[at]), from_end(ends[at]));
        let (start, count) = match step {
            0 => return Err("its step is 0".to_owned()),
            1.. => {
                let (start, end) = (start.clamp(0, size), end.clamp(0, size));
                (start, (end - start).max(0).unsigned_abs().div_ceil(step.unsigned_abs()))
            }
            _ => {
                let (start, end) = (start.clamp(-1, size - 1), end.clamp(-1, size - 1));
                (start, (start - end).max(0).unsigned_abs().div_ceil(step.unsigned_abs()))
            }
        };
        ranges.push((axis, start, step, count as usize));
    }
    Ok(ranges)
}

/// Sizes of the parts of an axis of `length`.
pub(crate) fn split_sizes(
    node: &Node,
    given: Option<Vec<i64>>,
    length: usize,
    outputs: usize,
) -> Result<Vec<usize>, Reason> {
    let parts = node.int("num_outputs").and_then(|parts| usize::try_from(parts).ok()).unwrap_or(outputs);
    let sizes: Vec<usize> = match given {
        Some(sizes) => axes(&sizes)?,
        None if parts == 0 || parts > length => {
            return Err(format!("it splits an axis of {length} into {parts}"));
        }
        None => {
            let size = length.div_ceil(parts);
            (0..parts).map(|part| size.min(length.saturating_sub(part * size))).collect()
        }
    };
    let total = sizes.iter().try_fold(0_usize, |sum, &size| sum.checked_add(size));
    if total != Some(length) || sizes.contains(&0) {
        return Err(format!("it splits an axis of {length} into parts of {sizes:?}"));
    }
    Ok(sizes)
}
