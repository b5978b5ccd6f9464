//! Computes nodes that depend on constants alone: shapes, and weights that are made from others.

use crate::import::graph::{Attribute, Node};
use crate::import::lower::Reason;
use crate::import::tensor::{Data, MOST_ELEMENTS, Tensor, elements};

/// Operators that are computed.
pub(crate) const OPERATORS: [&str; 46] = [
    "Constant",
    "ConstantOfShape",
    "Shape",
    "Size",
    "Gather",
    "Concat",
    "Unsqueeze",
    "Squeeze",
    "Reshape",
    "Flatten",
    "Transpose",
    "Cast",
    "CastLike",
    "Identity",
    "Dropout",
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Pow",
    "Max",
    "Min",
    "Mod",
    "Neg",
    "Sqrt",
    "Floor",
    "Ceil",
    "Round",
    "Abs",
    "Exp",
    "Log",
    "Reciprocal",
    "Not",
    "And",
    "Or",
    "Equal",
    "Greater",
    "Less",
    "Where",
    "Slice",
    "Range",
    "Expand",
    "Tile",
    "DequantizeLinear",
    "QuantizeLinear",
    "ReduceProd",
];

/// Numbers of ONNX's types that are whole numbers or truth values.
fn is_int_type(number: i64) -> bool {
    matches!(number, 2..=7 | 9 | 12 | 13)
}

