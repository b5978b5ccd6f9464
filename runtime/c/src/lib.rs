//! The runtime for programs in C. What is documented here is the header `include/lrpet.h`.
#![cfg_attr(not(feature = "std"), no_std)]
// A C interface is made of pointers: each function says what it needs of them.
#![allow(unsafe_code)]

mod message;
mod run;

use core::ffi::{c_char, c_void};

use lrpet_runtime::check::Comparison;
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::machine;
use lrpet_runtime::model::{InputKind, Model, OutputKind, Shape};
use lrpet_runtime::plan::{ALIGNMENT, Plan};
use lrpet_runtime::session::{Hook, Session as Inner};
use message::{Brief, Message};
use run::{UNALIGNED_LOGITS, failure, run};

/// How a call ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum Status {
    /// All is well.
    LRPET_OK = 0,
    /// A pointer that must not be NULL is.
    LRPET_NULL = 1,
    /// The bytes are no model that this library runs.
    LRPET_MODEL = 2,
    /// The arena is too small or not aligned.
    LRPET_ARENA = 3,
    /// The input has another length than the model takes, is bytes where it takes values, is not aligned, or has a value that is no
    /// finite number.
    LRPET_INPUT = 4,
    /// There is room for another number of logits than the model has classes, or it is not aligned; or there is no such output.
    LRPET_LOGITS = 5,
    /// The arena was overwritten from outside.
    LRPET_CORRUPT = 6,
    /// The logits of the model's own samples differ from those in the file.
    LRPET_CHECK = 7,
    /// The processor is not one for which this library was built, or its floating-point unit is off.
    LRPET_CORE = 8,
}

use Status::*;

/// What a model needs and gives.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// Input: channels.
    pub channels: u32,
    /// Input: rows.
    pub height: u32,
    /// Input: columns.
    pub width: u32,
    /// Number of logits, or of values of the result.
    pub classes: u32,
    /// Number of layers.
    pub layers: u32,
    /// Samples with their logits in the file, for lrpet_check.
    pub samples: u32,
    /// Bytes of an arena, the session included.
    pub arena_bytes: usize,
    /// Input: 1 where the model takes values as they are (lrpet_run_values alone), 0 where it takes pictures.
    pub takes_values: u32,
    /// Result: 1 where it is values as they are, 0 where it is one logit for each class.
    pub gives_values: u32,
    /// Result: channels. Values lie channel by channel, row by row.
    pub result_channels: u32,
    /// Result: rows.
    pub result_height: u32,
    /// Result: columns.
    pub result_width: u32,
    /// Number of outputs. Of several the result is a vector of all their values, one output after another: see lrpet_output.
    pub outputs: u32,
}

/// One output of a model: where its values lie in the result, and its shape.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Index of its first value in the result.
    pub first: usize,
    /// Number of its values, channel by channel, row by row.
    pub count: usize,
    /// Channels.
    pub channels: u32,
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
}

/// A model ready to run. It lies in its arena.
pub struct Session {
    inner: Inner<'static>,
    model: Model<'static>,
    watch: Watch,
}

/// A function that is called after each layer, and the pointer that it gets.
struct Watch {
    feed: Option<extern "C" fn(layer: usize, context: *mut c_void)>,
    context: *mut c_void,
}

impl Hook for Watch {
    fn after(&mut self, layer: usize) {
        if let Some(feed) = self.feed {
            feed(layer, self.context);
        }
    }
}

/// Bytes of a session at the beginning of its arena.
const SESSION_BYTES: usize = size_of::<Session>().next_multiple_of(ALIGNMENT);
const _: () = assert!(align_of::<Session>() <= ALIGNMENT);

/// What a call returns, with what the message gets.
type Outcome = Result<(), Status>;

/// The status of `outcome`.
fn status(outcome: Outcome) -> Status {
    outcome.err().unwrap_or(LRPET_OK)
}

