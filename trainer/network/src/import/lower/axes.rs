//! Attributes of windows.

use super::Reason;
use crate::import::graph::Node;
use crate::import::step::Frame;

/// Two numbers of an attribute for rows and columns; one for columns alone where the map has one row.
fn pair(node: &Node, name: &str, rank: usize, usual: usize) -> Result<[usize; 2], Reason> {
    let Some(values) = node.ints(name) else { return Ok([usual; 2]) };
    let number = |value: i64| {
        let number = usize::try_from(value).ok().filter(|&value| value >= usual.min(1) && value <= 1 << 15);
        number.ok_or_else(|| format!("its {name} are {values:?}"))
    };
    match (rank, values) {
        (3, [value]) => Ok([usual.min(1), number(*value)?]),
        (4, [rows, columns]) => Ok([number(*rows)?, number(*columns)?]),
        _ => Err(format!("its {name} are {values:?}, for an input of {rank} axes")),
    }
}

/// Kernel, strides and dilations of a node on a map of `rank` axes, its padding none.
pub(super) fn frame(node: &Node, rank: usize, kernel: [usize; 2]) -> Result<Frame, Reason> {
    let one_row = |values: [usize; 2]| if rank == 3 { [1, values[1]] } else { values };
    Ok(Frame {
        kernel,
        stride: one_row(pair(node, "strides", rank, 1)?),
        dilation: one_row(pair(node, "dilations", rank, 1)?),
        padding: [0; 4],
    })
}

/// The attribute kernel_shape.
pub(super) fn kernel(node: &Node, rank: usize) -> Result<[usize; 2], Reason> {
    if node.ints("kernel_shape").is_none() {
        return Err("its kernel_shape is missing".to_owned());
    }
    let kernel = pair(node, "kernel_shape", rank, 1)?;
    Ok(if rank == 3 { [1, kernel[1]] } else { kernel })
}

/// The attribute output_padding.
pub(super) fn output_padding(node: &Node, rank: usize) -> Result<[usize; 2], Reason> {
    let padding = pair(node, "output_padding", rank, 0)?;
    Ok(if rank == 3 { [0, padding[1]] } else { padding })
}

/// Padding by the attributes pads and auto_pad, for a map of `size` rows and columns.
pub(super) fn padding(
    node: &Node,
    rank: usize,
    frame: &Frame,
    size: [usize; 2],
) -> Result<[usize; 4], Reason> {
    match node.text("auto_pad").unwrap_or("NOTSET") {
        "NOTSET" | "" => explicit(node, rank),
        "VALID" => Ok([0; 4]),
        kind @ ("SAME_UPPER" | "SAME_LOWER") => {
            let mut padding = [0; 4];
            for axis in 0..2 {
                let outputs = size[axis].div_ceil(frame.stride[axis]);
                let covered = outputs.saturating_sub(1) * frame.stride[axis] + frame.span(axis);
                let total = covered.saturating_sub(size[axis]);
                let (less, more) = (total / 2, total - total / 2);
                let (before, after) = if kind == "SAME_UPPER" { (less, more) } else { (more, less) };
                (padding[axis], padding[axis + 2]) = (before, after);
            }
            Ok(padding)
        }
        other => Err(format!("its auto_pad is {other:?}")),
    }
}

/// The attribute pads: top, left, bottom, right.
pub(super) fn explicit(node: &Node, rank: usize) -> Result<[usize; 4], Reason> {
    let Some(values) = node.ints("pads") else { return Ok([0; 4]) };
    let number = |value: i64| {
        let number = usize::try_from(value).ok().filter(|&value| value <= 1 << 15);
        number.ok_or_else(|| format!("its pads are {values:?}; cropping is imported as a Slice"))
    };
    match (rank, values) {
        (3, [left, right]) => Ok([0, number(*left)?, 0, number(*right)?]),
        (4, [top, left, bottom, right]) => {
            Ok([number(*top)?, number(*left)?, number(*bottom)?, number(*right)?])
        }
        _ => Err(format!("its pads are {values:?}, for an input of {rank} axes")),
    }
}
