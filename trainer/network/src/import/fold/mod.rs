//! Computes nodes that depend on constants alone: shapes, and weights that are made from others.

mod arithmetic;
mod parts;
mod shape;

use crate::import::error::Reason;
use crate::import::graph::{Attribute, Node};
use crate::import::tensor::{Data, MOST_ELEMENTS, Tensor};

use arithmetic::{binary, dequantise, quantise, reduce, unary};
use parts::{concat, gather, slice, take};
pub(crate) use parts::{spread, transpose};
use shape::axes;
pub(crate) use shape::{
    axis_order, broadcast, index, part_of_shape, places, reshaped, slice_ranges, split_sizes, squeezed,
    strides, unsqueezed,
};

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
            one(Tensor::of(vec![count as usize], values, input(0)?.is_int()))
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
            one(Tensor::of(shape, values, a.is_int()))
        }
        "DequantizeLinear" => one(dequantise(node, input(0)?, input(1)?, get(2))?),
        "QuantizeLinear" => one(quantise(node, input(0)?, input(1)?, get(2))?),
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

fn cast(tensor: &Tensor, int: bool, truth: bool) -> Tensor {
    let data = match (int, truth) {
        (true, true) => Data::Ints(tensor.to_f64().iter().map(|&value| i64::from(value != 0.0)).collect()),
        (true, false) => Data::Ints(tensor.to_ints()),
        _ => Data::Floats(tensor.to_f32()),
    };
    Tensor { shape: tensor.shape.clone(), data }
}