/// Checks a model file and says what it needs. `model` has `model_bytes` bytes and begins at a multiple of 4, `info` may be
/// NULL.
///
/// # Safety
///
/// Pointers are NULL or valid for the sizes that are given.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lrpet_inspect(
    model: *const u8,
    model_bytes: usize,
    info: *mut Info,
    message: *mut c_char,
    message_bytes: usize,
) -> Status {
    // SAFETY: the caller's promise.
    let (bytes, mut message) = unsafe { (bytes(model, model_bytes), Message::new(message, message_bytes)) };
    let inspected = bytes.ok_or_else(|| message.say(LRPET_NULL, "model is NULL")).and_then(|bytes| {
        let (model, plan) = open(bytes, &mut message)?;
        let header = model.program().header();
        Ok(Info {
            channels: header.input.channels,
            height: header.input.height,
            width: header.input.width,
            classes: header.classes,
            layers: model.program().len() as u32,
            samples: model.self_check().map_or(0, |check| check.samples()) as u32,
            arena_bytes: SESSION_BYTES + plan.arena_bytes,
            takes_values: (header.kind == InputKind::Values).into(),
            gives_values: (header.result == OutputKind::Values).into(),
            result_channels: header.output.channels,
            result_height: header.output.height,
            result_width: header.output.width,
            outputs: model.program().outputs().count() as u32,
        })
    });
    status(inspected.map(|found| {
        if !info.is_null() {
            // SAFETY: the caller's promise.
            unsafe { info.write(found) };
        }
    }))
}

/// Opens a model in `arena`, which has `arena_bytes` bytes (those that lrpet_inspect states, or more) and begins at a
/// multiple of 16. `*session` is valid until lrpet_close, as long as model and arena stay where they are and nobody else
/// writes to them; NULL where the model cannot be opened.
///
/// # Safety
///
/// Pointers are NULL or valid for the sizes that are given.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lrpet_open(
    model: *const u8,
    model_bytes: usize,
    arena: *mut u8,
    arena_bytes: usize,
    session: *mut *mut Session,
    message: *mut c_char,
    message_bytes: usize,
) -> Status {
    // SAFETY: the caller's promise.
    let (bytes, mut message) = unsafe { (bytes(model, model_bytes), Message::new(message, message_bytes)) };
    if !session.is_null() {
        // What was there before is none that may be run, whatever the caller makes of the status.
        // SAFETY: the caller's promise.
        unsafe { session.write(core::ptr::null_mut()) };
    }
    let Some(bytes) = bytes.filter(|_| !arena.is_null() && !session.is_null()) else {
        return message.say(LRPET_NULL, "model, arena or session is NULL");
    };
    let opened = open(bytes, &mut message).and_then(|(model, plan)| {
        let needed = SESSION_BYTES + plan.arena_bytes;
        if arena_bytes < needed {
            let what = format_args!("the arena has {arena_bytes} bytes and must have {needed}");
            return Err(message.say(LRPET_ARENA, what));
        }
        if !arena.addr().is_multiple_of(ALIGNMENT) {
            return Err(message.say(LRPET_ARENA, "the arena must begin at a multiple of 16 bytes"));
        }
        // SAFETY: the arena has these bytes, nobody else uses them until the session is closed.
        let space = unsafe {
            arena.add(SESSION_BYTES).write_bytes(0, plan.arena_bytes);
            core::slice::from_raw_parts_mut(arena.add(SESSION_BYTES), plan.arena_bytes)
        };
        let inner = Inner::new(&model, space).map_err(|error| message.say(LRPET_ARENA, error))?;
        let watch = Watch { feed: None, context: core::ptr::null_mut() };
        let place = arena.cast::<Session>();
        // SAFETY: the arena begins with room for it, aligned.
        unsafe {
            place.write(Session { inner, model, watch });
            session.write(place);
        }
        Ok(())
    });
    status(opened)
}

