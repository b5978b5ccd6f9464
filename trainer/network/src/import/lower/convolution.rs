//! Conv and ConvTranspose.

use super::{Inputs, Lower, Reason, axes};
use crate::import::graph::Node;
use crate::import::step::{Convolution, Frame, What};
use crate::import::tensor::Tensor;
use crate::import::view::View;

/// A weight of rank 3 or 4 as `[n, c, kh, kw]`.
fn four(weight: &Tensor, rank: usize) -> Result<[usize; 4], Reason> {
    match (rank, weight.shape.as_slice()) {
        (3, &[n, c, k]) => Ok([n, c, 1, k]),
        (4, &[n, c, kh, kw]) => Ok([n, c, kh, kw]),
        (5, _) | (_, [_, _, _, _, _]) => {
            Err("convolves volumes; maps of one or two dimensions are imported".to_owned())
        }
        (_, shape) => Err(format!("its weight has the shape {shape:?}, its input {rank} axes")),
    }
}

/// A bias of `n` channels.
fn bias(inputs: &Inputs, n: usize) -> Result<Option<Vec<f32>>, Reason> {
    let Some(bias) = inputs.constant(2, "bias")? else { return Ok(None) };
    if bias.len() != n {
        return Err(format!("its bias has {} values for {n} channels", bias.len()));
    }
    Ok(Some(bias.to_f32()))
}

impl Lower<'_> {
    pub(super) fn convolution(&mut self, node: &Node, inputs: &Inputs) -> Result<View, Reason> {
        let view = inputs.view(0)?;
        let rank = view.axes.len();
        let weight = inputs.needed(1, "weight")?;
        let [n, depth, kh, kw] = four(weight, rank)?;
        let value = self.channels_first(view)?;
        let [c, h, w] = self.shape(value);
        let groups = groups(node)?;
        if depth.checked_mul(groups) != Some(c) || !n.is_multiple_of(groups) || n == 0 || kh * kw == 0 {
            return Err(format!(
                "its weight has the shape {:?} for {c} channels in {groups} groups",
                weight.shape
            ));
        }
        if let Some(kernel) = node.ints("kernel_shape")
            && !kernel.iter().copied().eq(weight.shape[2..].iter().map(|&k| k as i64))
        {
            return Err(format!("its kernel_shape is {kernel:?}, its weight's shape {:?}", weight.shape));
        }
        let mut frame = axes::frame(node, rank, [kh, kw])?;
        frame.padding = axes::padding(node, rank, &frame, [h, w])?;
        let size = (frame.outputs(0, h), frame.outputs(1, w));
        let (Some(rows), Some(columns)) = size else {
            return Err(format!("its kernel of {kh}×{kw} does not fit its input of {h}×{w}"));
        };
        let name = self.layer_name(node, node.input(1));
        let convolution = Convolution {
            frame,
            groups,
            transposed: None,
            out_channels: n,
            weight: weight.to_f32(),
            bias: bias(inputs, n)?,
            norm: None,
            residual: false,
        };
        let made = self.push(What::Convolution(convolution), &[value], [n, rows, columns], name)?;
        Ok(View::of_map(made, [n, rows, columns], rank))
    }

    pub(super) fn transposed_convolution(&mut self, node: &Node, inputs: &Inputs) -> Result<View, Reason> {
        let view = inputs.view(0)?;
        let rank = view.axes.len();
        let weight = inputs.needed(1, "weight")?;
        let [depth, per_group, kh, kw] = four(weight, rank)?;
        let value = self.channels_first(view)?;
        let [c, h, w] = self.shape(value);
        let groups = groups(node)?;
        let n = per_group.saturating_mul(groups);
        if depth != c || !c.is_multiple_of(groups) || n == 0 || kh * kw == 0 {
            return Err(format!(
                "its weight has the shape {:?} for {c} channels in {groups} groups",
                weight.shape
            ));
        }
        let mut frame = axes::frame(node, rank, [kh, kw])?;
        let mut extra = axes::output_padding(node, rank)?;
        frame.padding = transposed_padding(node, rank, &frame, [h, w], &mut extra)?;
        let outputs = |axis: usize, size: usize| {
            let full =
                (size - 1).checked_mul(frame.stride[axis])?.checked_add(frame.span(axis))? + extra[axis];
            full.checked_sub(frame.padding[axis] + frame.padding[axis + 2])
        };
        let (Some(rows), Some(columns)) = (outputs(0, h), outputs(1, w)) else {
            return Err("its padding cuts off more than there is".to_owned());
        };
        // [c, n/g, kh, kw] as [n, c/g, kh, kw].
        let values = weight.to_f32();
        let (taps, inner) = (kh * kw, c / groups);
        let mut turned = Vec::with_capacity(values.len());
        for output in 0..n {
            let (group, place) = (output / per_group, output % per_group);
            for input in 0..inner {
                let from = ((group * inner + input) * per_group + place) * taps;
                turned.extend_from_slice(&values[from..from + taps]);
            }
        }
        let name = self.layer_name(node, node.input(1));
        let convolution = Convolution {
            frame,
            groups,
            transposed: Some(extra),
            out_channels: n,
            weight: turned,
            bias: bias(inputs, n)?,
            norm: None,
            residual: false,
        };
        let made = self.push(What::Convolution(convolution), &[value], [n, rows, columns], name)?;
        Ok(View::of_map(made, [n, rows, columns], rank))
    }
}

fn groups(node: &Node) -> Result<usize, Reason> {
    let groups = node.int("group").unwrap_or(1);
    usize::try_from(groups).ok().filter(|&groups| groups > 0).ok_or_else(|| format!("its group is {groups}"))
}

/// What a transposed convolution cuts off at each side, by pads, auto_pad or output_shape.
fn transposed_padding(
    node: &Node,
    rank: usize,
    frame: &Frame,
    size: [usize; 2],
    extra: &mut [usize; 2],
) -> Result<[usize; 4], Reason> {
    let kind = node.text("auto_pad").unwrap_or("NOTSET");
    let given = node.ints("output_shape");
    if given.is_none() && !kind.starts_with("SAME") {
        return if kind == "VALID" { Ok([0; 4]) } else { axes::explicit(node, rank) };
    }
    let mut padding = [0; 4];
    for axis in 0..2 {
        let wanted = match given.map(|shape| &shape[shape.len().saturating_sub(2)..]) {
            Some(&[rows, columns]) if rank == 4 => [rows, columns][axis],
            Some(shape) if rank == 3 => [1, *shape.last().unwrap_or(&1)][axis],
            Some(_) => return Err("its output_shape has not one number for each axis".to_owned()),
            None => (size[axis] * frame.stride[axis]) as i64,
        };
        let wanted =
            usize::try_from(wanted).map_err(|_| "its output_shape has a negative number".to_owned())?;
        let full = (size[axis] - 1) * frame.stride[axis] + frame.span(axis) + extra[axis];
        if wanted > full {
            let more = wanted - full;
            if extra[axis] + more >= frame.stride[axis].max(frame.dilation[axis]) {
                return Err(format!("its output_shape of {wanted} is more than its kernel reaches"));
            }
            extra[axis] += more;
            continue;
        }
        let total = full - wanted;
        let (less, more) = (total / 2, total - total / 2);
        // The odd pixel is cut off below only with SAME_UPPER.
        let (before, after) = if kind == "SAME_UPPER" { (less, more) } else { (more, less) };
        (padding[axis], padding[axis + 2]) = (before, after);
    }
    Ok(padding)
}
