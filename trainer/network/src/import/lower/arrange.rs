//! Brings a stored value's numbers into another order, where an operation needs its axes in their place.

use lrpet_runtime::model::{Axis, BlockOrder};

use super::{Lower, Reason};
use crate::import::step::What;
use crate::import::view::{Atom, Stored, View, length, merged, permutation, planes};

/// Steps that one change of order may take.
const MOST_TRANSPOSES: usize = 8;

const AXES: [Axis; 3] = [Axis::Channel, Axis::Height, Axis::Width];

impl Lower<'_> {
    /// The view's axes as the channels, rows and columns of a stored value; several axes in one are joined.
    pub(super) fn chw(&mut self, view: &View, axes: [&[usize]; 3]) -> Result<Stored, Reason> {
        let atoms = |axes: &[usize]| axes.iter().flat_map(|&axis| view.axes[axis].iter().copied()).collect();
        self.arranged(view.value, axes.map(atoms))
    }

    /// A view of rank 2 to 4 with the image's axis in front as channels, rows and columns.
    pub(super) fn channels_first(&mut self, view: &View) -> Result<Stored, Reason> {
        if view.axes.first().is_none_or(|axis| !axis.is_empty()) {
            return Err(format!(
                "its input has the axes {:?}, of which the first is not one image",
                view.dims()
            ));
        }
        match view.axes.len() {
            2 => self.chw(view, [&[1], &[], &[]]),
            3 => self.chw(view, [&[1], &[], &[2]]),
            4 => self.chw(view, [&[1], &[2], &[3]]),
            _ => Err(format!(
                "its input has the axes {:?}: maps of one or two dimensions are imported",
                view.dims()
            )),
        }
    }

    /// A stored value whose channels, rows and columns run over these atoms of `value`.
    pub(super) fn arranged(&mut self, value: Stored, groups: [Vec<Atom>; 3]) -> Result<Stored, Reason> {
        let shape: [usize; 3] = std::array::from_fn(|axis| length(&groups[axis]));
        let order = merged(groups.iter().flatten().copied());
        if self.shape(value).iter().product::<usize>() != shape.iter().product::<usize>() {
            return Err("reads a part of a value in a way that is not imported".to_owned());
        }
        let key = (value, order.clone(), shape);
        if let Some(&made) = self.arranged.get(&key) {
            return Ok(made);
        }
        let made = self.order(value, &order, shape)?;
        self.arranged.insert(key, made);
        Ok(made)
    }

    /// The numbers of `value` in the order of `order`, as a map of `shape`.
    fn order(&mut self, value: Stored, order: &[Atom], shape: [usize; 3]) -> Result<Stored, Reason> {
        let (sizes, permutation) = permutation(order).ok_or("reads a value in a way that is not imported")?;
        let is_plain = permutation.iter().copied().eq(0..sizes.len());
        if is_plain {
            return self.reshape(value, shape);
        }
        let from = self.shape(value);
        if from == shape
            && let Some(groups) = shuffle(&sizes, &permutation, from)
        {
            return self.push(What::Shuffle { groups }, &[value], shape, String::new());
        }
        if let Some((what, made)) = blocks(order, from)
            && made == shape
        {
            return self.push(what, &[value], shape, String::new());
        }
        self.transposes(value, sizes, permutation, shape)
    }

    /// Another shape of as many numbers.
    pub(super) fn reshape(&mut self, value: Stored, shape: [usize; 3]) -> Result<Stored, Reason> {
        if self.shape(value) == shape {
            return Ok(value);
        }
        self.push(What::Reshape, &[value], shape, String::new())
    }

    /// Blocks of `sizes` into the order of `permutation`, by transposing three axes at a time.
    fn transposes(
        &mut self,
        mut value: Stored,
        mut sizes: Vec<usize>,
        permutation: Vec<usize>,
        shape: [usize; 3],
    ) -> Result<Stored, Reason> {
        let mut blocks: Vec<usize> = (0..sizes.len()).collect();
        for _ in 0..MOST_TRANSPOSES {
            if blocks == permutation {
                return self.reshape(value, shape);
            }
            let all = |sizes: &[usize]| sizes.iter().product::<usize>();
            if sizes.len() == 3 {
                let axes = self.shape_for(value, [sizes[0], sizes[1], sizes[2]])?;
                let to: [usize; 3] = std::array::from_fn(|at| {
                    blocks.iter().position(|&block| block == permutation[at]).unwrap_or(at)
                });
                value = self.transpose(axes, to)?;
                blocks = permutation.clone();
                continue;
            }
            // The next block that belongs at the end goes there.
            let sorted = (0..blocks.len()).rev().take_while(|&at| {
                // Blocks at the end that are a beginning of the order already.
                let tail = blocks.len() - at;
                blocks[at..] == permutation[..tail.min(permutation.len())]
            });
            let done = sorted.last().map_or(0, |at| blocks.len() - at);
            let next = permutation[done];
            let at = blocks.iter().position(|&block| block == next).unwrap_or(0);
            let parts = [all(&sizes[..at]), sizes[at], all(&sizes[at + 1..])];
            let axes = self.shape_for(value, parts)?;
            value = self.transpose(axes, [0, 2, 1])?;
            let (block, size) = (blocks.remove(at), sizes.remove(at));
            blocks.push(block);
            sizes.push(size);
        }
        Err("needs its axes in an order that takes too many steps to make".to_owned())
    }

    fn shape_for(&mut self, value: Stored, shape: [usize; 3]) -> Result<Stored, Reason> {
        self.reshape(value, shape)
    }

    fn transpose(&mut self, value: Stored, order: [usize; 3]) -> Result<Stored, Reason> {
        let from = self.shape(value);
        let (shape, axes) = (order.map(|axis| from[axis]), order.map(|axis| AXES[axis]));
        self.push(What::Transpose { axes }, &[value], shape, String::new())
    }
}

