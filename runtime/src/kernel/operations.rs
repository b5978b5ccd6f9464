//! Which operations a program executes, where that is known when it is built.

/// The kernels that a session may call: a set that the compiler knows, so that it leaves out the others.
pub trait Operations {
    /// The set.
    const USED: Set;
    /// True where that is all of them.
    const ALL: bool = Self::USED.0 == Set::ALL.0;
}

/// All operations: the model is known at run time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Any;

impl Operations for Any {
    const USED: Set = Set::ALL;
}

/// A set of operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Set(pub u64);

impl Set {
    /// All operations.
    pub const ALL: Set = Set(u64::MAX);
    /// Dense convolutions.
    pub const DENSE: Set = Set(1);
    /// Convolutions stored as pairs.
    pub const PAIR: Set = Set(1 << 1);
    /// Depthwise convolutions.
    pub const DEPTHWISE: Set = Set(1 << 2);
    /// Fully connected layers, dense.
    pub const LINEAR: Set = Set(1 << 3);
    /// Fully connected layers, stored as pairs.
    pub const LINEAR_PAIR: Set = Set(1 << 4);
    /// Maximum and average in windows.
    pub const POOL: Set = Set(1 << 5);
    /// The mean of a plane.
    pub const GLOBAL_AVERAGE: Set = Set(1 << 6);
    /// Shortcuts that pad channels.
    pub const PAD_SHORTCUT: Set = Set(1 << 7);
    /// Additions.
    pub const ADD: Set = Set(1 << 8);
    /// Concatenations.
    pub const CONCAT: Set = Set(1 << 9);
    /// Operations that version 2 of the format brought.
    pub const GENERAL: Set = Set(1 << 10);
    /// Streams of rows.
    pub const STREAMS: Set = Set(1 << 11);
    /// Records that are decoded when they are needed: of activations behind ReLU6, and of all of [`Set::GENERAL`].
    pub const RECORDS: Set = Set(1 << 12);
    /// Convolutions whose cut into tiles is found when they run.
    pub const TILING: Set = Set(1 << 13);

    // Of convolutions on Cortex-M, what their cuts into tiles come to; where these are found when they run, all of it.

    /// All that follows.
    pub const FORMS: Set = Set(u64::MAX << 14);
    /// Tiles of one row.
    pub const LINES: Set = Set::LINES_FOUR.and(Set::LINES_TWO);
    /// Those of four pixels each.
    pub const LINES_FOUR: Set = Set(1 << 14);
    /// Those of two.
    pub const LINES_TWO: Set = Set(1 << 15);
    /// Transformed weights of tiles of one row, of one rank, two and four.
    pub const LINE_WEIGHTS: [Set; 3] = [Set(1 << 16), Set(1 << 17), Set(1 << 18)];
    /// Five pixels at a time.
    pub const FIVES: Set = Set(1 << 19);
    /// Tiles of 2×2 pixels.
    pub const SQUARES: Set = Set(1 << 20);
    /// The same with transformed weights that are kept.
    pub const SQUARES_KEPT: Set = Set(1 << 21);
    /// Patches of which each element is looked for.
    pub const ELEMENTS: Set = Set(1 << 22);
    /// Sums of one channel, two and four, of taps one by one.
    pub const SINGLE: [Set; 3] = [Set(1 << 23), Set(1 << 24), Set(1 << 25)];
    /// The same of ranks, or of pixels of 1×1 windows.
    pub const RANKS: [Set; 3] = [Set(1 << 26), Set(1 << 27), Set(1 << 28)];
    /// The same of three taps of a row.
    pub const ROW: [Set; 3] = [Set(1 << 29), Set(1 << 30), Set(1 << 31)];
    /// The same two pixels apart.
    pub const STRIDE_2: [Set; 3] = [Set(1 << 32), Set(1 << 33), Set(1 << 34)];
    /// Weights of one channel, two and four, side by side.
    pub const PANEL: [Set; 3] = [Set(1 << 35), Set(1 << 36), Set(1 << 37)];
    /// Pairs that expand to four channels at a time, and to others or in blocks of ranks.
    pub const EXPAND_FOURS: Set = Set(1 << 38);
    /// See [`Set::EXPAND_FOURS`].
    pub const EXPAND_OTHERS: Set = Set(1 << 39);
    /// Sums that are stored as f16: as they are, behind ReLU and behind ReLU6.
    pub const STORED: [Set; 3] = [Set(1 << 40), Set(1 << 41), Set(1 << 42)];
    /// The same with something added.
    pub const ADDED: [Set; 3] = [Set(1 << 43), Set(1 << 44), Set(1 << 45)];
    /// Sums that are logits, or of which other activations are made.
    pub const FINISHED: Set = Set(1 << 46);
    /// Patches of rows one and two pixels apart.
    pub const PATCHES: [Set; 2] = [Set(1 << 47), Set(1 << 48)];
    /// Patches of 1×1 windows.
    pub const PIXELS: Set = Set(1 << 49);
    /// Weights of f16, and of 8 bits with scales and without.
    pub const HALVES: Set = Set(1 << 50);
    /// See [`Set::HALVES`].
    pub const SCALED: Set = Set(1 << 51);
    /// See [`Set::HALVES`].
    pub const THIN: Set = Set(1 << 52);

    /// True where it has one of `others`.
    pub const fn has(self, others: Set) -> bool {
        self.0 & others.0 != 0
    }

    /// Both.
    #[must_use]
    pub const fn and(self, other: Set) -> Set {
        Set(self.0 | other.0)
    }
}
