//! Runs a model in a caller's arena.

mod error;
#[cfg(any(feature = "std", feature = "general"))]
mod general;
mod strips;

use core::ops::Range;

pub use error::{RunError, SessionError};

use crate::kernel::{self, Arithmetic, Buffers, Isa, Layer, Output, Planes, Second, f16};
use crate::machine;
#[cfg(feature = "std")]
use crate::model::program::MAX_INPUT_CHANNELS;
use crate::model::{FEW_INPUTS, GENERAL, Header, InputKind, Model, Op, STREAMS};
use crate::plan::{ALIGNMENT, Node, Part, Placer, Plan, Step, Windows, parts};

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
pub struct Session<'a> {
    model: &'a [u8],
    header: Header,
    isa: Isa,
    steps: &'a [Step],
    /// Of all joins, one after another.
    #[cfg_attr(not(any(feature = "std", feature = "general")), allow(dead_code))]
    parts: &'a [Part],
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
    /// Threads that share each packed layer.
    #[cfg(feature = "std")]
    team: Option<kernel::Team>,
    /// Each channel's 256 normalised bytes.
    #[cfg(feature = "std")]
    normalised: std::vec::Vec<u16>,
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
        let (mut count, mut first_part) = (0, 0);
        // A file is below 4 GiB, and the records lie in it.
        let records = program.records().as_ptr().addr().wrapping_sub(model.bytes().as_ptr().addr());
        let mut streamed = false;
        let mut placer = Placer::new(program, isa, windows)?;
        let input = placer.input().offset(space.len());
        let mut offsets = model.offsets();
        for step in steps.iter_mut() {
            let Some((layer, placement)) = placer.next_step()? else { break };
            let tensors = offsets(&layer.op, layer.input)?;
            let own = (records + layer.record, first_part);
            *step = Step::new(&layer, tensors, &placement, space.len(), own);
            if GENERAL && let Op::Join(join) = &layer.op {
                let places = placement.inputs.iter().zip(&layer.input_shapes);
                for (place, shape) in places.take(join.inputs.values().len()) {
                    let offset = place.map_or(0, |place| place.offset(space.len()));
                    let to = joins.get_mut(first_part).ok_or(too_small)?;
                    *to = [offset as u32, shape.size(join.axis)];
                    first_part += 1;
                }
            }
            let (begun, ops, strip) = placer.begun();
            if !begun.is_empty() {
                step.begin(ops, strip);
                streamed |= layer.index == 0 && begun.len() > ops.into();
                let to = nodes.get_mut(count..count + begun.len()).ok_or(too_small)?;
                to.copy_from_slice(begun);
                count += begun.len();
            }
        }
        let header = *program.header();
        let input = input..input + header.input.len() * 2;
        #[cfg(feature = "std")]
        let packed = pack(isa, Arithmetic::F32, kernel::Method::Fastest, steps, model.bytes());
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
            nodes,
            streamed,
            pushed: 0,
            space,
            input,
            plan,
            arithmetic: Arithmetic::F32,
            #[cfg(feature = "std")]
            method: kernel::Method::Fastest,
            #[cfg(feature = "std")]
            packed,
            #[cfg(feature = "std")]
            team: None,
            #[cfg(feature = "std")]
            normalised,
        })
    }

    /// This session with the products of its convolutions summed in `arithmetic`, for which it packs their weights anew.
    /// f32 unless this is called; see [`Arithmetic::F16`] for what else costs. Refused where [`Session::isa`] lacks it.
    #[cfg(feature = "std")]
    pub fn with_arithmetic(mut self, arithmetic: Arithmetic) -> Result<Self, SessionError<'a>> {
        if !self.isa.has(arithmetic) {
            return Err(SessionError::Arithmetic(self.isa, arithmetic));
        }
        if arithmetic != self.arithmetic || self.packed.is_empty() {
            self.packed = pack(self.isa, arithmetic, self.method, self.steps, self.model);
            self.arithmetic = arithmetic;
        }
        Ok(self)
    }

    /// This session with its convolutions computed by `method`, for which it packs their weights anew; the fastest unless
    /// this is called. With [`kernel::Method::Direct`] logits have the bits that every f32 session on weights in place has.
    #[cfg(feature = "std")]
    pub fn with_method(mut self, method: kernel::Method) -> Self {
        if method != self.method || self.packed.is_empty() {
            self.packed = pack(self.isa, self.arithmetic, method, self.steps, self.model);
            self.method = method;
        }
        self
    }

    /// The packed weights of a layer, where they are in use: logits are computed on weights in place.
    #[cfg(feature = "std")]
    fn packed(&self, layer: usize) -> Option<&kernel::PackedConv> {
        self.steps.get(layer)?.output()?;
        self.packed.get(layer)?.as_ref()
    }

    /// The tiles by which the layer with this index is computed, in Winograd's way; `None` where every product is made.
    #[cfg(feature = "std")]
    pub fn tile(&self, layer: usize) -> Option<kernel::WinogradTile> {
        self.packed(layer)?.tile()
    }

    /// How the convolution with this index is computed on packed weights, in a word or two for reports; `None` of other layers,
    /// and of weights in place.
    #[cfg(feature = "std")]
    pub fn form(&self, layer: usize) -> Option<&'static str> {
        Some(self.packed(layer)?.form())
    }

    /// Bytes on the heap for weights that were widened or transformed, and put in the order of the kernels, when the session began; 0 on
    /// instruction sets that read them in place.
    #[cfg(feature = "std")]
    pub fn packed_bytes(&self) -> usize {
        self.packed.iter().flatten().map(kernel::PackedConv::bytes).sum()
    }

    /// Gives those bytes back: all weights are read in place from now on, more slowly, and with f32 arithmetic. Logits
    /// stay the same to the bit if that was in use, and [`kernel::Method::Direct`].
    #[cfg(feature = "std")]
    pub fn in_place(mut self) -> Self {
        self.packed = std::vec::Vec::new();
        self.arithmetic = Arithmetic::F32;
        self
    }

    /// Shares every layer that takes long enough among this many threads, the one that calls included (1024 at most); linear
    /// layers stored as a pair, shortcuts and convolutions on weights that are not packed stay on one. Logits are the same to
    /// the bit. Fails where the system gives no thread.
    #[cfg(feature = "std")]
    pub fn with_threads(mut self, threads: core::num::NonZeroUsize) -> std::io::Result<Self> {
        let packed = self.packed.iter().flatten().map(kernel::PackedConv::scratch);
        let in_place = self.steps.iter().map(|step| step.scratch().len() / size_of::<f32>());
        let scratch = packed.chain(in_place).max().unwrap_or(0);
        self.team = kernel::Team::new(threads, scratch)?;
        Ok(self)
    }

    /// Threads of an inference.
    #[cfg(feature = "std")]
    pub fn threads(&self) -> usize {
        self.team.as_ref().map_or(1, kernel::Team::threads)
    }

    /// Bytes on the heap for the scratch of further threads.
    #[cfg(feature = "std")]
    pub fn team_bytes(&self) -> usize {
        self.team.as_ref().map_or(0, kernel::Team::bytes)
    }

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
        self.pushed = 0;
        0..self.header.input.height as usize
    }

    /// Takes the next rows of an image as they arrive, one or more: as bytes, row by row, channels interleaved. True when these were
    /// the last and the logits are there; they are those of [`Session::run_image`], to the bit. Where the schedule begins with a stream
    /// that reads the image, its layers run meanwhile and the image is nowhere whole; elsewhere its rows are kept.
    ///
    /// # Errors
    /// [`RunError::Rows`] where these are no whole rows, more than there are left, or no multiple of [`Session::rows_together`] before the
    /// last: nothing has happened then. What else goes wrong ends the image: the next rows are the first of another, as they are after
    /// [`Session::run_image`].
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
        let (mut layer, mut nodes) = (0, &mut *self.nodes);
        while let Some(step) = self.steps.get(layer) {
            if STREAMS && let Some((ops, strip)) = step.stream() {
                let image = self.streamed && layer == 0;
                let count = (ops + usize::from(image)).min(nodes.len());
                let (own, rest) = nodes.split_at_mut(count);
                nodes = rest;
                let mut run = strips::Run {
                    isa: self.isa,
                    model: self.model,
                    steps: self.steps.get(layer..layer + ops).ok_or(RunError::Corrupt { layer })?,
                    first: layer,
                    space: self.space,
                    image: image.then_some((self.input.start, self.header.input)),
                };
                // A streamed image has no more rows than that.
                let given = if image { given.start as u16..given.end as u16 } else { 0..0 };
                let more = image && more;
                let done =
                    run.all(own, strip, (given, more), |which, to, plane| rows.write(which, to, plane), hook);
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
            #[cfg(any(feature = "std", feature = "general"))]
            let done = match step.is_general() {
                true => general::execute(step, self.model, self.parts, self.space, logits),
                false => execute(self.isa, step, self.model, packed, self.space, logits),
            };
            #[cfg(not(any(feature = "std", feature = "general")))]
            let done = execute(self.isa, step, self.model, packed, self.space, logits);
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

/// What an inference is made of.
#[derive(Clone, Copy)]
enum Source<'v> {
    /// Bytes, row by row, channels interleaved.
    Image(&'v [u8]),
    /// Normalised values, channel by channel.
    Values(&'v [f32]),
}

/// Writes rows of an image as a session stores them.
struct ImageRows<'v> {
    /// Row that the source begins with.
    first: usize,
    header: &'v Header,
    /// Each channel's 256 normalised bytes.
    #[cfg(feature = "std")]
    normalised: &'v [u16],
    source: Source<'v>,
}

impl ImageRows<'_> {
    /// Writes some rows to `to`, where `plane` values lie from one channel's first to the next one's.
    fn write(&self, rows: Range<usize>, to: &mut [u16], plane: usize) {
        // A checked model has no empty input; so the compiler knows it too.
        let [channels, height, width] =
            [self.header.input.channels, self.header.input.height, self.header.input.width]
                .map(|size| (size as usize).max(1));
        let planes = to.chunks_mut(plane.max(1)).take(channels);
        for (channel, to) in planes.enumerate() {
            let normalisation = self.header.normalisation(channel);
            let to = to.get_mut(..rows.len() * width).unwrap_or_default();
            let image = match self.source {
                Source::Values(values) => {
                    let values = values.get((channel * height + rows.start) * width..).unwrap_or_default();
                    to.iter_mut().zip(values).for_each(|(to, x)| *to = f16::narrow(*x));
                    continue;
                }
                Source::Image(image) => {
                    let row = rows.start.saturating_sub(self.first);
                    image.get(row * width * channels + channel..).unwrap_or_default()
                }
            };
            let values = image.iter().step_by(channels);
            #[cfg(feature = "std")]
            let own = if channels > MAX_INPUT_CHANNELS { 0 } else { channel };
            #[cfg(feature = "std")]
            if let Some(table) =
                self.normalised.get(own * TABLE..).and_then(|tables| tables.first_chunk::<TABLE>())
            {
                to.iter_mut().zip(values).for_each(|(to, x)| *to = table[usize::from(*x)]);
                continue;
            }
            #[cfg(not(feature = "std"))]
            if to.len() > TABLE {
                // On the stack, for this channel.
                let table: [u16; TABLE] = core::array::from_fn(|x| normalise(x as u8, normalisation));
                // Cheaper than steps of an iterator, where nothing unrolls them.
                let mut pixels = image;
                for to in to {
                    let Some(x) = pixels.first() else { break };
                    *to = table[usize::from(*x)];
                    pixels = pixels.get(channels..).unwrap_or_default();
                }
                continue;
            }
            to.iter_mut().zip(values).for_each(|(to, x)| *to = normalise(*x, normalisation));
        }
    }
}

/// The packed weights of each step that has some. Those of a stream are read in place: packed ones are for maps that are computed whole.
#[cfg(feature = "std")]
fn pack(
    isa: Isa,
    arithmetic: Arithmetic,
    method: kernel::Method,
    steps: &[Step],
    model: &[u8],
) -> std::vec::Vec<Option<kernel::PackedConv>> {
    let mut left = 0;
    let pack = |step: &Step| {
        left = step.stream().map_or(left, |(ops, _)| ops);
        let streamed = left > 0;
        left = left.saturating_sub(1);
        if streamed { None } else { kernel::PackedConv::new(isa, arithmetic, method, &step.layer(model)?) }
    };
    steps.iter().map(pack).collect()
}

/// Values of a byte.
const TABLE: usize = 256;

/// A byte of an image as f16 bits, by the mean and the standard deviation of its channel.
#[cfg_attr(not(feature = "std"), inline(never))]
fn normalise(x: u8, (mean, std): (f32, f32)) -> u16 {
    f16::narrow((f32::from(x) / 255.0 - mean) / std)
}

/// A step's packed weights, and the threads that share it.
#[cfg(feature = "std")]
type Packed<'a> = (Option<&'a kernel::PackedConv>, Option<&'a mut kernel::Team>);
/// Nothing is packed without memory for it.
#[cfg(not(feature = "std"))]
type Packed<'a> = ();

/// Executes one step in `space`; `None` where its ranges overlap or leave the space, which planning rules out.
fn execute(
    isa: Isa,
    step: &Step,
    model: &[u8],
    packed: Packed<'_>,
    space: &mut [u8],
    logits: &mut [f32],
) -> Option<()> {
    if let Some(parts) = step.parts() {
        return concatenate(isa, parts, step.output(), space, logits);
    }
    let layer = step.layer(model)?;
    // A value that the step lacks is an empty range at the end, which overlaps nothing.
    let none = space.len()..space.len();
    let output = step.output();
    let in_place = output.is_some() && step.second() == output;
    let other = step.second().filter(|_| !in_place);
    // A value added to itself.
    let twice = other.as_ref() == Some(&step.input());
    let ranges = [
        step.input(),
        other.clone().filter(|_| !twice).unwrap_or(none.clone()),
        output.clone().unwrap_or(none),
        step.scratch(),
    ];
    let [input, second, result, scratch] = space.get_disjoint_mut(ranges).ok()?;
    let input: &[u16] = bytemuck::try_cast_slice(input).ok()?;
    let second = match other {
        _ if in_place => Second::InPlace,
        None => Second::None,
        Some(_) if twice => Second::Other(input),
        Some(_) => Second::Other(bytemuck::try_cast_slice(second).ok()?),
    };
    let output = match output {
        Some(_) => Output::Half(bytemuck::try_cast_slice_mut(result).ok()?),
        None => Output::Full(logits),
    };
    let scratch = bytemuck::try_cast_slice_mut(scratch).ok()?;
    let buffers = Buffers { input, second, output, scratch, planes: Planes::default() };
    #[cfg(feature = "std")]
    {
        let (mut buffers, (packed, mut team)) = (buffers, packed);
        if !packed.is_some_and(|conv| kernel::run_packed(isa, conv, &mut buffers, team.as_deref_mut())) {
            kernel::run_shared(isa, &layer, buffers, team);
        }
    }
    #[cfg(not(feature = "std"))]
    {
        let () = packed;
        kernel::run(isa, &layer, buffers);
    }
    Some(())
}

/// Copies `parts`, ranges of `space`, one after another to the range `output`, or to the logits where there is none.
fn concatenate(
    isa: Isa,
    parts: [Range<usize>; FEW_INPUTS],
    output: Option<Range<usize>>,
    space: &mut [u8],
    logits: &mut [f32],
) -> Option<()> {
    let mut start = 0;
    for part in parts {
        let length = part.len();
        let (input, output) = match &output {
            Some(output) => {
                let to = output.start.checked_add(start)?;
                let [input, result] = space.get_disjoint_mut([part, to..to.checked_add(length)?]).ok()?;
                (&*input, Output::Half(bytemuck::try_cast_slice_mut(result).ok()?))
            }
            None => (space.get(part)?, Output::Full(logits.get_mut(start / 2..(start + length) / 2)?)),
        };
        let input = bytemuck::try_cast_slice(input).ok()?;
        kernel::run(
            isa,
            &Layer::Copy,
            Buffers { input, second: Second::None, output, scratch: &mut [], planes: Planes::default() },
        );
        start += length;
    }
    Some(())
}