/// Groups of a shuffle of channels that a permutation of blocks is.
fn shuffle(sizes: &[usize], permutation: &[usize], [c, h, w]: [usize; 3]) -> Option<usize> {
    let pixels = h * w;
    let (outer, inner) = match (sizes, permutation) {
        ([outer, inner], [1, 0]) if pixels == 1 => (outer, inner),
        ([outer, inner, rest], [1, 0, 2]) if *rest == pixels => (outer, inner),
        _ => return None,
    };
    (outer * inner == c).then_some(*outer)
}

/// The step from channels to blocks of pixels or back that an order is, and its shape.
fn blocks(order: &[Atom], from: [usize; 3]) -> Option<(What, [usize; 3])> {
    let [c, h, w] = from;
    let atom = |size, stride| Atom { size, stride };
    let most = |value: usize| (2..=value.min(64)).filter(move |block| value.is_multiple_of(*block));
    for block in most(c).filter(|block| c.is_multiple_of(block * block)) {
        let depth = c / (block * block);
        let shape = [depth, h * block, w * block];
        let rows = |stride| [atom(h, w), atom(block, stride)];
        let columns = |stride| [atom(w, 1), atom(block, stride)];
        let plane = h * w;
        // (dy, dx, channel) of channels, or (channel, dy, dx).
        let forms = [
            (BlockOrder::BlockFirst, plane, block * depth * plane, depth * plane),
            (BlockOrder::ChannelFirst, block * block * plane, block * plane, plane),
        ];
        for (order_of, channel, dy, dx) in forms {
            let wanted = merged([atom(depth, channel)].into_iter().chain(rows(dy)).chain(columns(dx)));
            if wanted == order {
                return Some((What::DepthToSpace { block, order: order_of }, shape));
            }
        }
    }
    for block in most(h).filter(|block| w.is_multiple_of(*block)) {
        let shape = [c * block * block, h / block, w / block];
        let (dy, dx) = (atom(block, w), atom(block, 1));
        let channel = atom(c, h * w);
        let pixels = [atom(h / block, w * block), atom(w / block, block)];
        let forms =
            [(BlockOrder::BlockFirst, [dy, dx, channel]), (BlockOrder::ChannelFirst, [channel, dy, dx])];
        for (order_of, channels) in forms {
            if merged(channels.into_iter().chain(pixels)) == order {
                return Some((What::SpaceToDepth { block, order: order_of }, shape));
            }
        }
    }
    None
}

/// For two views of which the second is repeated along axes where it has length 1: the second's atoms for channels, rows and
/// columns of the first's stored map.
pub(super) fn follow(first: &View, shape: [usize; 3], second: &View) -> Option<[Vec<Atom>; 3]> {
    let mut groups = [Vec::new(), Vec::new(), Vec::new()];
    // Atoms of the first in the order that they are stored, each with the second's atom on the same part of the axis.
    let mut pairs: Vec<(Atom, Option<Atom>)> = Vec::new();
    let short = first.axes.len().checked_sub(second.axes.len())?;
    for (axis, atoms) in first.axes.iter().enumerate() {
        let other = axis.checked_sub(short).map_or(&[][..], |axis| &second.axes[axis]);
        if other.is_empty() {
            pairs.extend(atoms.iter().map(|&atom| (atom, None)));
        } else {
            let (a, b) = crate::import::view::refined(atoms, other)?;
            pairs.extend(a.into_iter().zip(b.into_iter().map(Some)));
        }
    }
    pairs.sort_by_key(|(atom, _)| std::cmp::Reverse(atom.stride));
    let planes = planes(shape);
    for (at, plane) in planes.iter().enumerate() {
        let Some(plane) = plane.first() else { continue };
        let inside = |atom: &Atom| atom.stride >= plane.stride && atom.stride < plane.stride * plane.size;
        let of: Vec<&(Atom, Option<Atom>)> = pairs.iter().filter(|(atom, _)| inside(atom)).collect();
        // An atom may not run over the border of an axis.
        if of.iter().map(|(atom, _)| atom.size).product::<usize>() != plane.size {
            return None;
        }
        if of.iter().all(|(_, other)| other.is_none()) {
            continue;
        }
        for (_, other) in of {
            groups[at].push((*other)?);
        }
    }
    Some(groups.map(merged))
}
