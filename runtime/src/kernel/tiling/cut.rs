//! How the strips of a layer are cut up, kept from one to the next: finding it takes thousands of instructions.

use bytemuck::{Pod, Zeroable};

/// What a kernel found for strips of a layer in the scratch that it has. Plain data, so that it can lie in an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
#[doc(hidden)]
pub struct Cut {
    /// 1 where tiles of 2×2 pixels may be used, whose sums round otherwise.
    squares: u16,
    /// Rows that it was found for; 0 where nothing was found yet.
    rows: u16,
    /// The kernel's own numbers.
    numbers: [u16; 5],
}

impl Cut {
    /// Its size.
    pub const WORDS: usize = size_of::<Cut>() / size_of::<u16>();

    /// Of the words that it is made of, in a constant.
    pub const fn of_words([squares, rows, a, b, c, d, e]: [u16; Cut::WORDS]) -> Cut {
        Cut { squares, rows, numbers: [a, b, c, d, e] }
    }

    /// Of a layer of which every product is made.
    pub(crate) const NEW: Cut = Cut { squares: 0, rows: 0, numbers: [0; 5] };

    /// Of one that may use tiles of 2×2 pixels.
    pub(crate) const SQUARES: Cut = Cut { squares: 1, ..Cut::NEW };

    /// True where tiles of 2×2 pixels may be used.
    pub(crate) fn squares(&self) -> bool {
        self.squares > 0
    }

    /// True where something was found.
    pub(crate) fn is_known(&self) -> bool {
        self.rows > 0
    }

    /// The numbers found for at least so many rows: what serves these serves fewer.
    pub(crate) fn found(&self, rows: u32) -> Option<[usize; 5]> {
        (rows <= self.rows.into()).then(|| self.numbers.map(usize::from))
    }

    /// Keeps the numbers for so many rows, where all of them are small enough.
    pub(crate) fn keep(&mut self, rows: u32, numbers: [usize; 5]) {
        let fits = numbers.iter().all(|number| u16::try_from(*number).is_ok());
        if let (Ok(rows), true) = (u16::try_from(rows), fits) {
            (self.rows, self.numbers) = (rows, numbers.map(|number| number as u16));
        }
    }
}
