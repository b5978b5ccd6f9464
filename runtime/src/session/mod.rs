//! Runs a model in a caller's arena.

mod built;
mod error;
mod execute;
#[cfg(any(feature = "std", feature = "general"))]
mod general;
mod image;
#[cfg(feature = "std")]
mod packed;
mod resolve;
mod strips;

use core::marker::PhantomData;
use core::ops::Range;

pub use error::{RunError, SessionError};

#[cfg(feature = "std")]
use crate::kernel;
use crate::kernel::{Any, Arithmetic, Cut, Isa, Operations, Set};
use crate::machine;
#[cfg(feature = "std")]
use crate::model::program::MAX_INPUT_CHANNELS;
use crate::model::{GENERAL, Header, InputKind, Model, STREAMS, SelfCheck};
use crate::plan::{ALIGNMENT, Node, Part, Plan, Step, Tensors, Windows, parts};
use execute::execute;
#[cfg(feature = "std")]
use image::normalise;
use image::{ImageRows, Source};
#[cfg(feature = "std")]
use packed::pack;
pub(crate) use resolve::{Tables, resolve};

/// Called around each layer: a clock, a watchdog, a progress display. In a stream, a layer runs once for each strip of its rows.
pub trait Hook {
    /// Before the layer with this index is executed.
    fn before(&mut self, _layer: usize) {}
    /// After it.
    fn after(&mut self, _layer: usize) {}
    /// Behind [`Hook::after`]: what the layer stored, as bits of f16, C×H×W. Not called for the logits, which are not stored,
    /// nor for the layers of a stream.
    #[inline(always)]
    fn stored(&mut self, _layer: usize, _values: &[u16]) {}
}

impl Hook for () {}

/// Memory for a session, aligned as it must be.
#[derive(Clone, Debug)]
#[repr(C, align(16))]
pub struct Arena<const N: usize>(pub [u8; N]);

impl<const N: usize> Default for Arena<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

/// A model ready to run: its table of steps and its activations lie in the arena.
#[derive(Debug)]
pub struct Session<'a, U: Operations = Any> {
    model: &'a [u8],
    header: Header,
    isa: Isa,
    steps: &'a [Step],
    /// Of all joins, one after another.
    #[cfg_attr(not(any(feature = "std", feature = "general")), allow(dead_code))]
    parts: &'a [Part],
    /// How each convolution is cut up, where that is known.
    cuts: &'a [Cut],
    /// Of all streams, one after another.
    nodes: &'a mut [Node],
    /// True where the image is not stored whole.
    streamed: bool,
    /// Rows of an image that were pushed so far.
    pushed: usize,
    /// Activations and scratch.
    space: &'a mut [u8],
    /// Where the input image goes.
    input: Range<usize>,
    plan: Plan,
    arithmetic: Arithmetic,
    #[cfg(feature = "std")]
    method: kernel::Method,
    /// For each step its packed weights, where it has some.
    #[cfg(feature = "std")]
    packed: std::vec::Vec<Option<kernel::PackedConv>>,
    /// Weights of 8 bits as bits of f16, where the kernels do not read them in place.
    #[cfg(feature = "std")]
    widened: std::vec::Vec<u16>,
    /// Threads that share each packed layer.
    #[cfg(feature = "std")]
    team: Option<kernel::Team>,
    /// Each channel's 256 normalised bytes.
    #[cfg(feature = "std")]
    normalised: std::vec::Vec<u16>,
    used: PhantomData<U>,
}

impl<'a> Session<'a> {
    /// Resolves `model` into `arena`, for the best instruction set of this machine. The arena must begin at a multiple
    /// of 16 bytes and have at least the bytes that [`Plan::new`] states for [`Isa::detect`]; what it has beyond them, up to
    /// [`Plan::fastest_bytes`], is used.
    pub fn new<'m: 'a>(model: &Model<'m>, arena: &'a mut [u8]) -> Result<Session<'a>, SessionError<'m>> {
        Self::with_isa(model, arena, Isa::detect())
    }

    /// As [`Session::new`] for an instruction set, which this machine must have.
    pub fn with_isa<'m: 'a>(
        model: &Model<'m>,
        arena: &'a mut [u8],
        isa: Isa,
    ) -> Result<Session<'a>, SessionError<'m>> {
        if model.program().schedule().has_streams() {
            Self::in_streams(model, arena, isa)
        } else {
            Self::begin(model, arena, isa, None)
        }
    }

