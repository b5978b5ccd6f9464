//! Pooling, and reductions along axes.

use lrpet_runtime::model::Reduction;

use super::{Inputs, Lower, Reason, axes};
use crate::import::fold::index;
use crate::import::graph::Node;
use crate::import::step::{Frame, What};
use crate::import::view::{View, length};

impl Lower<'_> {
    pub(super) fn pool(&mut self, node: &Node, inputs: &Inputs) -> Result<View, Reason> {
        let view = inputs.view(0)?;
        let rank = view.axes.len();
        let kind = if node.operator.contains("Max") { Reduction::Max } else { Reduction::Mean };
        if node.operator.starts_with("Global") {
            let over: Vec<usize> = (2..rank).collect();
            return self.reduced(view, &over, true, kind);
        }
        let value = self.channels_first(view)?;
        let [c, h, w] = self.shape(value);
        let kernel = axes::kernel(node, rank)?;
        let mut frame = axes::frame(node, rank, kernel)?;
        frame.padding = axes::padding(node, rank, &frame, [h, w])?;
        let counts = node.int("count_include_pad").unwrap_or(0) == 1;
        let counted = if counts && kind == Reduction::Mean { frame.padding } else { [0; 4] };
        if node.int("storage_order").unwrap_or(0) != 0 {
            return Err("its storage_order is by columns".to_owned());
        }
        if node.int("ceil_mode").unwrap_or(0) == 1 {
            let same = node.text("auto_pad").is_some_and(|kind| kind.starts_with("SAME"));
            if !same {
                self.extend_to_ceil(&mut frame, [h, w]);
            }
        }
        let size = (frame.outputs(0, h), frame.outputs(1, w));
        let (Some(rows), Some(columns)) = size else {
            return Err(format!(
                "its kernel of {}×{} does not fit its input of {h}×{w}",
                kernel[0], kernel[1]
            ));
        };
        let made =
            self.push(What::Pool { kind, frame, counted }, &[value], [c, rows, columns], String::new())?;
        Ok(View::of_map(made, [c, rows, columns], rank))
    }

    /// More padding below and at the right, so that the number of outputs is rounded up; a window that would begin in it is
    /// left out.
    fn extend_to_ceil(&self, frame: &mut Frame, size: [usize; 2]) {
        for (axis, size) in size.into_iter().enumerate() {
            let padded = size + frame.padding[axis] + frame.padding[axis + 2];
            let Some(over) = padded.checked_sub(frame.span(axis)) else { continue };
            let stride = frame.stride[axis];
            let missing = over.next_multiple_of(stride) - over;
            let last = (over + missing) / stride * stride;
            if missing > 0 && last < size + frame.padding[axis] {
                frame.padding[axis + 2] += missing;
            }
        }
    }

    pub(super) fn reduce(&mut self, node: &Node, inputs: &Inputs) -> Result<View, Reason> {
        let view = inputs.view(0)?;
        let rank = view.axes.len();
        let given = match node.ints("axes") {
            Some(axes) => Some(axes.to_vec()),
            None => inputs.constant(1, "axes")?.map(|axes| axes.to_ints()),
        };
        let over: Vec<usize> = match given {
            Some(axes) if !axes.is_empty() => {
                let mut axes = axes.iter().map(|&axis| index(axis, rank)).collect::<Result<Vec<_>, _>>()?;
                axes.sort_unstable();
                axes.dedup();
                axes
            }
            _ if node.int("noop_with_empty_axes").unwrap_or(0) == 1 => return Ok(view.clone()),
            _ => (0..rank).collect(),
        };
        let kind = match node.operator.as_str() {
            "ReduceMax" => Reduction::Max,
            "ReduceSum" => Reduction::Sum,
            _ => Reduction::Mean,
        };
        self.reduced(view, &over, node.int("keepdims").unwrap_or(1) == 1, kind)
    }

    /// One value in place of all along the axes `over`.
    pub(super) fn reduced(
        &mut self,
        view: &View,
        over: &[usize],
        keeps: bool,
        kind: Reduction,
    ) -> Result<View, Reason> {
        let shape = self.shape(view.value);
        let is_over = |axis: usize| over.contains(&axis);
        let empty = over.iter().all(|&axis| view.axes[axis].is_empty());
        let mut axes: Vec<Vec<_>> = view.axes.clone();
        let value = if empty {
            view.value
        } else if let Some(whole) = view.whole_axes(shape) {
            let reduced = whole.map(|axis| axis.is_some_and(is_over));
            let made: [usize; 3] = std::array::from_fn(|at| if reduced[at] { 1 } else { shape[at] });
            let value =
                self.push(What::Reduce { kind, axes: reduced }, &[view.value], made, String::new())?;
            for (at, plane) in crate::import::view::planes(made).into_iter().enumerate() {
                if let Some(axis) = whole[at] {
                    axes[axis] = plane;
                }
            }
            value
        } else {
            // What is kept becomes channels, what goes columns.
            let (kept, gone): (Vec<usize>, Vec<usize>) =
                (0..view.axes.len()).partition(|&axis| !is_over(axis));
            let value = self.chw(view, [&kept, &[], &gone])?;
            let [c, ..] = self.shape(value);
            let reduced = [false, false, true];
            let value =
                self.push(What::Reduce { kind, axes: reduced }, &[value], [c, 1, 1], String::new())?;
            let dims: Vec<usize> = (0..view.axes.len())
                .map(|axis| if is_over(axis) { 1 } else { length(&view.axes[axis]) })
                .collect();
            let flat = View::of_map(value, [c, 1, 1], 1);
            axes = flat.reshaped(&dims).ok_or("reduces axes in a way that is not imported")?.axes;
            value
        };
        for axis in over {
            axes[*axis].clear();
        }
        if !keeps {
            let mut axis = 0;
            axes.retain(|_| {
                axis += 1;
                !is_over(axis - 1)
            });
        }
        Ok(View { value, axes })
    }
}