/// Results of a node whose inputs are all constants.
///
/// # Errors
/// Where it cannot be computed; the error says why.
pub(crate) fn fold(node: &Node, inputs: &[Option<&Tensor>], opset: i64) -> Result<Vec<Tensor>, Reason> {
    let get = |place: usize| inputs.get(place).copied().flatten();
    let input = |place: usize| get(place).ok_or_else(|| format!("its input {place} is missing"));
    let ints = |place: usize, name: &str| -> Option<Vec<i64>> {
        node.ints(name).map(<[i64]>::to_vec).or_else(|| get(place).map(Tensor::to_ints))
    };
    let one = |tensor: Tensor| Ok(vec![tensor]);
    match node.operator.as_str() {
        "Constant" => one(constant(node)?),
        "Identity" | "Dropout" => one(input(0)?.clone()),
        "ConstantOfShape" => {
            let shape = axes(&input(0)?.to_ints())?;
            let value = match node.attributes.get("value") {
                Some(Attribute::Tensor(Ok(value))) if value.len() == 1 => value.clone(),
                None => Tensor::floats(vec![1], vec![0.0]),
                _ => return Err("its value is not one number".to_owned()),
            };
            one(spread(&value, &shape)?)
        }
        "Shape" => {
            let dims: Vec<i64> = input(0)?.shape.iter().map(|&axis| axis as i64).collect();
            one(Tensor::list(part_of_shape(node, dims)))
        }
        "Size" => one(Tensor { shape: vec![], data: Data::Ints(vec![input(0)?.len() as i64]) }),
        "Cast" => {
            let to = node.int("to").unwrap_or(1);
            one(cast(input(0)?, is_int_type(to), to == 9))
        }
        "CastLike" => one(cast(input(0)?, input(1)?.is_int(), false)),
        "Unsqueeze" => {
            let axes = ints(1, "axes").ok_or("its axes are missing")?;
            let shape = unsqueezed(&input(0)?.shape, &axes)?;
            one(Tensor { shape, ..input(0)?.clone() })
        }
        "Squeeze" => {
            let shape = squeezed(&input(0)?.shape, ints(1, "axes").as_deref())?;
            one(Tensor { shape, ..input(0)?.clone() })
        }
        "Reshape" => {
            let wanted = ints(1, "shape").ok_or("its shape is missing")?;
            let shape = reshaped(&input(0)?.shape, &wanted, node.int("allowzero") == Some(1))?;
            one(Tensor { shape, ..input(0)?.clone() })
        }
        "Flatten" => {
            let x = input(0)?;
            let axis = index(node.int("axis").unwrap_or(1), x.shape.len() + 1)?;
            let outer: usize = x.shape[..axis].iter().product();
            let inner: usize = x.shape[axis..].iter().product();
            one(Tensor { shape: vec![outer, inner], ..x.clone() })
        }
        "Transpose" => one(transpose(input(0)?, node.ints("perm"))?),
        "Concat" => one(concat(inputs, node.int("axis").unwrap_or(1))?),
        "Gather" => one(gather(input(0)?, input(1)?, node.int("axis").unwrap_or(0))?),
        "Slice" => one(slice(input(0)?, &ints)?),
        "Split" => {
            let axis = index(node.int("axis").unwrap_or(0), input(0)?.shape.len())?;
            let sizes = split_sizes(node, ints(1, "split"), input(0)?.shape[axis], node.outputs.len())?;
            let mut start = 0;
            let mut part = |size: usize| {
                start += size;
                let range: Vec<usize> = (start - size..start).collect();
                take(input(0)?, axis, &range)
            };
            sizes.into_iter().map(&mut part).collect()
        }
        "Range" => {
            let value = |place| Ok::<f64, Reason>(input(place)?.scalar().ok_or("a limit is not one number")?);
            let (start, end, step) = (value(0)?, value(1)?, value(2)?);
            let count = ((end - start) / step).ceil().max(0.0);
            if !count.is_finite() || count > MOST_ELEMENTS as f64 {
                return Err(format!("a range of {count} numbers"));
            }
            let values = (0..count as usize).map(|at| start + at as f64 * step).collect();
            one(made(vec![count as usize], values, input(0)?.is_int()))
        }
        "Expand" => {
            let wanted = axes(&input(1)?.to_ints())?;
            let shape = broadcast(&input(0)?.shape, &wanted)?;
            one(spread(input(0)?, &shape)?)
        }
        "Tile" => {
            let mut tensor = input(0)?.clone();
            for (axis, &times) in input(1)?.to_ints().iter().enumerate() {
                let length = *tensor.shape.get(axis).ok_or("it repeats more axes than there are")?;
                let total = usize::try_from(times).ok().and_then(|times| times.checked_mul(length));
                let total = total.filter(|&total| total <= MOST_ELEMENTS).ok_or("it repeats too often")?;
                let list: Vec<usize> = (0..total).map(|at| at % length).collect();
                tensor = take(&tensor, axis, &list)?;
            }
            one(tensor)
        }
        "Where" => {
            let (condition, a, b) = (input(0)?, input(1)?, input(2)?);
            let shape = broadcast(&broadcast(&condition.shape, &a.shape)?, &b.shape)?;
            let condition = spread(condition, &shape)?.to_f64();
            let (x, y) = (spread(a, &shape)?.to_f64(), spread(b, &shape)?.to_f64());
            let values = condition.into_iter().zip(x).zip(y);
            let values = values.map(|((condition, x), y)| if condition != 0.0 { x } else { y }).collect();
            one(made(shape, values, a.is_int()))
        }
        "DequantizeLinear" => one(dequantise(node, input(0)?, input(1)?, get(2))?),
        "QuantizeLinear" => {
            Err("quantises a weight that is not quantised in the file; give the file without it".to_owned())
        }
        "ReduceMean" | "ReduceSum" | "ReduceProd" | "ReduceMax" | "ReduceMin" => {
            one(reduce(node, input(0)?, ints(1, "axes"))?)
        }
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Max" | "Min" | "Mod" | "And" | "Or" | "Equal"
        | "Greater" | "Less" | "Sum" => {
            let mut result = input(0)?.clone();
            for place in 1..inputs.len() {
                result = binary(&node.operator, &result, input(place)?)?;
            }
            one(result)
        }
        "BatchNormalization" | "Conv" | "Gemm" | "MatMul" if opset > 0 => {
            Err("depends on constants of the file alone: simplify the file, which computes it".to_owned())
        }
        _ => one(unary(&node.operator, input(0)?)?),
    }
}

fn constant(node: &Node) -> Result<Tensor, Reason> {
    let attribute = |name: &str| node.attributes.get(name);
    if let Some(Attribute::Tensor(tensor)) = attribute("value") {
        return tensor.clone();
    }
    match (
        attribute("value_int"),
        attribute("value_float"),
        attribute("value_ints"),
        attribute("value_floats"),
    ) {
        (Some(Attribute::Int(value)), ..) => Ok(Tensor { shape: vec![], data: Data::Ints(vec![*value]) }),
        (_, Some(Attribute::Float(value)), ..) => Ok(Tensor::floats(vec![], vec![*value])),
        (_, _, Some(Attribute::Ints(values)), _) => Ok(Tensor::list(values.clone())),
        (_, _, _, Some(Attribute::Floats(values))) => Ok(Tensor::floats(vec![values.len()], values.clone())),
        _ => Err("is a constant without numbers".to_owned()),
    }
}

