//! The layer program, read in place.

use super::error::ProgramError;
use super::header::{FORMAT_VERSION, Header, MAX_INPUT_CHANNELS, OutputKind};
use super::inputs::MAX_INPUTS;
use super::needs::{FEW_LIVE, GENERAL, MANY, Needs};
use super::program::{Op, Weights};
use super::read::take;
use super::schedule::{Schedule, ScheduleError};
use super::shape::Shape;
use super::walk::{LayerInfo, Ops, Walk, op_name};
use crate::format::{Item, repeated};

/// Most operations of a program. Checking decodes them a few times for each 64 of them.
pub const MAX_OPS: usize = 4096;

/// A checked program: its shapes chain, every value is made before it is read and read at least once, the last
/// operation makes what the header states, no two layers with tensors share a name.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    pub(super) header: Header,
    pub(super) ops: &'a [u8],
    /// Checked against the number of operations.
    pub(super) schedule: Schedule<'a>,
}

impl<'a> Program<'a> {
    /// Checks the bytes of a program (the tensor `lrpet.program`).
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self, ProgramError<'a>> {
        // The version comes first, whatever follows it in other versions.
        match take::<u16>(bytes) {
            Some((1..=FORMAT_VERSION, _)) => {}
            Some((found, _)) => return Err(ProgramError::Version { found }),
            None => return Err(ProgramError::Header),
        }
        let (header, ops) = take::<Header>(bytes).ok_or(ProgramError::Header)?;
        let channels = header.input.channels as usize;
        if header.input.is_empty() || header.version == 1 && channels > MAX_INPUT_CHANNELS {
            return Err(ProgramError::Input { input: header.input });
        }
        if header.output.is_empty() {
            return Err(ProgramError::Output { output: header.output });
        }
        let missing = header.needs.without(Needs::HERE);
        if !missing.is_none() {
            return Err(ProgramError::Missing { missing });
        }
        for (channel, (mean, std)) in header.mean.iter().zip(&header.std).enumerate() {
            if !mean.is_finite() || !std.is_finite() || *std <= 0.0 {
                return Err(ProgramError::Normalisation { channel });
            }
        }
        if header.ops == 0 || usize::from(header.ops) > MAX_OPS {
            return Err(ProgramError::Length { ops: usize::from(header.ops) });
        }
        let program = Self { header, ops, schedule: Schedule::LAYERS };
        program.check()?;
        Ok(program)
    }

    fn check(&self) -> Result<(), ProgramError<'a>> {
        let mut walk = Walk::new(self);
        let mut needs = Needs::NONE;
        while let Some(LayerInfo { index, op, input, last_use, .. }) = walk.next_layer()? {
            if GENERAL && matches!(op, Op::Outputs(_)) {
                let reason = match self.header.result {
                    _ if last_use.is_some() => "several outputs come last",
                    OutputKind::Classes => "the header states logits, and several outputs are values",
                    OutputKind::Values => "",
                };
                if !reason.is_empty() {
                    return Err(ProgramError::Operation { index, layer: op_name(&op), input, reason });
                }
            }
            if op.weights() == Some(Weights::Pair { rank: 0 }) {
                return Err(ProgramError::Rank { index, layer: op_name(&op) });
            }
            if !op.activation().is_sound() {
                return Err(ProgramError::Activation { index, layer: op_name(&op) });
            }
            // A build that lacks something has refused what asks for it.
            if Needs::HERE != Needs::NONE {
                needs = needs.and(op.needs());
                if MANY && walk.alive() > FEW_LIVE {
                    needs = needs.and(Needs::MANY);
                }
                let missing = needs.without(self.header.needs);
                if !missing.is_none() {
                    return Err(ProgramError::Unstated { index, layer: op_name(&op), missing });
                }
            }
        }
        match walk.rest().len() {
            0 => {}
            bytes => return Err(ProgramError::TrailingBytes { bytes }),
        }
        let name = |op: Op<&'a str>| op.layer().copied();
        let names = |take: &mut dyn FnMut(Item<'a>) -> bool| {
            let _ = Ops::new(self).filter_map(name).all(|name| take(([0; 2], name)));
        };
        match repeated(str::cmp, &names) {
            Some(layer) => {
                let index = Ops::new(self).position(|op| name(op) == Some(layer)).unwrap_or(0);
                Err(ProgramError::DuplicateName { index, layer })
            }
            None => Ok(()),
        }
    }

    /// The head: input, normalisation, result.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The records of the operations.
    pub(crate) fn records(&self) -> &'a [u8] {
        self.ops
    }

    /// The stretches in which it runs: layer by layer unless its model file, or [`Program::with_schedule`], says otherwise.
    pub fn schedule(&self) -> Schedule<'a> {
        self.schedule
    }

    /// The same program in the stretches of `schedule`, the bytes of [`Stretch::bytes`](super::Stretch::bytes). That each of its
    /// streams can be one is found when it is planned.
    pub fn with_schedule(self, schedule: &'a [u8]) -> Result<Self, ScheduleError> {
        Ok(Self { schedule: Schedule::new_checked(schedule, &self)?, ..self })
    }

    /// The operations in order, with their shapes.
    pub fn layers(&self) -> impl Iterator<Item = LayerInfo<'a>> + use<'a> {
        Walk::new(self)
    }

    /// Shapes of the outputs, in order: one, or several whose values follow each other in the result.
    pub fn outputs(&self) -> impl Iterator<Item = Shape> + Clone + use<'a> {
        let mut shapes = [self.header.output; MAX_INPUTS];
        let mut count = 1;
        if GENERAL
            && let Some(LayerInfo { op: Op::Outputs(outputs), input_shapes, .. }) = self.layers().last()
        {
            (shapes, count) = (input_shapes, outputs.inputs.values().len());
        }
        shapes.into_iter().take(count)
    }

    /// A result, [`Header::classes`] values, as its outputs: of each its shape and its values.
    pub fn split<'v>(
        &self,
        result: &'v [f32],
    ) -> impl Iterator<Item = (Shape, &'v [f32])> + Clone + use<'a, 'v> {
        let mut rest = result;
        self.outputs().map(move |shape| {
            let (values, behind) = rest.split_at_checked(shape.len()).unwrap_or((rest, &[]));
            rest = behind;
            (shape, values)
        })
    }

    /// Number of operations.
    pub fn len(&self) -> usize {
        usize::from(self.header.ops)
    }

    /// Never true: a program has at least one operation.
    pub fn is_empty(&self) -> bool {
        self.header.ops == 0
    }
}
