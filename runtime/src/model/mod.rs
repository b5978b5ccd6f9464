//! A model: layers and their shapes as a typed, validated program.

pub mod cost;
mod embed;
mod error;
mod file;
mod inputs;
pub mod program;
mod schedule;
pub mod shape;
mod view;
mod walk;

pub use embed::{Aligned, MODEL_ALIGNMENT};
pub use error::{ModelError, ProgramError};
pub(crate) use file::TensorOffsets;
pub use file::{Model, SelfCheck};
pub use inputs::{Inputs, MAX_INPUTS};
pub use program::{
    Activation, Concat, Conv, FORMAT_VERSION, Header, Linear, Op, PadShortcut, Pool, PoolKind, Value, Weights,
};
pub(crate) use schedule::STREAMS;
pub use schedule::{MAX_STREAM, Schedule, ScheduleError, Stretch};
pub use shape::{Shape, Window};
pub use view::{MAX_OPS, Program};
pub use walk::{LayerInfo, MAX_LIVE};
pub(crate) use walk::{Walk, op_name};
