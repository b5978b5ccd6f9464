//! The memory of a model: one buffer, out of which everything is cut whose size depends on the model.
//!
//! The arena comes first, then the logits, and then what the report and the service need one after the other: the counts of
//! the layers, or the image.

use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::Model;
use lrpet_runtime::plan::{ALIGNMENT, Plan};
use lrpet_runtime::session::SessionError;

use crate::bench::LayerCount;
use crate::source::Unusable;

/// Bytes of memory for a model with an arena of `arena` bytes, this number of classes and layers, and images of `input` bytes.
pub const fn memory_bytes(arena: usize, classes: usize, layers: usize, input: usize) -> usize {
    let counts = layers.saturating_mul(size_of::<LayerCount>());
    let rest = if counts > input { counts } else { input };
    let logits =
        classes.saturating_mul(size_of::<f32>()).saturating_add(ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    arena.saturating_add(logits).saturating_add(rest)
}

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
    /// Cuts up `memory`, which must begin at a multiple of [`ALIGNMENT`], for `model`.
    pub fn new<'a>(model: &Model<'a>, memory: &'m mut [u8]) -> Result<Self, Unusable<'a>> {
        let program = model.program();
        let header = program.header();
        let (classes, layers, input) = (header.classes as usize, program.len(), header.input.len());
        let plan = Plan::new(program, Isa::detect()).map_err(Unusable::Plan)?;
        let needed = memory_bytes(plan.arena_bytes, classes, layers, input);
        let given = memory.len();
        let missing = Unusable::Memory { needed, given };
        // What is left makes layers faster.
        let left = given.checked_sub(needed).ok_or(missing)? / ALIGNMENT * ALIGNMENT;
        let arena = plan.arena_bytes.saturating_add(left).min(plan.fastest_bytes);
        let (arena, behind) = memory.split_at_mut_checked(arena).ok_or(missing)?;
        let logits = classes.saturating_mul(size_of::<f32>());
        let cut = behind.split_at_mut_checked(logits.saturating_add(ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
        let (logits, rest) = cut.ok_or(missing)?;
        let logits = bytemuck::try_cast_slice_mut(logits).map_err(|_| SessionError::ArenaMisaligned)?;
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

    use lrpet_runtime::model::Shape;
    use lrpet_runtime::session::Arena;
    use lrpet_tests::random_model::small_model;

    use super::*;

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
        let error = Room::new(&model, &mut memory.0[..needed - 1]).err().unwrap();
        assert_eq!(error, Unusable::Memory { needed, given: needed - 1 });
        let room = Room::new(&model, &mut memory.0[..needed]).unwrap();
        let (arena, logits, layers) = room.for_report(5);
        assert_eq!((arena.len(), logits.len(), layers.len()), (plan.arena_bytes, 4, 5));
        let (_, _, image) = Room::new(&model, &mut memory.0).unwrap().for_service(189);
        assert_eq!(image.len(), 189);
        let shifted = Room::new(&model, &mut memory.0[1..]).err().unwrap();
        assert_eq!(shifted, Unusable::Session(SessionError::ArenaMisaligned));
    }
}
