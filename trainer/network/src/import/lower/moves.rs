//! Parts of values, values joined, padded, and blocks of pixels.

use lrpet_runtime::model::{Axis, BlockOrder, PadMode};

use super::{Inputs, Known, Lower, Reason};
use crate::import::fold::{self, index};
use crate::import::graph::Node;
use crate::import::step::What;
use crate::import::view::{Stored, View, planes};

const AXES: [Axis; 3] = [Axis::Channel, Axis::Height, Axis::Width];

/// A view of which each axis is a whole one of the stored map.
pub(super) struct Placed {
    pub view: View,
    /// For channels, rows and columns the view's axis.
    pub slots: [Option<usize>; 3],
}

impl Placed {
    /// The same axes on another stored value.
    pub(super) fn with(&self, value: Stored, shape: [usize; 3]) -> View {
        let mut axes = vec![Vec::new(); self.view.axes.len()];
        for (slot, plane) in self.slots.iter().zip(planes(shape)) {
            if let Some(axis) = slot {
                axes[*axis] = plane;
            }
        }
        View { value, axes }
    }

    /// The place of an axis in the stored map.
    fn place(&self, axis: usize) -> Option<usize> {
        self.slots.iter().position(|slot| *slot == Some(axis))
    }
}

impl Lower<'_> {
    /// A view whose axes are whole ones of a stored map, axes of length 1 in places that are left.
    pub(super) fn placed(&mut self, view: &View) -> Result<Placed, Reason> {
        let rank = view.axes.len();
        let shape = self.shape(view.value);
        let mut view = view.clone();
        let mut slots = match view.whole_axes(shape) {
            Some(slots) => slots,
            None => {
                let lengthy: Vec<usize> = (0..rank).filter(|&axis| !view.axes[axis].is_empty()).collect();
                let usual = rank == 4 && view.axes[0].is_empty();
                let slots = match lengthy[..] {
                    _ if usual => [Some(1), Some(2), Some(3)],
                    [a] => [Some(a), None, None],
                    [a, b] => [Some(a), None, Some(b)],
                    [a, b, c] => [Some(a), Some(b), Some(c)],
                    _ => {
                        return Err(format!("its input has the axes {:?}, more than a map has", view.dims()));
                    }
                };
                let lists = slots.map(|slot| slot.into_iter().collect::<Vec<usize>>());
                let value = self.chw(&view, [&lists[0], &lists[1], &lists[2]])?;
                let placed = Placed { view: view.clone(), slots };
                view = placed.with(value, self.shape(value));
                slots
            }
        };
        // Axes of length 1, in their usual places where those are left.
        for axis in (usize::from(rank > 1)..rank).filter(|&axis| view.axes[axis].is_empty()) {
            if slots.contains(&Some(axis)) {
                continue;
            }
            let usual = match rank {
                4 => axis - 1,
                3 if axis == 2 => 2,
                _ => 0,
            };
            let free = [usual, 0, 1, 2].into_iter().find(|&slot| slots[slot].is_none());
            if let Some(slot) = free {
                slots[slot] = Some(axis);
            }
        }
        Ok(Placed { view, slots })
    }

    pub(super) fn concat(&mut self, node: &Node, inputs: &Inputs) -> Result<View, Reason> {
        let mut views = Vec::with_capacity(inputs.len());
        for place in 0..inputs.len() {
            match inputs.get(place) {
                Some(Known::View(view)) => views.push(view.clone()),
                Some(_) => return Err(format!("joins a constant, its input {place}, to values")),
                None => {}
            }
        }
        let first = views.first().ok_or("joins nothing")?;
        let rank = first.axes.len();
        let axis = index(node.int("axis").ok_or("its axis is missing")?, rank)?;
        let dims = first.dims();
        if views.len() == 1 {
            return Ok(first.clone());
        }
        let longest = views.iter().max_by_key(|view| view.dims().get(axis).copied()).unwrap_or(first).clone();
        let placed = self.placed(&longest)?;
        let slot = placed.place(axis).ok_or("joins along the axis of the images")?;
        let mut shape = self.shape(placed.view.value);
        shape[slot] = 0;
        let mut values = Vec::with_capacity(views.len());
        for view in &views {
            let other = view.dims();
            let same = other.len() == rank
                && other.iter().zip(&dims).enumerate().all(|(at, (a, b))| at == axis || a == b);
            if !same {
                return Err(format!("joins the shapes {dims:?} and {other:?} along axis {axis}"));
            }
            let lists = placed.slots.map(|slot| slot.into_iter().collect::<Vec<usize>>());
            let value = self.chw(view, [&lists[0], &lists[1], &lists[2]])?;
            shape[slot] += self.shape(value)[slot];
            values.push(value);
        }
        let value = self.push(What::Join { axis: AXES[slot] }, &values, shape, String::new())?;
        Ok(placed.with(value, shape))
    }

    pub(super) fn moves(&mut self, node: &Node, inputs: &Inputs) -> Result<Vec<Known>, Reason> {
        let view = inputs.view(0)?;
        let dims = view.dims();
        let ints = |place: usize, name: &str| -> Option<Vec<i64>> {
            node.ints(name).map(<[i64]>::to_vec).or_else(|| {
                inputs.constant(place, name).ok().flatten().map(crate::import::tensor::Tensor::to_ints)
            })
        };
        for place in 1..inputs.len() {
            inputs.constant(place, "list of places")?;
        }
        let one = |view: View| Ok(vec![Known::View(view)]);
        match node.operator.as_str() {
            "Slice" => {
                let ranges = fold::slice_ranges(&dims, &ints)?;
                let mut cuts = vec![(0, 1, 0); dims.len()];
                cuts.iter_mut().zip(&dims).for_each(|(cut, &dim)| cut.2 = dim);
                for (axis, start, step, count) in ranges {
                    if count == 0 || (step < 0 && count > 1) {
                        return Err(format!("takes {count} places in steps of {step} along axis {axis}"));
                    }
                    cuts[axis] = (start as usize, step.unsigned_abs() as usize, count);
                }
                one(self.cut(view, &cuts)?)
            }
            "Split" => {
                let axis = index(node.int("axis").unwrap_or(0), dims.len())?;
                let sizes = fold::split_sizes(node, ints(1, "split"), dims[axis], node.outputs.len())?;
                let mut start = 0;
                let mut parts = Vec::with_capacity(sizes.len());
                for size in sizes {
                    let mut cuts: Vec<_> = dims.iter().map(|&dim| (0, 1, dim)).collect();
                    cuts[axis] = (start, 1, size);
                    parts.push(Known::View(self.cut(view, &cuts)?));
                    start += size;
                }
                Ok(parts)
            }
            "Gather" => {
                let axis = index(node.int("axis").unwrap_or(0), dims.len())?;
                let indices = inputs.needed(1, "indices")?;
                let list = indices
                    .to_ints()
                    .iter()
                    .map(|&at| index(at, dims[axis]))
                    .collect::<Result<Vec<_>, _>>()?;
                let (first, step) = match list[..] {
                    [] => return Err("takes nothing".to_owned()),
                    [first] => (first, 1),
                    [first, second, ..] => (first, second.wrapping_sub(first)),
                };
                let even = list
                    .iter()
                    .enumerate()
                    .all(|(at, &place)| place == first.wrapping_add(at.wrapping_mul(step)));
                if !even || step == 0 || step > dims[axis] || indices.shape.len() > 1 {
                    return Err("takes places that are not evenly apart in rising order".to_owned());
                }
                let mut cuts: Vec<_> = dims.iter().map(|&dim| (0, 1, dim)).collect();
                cuts[axis] = (first, step, list.len());
                let mut part = self.cut(view, &cuts)?;
                if indices.shape.is_empty() {
                    part.axes.remove(axis);
                }
                one(part)
            }
            "Pad" => one(self.pad(node, inputs, view, &ints)?),
            _ => {
                let value = self.channels_first(view)?;
                let [c, h, w] = self.shape(value);
                let block = node.int("blocksize").and_then(|block| usize::try_from(block).ok()).unwrap_or(0);
                let order = if node.text("mode") == Some("CRD") {
                    BlockOrder::ChannelFirst
                } else {
                    BlockOrder::BlockFirst
                };
                let area = block
                    .checked_mul(block)
                    .filter(|&area| area > 0)
                    .ok_or("its blocksize is not above 0")?;
                let (what, shape) = if node.operator == "DepthToSpace" {
                    if !c.is_multiple_of(area) {
                        return Err(format!("its blocksize is {block}, for {c} channels"));
                    }
                    (What::DepthToSpace { block, order }, [c / area, h * block, w * block])
                } else {
                    if !h.is_multiple_of(block) || !w.is_multiple_of(block) {
                        return Err(format!("its blocksize is {block}, for a map of {h}×{w}"));
                    }
                    (What::SpaceToDepth { block, order }, [c * area, h / block, w / block])
                };
                let made = self.push(what, &[value], shape, String::new())?;
                one(View::of_map(made, shape, view.axes.len()))
            }
        }
    }

    /// Start, step and number of places along each axis.
    fn cut(&mut self, view: &View, cuts: &[(usize, usize, usize)]) -> Result<View, Reason> {
        let dims = view.dims();
        if cuts.iter().zip(&dims).all(|(&cut, &dim)| cut == (0, 1, dim)) {
            return Ok(view.clone());
        }
        let placed = self.placed(view)?;
        let shape = self.shape(placed.view.value);
        let (mut start, mut step, mut made) = ([0; 3], [1; 3], shape);
        for (slot, axis) in placed.slots.iter().enumerate() {
            if let Some(axis) = axis {
                (start[slot], step[slot], made[slot]) = cuts[*axis];
            }
        }
        let value = self.push(What::Slice { start, step }, &[placed.view.value], made, String::new())?;
        Ok(placed.with(value, made))
    }

    fn pad(
        &mut self,
        node: &Node,
        inputs: &Inputs,
        view: &View,
        ints: &dyn Fn(usize, &str) -> Option<Vec<i64>>,
    ) -> Result<View, Reason> {
        let rank = view.axes.len();
        let pads = ints(1, "pads").ok_or("its pads are missing")?;
        let axes = match inputs.constant(3, "axes")? {
            Some(axes) => {
                axes.to_ints().iter().map(|&axis| index(axis, rank)).collect::<Result<Vec<_>, _>>()?
            }
            None => (0..rank).collect(),
        };
        if pads.len() != 2 * axes.len() {
            return Err(format!("it has {} pads for {} axes", pads.len(), axes.len()));
        }
        let value = match node.float("value") {
            Some(value) => value,
            None => match inputs.constant(2, "value")? {
                Some(value) => value.scalar().ok_or("its value is not one number")? as f32,
                None => 0.0,
            },
        };
        let mode = match node.text("mode").unwrap_or("constant") {
            "constant" => PadMode::Constant(value),
            "reflect" => PadMode::Reflect,
            "edge" => PadMode::Edge,
            other => return Err(format!("its mode is {other:?}; constant, reflect and edge are imported")),
        };
        if pads.iter().all(|&pad| pad == 0) {
            self.pass("padding by nothing");
            return Ok(view.clone());
        }
        let placed = self.placed(view)?;
        let mut shape = self.shape(placed.view.value);
        let (mut before, mut after) = ([0; 3], [0; 3]);
        for (at, &axis) in axes.iter().enumerate() {
            let number = |pad: i64| {
                let number = usize::try_from(pad).ok().filter(|&pad| pad <= 1 << 16);
                number.ok_or_else(|| format!("its pads are {pads:?}; cropping is imported as a Slice"))
            };
            let (low, high) = (number(pads[at])?, number(pads[at + axes.len()])?);
            if low + high == 0 {
                continue;
            }
            let slot = placed.place(axis).ok_or("pads the axis of the images")?;
            if mode == PadMode::Reflect && low.max(high) >= shape[slot] {
                return Err(format!("mirrors {} places of an axis of {}", low.max(high), shape[slot]));
            }
            (before[slot], after[slot]) = (low, high);
            shape[slot] += low + high;
        }
        let made =
            self.push(What::Pad { before, after, mode }, &[placed.view.value], shape, String::new())?;
        Ok(placed.with(made, shape))
    }
}
