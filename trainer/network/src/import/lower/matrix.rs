//! Gemm and MatMul by a constant: a linear layer, or a 1×1 convolution where there is a vector at each pixel.

use super::{Inputs, Known, Lower, Reason};
use crate::import::fold::{self, places};
use crate::import::graph::Node;
use crate::import::step::{Convolution, Frame, What};
use crate::import::tensor::Tensor;
use crate::import::view::{Atom, Stored, View, length, merged, permutation, planes};

impl Lower<'_> {
    pub(super) fn gemm(&mut self, node: &Node, inputs: &Inputs) -> Result<View, Reason> {
        let view = inputs.view(0)?;
        let weight = inputs.needed(1, "matrix")?;
        let view = if node.int("transA").unwrap_or(0) == 1 {
            view.transposed(&[1, 0]).ok_or("its input is no matrix")?
        } else {
            view.clone()
        };
        let by_rows = if node.int("transB").unwrap_or(0) == 1 { weight.clone() } else { turned(weight)? };
        let alpha = node.float("alpha").unwrap_or(1.0);
        let beta = node.float("beta").unwrap_or(1.0);
        let &[n, k] = by_rows.shape.as_slice() else {
            return Err(format!("its matrix has the shape {:?}", weight.shape));
        };
        let bias = match inputs.constant(2, "bias")? {
            Some(bias) => {
                let row = fold::spread(bias, &[1, n]).map_err(|_| {
                    format!(
                        "its bias has the shape {:?}; one for each of {n} outputs is imported",
                        bias.shape
                    )
                })?;
                row.to_f32().into_iter().map(|value| value * beta).collect()
            }
            None => vec![0.0; n],
        };
        let mut rows = by_rows.to_f32();
        rows.iter_mut().for_each(|value| *value *= alpha);
        let name = self.layer_name(node, node.input(1));
        self.multiply(&view, rows, [n, k], bias, name)
    }

    pub(super) fn matmul(&mut self, node: &Node, inputs: &Inputs) -> Result<View, Reason> {
        let view = match (inputs.get(0), inputs.get(1)) {
            (Some(Known::View(_)), Some(Known::View(_))) => {
                return Err("multiplies two values that depend on the network's input, as attention does; matrices of the \
                            file are imported"
                    .to_owned());
            }
            _ => inputs
                .view(0)
                .map_err(|_| "its first factor is a constant; the second may be one".to_owned())?,
        };
        let weight = inputs.needed(1, "matrix")?;
        let mut weight = weight.clone();
        // Leading axes of length 1 say nothing.
        while weight.shape.len() > 2 && weight.shape[0] == 1 {
            weight.shape.remove(0);
        }
        let rows = turned(&weight)?;
        let &[n, k] = rows.shape.as_slice() else {
            return Err(format!("its matrix has the shape {:?}", weight.shape));
        };
        let name = self.layer_name(node, node.input(1));
        self.multiply(view, rows.to_f32(), [n, k], vec![0.0; n], name)
    }

    /// The last axis of a view times a matrix of `n` rows of `k` numbers.
    fn multiply(
        &mut self,
        view: &View,
        mut rows: Vec<f32>,
        [n, k]: [usize; 2],
        bias: Vec<f32>,
        name: String,
    ) -> Result<View, Reason> {
        let last = view.axes.len().checked_sub(1).ok_or("its input is one number")?;
        if length(&view.axes[last]) != k || n == 0 || k == 0 {
            return Err(format!("its matrix takes {k} numbers, its input has the axes {:?}", view.dims()));
        }
        if view.axes[..last].iter().all(Vec::is_empty) {
            // The columns in the order in which the numbers are stored.
            let order = view.order();
            if permutation(&order)
                .ok_or("reads a part of a value")?
                .1
                .windows(2)
                .any(|pair| pair[0] > pair[1])
            {
                let stored = places(
                    &order.iter().map(|atom| atom.size).collect::<Vec<_>>(),
                    &order.iter().map(|atom| atom.stride).collect::<Vec<_>>(),
                );
                for row in rows.chunks_exact_mut(k) {
                    let old = row.to_vec();
                    old.into_iter().zip(&stored).for_each(|(value, &at)| row[at] = value);
                }
            }
            let made = self.push(What::Linear { weight: rows, bias }, &[view.value], [n, 1, 1], name)?;
            let mut axes = vec![Vec::new(); last];
            axes.push(merged([Atom { size: n, stride: 1 }]));
            return Ok(View { value: made, axes });
        }
        let (value, mut view) = self.with_channels(view, &[last])?;
        let [_, h, w] = self.shape(value);
        let convolution = Convolution {
            frame: Frame::POINT,
            groups: 1,
            transposed: None,
            out_channels: n,
            weight: rows,
            bias: Some(bias),
            norm: None,
            residual: false,
        };
        view.value = self.push(What::Convolution(convolution), &[value], [n, h, w], name)?;
        view.axes[last] = planes([n, h, w])[0].clone();
        Ok(view)
    }

    /// The axes `over` of a view as the channels of a stored value: the value, and the view of it.
    pub(super) fn with_channels(&mut self, view: &View, over: &[usize]) -> Result<(Stored, View), Reason> {
        let shape = self.shape(view.value);
        let lengthy: Vec<usize> = over.iter().copied().filter(|&axis| !view.axes[axis].is_empty()).collect();
        if let Some([Some(channels), ..]) = view.whole_axes(shape)
            && lengthy == [channels]
        {
            return Ok((view.value, view.clone()));
        }
        let rest: Vec<usize> = (0..view.axes.len()).filter(|axis| !over.contains(axis)).collect();
        let value = self.chw(view, [over, &rest, &[]])?;
        let [c, h, _] = self.shape(value);
        let mut axes = vec![Vec::new(); view.axes.len()];
        for (list, atom) in [(over, Atom { size: c, stride: h }), (&rest[..], Atom { size: h, stride: 1 })] {
            let dims: Vec<usize> = list.iter().map(|&axis| length(&view.axes[axis])).collect();
            let whole = View { value, axes: vec![merged([atom])] };
            let split = whole.reshaped(&dims).ok_or("takes axes apart in a way that is not imported")?;
            list.iter().zip(split.axes).for_each(|(&axis, atoms)| axes[axis] = atoms);
        }
        Ok((value, View { value, axes }))
    }
}

/// A matrix with rows for columns.
fn turned(matrix: &Tensor) -> Result<Tensor, Reason> {
    if matrix.shape.len() != 2 {
        return Err(format!("its matrix has the shape {:?}", matrix.shape));
    }
    fold::transpose(matrix, None)
}
