//! Weights as kernels read them: f16, or 8 bits with a scale for each row.

use core::ops::Range;

/// A matrix of weights, row-major.
#[derive(Clone, Copy, Debug)]
pub enum WeightMatrix<'a> {
    /// Bits of f16.
    Half(&'a [u16]),
    /// Eight bits each. Read in place on Cortex-M and by the portable code; sessions of other instruction sets have them as
    /// f16 in memory.
    Eight(Eights<'a>),
}

/// Weights of 8 bits: each is its byte times the scale of its row, a number that f16 holds exactly.
#[derive(Clone, Copy, Debug)]
pub struct Eights<'a>(Stored<'a>);

#[cfg(eights)]
mod stored {
    /// The bytes, row-major, and the scale of each row; no scales where all are that of a thin half.
    pub(super) type Stored<'a> = (&'a [i8], &'a [f32]);

    impl<'a> super::Eights<'a> {
        /// Bytes, row-major, and a scale for each row; without scales those of a thin half. `None` in a build that lacks them.
        pub fn new(values: &'a [i8], scales: &'a [f32]) -> Option<Self> {
            Some(Self((values, scales)))
        }

        /// Bytes and scales.
        pub(crate) fn parts(self) -> Stored<'a> {
            self.0
        }
    }
}

/// There are none: so the compiler knows that no matrix has them, and a matrix is a slice.
#[cfg(not(eights))]
mod stored {
    use core::convert::Infallible;
    use core::marker::PhantomData;

    pub(super) type Stored<'a> = (Infallible, PhantomData<&'a i8>);

    impl<'a> super::Eights<'a> {
        /// `None`: this build lacks them.
        pub fn new(_values: &'a [i8], _scales: &'a [f32]) -> Option<Self> {
            None
        }

        /// Never called.
        pub(crate) fn parts(self) -> (&'a [i8], &'a [f32]) {
            match self.0.0 {}
        }
    }
}

use stored::Stored;

/// The scale of all rows of a thin half: what rows have beyond it is in the expanding half's columns.
pub const THIN_SCALE: f32 = 1.0 / 128.0;

/// Columns that are made f16 at a time.
const CHUNK: usize = 32;

/// The least f16 that has all its bits, and what makes whole numbers of those below.
const NORMAL: f32 = 1.0 / 16384.0;
const WHOLE: f32 = 16_777_216.0;

impl<'a> WeightMatrix<'a> {
    /// Number of weights.
    pub fn len(&self) -> usize {
        match self {
            WeightMatrix::Half(halves) => halves.len(),
            WeightMatrix::Eight(eights) => eights.parts().0.len(),
        }
    }

    /// Where they begin, and bytes of each.
    pub(super) fn bytes(&self) -> (*const u8, usize) {
        match self {
            WeightMatrix::Half(halves) => (halves.as_ptr().cast(), size_of::<u16>()),
            WeightMatrix::Eight(eights) => (eights.parts().0.as_ptr().cast(), 1),
        }
    }

