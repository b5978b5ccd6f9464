//! Goes through a program and finds a place for each value.

use super::place::{Place, Side, Space};
use super::stream::Node;
use super::windows::{Dying, Windows};
use super::{ALIGNMENT, PlanError};
use crate::kernel::{self, Isa};
use crate::model::{
    GENERAL, LayerInfo, MAX_INPUTS, Op, Program, STREAMS, Schedule, Shape, Stretch, Walk, op_name,
};

/// Where the values of one step lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placement {
    /// Of the values read, in order, but for an addition that overwrites its first summand: then that one is second.
    pub(crate) inputs: [Option<Place>; MAX_INPUTS],
    /// `None` for the logits, which go to the caller.
    pub(crate) output: Option<Place>,
    pub(crate) scratch: Place,
    /// Extent that the step needs.
    pub(super) need: usize,
    /// Scratch beyond which nothing is gained, bytes.
    pub(super) most: usize,
    /// Extents of the values at both ends.
    taken: [usize; 2],
}

impl Placement {
    /// Extent in which the step has the most scratch that it can use; `None` where the address space is exceeded.
    pub(super) fn fastest(&self) -> Option<usize> {
        if self.most <= self.scratch.bytes {
            return Some(self.need);
        }
        let [low, high] = self.taken;
        Some(low.checked_add(high)?.checked_add(self.most)?.max(self.need))
    }

    /// Begin and bytes of the scratch in a space of `space` bytes: where it was placed, or between the values at both ends
    /// where that is more of use.
    pub(crate) fn scratch_in(&self, space: usize) -> [usize; 2] {
        let [low, high] = self.taken;
        let between = space.saturating_sub(low.saturating_add(high)).min(self.most);
        match between > self.scratch.bytes {
            true => [low, between],
            false => [self.scratch.offset(space), self.scratch.bytes],
        }
    }
}

/// Goes through a program and places its values.
pub(crate) struct Placer<'a, 'w> {
    walk: Walk<'a>,
    space: Space,
    isa: Isa,
    schedule: Schedule<'a>,
    /// The next operation.
    next: usize,
    /// Operations that are left of a stretch by layers.
    layers: usize,
    /// Room for the windows of a stream, where the schedule has some.
    windows: Option<&'w mut Windows>,
    /// True while a stream is under way; what it reads last.
    streaming: bool,
    dying: Dying,
    /// True where the last operation began a stream.
    begun: bool,
    /// Shape of the input, and where it or its window lies.
    image: Shape,
    input: Place,
}

impl<'a, 'w> Placer<'a, 'w> {
    /// In front of `program`, which [`Placer::start`] begins; a schedule with streams needs room for their windows, some KB of stack
    /// that others do without. Without a `Result`, it is built where the caller keeps it, and once.
    pub(crate) fn new(program: &Program<'a>, isa: Isa, windows: Option<&'w mut Windows>) -> Self {
        Self {
            walk: Walk::new(program),
            space: Space::new(),
            isa,
            schedule: program.schedule(),
            next: 0,
            layers: 0,
            windows,
            streaming: false,
            dying: Dying::default(),
            begun: false,
            image: program.header().input,
            input: Place::EMPTY,
        }
    }

