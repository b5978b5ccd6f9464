//! A model: layers and their shapes as a typed, validated program.

mod activation;
pub mod cost;
mod embed;
mod error;
mod file;
mod general;
mod header;
mod infer;
mod inputs;
mod needs;
pub mod program;
mod read;
mod schedule;
pub mod shape;
mod view;
mod walk;

pub use activation::Activation;
pub use embed::{Aligned, MODEL_ALIGNMENT};
pub use error::{ModelError, ProgramError};
pub(crate) use file::TensorOffsets;
pub use file::{Model, SelfCheck, is_scale};
pub use general::{
    Activate, Affine, Axis, Binary, BinaryKind, BlockOrder, Blocks, Coordinates, GeneralConv, GeneralPool,
    Join, Nearest, Normalise, NormaliseOver, Outputs, Pad, PadMode, Reduce, Reduction, Reshape, Resize,
    ResizeMode, Shuffle, Slice, Softmax, Transpose,
};
pub use header::{FORMAT_VERSION, Header, InputKind, OutputKind};
pub use inputs::{Inputs, MAX_INPUTS};
pub(crate) use needs::{EIGHTS, GENERAL};
pub use needs::{FEW_INPUTS, FEW_LIVE, Needs};
#[cfg(feature = "std")]
pub(crate) use program::PROGRAM_TENSOR;
pub use program::{Concat, Conv, Linear, Op, PadShortcut, Pool, PoolKind, Value, Weights};
pub(crate) use read::take;
pub(crate) use schedule::STREAMS;
pub use schedule::{MAX_STREAM, Schedule, ScheduleError, Stretch};
pub use shape::{Shape, Window};
pub use view::{MAX_OPS, Program};
pub use walk::{LayerFacts, LayerInfo, MAX_LIVE};
pub(crate) use walk::{Walk, op_name};
