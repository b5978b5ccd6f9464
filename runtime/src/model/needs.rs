//! What a program asks of a reader beside the first operations: parts of the runtime that firmware has where its model needs them.

use core::fmt;

/// True where this build has the operations from [`Op::GeneralConv`](super::Op::GeneralConv) on.
pub(crate) const GENERAL: bool = cfg!(any(feature = "std", feature = "general"));

/// True where this build has the activations behind ReLU6.
pub(crate) const ACTIVATIONS: bool = cfg!(any(feature = "std", feature = "activations"));

/// True where this build takes long lists of values.
pub(crate) const MANY: bool = cfg!(any(feature = "std", feature = "many"));

/// True where this build has weights of 8 bits: see build.rs.
pub(crate) const EIGHTS: bool = cfg!(eights);

/// Most values that one operation reads where nothing more is needed.
pub const FEW_INPUTS: usize = 4;

/// Most values that are alive at once where nothing more is needed.
pub const FEW_LIVE: usize = 16;

/// A set of parts of the runtime, each a cargo feature of its name; `std` has all. Version 1 of the format needs none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs(pub u32);

impl Needs {
    /// Nothing.
    pub const NONE: Needs = Needs(0);
    /// Operations from [`Op::GeneralConv`](super::Op::GeneralConv) on: the feature `general`.
    pub const GENERAL: Needs = Needs(1);
    /// Activations behind ReLU6: the feature `activations`.
    pub const ACTIVATIONS: Needs = Needs(2);
    /// An operation that reads more than [`FEW_INPUTS`] values, or more than [`FEW_LIVE`] alive at once: the feature `many`.
    pub const MANY: Needs = Needs(4);

    /// Several outputs ([`Op::Outputs`](super::Op::Outputs)); beside them always [`Needs::GENERAL`], whose feature has it.
    pub const OUTPUTS: Needs = Needs(8);

    /// Weights of 8 bits: the feature `eights`.
    pub const EIGHTS: Needs = Needs(16);

    /// What this build has.
    pub const HERE: Needs = Needs(
        GENERAL as u32
            | (ACTIVATIONS as u32) << 1
            | (MANY as u32) << 2
            | (GENERAL as u32) << 3
            | (EIGHTS as u32) << 4,
    );

    /// Each part with its feature's name.
    const NAMES: [(Needs, &'static str); 4] = [
        (Needs(Needs::GENERAL.0 | Needs::OUTPUTS.0), "general"),
        (Needs::ACTIVATIONS, "activations"),
        (Needs::MANY, "many"),
        (Needs::EIGHTS, "eights"),
    ];

    /// Names of the cargo features; of a part that this version does not know, none.
    pub fn features(self) -> impl Iterator<Item = &'static str> {
        Needs::NAMES.into_iter().filter(move |(part, _)| part.0 & self.0 != 0).map(|(_, name)| name)
    }

    /// Those that `other` lacks.
    #[must_use]
    pub fn without(self, other: Needs) -> Needs {
        Needs(self.0 & !other.0)
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Needs) -> Needs {
        Needs(self.0 | other.0)
    }

    /// True where there are none.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl Needs {
    /// Whether it has parts that this version of the runtime does not know.
    pub fn of_later(self) -> bool {
        let known = Needs::NAMES.iter().fold(0, |known, (part, _)| known | part.0);
        self.0 & !known != 0
    }
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.of_later() {
            return f.write_str("a later version of the runtime");
        }
        for (at, name) in self.features().enumerate() {
            f.write_str(if at > 0 { ", " } else { "" })?;
            f.write_str(name)?;
        }
        Ok(())
    }
}
