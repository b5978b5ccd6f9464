//! Runs an operation whose record says what to do.

use crate::kernel::general::{self, Map};
use crate::kernel::{Output, f16};
use crate::model::{Join, Op};
use crate::plan::{Part, Step};

/// Executes one step in `space`; `None` where its ranges overlap or leave the space, which planning rules out.
#[inline(never)]
pub(super) fn execute(
    step: &Step,
    model: &[u8],
    parts: &[Part],
    space: &mut [u8],
    logits: &mut [f32],
) -> Option<()> {
    let op = step.general(model)?;
    if let Op::Join(layer) = &op {
        return join(layer, step, step.parts_of(parts)?, space, logits);
    }
    if matches!(op, Op::Outputs(_)) {
        return outputs(step.parts_of(parts)?, space, logits);
    }
    let none = space.len()..space.len();
    let (input, output) = (step.input(), step.output());
    let second = step.second_value();
    let in_place = output.is_some() && second == output;
    // A value read twice.
    let twice = second.as_ref() == Some(&input);
    let other = second.filter(|_| !in_place);
    let ranges = [
        input,
        other.clone().filter(|_| !twice).unwrap_or(none.clone()),
        output.clone().unwrap_or(none),
        step.scratch(),
    ];
    let [input, second, result, scratch] = space.get_disjoint_mut(ranges).ok()?;
    let input: &[u16] = bytemuck::try_cast_slice(input).ok()?;
    let second = match other {
        None => None,
        Some(_) if twice => Some(input),
        Some(_) => Some(bytemuck::try_cast_slice(second).ok()?),
    };
    let mut output = match output {
        Some(_) => Output::Half(bytemuck::try_cast_slice_mut(result).ok()?),
        None => Output::Full(logits),
    };
    let scratch = bytemuck::try_cast_slice_mut(scratch).ok()?;
    let operands = step.operands(&op, model, (input, second, in_place), scratch)?;
    general::run(&op, operands, &mut output);
    Some(())
}

/// Gives the values of all outputs, one after another.
fn outputs(parts: &[Part], space: &[u8], logits: &mut [f32]) -> Option<()> {
    let mut rest = logits;
    for &[offset, count] in parts {
        let (begin, count) = (offset as usize, count as usize);
        let values: &[u16] =
            bytemuck::try_cast_slice(space.get(begin..begin.checked_add(count.checked_mul(2)?)?)?).ok()?;
        let (to, behind) = core::mem::take(&mut rest).split_at_mut_checked(count)?;
        to.iter_mut().zip(values).for_each(|(to, half)| *to = f16::widen(*half));
        rest = behind;
    }
    Some(())
}

/// Copies the parts of a join one by one.
fn join(layer: &Join, step: &Step, parts: &[Part], space: &mut [u8], logits: &mut [f32]) -> Option<()> {
    let (mut first, whole) = (0, step.output_shape());
    for part in parts {
        let (from, shape) = step.part(layer.axis, *part);
        let (input, mut output) = match step.output() {
            Some(to) => {
                let [input, result] = space.get_disjoint_mut([from, to]).ok()?;
                (&*input, Output::Half(bytemuck::try_cast_slice_mut(result).ok()?))
            }
            None => (space.get(from)?, Output::Full(&mut *logits)),
        };
        let values = bytemuck::try_cast_slice(input).ok()?;
        general::join(layer.axis, Map { shape, values }, first, whole, &mut output);
        first += shape.size(layer.axis) as usize;
    }
    Some(())
}
