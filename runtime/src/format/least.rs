//! Order and repetition among many items, with a fixed amount of memory and no allocator.
//!
//! Each pass over the items picks the least of those that come after the last one picked. That takes n² / [`PICKED`] steps
//! for n items, whatever they are: a table of hashes would be faster for honest files and no faster for malicious ones.
//!
//! One type of item and calls through pointers keep one copy of this in a firmware, whatever is ordered.

use core::cmp::Ordering;

/// Items of one pass.
pub(crate) const PICKED: usize = 64;

/// What is ordered: first by the place, two numbers of which the first counts more, then by the name.
pub(crate) type Item<'a> = ([u32; 2], &'a str);

/// Gives all items to a function, until that says false.
pub(crate) type Each<'f, 'a> = &'f dyn Fn(&mut dyn FnMut(Item<'a>) -> bool);

/// The order of two names.
pub(crate) type Order = fn(&str, &str) -> Ordering;

/// The least items of a pass, in ascending order.
pub(crate) struct Least<'a> {
    items: [Item<'a>; PICKED],
    count: usize,
    order: Order,
}

impl<'a> Least<'a> {
    pub(crate) fn new(order: Order) -> Self {
        Self { items: [([0; 2], ""); PICKED], count: 0, order }
    }

    /// Picks the least of the items above the last one that was picked before; false where none is left. An item that comes
    /// twice among them is an error.
    #[inline(never)]
    pub(crate) fn pick(&mut self, each: Each<'_, 'a>) -> Result<bool, &'a str> {
        let floor = self.picked().last().copied();
        self.count = 0;
        let mut twice = None;
        each(&mut |item| {
            if floor.is_none_or(|floor| self.compare(item, floor).is_gt()) && !self.insert(item) {
                twice = Some(item.1);
            }
            twice.is_none()
        });
        twice.map_or(Ok(self.count > 0), Err)
    }

    /// What the last pass picked, in ascending order.
    pub(crate) fn picked(&self) -> &[Item<'a>] {
        self.items.get(..self.count).unwrap_or_default()
    }

    #[inline(never)]
    fn compare(&self, a: Item<'a>, b: Item<'a>) -> Ordering {
        a.0.cmp(&b.0).then_with(|| (self.order)(a.1, b.1))
    }

    /// False where the item is there already.
    fn insert(&mut self, mut item: Item<'a>) -> bool {
        let known = self.picked();
        let at = known.partition_point(|known| self.compare(*known, item).is_lt());
        if known.get(at).is_some_and(|known| self.compare(*known, item).is_eq()) {
            return false;
        }
        // What is pushed out at the end comes in a later pass.
        self.count = PICKED.min(self.count + 1);
        for slot in self.items.get_mut(at..self.count).unwrap_or_default() {
            core::mem::swap(slot, &mut item);
        }
        true
    }
}

/// Some name that comes more than once at its place.
#[inline(never)]
pub(crate) fn repeated<'a>(order: Order, each: Each<'_, 'a>) -> Option<&'a str> {
    let mut least = Least::new(order);
    loop {
        match least.pick(each) {
            Err(name) => return Some(name),
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

    /// Places 0..n in an order that looks random.
    fn shuffled(n: u32) -> Vec<Item<'static>> {
        // 7919 is prime and divides no n of these tests.
        (0..n).map(|i| ([0, (u64::from(i) * 7919 % u64::from(n)) as u32], "x")).collect()
    }

    fn give<'a>(items: &[Item<'a>], take: &mut dyn FnMut(Item<'a>) -> bool) {
        let _ = items.iter().all(|item| take(*item));
    }

    fn repeats(items: &[Item<'_>]) -> bool {
        repeated(str::cmp, &|take| give(items, take)).is_some()
    }

    #[test]
    fn passes_pick_everything_in_order() {
        for n in [0, 1, 127, 128, 129, 1000] {
            let (items, mut least, mut sorted) = (shuffled(n), Least::new(str::cmp), Vec::new());
            while least.pick(&|take| give(&items, take)).unwrap() {
                sorted.extend(least.picked().iter().map(|item| item.0[1]));
            }
            assert!(sorted.iter().copied().eq(0..n), "{n}");
        }
    }

    #[test]
    fn what_comes_twice_is_found_wherever_it_is() {
        for n in [1, 127, 128, 129, 1000] {
            let items = shuffled(n);
            assert!(!repeats(&items), "{n}");
            for item in [0, n / 2, n - 1] {
                for at in [0, items.len() / 3, items.len()] {
                    let mut twice = items.clone();
                    twice.insert(at, ([0, item], "x"));
                    assert!(repeats(&twice), "{n} {item} {at}");
                    // The same place with another name, the same name at another place.
                    twice[at] = ([0, item], "y");
                    assert!(!repeats(&twice), "{n} {item} {at}");
                    twice[at] = ([1, item], "x");
                    assert!(!repeats(&twice), "{n} {item} {at}");
                }
            }
        }
        assert!(repeats(&[([7, 7], "x"); 1000]));
    }

    #[test]
    fn steps_grow_as_stated() {
        let (items, steps) = (shuffled(4096), Cell::new(0));
        let counted = |take: &mut dyn FnMut(Item<'static>) -> bool| {
            let step = |_: &&Item<'_>| steps.set(steps.get() + 1);
            let _ = items.iter().inspect(step).all(|item| take(*item));
        };
        let twice = repeated(str::cmp, &counted);
        assert_eq!(twice, None);
        assert!(steps.get() <= 4096 * (4096 / PICKED + 1), "{}", steps.get());
    }
}
