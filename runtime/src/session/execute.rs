//! Executes one step of a program.

use core::ops::Range;

use crate::kernel::{self, Any, Buffers, Cut, Isa, Layer, Operations, Output, Planes, Second, Set};
use crate::model::FEW_INPUTS;
use crate::plan::{Step, Tensors};

/// A step's packed weights, and the threads that share it.
#[cfg(feature = "std")]
pub(super) type Packed<'a> = (Option<&'a kernel::PackedConv>, Option<&'a mut kernel::Team>);
/// Nothing is packed without memory for it.
#[cfg(not(feature = "std"))]
pub(super) type Packed<'a> = ();

/// Executes one step in `space`; `None` where its ranges overlap or leave the space, which planning rules out.
#[inline(always)]
pub(super) fn execute<U: Operations>(
    isa: Isa,
    (step, cut): (&Step, Option<&Cut>),
    tensors: Tensors<'_>,
    packed: Packed<'_>,
    space: &mut [u8],
    logits: &mut [f32],
) -> Option<()> {
    match U::ALL {
        true => execute_any(isa, step, tensors, packed, space, logits),
        false => execute_of::<U>(isa, (step, cut), tensors, packed, space, logits),
    }
}

/// As [`execute_of`], of a model that is known at run time: compiled with the runtime, not with the program that calls it.
fn execute_any(
    isa: Isa,
    step: &Step,
    tensors: Tensors<'_>,
    packed: Packed<'_>,
    space: &mut [u8],
    logits: &mut [f32],
) -> Option<()> {
    execute_of::<Any>(isa, (step, None), tensors, packed, space, logits)
}

/// As [`execute`], of a program that has only `U`.
fn execute_of<U: Operations>(
    isa: Isa,
    (step, cut): (&Step, Option<&Cut>),
    tensors: Tensors<'_>,
    packed: Packed<'_>,
    space: &mut [u8],
    logits: &mut [f32],
) -> Option<()> {
    if U::USED.has(Set::CONCAT)
        && let Some(parts) = step.parts()
    {
        return concatenate::<U>(isa, parts, step.output(), space, logits);
    }
    let layer = step.layer_of::<U>(tensors)?;
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
    if !U::ALL
        && let Some(cut) = cut.filter(|cut| cut.is_known())
    {
        kernel::run_strip::<U>(isa, &layer, buffers, &mut { *cut });
        return Some(());
    }
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
        kernel::run_of::<U>(isa, &layer, buffers);
    }
    Some(())
}

/// Copies `parts`, ranges of `space`, one after another to the range `output`, or to the logits where there is none.
fn concatenate<U: Operations>(
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
        kernel::run_of::<U>(
            isa,
            &Layer::Copy,
            Buffers { input, second: Second::None, output, scratch: &mut [], planes: Planes::default() },
        );
        start += length;
    }
    Some(())
}