/// Says where output `index` of an open model lies in the result of an inference; the first is 0, and a model with one has that alone.
///
/// # Safety
///
/// Pointers are NULL or valid for the sizes that are given; `session` is open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lrpet_output(
    session: *const Session,
    index: usize,
    part: *mut Part,
    message: *mut c_char,
    message_bytes: usize,
) -> Status {
    // SAFETY: the caller's promise.
    let (session, mut message) = unsafe { (session.as_ref(), Message::new(message, message_bytes)) };
    let Some(session) = session.filter(|_| !part.is_null()) else {
        return message.say(LRPET_NULL, "session or part is NULL");
    };
    let (mut first, mut outputs) = (0usize, session.model.program().outputs().enumerate());
    let found = outputs.find_map(|(at, shape)| {
        let begin = first;
        first = first.saturating_add(shape.len());
        (at == index).then_some((begin, shape))
    });
    let Some((first, shape)) = found else {
        let count = session.model.program().outputs().count();
        return message
            .say(LRPET_LOGITS, format_args!("the model has {count} outputs, and {index} is none of them"));
    };
    let Shape { channels, height, width } = shape;
    // SAFETY: the caller's promise.
    unsafe { part.write(Part { first, count: shape.len(), channels, height, width }) };
    LRPET_OK
}

/// Has `feed` (or nothing, where it is NULL) called after each layer with the layer's index and `context`: the place to feed
/// a watchdog.
///
/// # Safety
///
/// `session` is NULL or open; `feed` may be called with `context` until it is replaced.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lrpet_watch(
    session: *mut Session,
    feed: Option<extern "C" fn(layer: usize, context: *mut c_void)>,
    context: *mut c_void,
) {
    // SAFETY: the caller's promise.
    if let Some(session) = unsafe { session.as_mut() } {
        session.watch = Watch { feed, context };
    }
}

/// One inference on an image of `image_bytes` = height * width * channels bytes, row by row, channels interleaved, which is
/// normalised as the model's card says. `logits` has one float for each of the `classes`.
///
/// # Safety
///
/// Pointers are NULL or valid for the sizes that are given; `session` is open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lrpet_run_image(
    session: *mut Session,
    image: *const u8,
    image_bytes: usize,
    logits: *mut f32,
    classes: usize,
    message: *mut c_char,
    message_bytes: usize,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        run(
            session,
            (image, image_bytes),
            (logits, classes),
            (message, message_bytes),
            |session, image, logits| session.inner.run_image(image, logits, &mut session.watch),
        )
    }
}

/// Takes the next rows of an image as a camera gives them, one or more: `rows_bytes` bytes, row by row, channels interleaved; their
/// number is a multiple of lrpet_rows_together, or what is left. Where the model's schedule begins with a stream the image is nowhere
/// whole. `done` becomes 1 when these were the last and the logits are there, which are those of lrpet_run_image, and 0 before; it may be
/// NULL. Other rows than those are LRPET_INPUT and change nothing; lrpet_restart gives up the image, as any whole one does.
///
/// # Safety
///
/// Pointers are NULL or valid for the sizes that are given; `session` is open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lrpet_push_rows(
    session: *mut Session,
    rows: *const u8,
    rows_bytes: usize,
    logits: *mut f32,
    classes: usize,
    done: *mut u32,
    message: *mut c_char,
    message_bytes: usize,
) -> Status {
    let mut last = false;
    // SAFETY: the caller's promise.
    let status = unsafe {
        run(
            session,
            (rows, rows_bytes),
            (logits, classes),
            (message, message_bytes),
            |session, rows, logits| {
                session.inner.push_rows(rows, logits, &mut session.watch).map(|whole| last = whole)
            },
        )
    };
    // SAFETY: the caller's promise.
    if let Some(done) = unsafe { done.as_mut() } {
        *done = last.into();
    }
    status
}

/// Gives up an image of which rows were pushed: the next ones are the first of another. NULL is allowed.
///
/// # Safety
///
/// `session` is NULL or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lrpet_restart(session: *mut Session) {
    // SAFETY: the caller's promise.
    if let Some(session) = unsafe { session.as_mut() } {
        session.inner.restart();
    }
}