    /// Apart, so that a model without streams needs no stack for their windows.
    #[inline(never)]
    fn in_streams<'m: 'a>(
        model: &Model<'m>,
        arena: &'a mut [u8],
        isa: Isa,
    ) -> Result<Session<'a>, SessionError<'m>> {
        let mut windows = Windows::EMPTY;
        Self::begin(model, arena, isa, Some(&mut windows))
    }

    #[inline(never)]
    fn begin<'m: 'a>(
        model: &Model<'m>,
        arena: &'a mut [u8],
        isa: Isa,
        mut windows: Option<&mut Windows>,
    ) -> Result<Session<'a>, SessionError<'m>> {
        machine::check().map_err(SessionError::Machine)?;
        if !isa.is_available() {
            return Err(SessionError::Isa(isa));
        }
        let program = model.program();
        // One room for the windows of both passes: it takes some KB of stack.
        let plan = Plan::within(program, isa, windows.as_deref_mut())?;
        let given = arena.len();
        let used = given.min(plan.fastest_bytes) / ALIGNMENT * ALIGNMENT;
        let arena = arena.get_mut(..used).filter(|_| used >= plan.arena_bytes);
        let arena = arena.ok_or(SessionError::ArenaTooSmall { needed: plan.arena_bytes, given })?;
        if !arena.as_ptr().addr().is_multiple_of(ALIGNMENT) {
            return Err(SessionError::ArenaMisaligned);
        }
        let too_small = SessionError::ArenaTooSmall { needed: plan.arena_bytes, given };
        let (table, space) = arena.split_at_mut_checked(plan.table_bytes).ok_or(too_small)?;
        let (table, nodes) =
            table.split_at_mut_checked(program.len() * size_of::<Step>()).ok_or(too_small)?;
        let steps: &mut [Step] =
            bytemuck::try_cast_slice_mut(table).map_err(|_| SessionError::ArenaMisaligned)?;
        let joined = if GENERAL { program.layers().map(|layer| parts(&layer)).sum() } else { 0 };
        let (joins, nodes) = nodes.split_at_mut_checked(joined * size_of::<Part>()).ok_or(too_small)?;
        let joins: &mut [Part] =
            bytemuck::try_cast_slice_mut(joins).map_err(|_| SessionError::ArenaMisaligned)?;
        let whole = nodes.len() / size_of::<Node>() * size_of::<Node>();
        let nodes = nodes.get_mut(..whole).unwrap_or_default();
        let nodes: &mut [Node] =
            bytemuck::try_cast_slice_mut(nodes).map_err(|_| SessionError::ArenaMisaligned)?;
        let mut tables = Tables { steps, parts: joins, nodes };
        let resolved = resolve(model, isa, windows, &mut tables, space.len())?;
        let Tables { steps, parts: joins, nodes } = tables;
        let header = *program.header();
        #[cfg(feature = "std")]
        let mut widened = std::vec::Vec::new();
        #[cfg(feature = "std")]
        if !isa.reads_eights() {
            steps.iter_mut().for_each(|step| step.widen(model.bytes(), &mut widened));
        }
        #[cfg(feature = "std")]
        let tensors = Tensors { model: model.bytes(), widened: &widened };
        #[cfg(feature = "std")]
        let packed = pack(isa, Arithmetic::F32, kernel::Method::Fastest, steps, tensors);
        #[cfg(feature = "std")]
        let normalised = {
            // Of values, and of a picture with one normalisation for all its channels, no table for each is needed.
            let picture = header.kind == InputKind::Picture;
            let channels = if picture { header.input.channels as usize } else { 0 };
            let channels = if channels > MAX_INPUT_CHANNELS { 1 } else { channels };
            let channels = (0..channels).map(|channel| header.normalisation(channel));
            channels.flat_map(|channel| (0..=u8::MAX).map(move |x| normalise(x, channel))).collect()
        };
        Ok(Session {
            model: model.bytes(),
            header,
            isa,
            steps,
            parts: joins,
            cuts: &[],
            nodes,
            streamed: resolved.streamed,
            pushed: 0,
            space,
            input: resolved.input(&header),
            plan,
            arithmetic: Arithmetic::F32,
            #[cfg(feature = "std")]
            method: kernel::Method::Fastest,
            #[cfg(feature = "std")]
            packed,
            #[cfg(feature = "std")]
            widened,
            #[cfg(feature = "std")]
            team: None,
            #[cfg(feature = "std")]
            normalised,
            used: PhantomData,
        })
    }
}

