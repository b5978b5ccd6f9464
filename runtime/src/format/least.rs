//! Order and repetition among many items, with a fixed amount of memory and no allocator.
//!
//! Each pass over the items picks the least of those that come after the last one picked. That takes n² / [`PICKED`] steps
//! for n items, whatever they are: a table of hashes would be faster for honest files and no faster for malicious ones.

/// Items of one pass.
pub(crate) const PICKED: usize = 128;

/// The least items of a pass, in ascending order.
pub(crate) struct Least<T> {
    items: [Option<T>; PICKED],
    count: usize,
}

impl<T: Copy + Ord> Least<T> {
    pub(crate) fn new() -> Self {
        Self { items: [None; PICKED], count: 0 }
    }

    /// Picks the least of `items` above the last one that was picked before; false where none is left. An item that comes
    /// twice among them is an error.
    pub(crate) fn pick(&mut self, items: impl Iterator<Item = T>) -> Result<bool, T> {
        let floor = self.picked().last();
        *self = Self::new();
        for item in items.filter(|item| floor.is_none_or(|floor| *item > floor)) {
            self.insert(item)?;
        }
        Ok(self.count > 0)
    }

    /// What the last pass picked, in ascending order.
    pub(crate) fn picked(&self) -> impl DoubleEndedIterator<Item = T> {
        self.items.get(..self.count).unwrap_or_default().iter().flatten().copied()
    }

    #[inline(never)]
    fn insert(&mut self, item: T) -> Result<(), T> {
        let full = self.count == PICKED;
        if full && self.items.last().is_some_and(|largest| Some(item) > *largest) {
            return Ok(());
        }
        self.count += usize::from(!full);
        let items = self.items.get_mut(..self.count).unwrap_or_default();
        // The empty place, if there is one, is the last.
        let at = items.partition_point(|known| known.is_some_and(|known| known < item));
        let mut next = Some(item);
        let mut behind = items.iter_mut().skip(at).peekable();
        if behind.peek().is_some_and(|slot| **slot == next) {
            return Err(item);
        }
        // What is pushed out at the end comes in a later pass.
        behind.for_each(|slot| core::mem::swap(slot, &mut next));
        Ok(())
    }
}

/// Some item that comes more than once. `items` goes through all of them, always in the same order.
pub(crate) fn repeated<T: Copy + Ord, I: Iterator<Item = T>>(items: impl Fn() -> I) -> Option<T> {
    let mut least = Least::new();
    loop {
        match least.pick(items()) {
            Err(item) => return Some(item),
            // A pass that is not full has seen the last of them.
            Ok(_) if least.count < PICKED => return None,
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::vec::Vec;

    use super::*;

    /// 0..n in an order that looks random.
    fn shuffled(n: u32) -> Vec<u32> {
        // 7919 is prime and divides no n of these tests.
        (0..n).map(|i| (u64::from(i) * 7919 % u64::from(n)) as u32).collect()
    }

    #[test]
    fn passes_pick_everything_in_order() {
        for n in [0, 1, 127, 128, 129, 1000] {
            let (items, mut least, mut sorted) = (shuffled(n), Least::new(), Vec::new());
            while least.pick(items.iter().copied()).unwrap() {
                sorted.extend(least.picked());
            }
            assert!(sorted.iter().copied().eq(0..n), "{n}");
        }
    }

    #[test]
    fn what_comes_twice_is_found_wherever_it_is() {
        for n in [1, 127, 128, 129, 1000] {
            let items = shuffled(n);
            assert_eq!(repeated(|| items.iter().copied()), None, "{n}");
            for item in [0, n / 2, n - 1] {
                for at in [0, items.len() / 3, items.len()] {
                    let mut twice = items.clone();
                    twice.insert(at, item);
                    assert_eq!(repeated(|| twice.iter().copied()), Some(item), "{n} {item} {at}");
                }
            }
        }
        assert_eq!(repeated(|| std::iter::repeat_n(7, 1000)), Some(7));
    }

    #[test]
    fn steps_grow_as_stated() {
        let (items, steps) = (shuffled(4096), Cell::new(0));
        let counted = || items.iter().copied().inspect(|_| steps.set(steps.get() + 1));
        assert_eq!(repeated(counted), None);
        assert!(steps.get() <= 4096 * (4096 / PICKED + 1), "{}", steps.get());
    }
}
