//! The memory of a model: one buffer, out of which everything is cut whose size depends on the model.
//!
//! The arena comes first, then the logits, and then what the report and the service need one after the other: the counts of
//! the layers, or the image.

use core::fmt;

use lrpet_runtime::model::{Header, InputKind};
use lrpet_runtime::plan::ALIGNMENT;

use crate::bench::LayerCount;

/// Bytes of variables besides a model's memory, at most: buffers of the serial line, state of the drivers.
pub const OTHER_VARIABLES: usize = 4096;

/// Bytes of memory for a model with an arena of `arena` bytes, this number of classes and layers, and inputs of `input` bytes
/// ([`input_bytes`]).
pub const fn memory_bytes(arena: usize, classes: usize, layers: usize, input: usize) -> usize {
    let counts = layers.saturating_mul(size_of::<LayerCount>());
    let rest = if counts > input { counts } else { input };
    let logits =
        classes.saturating_mul(size_of::<f32>()).saturating_add(ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    arena.saturating_add(logits).saturating_add(rest)
}

/// Bytes of an input as the service takes it: those of a picture, or values of f32.
pub fn input_bytes(header: &Header) -> usize {
    let each = if header.kind == InputKind::Values { size_of::<f32>() } else { 1 };
    header.input.len().saturating_mul(each)
}

/// Why memory cannot be cut up for a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// The firmware was built with too little; both figures are bytes.
    TooSmall {
        /// What the model needs.
        needed: usize,
        /// What there is.
        given: usize,
    },
    /// It does not begin at a multiple of [`ALIGNMENT`].
    Misaligned,
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSmall { needed, given } => write!(
                f,
                "the model needs {needed} bytes of memory and this firmware has {given}, {} are missing: build it with more, \
                 or take a model with smaller images",
                needed.saturating_sub(*given)
            ),
            Self::Misaligned => write!(f, "the model's memory must begin at a multiple of {ALIGNMENT} bytes"),
        }
    }
}

impl core::error::Error for NoRoom {}

/// A model's parts of the memory.
pub struct Room<'m> {
    /// The session's arena.
    pub arena: &'m mut [u8],
    /// One for each class.
    pub logits: &'m mut [f32],
    /// Counts of the layers, or the image.
    rest: &'m mut [u8],
    /// What the model needs of the memory, in bytes.
    pub needed: usize,
}

impl<'m> Room<'m> {
    /// Cuts up `memory`, which must begin at a multiple of [`ALIGNMENT`], for a model of `layers` layers whose arena takes from
    /// `least` to `most` bytes.
    pub fn new(
        [least, most]: [usize; 2],
        header: &Header,
        layers: usize,
        memory: &'m mut [u8],
    ) -> Result<Self, NoRoom> {
        let classes = header.classes as usize;
        let needed = memory_bytes(least, classes, layers, input_bytes(header));
        let given = memory.len();
        let missing = NoRoom::TooSmall { needed, given };
        // What is left makes layers faster.
        let left = given.checked_sub(needed).ok_or(missing)? / ALIGNMENT * ALIGNMENT;
        let arena = least.saturating_add(left).min(most);
        let (arena, behind) = memory.split_at_mut_checked(arena).ok_or(missing)?;
        let logits = classes.saturating_mul(size_of::<f32>());
        let cut = behind.split_at_mut_checked(logits.saturating_add(ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
        let (logits, rest) = cut.ok_or(missing)?;
        let logits = bytemuck::try_cast_slice_mut(logits).map_err(|_| NoRoom::Misaligned)?;
        let logits = logits.get_mut(..classes).ok_or(missing)?;
        Ok(Room { arena, logits, rest, needed })
    }

    /// Arena, logits, and a count for each of `layers`; for the report.
    pub fn for_report(self, layers: usize) -> (&'m mut [u8], &'m mut [f32], &'m mut [LayerCount]) {
        let bytes = self.rest.get_mut(..layers.saturating_mul(size_of::<LayerCount>())).unwrap_or_default();
        (self.arena, self.logits, bytemuck::try_cast_slice_mut(bytes).unwrap_or_default())
    }

    /// Arena, logits, and the image of `input` bytes; for the service.
    pub fn for_service(self, input: usize) -> (&'m mut [u8], &'m mut [f32], &'m mut [u8]) {
        (self.arena, self.logits, self.rest.get_mut(..input).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::boxed::Box;

    use lrpet_runtime::kernel::Isa;
    use lrpet_runtime::model::{Model, Shape};
    use lrpet_runtime::plan::Plan;
    use lrpet_runtime::session::Arena;
    use lrpet_tests::random_model::small_model;

    use super::*;

    fn cut<'m>(model: &Model<'_>, memory: &'m mut [u8]) -> Result<Room<'m>, NoRoom> {
        let plan = Plan::new(model.program(), Isa::detect()).unwrap();
        let sizes = [plan.arena_bytes, plan.fastest_bytes];
        Room::new(sizes, model.program().header(), model.program().len(), memory)
    }

    #[test]
    fn a_model_gets_exactly_what_it_needs_or_is_told_how_much_that_is() {
        let file = small_model(Shape::new(3, 9, 7), 8, 4).unwrap();
        let mut flash = Box::new(Arena([0; 1 << 14]));
        flash.0[..file.len()].copy_from_slice(&file);
        let model = Model::new_checked(&flash.0[..file.len()]).unwrap();
        let plan = Plan::new(model.program(), Isa::detect()).unwrap();
        let needed = memory_bytes(plan.arena_bytes, 4, 5, 189);
        assert_eq!(needed, plan.arena_bytes + 16 + 189);
        assert_eq!(memory_bytes(160, 5, 30, 189), 160 + 32 + 30 * 32);

        let mut memory = Box::new(Arena([0; 1 << 14]));
        let error = cut(&model, &mut memory.0[..needed - 1]).err().unwrap();
        assert_eq!(error, NoRoom::TooSmall { needed, given: needed - 1 });
        let room = cut(&model, &mut memory.0[..needed]).unwrap();
        let (arena, logits, layers) = room.for_report(5);
        assert_eq!((arena.len(), logits.len(), layers.len()), (plan.arena_bytes, 4, 5));
        let (_, _, image) = cut(&model, &mut memory.0).unwrap().for_service(189);
        assert_eq!(image.len(), 189);
        assert_eq!(cut(&model, &mut memory.0[1..]).err().unwrap(), NoRoom::Misaligned);
    }
}
