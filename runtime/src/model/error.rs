//! What can be wrong with a program or a model.

use core::fmt;

use super::embed::MODEL_ALIGNMENT;
use super::header::FORMAT_VERSION;
use super::needs::Needs;
use super::schedule::ScheduleError;
use super::shape::Shape;
use super::walk::MAX_LIVE;
use crate::format::{Dims, Dtype, FormatError};

/// Why a program is refused. `index` counts operations from 0; `layer` is its name, or what it does.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum ProgramError<'a> {
    /// Written by a later version of the trainer.
    Version {
        /// Version of the file.
        found: u16,
    },
    /// The header is cut off or damaged.
    Header,
    /// The input has no pixels, too many pixels or too many channels.
    Input {
        /// Shape in the file.
        input: Shape,
    },
    /// The result has no values or too many.
    Output {
        /// Shape in the file.
        output: Shape,
    },
    /// The program needs what this build leaves out.
    Missing {
        /// What that is.
        missing: Needs,
    },
    /// An operation needs what the header does not state.
    #[allow(missing_docs)]
    Unstated { index: usize, layer: &'a str, missing: Needs },
    /// A mean is not finite, or a standard deviation is not positive and finite.
    Normalisation {
        /// Input channel.
        channel: usize,
    },
    /// The program has no operation or more than this crate takes.
    Length {
        /// Operations in the file.
        ops: usize,
    },
    /// An operation's record is cut off, damaged or of an unknown kind.
    Decode {
        /// Its index.
        index: usize,
    },
    /// Bytes follow the last operation.
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
    /// An operation reads a value that no earlier one makes.
    #[allow(missing_docs)]
    UnknownValue { index: usize, layer: &'a str, value: u16 },
    /// A padding as large as the kernel.
    #[allow(missing_docs)]
    Padding { index: usize, layer: &'a str },
    /// The operation does not go with the shape of its input.
    #[allow(missing_docs)]
    Shapes { index: usize, layer: &'a str, input: Shape },
    /// The operation does not go with its input, for the reason given.
    #[allow(missing_docs)]
    Operation { index: usize, layer: &'a str, input: Shape, reason: &'static str },
    /// The numbers of an activation are not finite or out of order.
    #[allow(missing_docs)]
    Activation { index: usize, layer: &'a str },
    /// Residual or second summand of another shape.
    #[allow(missing_docs)]
    Summands { index: usize, layer: &'a str, output: Shape, second: Shape },
    /// The values to be joined have other heights and widths than the result, or other channels in sum.
    #[allow(missing_docs)]
    Concat { index: usize, layer: &'a str, output: Shape },
    /// More than [`MAX_LIVE`] values are needed at once.
    #[allow(missing_docs)]
    TooManyLive { index: usize, layer: &'a str },
    /// Nothing reads the result, and it is not the last.
    #[allow(missing_docs)]
    Unused { index: usize, layer: &'a str },
    /// The last result is no vector of one logit a class.
    #[allow(missing_docs)]
    Logits { index: usize, layer: &'a str, output: Shape, classes: u32 },
    /// The last result has another shape than the header states.
    #[allow(missing_docs)]
    Result { index: usize, layer: &'a str, output: Shape, stated: Shape },
    /// Two layers with weights share a name.
    #[allow(missing_docs)]
    DuplicateName { index: usize, layer: &'a str },
    /// A pair of rank 0.
    #[allow(missing_docs)]
    Rank { index: usize, layer: &'a str },
}

impl fmt::Display for ProgramError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { found } => write!(
                f,
                "the program has format version {found}, this runtime reads 1 to {FORMAT_VERSION}; \
                 update the runtime or export the model again"
            ),
            Self::Header => f.write_str("the program's header is damaged; export the model again"),
            Self::Input { input } => write!(f, "an input of {input} is not supported"),
            Self::Output { output } => write!(f, "a result of {output} is not supported"),
            Self::Missing { missing } if missing.of_later() => f.write_str(
                "the program needs a later version of lrpet-runtime: update the program that runs it",
            ),
            Self::Missing { missing } => write!(
                f,
                "the program needs {missing}, which this build of lrpet-runtime leaves out; build it with the cargo features of \
                 these names"
            ),
            Self::Unstated { index, layer, missing } => {
                write!(
                    f,
                    "operation {index} ({layer}): needs {missing}, which the program's header does not state"
                )
            }
            Self::Normalisation { channel } => write!(
                f,
                "input channel {channel}: mean must be finite and std positive and finite; export the model again"
            ),
            Self::Length { ops } => write!(f, "a program of {ops} operations is not supported"),
            Self::Decode { index } => {
                write!(
                    f,
                    "operation {index}: its record is damaged or of an unknown kind; export the model again"
                )
            }
            Self::TrailingBytes { bytes } => write!(f, "{bytes} bytes follow the program's last operation"),
            Self::UnknownValue { index, layer, value } => {
                write!(
                    f,
                    "operation {index} ({layer}): reads value {value}, which no earlier operation makes"
                )
            }
            Self::Padding { index, layer } => {
                write!(f, "operation {index} ({layer}): padding must be smaller than the kernel")
            }
            Self::Shapes { index, layer, input } => {
                write!(f, "operation {index} ({layer}): does not go with its input of {input}")
            }
            Self::Operation { index, layer, input, reason } => {
                write!(f, "operation {index} ({layer}) does not go with its input of {input}: {reason}")
            }
            Self::Activation { index, layer } => write!(
                f,
                "operation {index} ({layer}): its activation's numbers must be finite, and a clip's in order; export the model again"
            ),
            Self::Summands { index, layer, output, second } => {
                write!(f, "operation {index} ({layer}): adds {second} to {output}")
            }
            Self::Concat { index, layer, output } => {
                write!(f, "operation {index} ({layer}): its inputs do not join to {output}")
            }
            Self::TooManyLive { index, layer } => {
                write!(f, "operation {index} ({layer}): more than {MAX_LIVE} values are needed at once")
            }
            Self::Unused { index, layer } => {
                write!(f, "operation {index} ({layer}): nothing reads its result")
            }
            Self::Logits { index, layer, output, classes } => write!(
                f,
                "operation {index} ({layer}): the last result must be a vector of {classes} logits and is {output}"
            ),
            Self::Result { index, layer, output, stated } => {
                write!(f, "operation {index} ({layer}): the last result is {output} and must be {stated}")
            }
            Self::DuplicateName { index, layer } => {
                write!(f, "operation {index} ({layer}): a later layer has the same name")
            }
            Self::Rank { index, layer } => {
                write!(f, "operation {index} ({layer}): a rank must be at least 1")
            }
        }
    }
}

impl core::error::Error for ProgramError<'_> {}

/// Why a file is refused as a model. Displayed without the file's name, which the caller knows.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum ModelError<'a> {
    /// The container is damaged or foreign.
    Format(FormatError<'a>),
    /// A safetensors file without a program.
    NoProgram,
    /// The program is damaged or not supported.
    Program(ProgramError<'a>),
    /// The schedule does not belong to the program.
    Schedule(ScheduleError),
    /// A tensor is missing; its name is `layer` + `suffix`.
    #[allow(missing_docs)]
    Missing { layer: &'a str, suffix: &'static str },
    /// A tensor has another dtype.
    #[allow(missing_docs)]
    Dtype { layer: &'a str, suffix: &'static str, found: Dtype, needed: Dtype },
    /// A tensor has another shape.
    #[allow(missing_docs)]
    Shape { layer: &'a str, suffix: &'static str, found: Dims, needed: Dims },
    /// The file does not begin at a multiple of [`MODEL_ALIGNMENT`] bytes in memory.
    Address,
    /// A tensor does not lie at a multiple of its element's size in the file.
    #[allow(missing_docs)]
    Misaligned { layer: &'a str, suffix: &'static str },
    /// A tensor holds a NaN or an infinity.
    #[allow(missing_docs)]
    NotFinite { layer: &'a str, suffix: &'static str, element: usize },
    /// A scale of weights of 8 bits is none that they may have: see [`is_scale`](super::is_scale).
    #[allow(missing_docs)]
    Scale { layer: &'a str, suffix: &'static str, row: usize },
    /// A tolerance of the self-check is below 0, above the sample's largest logit (and 1), or no number.
    #[allow(missing_docs)]
    Tolerance { sample: usize },
}

impl fmt::Display for ModelError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(error) => error.fmt(f),
            Self::NoProgram => f.write_str(
                "no layer program (tensor lrpet.program) inside; make a model of the checkpoint first: \
                 lrpet factorize CHECKPOINT --out MODEL (with --prune 0 for a dense one)",
            ),
            Self::Program(error) => error.fmt(f),
            Self::Schedule(error) => write!(f, "tensor lrpet.schedule: {error}; export the model again"),
            Self::Missing { layer, suffix } => {
                write!(f, "layer {layer}: tensor {layer}{suffix} is missing; export the model again")
            }
            Self::Dtype { layer, suffix, found, needed } => {
                let (found, needed) = (found.name(), needed.name());
                write!(f, "layer {layer}: tensor {layer}{suffix} is {found} and must be {needed}")
            }
            Self::Shape { layer, suffix, found, needed } => {
                write!(f, "layer {layer}: tensor {layer}{suffix} is {found} and must be {needed}")
            }
            Self::Misaligned { layer, suffix } => write!(
                f,
                "layer {layer}: tensor {layer}{suffix} is not aligned to its elements in the file; export the model again"
            ),
            Self::Address => write!(
                f,
                "the model must begin at a multiple of {MODEL_ALIGNMENT} bytes in memory; include_model! puts it there, \
                 include_bytes! alone does not"
            ),
            Self::NotFinite { layer, suffix, element } => write!(
                f,
                "layer {layer}: element {element} of tensor {layer}{suffix} is no finite number; \
                 train or export the model again"
            ),
            Self::Scale { layer, suffix, row } => write!(
                f,
                "layer {layer}: scale {row} of tensor {layer}{suffix} must have at most four significant bits and lie between 2^-21 \
                 and 480; export the model again"
            ),
            Self::Tolerance { sample } => write!(
                f,
                "tensor selfcheck.tolerance: that of sample {sample} must lie between 0 and the largest of its logits (or 1), or the \
                 check would say nothing; export the model again"
            ),
        }
    }
}

impl core::error::Error for ModelError<'_> {}

impl<'a> From<FormatError<'a>> for ModelError<'a> {
    fn from(error: FormatError<'a>) -> Self {
        Self::Format(error)
    }
}

impl<'a> From<ProgramError<'a>> for ModelError<'a> {
    fn from(error: ProgramError<'a>) -> Self {
        Self::Program(error)
    }
}
