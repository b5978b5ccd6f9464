//! A model: layers and their shapes as a typed, validated program.

pub mod cost;
pub mod program;
pub mod shape;

pub use program::{
    Activation, Conv, FORMAT_VERSION, Header, Linear, Op, PadShortcut, Pool, PoolKind, Value, Weights,
};
pub use shape::{Shape, Window};
