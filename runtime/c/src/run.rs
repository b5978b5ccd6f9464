//! What all inferences have in common.

use core::ffi::c_char;

use lrpet_runtime::session::RunError;

use crate::Status::{self, *};
use crate::message::Message;
use crate::{Session, status};

/// An inference on `count` values at `input`.
///
/// # Safety
///
/// As for the functions that call it.
pub(crate) unsafe fn run<T>(
    session: *mut Session,
    (input, count): (*const T, usize),
    (logits, classes): (*mut f32, usize),
    (message, message_bytes): (*mut c_char, usize),
    infer: impl FnOnce(&mut Session, &[T], &mut [f32]) -> Result<(), RunError>,
) -> Status {
    // SAFETY: the caller's promise.
    let (session, mut message) = unsafe { (session.as_mut(), Message::new(message, message_bytes)) };
    let Some(session) = session.filter(|_| !input.is_null() && !logits.is_null()) else {
        return message.say(LRPET_NULL, "session, input or logits is NULL");
    };
    if !input.is_aligned() {
        return message.say(LRPET_INPUT, "the values must begin at a multiple of 4 bytes");
    }
    if !logits.is_aligned() {
        return message.say(LRPET_LOGITS, UNALIGNED_LOGITS);
    }
    // SAFETY: the caller's promise.
    let (input, logits) = unsafe {
        (core::slice::from_raw_parts(input, count), core::slice::from_raw_parts_mut(logits, classes))
    };
    status(infer(session, input, logits).map_err(|error| message.say(failure(&error), error)))
}

/// Floats elsewhere are a fault on some cores, and nothing that Rust may be given on any.
pub(crate) const UNALIGNED_LOGITS: &str = "the logits must begin at a multiple of 4 bytes";

pub(crate) fn failure(error: &RunError) -> Status {
    match error {
        RunError::LogitsLength { .. } => LRPET_LOGITS,
        RunError::InputLength { .. }
        | RunError::Rows { .. }
        | RunError::InputNotFinite { .. }
        | RunError::InputKind => LRPET_INPUT,
        _ => LRPET_CORRUPT,
    }
}
