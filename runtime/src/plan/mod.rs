//! Where each value lies: one arena, its exact size known without any memory and the same on desktop and device.
//!
//! The arena holds the table of steps, the activations (f16) and, for the duration of a step, its scratch. Values are
//! placed in the order of execution, from both ends of the space: a value goes to the end where the arena grows least.
//! Scratch has a least size, which counts for the arena, and one beyond which nothing is gained; a step gets all of the
//! space between the values at both ends, up to that. So a layer whose values are small runs as fast as it can in the
//! least arena already, and a larger arena serves those at the peak.
//! Operations that a [`Schedule`](crate::model::Schedule) runs as a stream advance together, and their values are windows of a few rows.

#[cfg(feature = "std")]
mod choose;
mod place;
mod placer;
#[cfg(feature = "std")]
mod ram;
mod step;
mod stream;
#[cfg(feature = "std")]
mod trace;
mod windows;

use crate::kernel::Isa;
use crate::model::{Program, op_name};

#[cfg(feature = "std")]
pub use choose::{Choice, curve};
pub(crate) use place::Place;
pub(crate) use placer::{Placement, Placer};
#[cfg(feature = "std")]
pub use ram::{NoneFits, Ram};
#[doc(hidden)]
pub use step::Step;
pub(crate) use step::Tensors;
pub(crate) use step::{Part, parts};
#[doc(hidden)]
pub use stream::Node;
pub(crate) use stream::{Stream, Strip};
#[cfg(feature = "std")]
pub use trace::{Stay, Trace, Turn, trace, turns};
pub(crate) use windows::Windows;

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
    /// The schedule has an operation in a stream where it cannot be.
    Stream {
        /// Its index.
        index: usize,
        /// Its name.
        layer: &'a str,
        /// Why.
        reason: StreamError,
    },
}

/// Why an operation cannot be in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamError {
    /// It needs all of its input at once, or its maps have more than 65535 rows.
    NotByRows,
    /// It makes the logits.
    Logits,
    /// More values would be alive than [`crate::model::MAX_LIVE`].
    TooManyLive,
}

impl core::fmt::Display for StreamError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NotByRows => "it needs all rows of its input at once",
            Self::Logits => "it makes the logits",
            Self::TooManyLive => "too many values are alive at once",
        })
    }
}

impl core::fmt::Display for PlanError<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Isa(isa) => write!(f, "on this core nothing is planned for {}", isa.name()),
            Self::TooLarge { index, layer } => {
                write!(f, "operation {index} ({layer}): needs more memory than can be addressed")
            }
            Self::Stream { index, layer, reason } => {
                write!(
                    f,
                    "the schedule has operation {index} ({layer}) in a stream, where it cannot be: {reason}"
                )
            }
        }
    }
}

impl core::error::Error for PlanError<'_> {}

impl Plan {
    /// Plans `program`, in the stretches of its schedule, for `isa`, which need not be this machine's, but on a Cortex-M.
    pub fn new<'a>(program: &Program<'a>, isa: Isa) -> Result<Plan, PlanError<'a>> {
        if program.schedule().has_streams() {
            Self::of_streams(program, isa)
        } else {
            Self::within(program, isa, None)
        }
    }

    #[inline(never)]
    fn of_streams<'a>(program: &Program<'a>, isa: Isa) -> Result<Plan, PlanError<'a>> {
        let mut windows = Windows::EMPTY;
        Self::within(program, isa, Some(&mut windows))
    }

    /// As [`Plan::new`] with the caller's room for the windows of a stream.
    #[inline(never)]
    pub(crate) fn within<'a>(
        program: &Program<'a>,
        isa: Isa,
        windows: Option<&mut Windows>,
    ) -> Result<Plan, PlanError<'a>> {
        // Built here and handed on nowhere: it is large for a device's stack.
        let mut placer = Placer::new(program, isa, windows);
        placer.start()?;
        let steps = program.len() * size_of::<Step>();
        let mut plan = Plan {
            arena_bytes: 0,
            fastest_bytes: 0,
            table_bytes: 0,
            activation_bytes: 0,
            scratch_bytes: 0,
            peak_layer: 0,
        };
        let (mut nodes, mut most, mut fastest) = (0, 0, 0);
        let fits = |bytes: &usize| u32::try_from(*bytes).is_ok() && isize::try_from(*bytes).is_ok();
        while let Some((layer, placement)) = placer.next_step()? {
            nodes += size_of_val(placer.begun().0);
            nodes += parts(&layer) * size_of::<Part>();
            let too_large = PlanError::TooLarge { index: layer.index, layer: op_name(&layer.op) };
            plan.table_bytes = (steps + nodes).next_multiple_of(ALIGNMENT);
            let need = most.max(placement.need);
            plan.arena_bytes = plan.table_bytes.checked_add(need).filter(fits).ok_or(too_large)?;
            fastest = placement.fastest().unwrap_or(0).max(fastest);
            if placement.need > most {
                most = placement.need;
                plan.scratch_bytes = placement.scratch.bytes;
                plan.activation_bytes = placement.need - placement.scratch.bytes;
                plan.peak_layer = layer.index;
            }
        }
        // Where the fastest exceeds what can be addressed, what is needed must do.
        let fastest = plan.table_bytes.checked_add(fastest).filter(fits);
        plan.fastest_bytes = fastest.unwrap_or(0).max(plan.arena_bytes);
        Ok(plan)
    }
}

#[cfg(test)]
mod tests;
