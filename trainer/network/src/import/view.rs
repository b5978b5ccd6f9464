//! How the axes of a value in the file lie in the value that is stored: transposing and reshaping change the view alone.
//!
//! A stored value is a feature map C×H×W, numbers in that order. A view has for each axis of the file's value the atoms that
//! it runs over, outermost first; an atom is a length with its stride in the stored numbers. A map of a network in
//! channels-first order has the atoms (c, h·w), (h, w) and (w, 1), each on an axis of its own; flattening puts all on one axis,
//! where they are one atom again; channels-last order has the same atoms on axes in another order.

/// A length with its stride in the stored numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Atom {
    pub size: usize,
    pub stride: usize,
}

/// Number of a stored value: 0 is the network's input, step i makes i + 1.
pub(crate) type Stored = usize;

/// A value of the file: a stored value, seen through axes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct View {
    pub value: Stored,
    /// Atoms of each axis, outermost first; none for an axis of length 1.
    pub axes: Vec<Vec<Atom>>,
}

/// Atoms without those of length 1, neighbours that are one joined.
pub(crate) fn merged(atoms: impl IntoIterator<Item = Atom>) -> Vec<Atom> {
    let mut result: Vec<Atom> = Vec::new();
    for atom in atoms.into_iter().filter(|atom| atom.size != 1) {
        match result.last_mut() {
            Some(last) if last.stride == atom.size * atom.stride => {
                *last = Atom { size: last.size * atom.size, stride: atom.stride };
            }
            _ => result.push(atom),
        }
    }
    result
}

/// Length of an axis.
pub(crate) fn length(atoms: &[Atom]) -> usize {
    atoms.iter().map(|atom| atom.size).product()
}

/// The atom of each axis of a stored map; one of length 1 has none.
pub(crate) fn planes([c, h, w]: [usize; 3]) -> [Vec<Atom>; 3] {
    [
        merged([Atom { size: c, stride: h * w }]),
        merged([Atom { size: h, stride: w }]),
        merged([Atom { size: w, stride: 1 }]),
    ]
}

impl View {
    /// A stored map with an axis for the image in front, of the `rank` that the file's value has: 4, 3 (height 1) or 2 (a
    /// vector).
    pub(crate) fn of_map(value: Stored, shape: [usize; 3], rank: usize) -> View {
        let [c, h, w] = planes(shape);
        let mut axes = vec![Vec::new(); rank.saturating_sub(3)];
        match rank {
            0 | 1 => axes.push(merged(c.into_iter().chain(h).chain(w))),
            2 => axes.extend([Vec::new(), merged(c.into_iter().chain(h).chain(w))]),
            3 => axes.extend([Vec::new(), c, merged(h.into_iter().chain(w))]),
            _ => axes.extend([c, h, w]),
        }
        View { value, axes }
    }

    /// Lengths of the axes.
    pub(crate) fn dims(&self) -> Vec<usize> {
        self.axes.iter().map(|axis| length(axis)).collect()
    }

    /// All atoms in the file's order, joined where they can be.
    pub(crate) fn order(&self) -> Vec<Atom> {
        merged(self.axes.iter().flatten().copied())
    }

    /// The same with its axes in another order; `None` where `order` is none.
    pub(crate) fn transposed(&self, order: &[usize]) -> Option<View> {
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..self.axes.len()) {
            return None;
        }
        Some(View { value: self.value, axes: order.iter().map(|&axis| self.axes[axis].clone()).collect() })
    }

    /// The same with other axes over as many numbers; `None` where they cut atoms that lie apart.
    pub(crate) fn reshaped(&self, dims: &[usize]) -> Option<View> {
        let mut rest: std::collections::VecDeque<Atom> = self.order().into();
        let mut axes = Vec::with_capacity(dims.len());
        for &dim in dims {
            let (mut axis, mut left) = (Vec::new(), dim);
            while left > 1 {
                let atom = rest.pop_front()?;
                if left.is_multiple_of(atom.size) {
                    left /= atom.size;
                    axis.push(atom);
                } else if atom.size.is_multiple_of(left) {
                    let inner = atom.size / left;
                    axis.push(Atom { size: left, stride: atom.stride * inner });
                    rest.push_front(Atom { size: inner, stride: atom.stride });
                    left = 1;
                } else {
                    return None;
                }
            }
            axes.push(merged(axis));
        }
        rest.is_empty().then_some(View { value: self.value, axes })
    }

    /// For each axis of the stored map of `shape` the axis of the view that runs over all of it and over nothing else; `None`
    /// for one of length 1.
    pub(crate) fn whole_axes(&self, shape: [usize; 3]) -> Option<[Option<usize>; 3]> {
        let mut found = [None; 3];
        let planes = planes(shape);
        for (axis, atoms) in self.axes.iter().enumerate().filter(|(_, atoms)| !atoms.is_empty()) {
            let at = planes.iter().position(|plane| plane == atoms)?;
            if found[at].replace(axis).is_some() {
                return None;
            }
        }
        Some(found)
    }
}