    /// Places the input. To be called once, before the first step.
    pub(crate) fn start(&mut self) -> Result<(), PlanError<'a>> {
        if !self.isa.is_planned() {
            return Err(PlanError::Isa(self.isa));
        }
        let image = self.image;
        if self.schedule.split().is_some_and(|(first, _)| self.takes_the_image(first)) {
            self.enter()?;
            let row = image.len() / (image.height as usize).max(1);
            let place = self.windows().and_then(|windows| windows.image(row));
            self.input = place.unwrap_or(Place::EMPTY);
        } else {
            let too_large = PlanError::TooLarge { index: 0, layer: "input" };
            let bytes = image.len().checked_mul(2).ok_or(too_large)?;
            self.input = self.space.place(bytes, Side::High).ok_or(too_large)?;
            self.space.keep(0, self.input);
        }
        Ok(())
    }

    /// True where the first stretch is a stream with all that reads the image.
    #[inline(never)]
    fn takes_the_image(&self, first: Stretch) -> bool {
        let behind = usize::from(first.ops);
        let reads = |layer: LayerInfo<'_>| layer.index >= behind && layer.op.inputs().values().contains(&0);
        first.strip > 0 && !self.walk.clone().any(reads)
    }

    /// Place of the input image, or of its window.
    pub(crate) fn input(&self) -> Place {
        self.input
    }

    /// Those of the stream that is under way.
    fn windows(&self) -> Option<&Windows> {
        self.windows.as_deref().filter(|_| STREAMS && self.streaming)
    }

    /// Goes on to the stretch of the next operation.
    fn enter(&mut self) -> Result<(), PlanError<'a>> {
        while self.layers == 0 && !self.streaming {
            let Some((stretch, rest)) = self.schedule.split() else {
                self.layers = usize::MAX;
                break;
            };
            self.schedule = rest;
            if let Stretch { ops, strip: 0, .. } = stretch {
                self.layers = ops.into();
            } else {
                self.begin(stretch)?;
            }
        }
        Ok(())
    }

    /// Begins a stream. Apart, so that a program without one needs no stack for it.
    #[inline(never)]
    fn begin(&mut self, stretch: Stretch) -> Result<(), PlanError<'a>> {
        let image = self.next == 0 && self.space.is_empty();
        let too_large = PlanError::TooLarge { index: self.next, layer: "stream" };
        // There is room wherever there are streams.
        let windows = self.windows.as_deref_mut().ok_or(too_large)?;
        windows.begin(&self.walk, self.next, stretch, image, (self.isa, &mut self.space))?;
        self.dying = Dying::default();
        (self.streaming, self.begun) = (true, true);
        Ok(())
    }

    /// The nodes of the stream that the last operation returned begins, its operations, and the rows of a strip; none where it
    /// begins none.
    pub(crate) fn begun(&self) -> (&[Node], u8, u8) {
        match self.windows().filter(|_| self.begun) {
            Some(windows) => (windows.nodes(), windows.ops() as u8, windows.strip() as u8),
            None => (&[], 0, 0),
        }
    }

    /// The next operation and its places.
    pub(crate) fn next_step(&mut self) -> Result<Option<(LayerInfo<'a>, Placement)>, PlanError<'a>> {
        if let Some(windows) = self.windows.as_deref().filter(|_| STREAMS && self.streaming)
            && windows.end() == self.next
        {
            windows.finish(&mut self.space, self.dying.values());
            self.streaming = false;
        }
        // The first stretch was entered at the beginning where the image is part of it.
        self.begun = self.next == 0 && self.streaming;
        self.enter()?;
        let Some(layer) = self.walk.next() else { return Ok(None) };
        self.next += 1;
        let placement = match self.windows.as_deref().filter(|_| STREAMS && self.streaming) {
            Some(windows) => {
                let (inputs, output) = windows.places(&layer, &self.space);
                for (&value, _) in
                    layer.op.inputs().values().iter().zip(layer.last_read).filter(|(_, dies)| *dies)
                {
                    self.dying.push(value);
                }
                let (scratch, need) = (windows.scratch(&layer), windows.need());
                // Its scratch is that of all its operations.
                Placement { inputs, output: Some(output), scratch, need, most: 0, taken: [0; 2] }
            }
            None => {
                self.layers = self.layers.saturating_sub(1);
                self.by_layers(&layer)?
            }
        };
        Ok(Some((layer, placement)))
    }

    /// Places of an operation whose values lie whole.
    #[inline(never)]
    fn by_layers(&mut self, layer: &LayerInfo<'a>) -> Result<Placement, PlanError<'a>> {
        let index = layer.index;
        let too_large = PlanError::TooLarge { index, layer: op_name(&layer.op) };
        let values = layer.op.inputs();
        let mut inputs = [None; MAX_INPUTS];
        for (place, &value) in inputs.iter_mut().zip(values.values()) {
            *place = Some(self.space.get(usize::from(value)));
        }
        let [first_dies, second_dies, ..] = layer.last_read;
        if matches!(layer.op, Op::Add { .. }) && first_dies && !second_dies {
            // Only the second may be overwritten.
            inputs.swap(0, 1);
        }
        let [first, second, ..] = inputs;
        let input = first.unwrap_or(self.space.get(usize::from(values.first())));
        // A value that the result is added to, and nothing reads afterwards, is overwritten.
        let dying_summand = second.filter(|&second| {
            second != input
                && match layer.op {
                    Op::Add { .. } => first_dies || second_dies,
                    Op::Concat(_) => false,
                    Op::Binary(_) | Op::Join(_) | Op::Outputs(_) if GENERAL => false,
                    _ => second_dies,
                }
        });
        let output = match dying_summand {
            _ if layer.last_use.is_none() => None,
            Some(summand) => Some(summand),
            None => {
                let bytes = layer.output.len().checked_mul(2).ok_or(too_large)?;
                Some(self.space.place(bytes, input.side.other()).ok_or(too_large)?)
            }
        };
        // Kept at once, so that the scratch is placed beside it; an overwritten value keeps its place till then.
        let fresh = output.filter(|output| Some(*output) != second);
        fresh.into_iter().for_each(|output| _ = self.space.keep(index + 1, output));
        let bytes = |words: usize| words.checked_mul(size_of::<f32>()).ok_or(too_large);
        let [scratch, most] = kernel::scratch_range(self.isa, &layer.op, layer.input);
        let most = bytes(most)?.checked_next_multiple_of(ALIGNMENT).ok_or(too_large)?;
        let scratch = self.space.place(bytes(scratch)?, input.side).ok_or(too_large)?;
        let taken = self.space.extents();
        let need = self.space.extent_with(scratch).ok_or(too_large)?;
        for (&value, _) in values.values().iter().zip(layer.last_read).filter(|(_, dies)| *dies) {
            self.space.release(usize::from(value));
        }
        if fresh.is_none() {
            output.into_iter().for_each(|output| _ = self.space.keep(index + 1, output));
        }
        Ok(Placement { inputs, output, scratch, need, most, taken })
    }
}