    /// True where there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those of f16; none of 8 bits, which a kernel is not given that asks for these.
    pub fn halves(&self) -> &'a [u16] {
        match self {
            WeightMatrix::Half(halves) => halves,
            WeightMatrix::Eight(_) => &[],
        }
    }

    /// Some rows of so many columns.
    pub(super) fn rows(&self, rows: Range<usize>, columns: usize) -> Option<WeightMatrix<'a>> {
        let range = rows.start * columns..rows.end * columns;
        Some(match self {
            WeightMatrix::Half(halves) => WeightMatrix::Half(halves.get(range)?),
            WeightMatrix::Eight(eights) => {
                let (values, scales) = eights.parts();
                let scales = if scales.is_empty() { scales } else { scales.get(rows)? };
                WeightMatrix::Eight(Eights::new(values.get(range)?, scales)?)
            }
        })
    }

    /// What follows from a column of a row on, of rows of so many columns.
    pub(super) fn after(&self, row: usize, columns: usize, column: usize) -> Option<WeightMatrix<'a>> {
        let from = row * columns + column;
        Some(match self {
            WeightMatrix::Half(halves) => WeightMatrix::Half(halves.get(from..)?),
            WeightMatrix::Eight(eights) => {
                let (values, scales) = eights.parts();
                let scales = if scales.is_empty() { scales } else { scales.get(row..)? };
                WeightMatrix::Eight(Eights::new(values.get(from..)?, scales)?)
            }
        })
    }

    /// The weights of the first row, `count` of them; `widen` is for bits of f16.
    pub(super) fn row(&self, count: usize, widen: impl Fn(u16) -> f32) -> impl Iterator<Item = f32> {
        let (halves, (eights, scale)) = match self {
            WeightMatrix::Half(halves) => (*halves, (&[][..], 0.0)),
            WeightMatrix::Eight(eights) => {
                let (values, scales) = eights.parts();
                (&[][..], (values, scales.first().copied().unwrap_or(THIN_SCALE)))
            }
        };
        let halves = halves.iter().map(move |half| widen(*half));
        halves.chain(eights.iter().map(move |value| f32::from(*value) * scale)).take(count)
    }

    /// Gives `each` the first `count` weights of the first row, as bits of f16 and in one or more parts: these, and which columns they
    /// are. False as soon as `each` is, and where there are fewer.
    #[cfg_attr(target_arch = "x86_64", inline(always))]
    pub(super) fn in_halves(&self, count: usize, mut each: impl FnMut(&[u16], Range<usize>) -> bool) -> bool {
        match self {
            WeightMatrix::Half(row) => row.get(..count).is_some_and(|row| each(row, 0..count)),
            WeightMatrix::Eight(eights) => {
                let (values, scales) = eights.parts();
                let scale = scales.first().copied().unwrap_or(THIN_SCALE);
                let Some(row) = values.get(..count) else { return false };
                let mut part = [0; CHUNK];
                (0..).step_by(CHUNK).zip(row.chunks(CHUNK)).all(|(from, row)| {
                    narrow(row, scale, &mut part);
                    part.get(..row.len()).is_some_and(|part| each(part, from..from + row.len()))
                })
            }
        }
    }
}

#[cfg(feature = "std")]
impl Eights<'_> {
    /// All of them as bits of f16, of rows of so many columns.
    pub(crate) fn widen(&self, columns: usize) -> std::vec::Vec<u16> {
        let ((values, scales), columns) = (self.parts(), columns.max(1));
        let mut to = std::vec![0; values.len()];
        for (at, (row, to)) in values.chunks(columns).zip(to.chunks_mut(columns)).enumerate() {
            narrow(row, scales.get(at).copied().unwrap_or(THIN_SCALE), to);
        }
        to
    }
}

/// Bits of f16 of as many weights of a row as there is room for.
#[inline(never)]
fn narrow(row: &[i8], scale: f32, to: &mut [u16]) {
    for (to, from) in to.iter_mut().zip(row) {
        // Exact: all that it has below the last bit of an f16 is zero.
        let value = f32::from(*from) * scale;
        let (sign, size) = (value.to_bits() >> 16 & 0x8000, value.abs());
        let size = if size < NORMAL { (size * WHOLE) as u32 } else { (size.to_bits() >> 13) - (112 << 10) };
        *to = (sign | size) as u16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::is_scale;

    #[test]
    fn every_weight_of_every_scale_is_an_f16() {
        let scales = (0..=u16::MAX).map(|bits| f32::from(half::f16::from_bits(bits)));
        let scales: std::vec::Vec<f32> = scales.filter(|scale| is_scale(*scale)).collect();
        assert_eq!(scales.len(), 30 * 8);
        let values: std::vec::Vec<i8> = (i8::MIN..=i8::MAX).collect();
        for scale in scales {
            let narrowed = Eights::new(&values, &[scale]).unwrap().widen(values.len());
            for (value, narrowed) in values.iter().zip(narrowed) {
                let expected = f32::from(*value) * scale;
                assert_eq!(f32::from(half::f16::from_bits(narrowed)), expected, "{value} {scale}");
            }
        }
    }
}
