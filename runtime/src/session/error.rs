//! Why a session cannot begin, and why an inference is refused.

use crate::kernel::{Arithmetic, Isa};
use crate::machine::MachineError;
use crate::model::ModelError;
use crate::plan::{ALIGNMENT, PlanError};

/// Why a session cannot begin.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum SessionError<'a> {
    /// The model cannot be planned.
    Plan(PlanError<'a>),
    /// The model's tensors cannot be resolved.
    Model(ModelError<'a>),
    /// The arena is too small; both figures are bytes.
    ArenaTooSmall {
        /// [`Plan::arena_bytes`](crate::plan::Plan::arena_bytes).
        needed: usize,
        /// Size of the arena given.
        given: usize,
    },
    /// The arena does not begin at a multiple of 16 bytes ([`Arena`](super::Arena) does).
    ArenaMisaligned,
    /// The processor is not one for which the program was built.
    Machine(MachineError),
    /// The machine lacks the instruction set asked for.
    Isa(Isa),
    /// The session's instruction set lacks the arithmetic asked for.
    Arithmetic(Isa, Arithmetic),
}

impl core::fmt::Display for SessionError<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Plan(error) => error.fmt(f),
            Self::Model(error) => error.fmt(f),
            Self::ArenaTooSmall { needed, given } => {
                let missing = needed - given;
                write!(f, "the arena has {given} bytes and must have {needed}: {missing} bytes are missing")
            }
            Self::Machine(error) => error.fmt(f),
            Self::ArenaMisaligned => write!(f, "the arena must begin at a multiple of {ALIGNMENT} bytes"),
            Self::Isa(isa) => write!(f, "this machine lacks the instructions of {}", isa.name()),
            Self::Arithmetic(isa, arithmetic) => {
                let (isa, arithmetic, has) = (isa.name(), arithmetic.name(), Isa::NeonF16.name());
                write!(f, "{isa} has no {arithmetic} arithmetic (only {has} has, on cores with FEAT_FP16)")
            }
        }
    }
}

impl core::error::Error for SessionError<'_> {}

impl<'a> From<PlanError<'a>> for SessionError<'a> {
    fn from(error: PlanError<'a>) -> Self {
        Self::Plan(error)
    }
}

impl<'a> From<ModelError<'a>> for SessionError<'a> {
    fn from(error: ModelError<'a>) -> Self {
        Self::Model(error)
    }
}

/// Why an inference was refused. Logits are untouched unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunError {
    /// The image has another number of values than the model's input.
    InputLength {
        /// Values needed.
        needed: usize,
        /// Values given.
        given: usize,
    },
    /// Rows of an image that do not go on from those before.
    Rows {
        /// Bytes of a row.
        row: usize,
        /// Rows that come together, but for the last.
        together: usize,
        /// Rows that are left.
        left: usize,
        /// Bytes given.
        given: usize,
    },
    /// The model takes values, not a picture.
    InputKind,
    /// An input value is NaN or infinite.
    InputNotFinite {
        /// Its index.
        index: usize,
    },
    /// The slice for the logits has another length than the model has classes.
    LogitsLength {
        /// Classes.
        needed: usize,
        /// Length given.
        given: usize,
    },
    /// The table of steps was overwritten from outside; logits may be half written.
    Corrupt {
        /// Index of the layer.
        layer: usize,
    },
}

impl core::fmt::Display for RunError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::InputLength { needed, given } => {
                write!(f, "the image has {given} values and the model takes {needed}")
            }
            Self::Rows { row, together, left, given } => write!(
                f,
                "{given} bytes are no rows of the image that come next: {left} are left, of {row} bytes, {together} at a time"
            ),
            Self::InputKind => f.write_str("the model takes values as they are, not the bytes of a picture"),
            Self::InputNotFinite { index } => write!(f, "value {index} of the image is no finite number"),
            Self::LogitsLength { needed, given } => {
                write!(f, "there is room for {given} logits and the model has {needed}")
            }
            Self::Corrupt { layer } => write!(f, "layer {layer}: the session's memory was overwritten"),
        }
    }
}

impl core::error::Error for RunError {}
