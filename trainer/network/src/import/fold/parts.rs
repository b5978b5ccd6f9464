//! Elements of constants in other places: repeated, turned, joined, cut.

use super::shape::{axis_order, broadcast, index, places, slice_ranges, strides};
use crate::import::error::Reason;
use crate::import::tensor::{Data, Tensor, elements};

pub(super) fn at_places(tensor: &Tensor, shape: Vec<usize>, places: &[usize]) -> Tensor {
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

pub(super) fn concat(inputs: &[Option<&Tensor>], axis: i64) -> Result<Tensor, Reason> {
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
    Ok(Tensor::of(shape, values, first.is_int()))
}

/// The elements with these indices along an axis.
pub(super) fn take(tensor: &Tensor, axis: usize, indices: &[usize]) -> Result<Tensor, Reason> {
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

pub(super) fn gather(tensor: &Tensor, indices: &Tensor, axis: i64) -> Result<Tensor, Reason> {
    let axis = index(axis, tensor.shape.len())?;
    let list =
        indices.to_ints().iter().map(|&at| index(at, tensor.shape[axis])).collect::<Result<Vec<_>, _>>()?;
    let taken = take(tensor, axis, &list)?;
    let mut shape = tensor.shape[..axis].to_vec();
    shape.extend(&indices.shape);
    shape.extend(&tensor.shape[axis + 1..]);
    Ok(Tensor { shape, ..taken })
}

pub(super) fn slice(
    tensor: &Tensor,
    ints: &dyn Fn(usize, &str) -> Option<Vec<i64>>,
) -> Result<Tensor, Reason> {
    let mut result = tensor.clone();
    for (axis, start, step, count) in slice_ranges(&tensor.shape, ints)? {
        let list: Vec<usize> = (0..count as i64).map(|at| (start + at * step) as usize).collect();
        result = take(&result, axis, &list)?;
    }
    Ok(result)
}
