//! Fills the tables of a session: where the values and tensors of each operation lie.

use core::ops::Range;

use super::SessionError;
use crate::kernel::Isa;
use crate::model::{GENERAL, Header, Model, Op};
use crate::plan::{Node, Part, Placer, Step, Windows, parts};

/// The tables, of the sizes that the plan states.
pub(crate) struct Tables<'t> {
    /// For each operation.
    pub(crate) steps: &'t mut [Step],
    /// Of all joins, one after another.
    pub(crate) parts: &'t mut [Part],
    /// Of all streams, one after another.
    pub(crate) nodes: &'t mut [Node],
}

/// What else a session must know.
pub(crate) struct Resolved {
    /// Offset in the space of the input image, or of its window.
    image: usize,
    /// True where the image is not stored whole.
    pub(crate) streamed: bool,
}

impl Resolved {
    /// Where the whole input goes.
    pub(crate) fn input(&self, header: &Header) -> Range<usize> {
        self.image..self.image + header.input.len() * 2
    }
}

/// Places everything in a space of `space` bytes, which the plan states, and looks up the tensors in the model file.
pub(crate) fn resolve<'m>(
    model: &Model<'m>,
    isa: Isa,
    windows: Option<&mut Windows>,
    tables: &mut Tables<'_>,
    space: usize,
) -> Result<Resolved, SessionError<'m>> {
    let program = model.program();
    let too_small = SessionError::ArenaTooSmall { needed: space, given: 0 };
    let (mut count, mut first_part) = (0, 0);
    // A file is below 4 GiB, and the records lie in it.
    let records = program.records().as_ptr().addr().wrapping_sub(model.bytes().as_ptr().addr());
    let mut placer = Placer::new(program, isa, windows);
    placer.start()?;
    let mut resolved = Resolved { image: placer.input().offset(space), streamed: false };
    let mut offsets = model.offsets();
    for step in tables.steps.iter_mut() {
        let Some((layer, placement)) = placer.next_step()? else { break };
        let tensors = offsets(&layer.op, layer.input)?;
        let own = (records + layer.record, first_part);
        *step = Step::new(&layer, tensors, &placement, space, own);
        if GENERAL {
            let places = placement.inputs.iter().zip(&layer.input_shapes);
            for (place, shape) in places.take(parts(&layer)) {
                let offset = place.map_or(0, |place| place.offset(space));
                let to = tables.parts.get_mut(first_part).ok_or(too_small)?;
                let size = match &layer.op {
                    Op::Join(join) => shape.size(join.axis),
                    _ => shape.len() as u32,
                };
                *to = [offset as u32, size];
                first_part += 1;
            }
        }
        let (begun, ops, strip) = placer.begun();
        if !begun.is_empty() {
            step.begin(ops, strip);
            resolved.streamed |= layer.index == 0 && begun.len() > ops.into();
            let to = tables.nodes.get_mut(count..count + begun.len()).ok_or(too_small)?;
            to.copy_from_slice(begun);
            count += begun.len();
        }
    }
    Ok(resolved)
}
