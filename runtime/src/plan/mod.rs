//! Where each value lies: one arena, its exact size known without any memory and the same on desktop and device.
//!
//! The arena holds the table of steps, the activations (f16) and, for the duration of a step, its scratch. Values are
//! placed in the order of execution, from both ends of the space: a value goes to the end where the arena grows least.
//! Scratch has a least size, which counts for the arena, and one beyond which nothing is gained; a step gets all of the
//! space between the values at both ends, up to that. So a layer whose values are small runs as fast as it can in the
//! least arena already, and a larger arena serves those at the peak.

mod place;
mod step;

use crate::kernel::{self, Isa};
use crate::model::{LayerInfo, MAX_INPUTS, Op, Program, Walk, op_name};

pub(crate) use place::Place;
use place::{Side, Space};
pub(crate) use step::Step;

/// Alignment of the arena and of everything in it, in bytes.
pub const ALIGNMENT: usize = 16;

/// Memory that a program needs on an instruction set. Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The whole arena: the least that [`crate::session::Session::new`] takes.
    pub arena_bytes: usize,
    /// The arena in which every layer has the scratch to run as fast as it can; more is left unused. Cortex-M has layers
    /// that take fewer instructions there, and sums of other roundings: docs/decisions/cortex-m-winograd.md.
    pub fastest_bytes: usize,
    /// Of that, the table of steps.
    pub table_bytes: usize,
    /// Of that, activations at the operation that needs most (with gaps between them, if there are any).
    pub activation_bytes: usize,
    /// Of that, scratch at the operation that needs most.
    pub scratch_bytes: usize,
    /// Index of the operation that needs most.
    pub peak_layer: usize,
}

/// Why a program cannot be planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanError<'a> {
    /// This machine plans for its own kernels alone: see [`Isa::is_planned`].
    Isa(Isa),
    /// A layer needs more than 4 GiB, or than the address space holds.
    TooLarge {
        /// Its index.
        index: usize,
        /// Its name.
        layer: &'a str,
    },
}

impl core::fmt::Display for PlanError<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Isa(isa) => write!(f, "on this core nothing is planned for {}", isa.name()),
            Self::TooLarge { index, layer } => {
                write!(f, "operation {index} ({layer}): needs more memory than can be addressed")
            }
        }
    }
}

impl core::error::Error for PlanError<'_> {}

/// Where the values of one step lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placement {
    /// Of the values read, in order, but for an addition that overwrites its first summand: then that one is second.
    pub(crate) inputs: [Option<Place>; MAX_INPUTS],
    /// `None` for the logits, which go to the caller.
    pub(crate) output: Option<Place>,
    pub(crate) scratch: Place,
    /// Extent that the step needs.
    need: usize,
    /// Scratch beyond which nothing is gained, bytes.
    most: usize,
    /// Extents of the values at both ends.
    taken: [usize; 2],
}

impl Placement {
    /// Extent in which the step has the most scratch that it can use; `None` where the address space is exceeded.
    fn fastest(&self) -> Option<usize> {
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
pub(crate) struct Placer<'a> {
    walk: Walk<'a>,
    space: Space,
    isa: Isa,
}

impl<'a> Placer<'a> {
    pub(crate) fn new(program: &Program<'a>, isa: Isa) -> Result<Self, PlanError<'a>> {
        if !isa.is_planned() {
            return Err(PlanError::Isa(isa));
        }
        let mut space = Space::new();
        let too_large = PlanError::TooLarge { index: 0, layer: "input" };
        let bytes = program.header().input.len().checked_mul(2).ok_or(too_large)?;
        let place = space.place(bytes, Side::High).ok_or(too_large)?;
        space.keep(0, place);
        Ok(Self { walk: Walk::new(program), space, isa })
    }

    /// Place of the input image.
    pub(crate) fn input(&self) -> Place {
        self.space.get(0)
    }

    /// The next operation and its places.
    pub(crate) fn next_step(&mut self) -> Result<Option<(LayerInfo<'a>, Placement)>, PlanError<'a>> {
        let Some(layer) = self.walk.next() else { return Ok(None) };
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
        fresh.into_iter().for_each(|output| self.space.keep(index + 1, output));
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
            output.into_iter().for_each(|output| self.space.keep(index + 1, output));
        }
        Ok(Some((layer, Placement { inputs, output, scratch, need, most, taken })))
    }
}

impl Plan {
    /// Plans `program` for `isa`, which need not be this machine's, but on a Cortex-M.
    pub fn new<'a>(program: &Program<'a>, isa: Isa) -> Result<Plan, PlanError<'a>> {
        let mut placer = Placer::new(program, isa)?;
        let table_bytes = (program.len() * size_of::<Step>()).next_multiple_of(ALIGNMENT);
        let mut plan = Plan {
            arena_bytes: table_bytes,
            fastest_bytes: table_bytes,
            table_bytes,
            activation_bytes: 0,
            scratch_bytes: 0,
            peak_layer: 0,
        };
        while let Some((layer, placement)) = placer.next_step()? {
            let too_large = PlanError::TooLarge { index: layer.index, layer: op_name(&layer.op) };
            let fits = |bytes: &usize| u32::try_from(*bytes).is_ok() && isize::try_from(*bytes).is_ok();
            let arena = table_bytes.checked_add(placement.need).filter(fits).ok_or(too_large)?;
            // Where that exceeds what can be addressed, what is needed must do.
            let fastest = placement.fastest().and_then(|bytes| table_bytes.checked_add(bytes)).filter(fits);
            plan.fastest_bytes = plan.fastest_bytes.max(fastest.unwrap_or(arena));
            if arena > plan.arena_bytes {
                plan.arena_bytes = arena;
                plan.scratch_bytes = placement.scratch.bytes;
                plan.activation_bytes = placement.need - placement.scratch.bytes;
                plan.peak_layer = layer.index;
            }
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests;
