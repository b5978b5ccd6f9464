//! A space with two ends, and the live values in it.
//!
//! Offsets count from the value's own end, so that the space needs no size while it is being planned: values at the
//! two ends never meet if the size is the largest sum of the two extents at any time.

use super::ALIGNMENT;
use crate::model::MAX_LIVE;

/// An end of the space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Low,
    High,
}

impl Side {
    pub(crate) fn other(self) -> Side {
        match self {
            Side::Low => Side::High,
            Side::High => Side::Low,
        }
    }
}

/// A range of bytes, counted from one end of the space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) side: Side,
    start: usize,
    /// A multiple of [`ALIGNMENT`].
    pub(crate) bytes: usize,
}

impl Place {
    pub(super) const EMPTY: Place = Place { side: Side::Low, start: 0, bytes: 0 };

    fn end(&self) -> usize {
        self.start + self.bytes
    }

    /// The `bytes` from `offset` on.
    pub(super) fn part(&self, offset: usize, bytes: usize) -> Place {
        let start = match self.side {
            Side::Low => self.start + offset,
            Side::High => self.end().saturating_sub(offset + bytes),
        };
        Place { side: self.side, start, bytes }
    }

    /// Offset from the low end of a space of `size` bytes.
    pub(crate) fn offset(&self, size: usize) -> usize {
        match self.side {
            Side::Low => self.start,
            Side::High => size - self.end(),
        }
    }
}

/// A value that is made lives beside all that live on, and beside the windows of a stream.
const ROOM: usize = MAX_LIVE + 2;

/// The live values.
pub(super) struct Space {
    /// The first `count` entries count.
    live: [(usize, Place); ROOM],
    count: usize,
}

impl Space {
    pub(super) fn new() -> Self {
        Self { live: [(0, Place::EMPTY); ROOM], count: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn live(&self) -> &[(usize, Place)] {
        self.live.get(..self.count).unwrap_or_default()
    }

    /// Finds room for `bytes` (rounded up to the alignment) at the end where the space grows least, at `preferred`
    /// where both ends are equal; `None` where the address space is exceeded.
    pub(super) fn place(&self, bytes: usize, preferred: Side) -> Option<Place> {
        let bytes = bytes.checked_next_multiple_of(ALIGNMENT)?;
        let places = [self.first_fit(bytes, preferred)?, self.first_fit(bytes, preferred.other())?];
        let [grown, other] = places.map(|place| self.extent_with(place));
        places.get(usize::from(other? < grown?)).copied()
    }

    /// The lowest gap of `bytes` at one end.
    fn first_fit(&self, bytes: usize, side: Side) -> Option<Place> {
        let mut place = Place { side, start: 0, bytes };
        loop {
            let end = place.start.checked_add(bytes)?;
            let blocks = |other: &Place| other.side == side && other.start < end && place.start < other.end();
            match self.live().iter().find(|(_, other)| blocks(other)) {
                Some((_, other)) => place.start = other.end(),
                None => return Some(place),
            }
        }
    }

    /// Bytes up to which the live values reach from each end.
    #[inline(never)]
    pub(super) fn extents(&self) -> [usize; 2] {
        let mut extents = [0, 0];
        for (_, place) in self.live() {
            let extent = &mut extents[usize::from(place.side == Side::High)];
            *extent = place.end().max(*extent);
        }
        extents
    }

    /// Bytes that the live values and one more span.
    pub(super) fn extent_with(&self, place: Place) -> Option<usize> {
        let mut extents = self.extents();
        let extent = &mut extents[usize::from(place.side == Side::High)];
        *extent = place.end().max(*extent);
        extents[0].checked_add(extents[1])
    }

    /// False where there is no room: layer by layer, the walk allows no more live values than there is room for.
    pub(super) fn keep(&mut self, value: usize, place: Place) -> bool {
        let free = self.live.get_mut(self.count);
        let kept = free.map(|free| *free = (value, place)).is_some();
        self.count += usize::from(kept);
        kept
    }

    pub(super) fn release(&mut self, value: usize) {
        if let Some(i) = self.live().iter().position(|(live, _)| *live == value) {
            // The last one takes its place.
            self.count = self.count.saturating_sub(1);
            let last = self.live.get(self.count).copied();
            self.live.get_mut(i).zip(last).into_iter().for_each(|(place, last)| *place = last);
        }
    }

    /// Place of a live value.
    pub(super) fn get(&self, value: usize) -> Place {
        let live = self.live().iter().find(|(live, _)| *live == value);
        live.map_or(Place::EMPTY, |(_, place)| *place)
    }
}