/// Values as a tensor of their type.
fn made(shape: Vec<usize>, values: Vec<f64>, int: bool) -> Tensor {
    let data = if int {
        Data::Ints(values.into_iter().map(|value| value as i64).collect())
    } else {
        Data::Floats(values.into_iter().map(|value| value as f32).collect())
    };
    Tensor { shape, data }
}

fn cast(tensor: &Tensor, int: bool, truth: bool) -> Tensor {
    let data = match (int, truth) {
        (true, true) => Data::Ints(tensor.to_f64().iter().map(|&value| i64::from(value != 0.0)).collect()),
        (true, false) => Data::Ints(tensor.to_ints()),
        _ => Data::Floats(tensor.to_f32()),
    };
    Tensor { shape: tensor.shape.clone(), data }
}

/// Lengths of axes.
fn axes(values: &[i64]) -> Result<Vec<usize>, Reason> {
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

fn at_places(tensor: &Tensor, shape: Vec<usize>, places: &[usize]) -> Tensor {
    let data = match &tensor.data {
        Data::Floats(values) => Data::Floats(places.iter().map(|&at| values[at]).collect()),
        Data::Ints(values) => Data::Ints(places.iter().map(|&at| values[at]).collect()),
    };
    Tensor { shape, data }
}

/// A tensor repeated to a shape that it goes together with.
pub(crate) fn spread(tensor: &Tensor, shape: &[usize]) -> Result<Tensor, Reason> {
    elements(shape).ok_or("its result is too large")?;
    if broadcast(&tensor.shape, shape)? != shape {
        return Err(format!("the shape {:?} is not repeated to {shape:?}", tensor.shape));
    }
    let count = elements(shape).unwrap_or(0);
    if tensor.len() == 1 {
        let data = match &tensor.data {
            Data::Floats(values) => Data::Floats(vec![values[0]; count]),
            Data::Ints(values) => Data::Ints(vec![values[0]; count]),
        };
        return Ok(Tensor { shape: shape.to_vec(), data });
    }
    let places = places(shape, &strides(&tensor.shape, shape.len()));
    Ok(at_places(tensor, shape.to_vec(), &places))
}

pub(crate) fn transpose(tensor: &Tensor, order: Option<&[i64]>) -> Result<Tensor, Reason> {
    let rank = tensor.shape.len();
    let order = axis_order(order, rank)?;
    let strides: Vec<usize> = (0..rank).map(|axis| tensor.shape[axis + 1..].iter().product()).collect();
    let shape: Vec<usize> = order.iter().map(|&axis| tensor.shape[axis]).collect();
    let strides: Vec<usize> = order.iter().map(|&axis| strides[axis]).collect();
    let places = places(&shape, &strides);
    Ok(at_places(tensor, shape, &places))
}

/// An order of axes, reversed where none is given.
pub(crate) fn axis_order(order: Option<&[i64]>, rank: usize) -> Result<Vec<usize>, Reason> {
    let Some(order) = order else { return Ok((0..rank).rev().collect()) };
    let found = order.iter().map(|&axis| index(axis, rank)).collect::<Result<Vec<_>, _>>()?;
    let mut sorted = found.clone();
    sorted.sort_unstable();
    if sorted.into_iter().eq(0..rank) { Ok(found) } else { Err(format!("its order of axes {order:?}")) }
}

fn concat(inputs: &[Option<&Tensor>], axis: i64) -> Result<Tensor, Reason> {
    let tensors: Vec<&Tensor> = inputs.iter().flatten().copied().collect();
    let first = *tensors.first().ok_or("it joins nothing")?;
    let axis = index(axis, first.shape.len())?;
    let mut shape = first.shape.clone();
    shape[axis] = 0;
    for tensor in &tensors {
        let same = tensor.shape.len() == shape.len()
            && tensor.shape.iter().zip(&shape).enumerate().all(|(at, (a, b))| at == axis || a == b);
        if !same || tensor.is_int() != first.is_int() {
            return Err(format!("it joins {:?} and {:?}", first.shape, tensor.shape));
        }
        shape[axis] += tensor.shape[axis];
    }
    elements(&shape).ok_or("its result is too large")?;
    let outer: usize = shape[..axis].iter().product();
    let parts: Vec<(Vec<f64>, usize)> =
        tensors.iter().map(|tensor| (tensor.to_f64(), tensor.shape[axis..].iter().product())).collect();
    let mut values = Vec::new();
    for row in 0..outer {
        for (part, inner) in &parts {
            values.extend_from_slice(&part[row * inner..(row + 1) * inner]);
        }
    }
    Ok(made(shape, values, first.is_int()))
}

/// The elements with these indices along an axis.
fn take(tensor: &Tensor, axis: usize, indices: &[usize]) -> Result<Tensor, Reason> {
    let mut shape = tensor.shape.clone();
    shape[axis] = indices.len();
    elements(&shape).ok_or("its result is too large")?;
    let inner: usize = tensor.shape[axis + 1..].iter().product();
    let outer: usize = tensor.shape[..axis].iter().product();
    let length = tensor.shape[axis];
    let mut places = Vec::with_capacity(outer * indices.len() * inner);
    for row in 0..outer {
        for &index in indices {
            places.extend((0..inner).map(|at| (row * length + index) * inner + at));
        }
    }
    Ok(at_places(tensor, shape, &places))
}

fn gather(tensor: &Tensor, indices: &Tensor, axis: i64) -> Result<Tensor, Reason> {
    let axis = index(axis, tensor.shape.len())?;
    let list =
        indices.to_ints().iter().map(|&at| index(at, tensor.shape[axis])).collect::<Result<Vec<_>, _>>()?;
    let taken = take(tensor, axis, &list)?;
    let mut shape = tensor.shape[..axis].to_vec();
    shape.extend(&indices.shape);
    shape.extend(&tensor.shape[axis + 1..]);
    Ok(Tensor { shape, ..taken })
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

fn slice(tensor: &Tensor, ints: &dyn Fn(usize, &str) -> Option<Vec<i64>>) -> Result<Tensor, Reason> {
    let mut result = tensor.clone();
    for (axis, start, step, count) in slice_ranges(&tensor.shape, ints)? {
        let list: Vec<usize> = (0..count as i64).map(|at| (start + at * step) as usize).collect();
        result = take(&result, axis, &list)?;
    }
    Ok(result)
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

/// (q − zero point) · scale, with one scale for all or for each index along an axis.
fn dequantise(node: &Node, q: &Tensor, scale: &Tensor, zero: Option<&Tensor>) -> Result<Tensor, Reason> {
    let scales = scale.to_f64();
    let zeros = zero.map_or_else(|| vec![0.0; scales.len()], Tensor::to_f64);
    if node.int("block_size").unwrap_or(0) != 0 {
        return Err("its scales are of blocks; use one scale for each channel".to_owned());
    }
    let (length, inner) = if scales.len() == 1 {
        (1, q.len().max(1))
    } else {
        let axis = index(node.int("axis").unwrap_or(1), q.shape.len())?;
        (q.shape[axis], q.shape[axis + 1..].iter().product::<usize>().max(1))
    };
    if length != scales.len() || zeros.len() != scales.len() {
        return Err(format!(
            "it has {} scales and {} zero points for {length} channels",
            scales.len(),
            zeros.len()
        ));
    }
    let value = |(at, q): (usize, f64)| (q - zeros[at / inner % length]) * scales[at / inner % length];
    Ok(made(q.shape.clone(), q.to_f64().into_iter().enumerate().map(value).collect(), false))
}

fn binary(operator: &str, a: &Tensor, b: &Tensor) -> Result<Tensor, Reason> {
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
    Ok(made(shape, values, int))
}

fn unary(operator: &str, x: &Tensor) -> Result<Tensor, Reason> {
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
    Ok(made(x.shape.clone(), x.to_f64().into_iter().map(one).collect(), x.is_int()))
}

fn reduce(node: &Node, x: &Tensor, axes: Option<Vec<i64>>) -> Result<Tensor, Reason> {
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
    Ok(made(shape, values, x.is_int()))
}
