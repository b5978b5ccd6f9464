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
    fn end(&self) -> usize {
        self.start + self.bytes
    }

    /// Offset from the low end of a space of `size` bytes.
    pub(crate) fn offset(&self, size: usize) -> usize {
        match self.side {
            Side::Low => self.start,
            Side::High => size - self.end(),
        }
    }
}

/// The live values.
#[derive(Default)]
pub(super) struct Space {
    /// A value that is made lives beside all that live on.
    live: [Option<(usize, Place)>; MAX_LIVE + 1],
}

impl Space {
    /// Finds room for `bytes` (rounded up to the alignment) at the end where the space grows least, at `preferred`
    /// where both ends are equal; `None` where the address space is exceeded.
    pub(super) fn place(&self, bytes: usize, preferred: Side) -> Option<Place> {
        let bytes = bytes.checked_next_multiple_of(ALIGNMENT)?;
        let grown = |side| {
            let place = self.first_fit(bytes, side)?;
            Some((self.extent_with(place)?, place))
        };
        let (preferred, other) = (grown(preferred)?, grown(preferred.other())?);
        Some(if other.0 < preferred.0 { other.1 } else { preferred.1 })
    }

    /// The lowest gap of `bytes` at one end.
    fn first_fit(&self, bytes: usize, side: Side) -> Option<Place> {
        let mut place = Place { side, start: 0, bytes };
        loop {
            let end = place.start.checked_add(bytes)?;
            let blocks = |other: &Place| other.side == side && other.start < end && place.start < other.end();
            match self.live.iter().flatten().map(|(_, other)| other).find(|other| blocks(other)) {
                Some(other) => place.start = other.end(),
                None => return Some(place),
            }
        }
    }

    /// Bytes that the live values and one more span.
    pub(super) fn extent_with(&self, place: Place) -> Option<usize> {
        let places = || self.live.iter().flatten().map(|(_, place)| *place).chain([place]);
        let extent =
            |side| places().filter(|place| place.side == side).map(|place| place.end()).max().unwrap_or(0);
        extent(Side::Low).checked_add(extent(Side::High))
    }

    pub(super) fn keep(&mut self, value: usize, place: Place) {
        // The walk allows no more live values than there is room for.
        let free = self.live.iter_mut().find(|live| live.is_none());
        free.into_iter().for_each(|free| *free = Some((value, place)));
    }

    pub(super) fn release(&mut self, value: usize) {
        self.live.iter_mut().for_each(|live| *live = live.filter(|(live, _)| *live != value));
    }

    /// Place of a live value.
    pub(super) fn get(&self, value: usize) -> Place {
        let mut live = self.live.iter().flatten();
        live.find(|(live, _)| *live == value)
            .map_or(Place { side: Side::Low, start: 0, bytes: 0 }, |live| live.1)
    }
}