/// Splits the atoms of both lists where one of the two has a border, so that each has the same sizes; `None` where borders do
/// not meet.
pub(crate) fn refined(a: &[Atom], b: &[Atom]) -> Option<(Vec<Atom>, Vec<Atom>)> {
    let (mut a, mut b) = (a.to_vec(), b.to_vec());
    // From the innermost outwards.
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        match (a.pop(), b.pop()) {
            (None, None) => break,
            (Some(x), Some(y)) => {
                let size = x.size.min(y.size);
                if !x.size.is_multiple_of(size) || !y.size.is_multiple_of(size) {
                    return None;
                }
                for (atom, rest, taken) in [(x, &mut a, &mut left), (y, &mut b, &mut right)] {
                    taken.push(Atom { size, stride: atom.stride });
                    if atom.size > size {
                        rest.push(Atom { size: atom.size / size, stride: atom.stride * size });
                    }
                }
            }
            _ => return None,
        }
    }
    left.reverse();
    right.reverse();
    Some((left, right))
}

/// How the numbers of `order` (all atoms of a stored value, in a new order) are reached: the lengths of blocks as they are stored,
/// and for each new block the stored one that it is. `None` where the atoms are not all of the value.
pub(crate) fn permutation(order: &[Atom]) -> Option<(Vec<usize>, Vec<usize>)> {
    let mut stored: Vec<usize> = (0..order.len()).collect();
    stored.sort_by_key(|&at| std::cmp::Reverse(order[at].stride));
    let mut stride = 1;
    for &at in stored.iter().rev() {
        if order[at].stride != stride {
            return None;
        }
        stride *= order[at].size;
    }
    let sizes = stored.iter().map(|&at| order[at].size).collect();
    let mut permutation = vec![0; order.len()];
    for (block, &at) in stored.iter().enumerate() {
        permutation[at] = block;
    }
    Some((sizes, permutation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_cost_nothing() {
        let first = View::of_map(0, [6, 4, 5], 4);
        let last = first.transposed(&[0, 2, 3, 1]).unwrap();
        assert_eq!(last.dims(), [1, 4, 5, 6]);
        assert_eq!(last.whole_axes([6, 4, 5]), Some([Some(3), Some(1), Some(2)]));
        assert_eq!(last.transposed(&[0, 3, 1, 2]).unwrap(), first);
        assert_eq!(first.reshaped(&[1, 120]).unwrap().order(), [Atom { size: 120, stride: 1 }]);
        assert_eq!(last.reshaped(&[120]).unwrap().order().len(), 2);
        assert!(first.transposed(&[0, 1, 1, 2]).is_none());
        assert!(last.reshaped(&[1, 7]).is_none() && last.reshaped(&[8, 15]).is_none());
    }

    #[test]
    fn a_shuffle_of_channels_is_a_permutation_of_blocks() {
        let map = View::of_map(0, [6, 2, 2], 4);
        let shuffled = map.reshaped(&[1, 3, 2, 2, 2]).unwrap().transposed(&[0, 2, 1, 3, 4]).unwrap();
        let back = shuffled.reshaped(&[1, 6, 2, 2]).unwrap();
        assert_eq!(permutation(&back.order()), Some((vec![3, 2, 4], vec![1, 0, 2])));
        assert_eq!(permutation(&map.order()), Some((vec![24], vec![0])));
    }

    #[test]
    fn atoms_are_split_to_the_same_sizes() {
        let atom = |size, stride| Atom { size, stride };
        assert_eq!(
            refined(&[atom(12, 1)], &[atom(3, 1), atom(4, 3)]),
            Some((vec![atom(3, 4), atom(4, 1)], vec![atom(3, 1), atom(4, 3)]))
        );
        assert_eq!(refined(&[atom(6, 1)], &[atom(2, 2), atom(2, 1)]), None);
    }
}
