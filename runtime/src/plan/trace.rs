//! What happens one after another in an inference, and what lies where meanwhile, for those who look at it from outside.

use core::ops::Range;
use std::vec::Vec;

use super::place::Place;
use super::{Placer, Plan, PlanError, Stream, Windows};
use crate::kernel::Isa;
use crate::model::Program;

/// Some rows that are computed in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Index of the operation; `None` where rows of the image are stored, by a stream that takes them as they come.
    pub layer: Option<usize>,
    /// The rows of its result: all of them where it is computed whole.
    pub rows: Range<usize>,
    /// First row of its result that is kept from then on: those before are needed no more.
    pub kept: usize,
}

/// A value in the arena, or the scratch of what runs meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stay {
    /// 0 is the image, 1 the result of the first operation; `None` for scratch.
    pub value: Option<usize>,
    /// Where it begins behind the table of steps. Bytes.
    pub offset: usize,
    /// How long it is. Bytes.
    pub bytes: usize,
    /// During which turns.
    pub turns: Range<usize>,
}

/// An inference, turn by turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// One for each call of a session's hook, and one for each strip of an image that arrives in rows.
    pub turns: Vec<Turn>,
    /// What lies in the arena. A result that is written over a value shares its bytes.
    pub stays: Vec<Stay>,
}

/// A value whose last reader is yet to come.
struct Open {
    stay: Stay,
    /// Index of that operation.
    last_use: usize,
}

/// Follows an inference of `program` on `isa` in the arena that [`Plan::new`] states.
///
/// # Errors
/// As [`Plan::new`].
pub fn trace<'a>(program: &Program<'a>, isa: Isa) -> Result<Trace, PlanError<'a>> {
    let plan = Plan::new(program, isa)?;
    let space = plan.arena_bytes - plan.table_bytes;
    let mut windows = Windows::EMPTY;
    let mut placer = Placer::new(program, isa, Some(&mut windows));
    placer.start()?;
    let (mut trace, mut open): (Trace, Vec<Open>) = Default::default();
    let stay =
        |value, place: Place, turns| Stay { value, offset: place.offset(space), bytes: place.bytes, turns };
    let input = placer.input();
    let reads = |index| program.layers().filter(move |layer| layer.op.inputs().values().contains(&index));
    let last = reads(0).last().map_or(0, |layer| layer.index);
    open.push(Open { stay: stay(Some(0), input, 0..0), last_use: last });
    // Of the stream that is under way: which of its values are windows, the turn at which it began, and the operation behind it.
    let (mut whole, mut began, mut behind) = (Vec::new(), 0, 0);
    while let Some((layer, placement)) = placer.next_step()? {
        let (begun, ops, strip) = placer.begun();
        let begins = !begun.is_empty();
        if begins {
            let (mut nodes, image) = (begun.to_vec(), begun.len() - usize::from(ops));
            whole = nodes.iter().skip(image).map(|node| node.is_whole()).collect();
            (began, behind) = (trace.turns.len(), layer.index + usize::from(ops));
            let mut stream = Stream::new(&mut nodes, strip.into());
            while stream.next_pass() {
                for at in 0..image + usize::from(ops) {
                    let Some(strip) = stream.advance(at) else { continue };
                    let kept = stream.nodes().get(at).map_or(0, |node| node.first());
                    let of = at.checked_sub(image).map(|op| layer.index + op);
                    trace.turns.push(Turn { layer: of, rows: strip.from..strip.to, kept });
                }
            }
        }
        let streamed = layer.index < behind;
        if !streamed {
            began = trace.turns.len();
            let rows = 0..layer.output.height as usize;
            trace.turns.push(Turn { layer: Some(layer.index), rows, kept: 0 });
        }
        let now = began..trace.turns.len();
        // One scratch serves all operations of a stream but a mean, whose sums lie in a window.
        if placement.scratch.bytes > 0 && (!streamed || begins) {
            trace.stays.push(stay(None, placement.scratch, now.clone()));
        }
        if let Some(place) = placement.output {
            let window = streamed && whole.get(layer.index + whole.len() - behind) == Some(&false);
            let last_use = if window { behind - 1 } else { layer.last_use.unwrap_or(layer.index) };
            open.push(Open { stay: stay(Some(layer.index + 1), place, now.clone()), last_use });
        }
        // What nothing reads any more has been there until now.
        let done = if streamed { behind } else { layer.index + 1 };
        if layer.index + 1 == done {
            for Open { mut stay, .. } in open.extract_if(.., |open| open.last_use < done) {
                stay.turns.end = now.end;
                trace.stays.push(stay);
            }
        }
    }
    Ok(trace)
}

/// The turns of [`trace`] alone.
///
/// # Errors
/// As [`Plan::new`].
pub fn turns<'a>(program: &Program<'a>, isa: Isa) -> Result<Vec<Turn>, PlanError<'a>> {
    Ok(trace(program, isa)?.turns)
}