/// Rows that lrpet_push_rows takes at a time: any multiple, and at the end what is left. 0 where `session` is NULL.
///
/// # Safety
///
/// `session` is NULL or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lrpet_rows_together(session: *const Session) -> usize {
    // SAFETY: the caller's promise.
    unsafe { session.as_ref() }.map_or(0, |session| session.inner.rows_together())
}

/// As lrpet_run_image on `count` = channels * height * width values, channel by channel: those of a picture normalised already, or
/// whatever a model of values takes.
///
/// # Safety
///
/// Pointers are NULL or valid for the sizes that are given; `session` is open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lrpet_run_values(
    session: *mut Session,
    values: *const f32,
    count: usize,
    logits: *mut f32,
    classes: usize,
    message: *mut c_char,
    message_bytes: usize,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        run(
            session,
            (values, count),
            (logits, classes),
            (message, message_bytes),
            |session, values, logits| session.inner.run_values(values, logits, &mut session.watch),
        )
    }
}

/// Runs the samples that the model file carries and compares with the logits that it states, one by one: a logit that is off by
/// more than roundings explain is LRPET_CHECK. `logits` is room for one float a class.
///
/// # Safety
///
/// Pointers are NULL or valid for the sizes that are given; `session` is open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lrpet_check(
    session: *mut Session,
    logits: *mut f32,
    classes: usize,
    message: *mut c_char,
    message_bytes: usize,
) -> Status {
    // SAFETY: the caller's promise.
    let (session, mut message) = unsafe { (session.as_mut(), Message::new(message, message_bytes)) };
    let Some(session) = session.filter(|_| !logits.is_null()) else {
        return message.say(LRPET_NULL, "session or logits is NULL");
    };
    if !logits.is_aligned() {
        return message.say(LRPET_LOGITS, UNALIGNED_LOGITS);
    }
    // SAFETY: the caller's promise.
    let logits = unsafe { core::slice::from_raw_parts_mut(logits, classes) };
    let Some(check) = session.model.self_check() else { return LRPET_OK };
    for sample in 0..check.samples() {
        if let Err(error) = session.inner.run_sample(&check, sample, logits, &mut session.watch) {
            return message.say(failure(&error), error);
        }
        let comparison = Comparison::by(&session.inner, logits, &check, sample);
        if !comparison.passes() {
            let Comparison { class, expected_class, max_abs_diff, tolerance } = comparison;
            let (off, allowed) = (Brief(max_abs_diff), Brief(tolerance));
            let what = format_args!(
                "sample {sample}: class {class}, and {expected_class} in the file; logits differ by {off}, more than \
                 {allowed}"
            );
            return message.say(LRPET_CHECK, what);
        }
    }
    LRPET_OK
}

/// Ends a session; its arena is free again. NULL is allowed.
///
/// # Safety
///
/// `session` is NULL or open, and not used afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lrpet_close(session: *mut Session) {
    if !session.is_null() {
        // SAFETY: lrpet_open wrote it there.
        unsafe { session.drop_in_place() };
    }
}

/// The bytes at `bytes`; `None` for NULL.
///
/// # Safety
///
/// They are there and stay as they are.
unsafe fn bytes(bytes: *const u8, count: usize) -> Option<&'static [u8]> {
    // SAFETY: the caller's promise.
    (!bytes.is_null()).then(|| unsafe { core::slice::from_raw_parts(bytes, count) })
}

/// Checks and plans a model.
fn open(bytes: &'static [u8], message: &mut Message) -> Result<(Model<'static>, Plan), Status> {
    // Before anything that the processor might not have.
    machine::check().map_err(|error| message.say(LRPET_CORE, error))?;
    let model = Model::new_checked(bytes).map_err(|error| message.say(LRPET_MODEL, error))?;
    let plan = Plan::new(model.program(), Isa::detect()).map_err(|error| message.say(LRPET_MODEL, error))?;
    Ok((model, plan))
}

/// Nothing in the library panics on what it is given; should it yet, the program stops here.
#[cfg(not(feature = "std"))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