impl<U: Operations> Session<'_, U> {
    /// The memory plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Bytes of the arena in use: [`Plan::arena_bytes`] or more, up to [`Plan::fastest_bytes`], as it was given.
    pub fn arena_bytes(&self) -> usize {
        self.plan.table_bytes + self.space.len()
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// What the products of convolutions are summed in.
    pub fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    /// Number of layers, for each of which a hook is called.
    pub fn layers(&self) -> usize {
        self.steps.len()
    }

    /// Number of values of the result: of a classifier, its classes.
    pub fn classes(&self) -> usize {
        self.header.classes as usize
    }

    /// One inference on an image of h·w·c bytes (row by row, channels interleaved); each pixel x enters as
    /// (x / 255 − mean) / std of its channel, rounded to f16.
    pub fn run_image(
        &mut self,
        image: &[u8],
        logits: &mut [f32],
        hook: &mut impl Hook,
    ) -> Result<(), RunError> {
        if self.header.kind == InputKind::Values {
            return Err(RunError::InputKind);
        }
        self.check(image.len(), logits.len())?;
        let rows = self.all_rows();
        self.run(Source::Image(image), rows, logits, hook)
    }

    /// One inference on c·h·w values that are normalised already; each is rounded to f16.
    pub fn run_values(
        &mut self,
        values: &[f32],
        logits: &mut [f32],
        hook: &mut impl Hook,
    ) -> Result<(), RunError> {
        self.check(values.len(), logits.len())?;
        if let Some(index) = values.iter().position(|x| !x.is_finite()) {
            return Err(RunError::InputNotFinite { index });
        }
        let rows = self.all_rows();
        self.run(Source::Values(values), rows, logits, hook)
    }

    /// One inference on sample `index` of the model's self-check: an image, or values.
    pub fn run_sample(
        &mut self,
        samples: &SelfCheck<'_>,
        index: usize,
        logits: &mut [f32],
        hook: &mut impl Hook,
    ) -> Result<(), RunError> {
        let (source, given) = match self.header.kind {
            InputKind::Picture => (Source::Image(samples.image(index)), samples.image(index).len()),
            InputKind::Values => (Source::Stored(samples.values(index)), samples.values(index).len()),
        };
        self.check(given, logits.len())?;
        let rows = self.all_rows();
        self.run(source, rows, logits, hook)
    }

    fn check(&self, input: usize, logits: usize) -> Result<(), RunError> {
        let (needed, classes) = (self.header.input.len(), self.classes());
        if input != needed {
            return Err(RunError::InputLength { needed, given: input });
        }
        if logits != classes {
            return Err(RunError::LogitsLength { needed: classes, given: logits });
        }
        Ok(())
    }

    /// All rows of an image, where none were pushed.
    fn all_rows(&mut self) -> Range<usize> {
        self.restart();
        0..self.header.input.height as usize
    }

    /// Gives up an image of which rows were pushed: the next ones are the first of another.
    pub fn restart(&mut self) {
        self.pushed = 0;
    }

    /// Takes the next rows of an image as they arrive, one or more: as bytes, row by row, channels interleaved. True when these were
    /// the last and the logits are there; they are those of [`Session::run_image`], to the bit. Where the schedule begins with a stream
    /// that reads the image, its layers run meanwhile and the image is nowhere whole; elsewhere its rows are kept.
    ///
    /// # Errors
    /// [`RunError::Rows`] where these are no whole rows, more than there are left, or no multiple of [`Session::rows_together`] before the
    /// last; [`RunError::LogitsLength`]: nothing has happened then, and the image goes on with the same rows. What else goes wrong ends
    /// the image: the next rows are the first of another, as they are after [`Session::run_image`] and [`Session::restart`].
    pub fn push_rows(
        &mut self,
        rows: &[u8],
        logits: &mut [f32],
        hook: &mut impl Hook,
    ) -> Result<bool, RunError> {
        if self.header.kind == InputKind::Values {
            return Err(RunError::InputKind);
        }
        let (input, together) = (self.header.input, self.rows_together());
        let (row, height) = ((input.channels * input.width) as usize, input.height as usize);
        let count = rows.len() / row.max(1);
        let end = self.pushed.saturating_add(count);
        let whole = count > 0 && count * row == rows.len() && end <= height;
        if !whole || (end < height && !count.is_multiple_of(together)) {
            let left = height.saturating_sub(self.pushed);
            return Err(RunError::Rows { row, together, left, given: rows.len() });
        }
        self.check(input.len(), logits.len())?;
        let first = core::mem::replace(&mut self.pushed, 0);
        self.run(Source::Image(rows), first..end, logits, hook)?;
        if end < height {
            self.pushed = end;
        }
        Ok(end == height)
    }

    /// Rows that [`Session::push_rows`] takes at a time: any multiple, and at the end what is left.
    pub fn rows_together(&self) -> usize {
        let strip = self.steps.first().filter(|_| self.streamed).and_then(Step::stream);
        strip.map_or(1, |(_, strip)| strip.into())
    }

    /// Runs on the image's rows `given`, as far as it goes on them.
    fn run(
        &mut self,
        source: Source<'_>,
        given: Range<usize>,
        logits: &mut [f32],
        hook: &mut impl Hook,
    ) -> Result<(), RunError> {
        let more = given.end < self.header.input.height as usize;
        let rows = ImageRows {
            first: given.start,
            header: &self.header,
            #[cfg(feature = "std")]
            normalised: &self.normalised,
            source,
        };
        if !self.streamed {
            let input = self.space.get_mut(self.input.clone()).unwrap_or_default();
            let input = bytemuck::try_cast_slice_mut(input).unwrap_or_default();
            let begin = given.start * self.header.input.width as usize;
            let input = input.get_mut(begin..).unwrap_or_default();
            rows.write(given.clone(), input, self.header.input.pixels());
            if more {
                return Ok(());
            }
        }
        let tensors = Tensors {
            model: self.model,
            #[cfg(feature = "std")]
            widened: &self.widened,
        };
        let (mut layer, mut nodes) = (0, &mut *self.nodes);
        while let Some(step) = self.steps.get(layer) {
            if STREAMS
                && U::USED.has(Set::STREAMS)
                && let Some((ops, strip)) = step.stream()
            {
                let image = self.streamed && layer == 0;
                let count = (ops + usize::from(image)).min(nodes.len());
                let (own, rest) = nodes.split_at_mut(count);
                nodes = rest;
                let mut run = strips::Run {
                    isa: self.isa,
                    tensors,
                    steps: self.steps.get(layer..layer + ops).ok_or(RunError::Corrupt { layer })?,
                    first: layer,
                    space: self.space,
                    image: image.then_some((self.input.start, self.header.input)),
                };
                // A streamed image has no more rows than that.
                let given = if image { given.start as u16..given.end as u16 } else { 0..0 };
                let more = image && more;
                let done = run.all::<U>(
                    own,
                    strip,
                    (given, more),
                    |which, to, plane| rows.write(which, to, plane),
                    hook,
                );
                done.map_err(|layer| RunError::Corrupt { layer })?;
                if more {
                    break;
                }
                layer += ops;
                continue;
            }
            #[cfg(feature = "std")]
            let packed = (self.packed.get(layer).and_then(Option::as_ref), self.team.as_mut());
            #[cfg(not(feature = "std"))]
            let packed = ();
            hook.before(layer);
            let which = (step, self.cuts.get(layer));
            #[cfg(any(feature = "std", feature = "general"))]
            let done = match U::USED.has(Set::GENERAL) && step.is_general() {
                true => general::execute(step, tensors.model, self.parts, self.space, logits),
                false => execute::<U>(self.isa, which, tensors, packed, self.space, logits),
            };
            #[cfg(not(any(feature = "std", feature = "general")))]
            let done = execute::<U>(self.isa, which, tensors, packed, self.space, logits);
            done.ok_or(RunError::Corrupt { layer })?;
            hook.after(layer);
            // Nothing is left of this for a hook that does not look.
            if let Some(output) = step.output() {
                let bytes = self.space.get(output).unwrap_or_default();
                hook.stored(layer, bytemuck::try_cast_slice(bytes).unwrap_or_default());
            }
            layer += 1;
        }
        Ok(())
    }
}
