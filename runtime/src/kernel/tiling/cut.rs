//! How the strips of a layer are cut up, kept from one to the next: finding it takes thousands of instructions.

use bytemuck::{Pod, Zeroable};

/// What a kernel found for strips of a layer in the scratch that it has. Plain data, so that it can lie in an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Cut {
    /// 1 where tiles of 2×2 pixels may be used, whose sums round otherwise.
    squares: u16,
    /// Rows that it was found for; 0 where nothing was found yet.
    rows: u16,
    /// The kernel's own numbers.
    numbers: [u16; 5],
}

impl Cut {
    /// Of a layer of which every product is made.
    pub const NEW: Cut = Cut { squares: 0, rows: 0, numbers: [0; 5] };

    /// Of one that may use tiles of 2×2 pixels.
    pub const SQUARES: Cut = Cut { squares: 1, ..Cut::NEW };

    /// True where tiles of 2×2 pixels may be used.
    pub fn squares(&self) -> bool {
        self.squares > 0
    }

    /// The numbers found for at least so many rows: what serves these serves fewer.
    pub fn found(&self, rows: u32) -> Option<[usize; 5]> {
        (rows <= self.rows.into()).then(|| self.numbers.map(usize::from))
    }

    /// Keeps the numbers for so many rows, where all of them are small enough.
    pub fn keep(&mut self, rows: u32, numbers: [usize; 5]) {
        let fits = numbers.iter().all(|number| u16::try_from(*number).is_ok());
        if let (Ok(rows), true) = (u16::try_from(rows), fits) {
            (self.rows, self.numbers) = (rows, numbers.map(|number| number as u16));
        }
    }
}
