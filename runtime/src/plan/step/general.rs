//! Steps of operations whose record is decoded.

use core::ops::Range;

use super::{NONE, Part, RECORD, Step, halves, range, tensor};
use crate::kernel::general::{Map, Operands};
use crate::model::{Axis, Op, Shape, Weights};

impl Step {
    /// True where the record says what to do.
    pub(crate) fn is_general(&self) -> bool {
        self.kind == RECORD
    }

    /// The operation.
    pub(crate) fn general<'a>(&self, model: &'a [u8]) -> Option<Op<&'a str>> {
        self.record(model)
    }

    /// Shapes of what it reads first and second.
    fn shapes(&self) -> [Shape; 2] {
        let size = |low: u16, high: u16| u32::from(low) | u32::from(high) << 16;
        let ([a, b], [c, d], [e, f, ..]) = (self.kernel, self.stride, self.padding);
        [Shape::of(self.input_shape), Shape::new(size(a, b), size(c, d), size(e, f))]
    }

    /// Range of its second value in the space.
    pub(crate) fn second_value(&self) -> Option<Range<usize>> {
        let [_, second] = self.shapes();
        (self.second != NONE).then(|| range(self.second, second.axes()))
    }

    /// Of a join, or of outputs: its parts among those of the table.
    pub(crate) fn parts_of<'p>(&self, parts: &'p [Part]) -> Option<&'p [Part]> {
        let [first, count, ..] = self.details;
        parts.get(first as usize..)?.get(..count as usize)
    }

    /// Of a part of a join along `axis`: its range in the space, and its shape.
    pub(crate) fn part(&self, axis: Axis, [offset, size]: Part) -> (Range<usize>, Shape) {
        let mut axes = self.output_shape;
        axes.get_mut(axis.index()).into_iter().for_each(|along| *along = size);
        (range(offset, axes), Shape::of(axes))
    }

    /// What it computes with: its values and its tensors in `model`; `None` where one is not there, which resolving rules out.
    pub(crate) fn operands<'a>(
        &self,
        op: &Op<&str>,
        model: &'a [u8],
        (input, second, in_place): (&'a [u16], Option<&'a [u16]>, bool),
        scratch: &'a mut [f32],
    ) -> Option<Operands<'a>> {
        let ([first, other], output) = (self.shapes(), Shape::of(self.output_shape));
        let [weight, expand, bias, _] = self.details;
        let floats = |offset: u32, count: usize| {
            bytemuck::try_cast_slice::<u8, f32>(tensor(model, offset, count.checked_mul(4)?)?).ok()
        };
        let mut operands = Operands {
            input: Map { shape: first, values: input },
            second: second.map(|values| Map { shape: other, values }),
            in_place,
            output,
            weights: [&[], &[]],
            scale: &[],
            bias: &[],
            scratch,
        };
        let channels = first.channels as usize;
        match op {
            Op::GeneralConv(conv) => {
                let n = conv.out_channels as usize;
                let columns =
                    channels.checked_div(conv.groups as usize)?.checked_mul(conv.window.taps() as usize)?;
                let (rows, rank) = match conv.weights {
                    Weights::Pair { rank } => (rank as usize, rank as usize),
                    _ => (n, 0),
                };
                operands.weights = [
                    halves(model, weight, rows.checked_mul(columns)?)?,
                    halves(model, expand, n.checked_mul(rank)?)?,
                ];
                operands.bias = floats(bias, n)?;
            }
            Op::Affine(_) | Op::Normalise(_) => {
                (operands.scale, operands.bias) = (floats(weight, channels)?, floats(bias, channels)?);
            }
            Op::Activate(activate) if activate.slope.is_some() => operands.scale = floats(weight, channels)?,
            _ => {}
        }
        Some(operands)
    }
}
