//! The part of TensorBoard's protocol buffers that a run needs (`event.proto` and `summary.proto` of TensorFlow; fields
//! that are not named here are skipped when they are read).

use prost::{Enumeration, Message, Oneof};

/// Content of the first event of a file: the format's version.
pub(super) const VERSION: &str = "brain.Event:2";

/// One record of an event file.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    pub wall_time: f64,
    /// Where on the horizontal axis.
    #[prost(int64, tag = "2")]
    pub step: i64,
    /// What happened.
    #[prost(oneof = "What", tags = "3, 5, 7")]
    pub what: Option<What>,
}

/// What an event says.
#[derive(Clone, PartialEq, Oneof)]
pub(super) enum What {
    /// The version of the format.
    #[prost(string, tag = "3")]
    FileVersion(String),
    /// Values.
    #[prost(message, tag = "5")]
    Summary(Summary),
    /// A run began.
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

/// Values of one step.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Summary {
    /// The values.
    #[prost(message, repeated, tag = "1")]
    pub value: Vec<Value>,
}

/// A value of a curve.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Value {
    /// Name of the curve.
    #[prost(string, tag = "1")]
    pub tag: String,
    /// The value; a one-of in the original, whose encoding is the same.
    #[prost(float, optional, tag = "2")]
    pub simple_value: Option<f32>,
}

/// What became of the process that writes.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SessionLog {
    /// What happened.
    #[prost(enumeration = "SessionStatus", tag = "1")]
    pub status: i32,
}

/// States of a [`SessionLog`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
pub(super) enum SessionStatus {
    /// Never written.
    Unspecified = 0,
    /// Everything from this step on that was read before counts no more.
    Start = 1,
}
