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
pub struct Set(pub u32);

impl Set {
    /// All operations.
    pub const ALL: Set = Set(u32::MAX);
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
    /// Convolutions by tiles of one row on Cortex-M; [`Set::TILING`] may find them too.
    pub const LINES: Set = Set(1 << 14);
    /// Convolutions of five pixels at a time on Cortex-M; [`Set::TILING`] may find them too.
    pub const FIVES: Set = Set(1 << 15);

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
