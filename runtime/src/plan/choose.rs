//! Which stretches to run as streams: the cheapest for every size of the arena.
//!
//! A schedule cuts a program into stretches that follow each other; its cost is the sum of theirs, its memory the largest of
//! theirs. So the cheapest schedule within a bound is a shortest path over the cuts, along the stretches within the bound; the
//! curve follows by lowering the bound to just below what the last path needed.

use std::vec::Vec;

use super::place::{Place, Side, Space};
use super::windows::Windows;
use super::{Plan, PlanError};
use crate::kernel::{self, Isa};
use crate::model::{LayerInfo, MAX_STREAM, Op, Program, Stretch, Walk};

/// Heights of a strip that are tried.
const STRIPS: [u16; 10] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32];

/// A schedule with what it needs and costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The stretches; none for layer by layer.
    pub stretches: Vec<Stretch>,
    /// The plan with them.
    pub plan: Plan,
    /// Estimate of the instructions of an inference that the choice is about; comparable on one instruction set only.
    pub cost: u64,
}

impl Choice {
    /// The bytes of [`SCHEDULE_TENSOR`](crate::model::program::SCHEDULE_TENSOR).
    pub fn bytes(&self) -> Vec<u8> {
        Stretch::bytes(&self.stretches)
    }
}

/// A stretch that a schedule may have.
struct Edge {
    from: usize,
    to: usize,
    strip: u16,
    /// Bytes of values and scratch.
    need: usize,
    cost: u64,
}

/// The live values before each operation, as number and bytes.
fn live(program: &Program<'_>, layers: &[LayerInfo<'_>]) -> Vec<Vec<(usize, usize)>> {
    let image = (0, program.header().input.len() * 2);
    let mut values: Vec<(usize, usize)> = std::vec![image];
    let mut all = Vec::new();
    for layer in layers {
        values.retain(|(value, _)| {
            layers.iter().any(|later| later.index >= layer.index && reads(later, *value))
        });
        all.push(values.clone());
        values.push((layer.index + 1, layer.output.len() * 2));
    }
    all
}

fn reads(layer: &LayerInfo<'_>, value: usize) -> bool {
    layer.op.inputs().values().iter().any(|&read| usize::from(read) == value)
}

/// A space in which values lie without gaps.
fn packed(live: &[(usize, usize)]) -> Option<Space> {
    let mut space = Space::new();
    for &(value, bytes) in live {
        let place: Place = space.place(bytes, Side::Low)?;
        space.keep(value, place).then_some(())?;
    }
    Some(space)
}

/// What the stretches that begin at `from` need and cost.
fn edges(
    (program, isa): (&Program<'_>, Isa),
    layers: &[LayerInfo<'_>],
    live: &[Vec<(usize, usize)>],
    from: usize,
) -> Vec<Edge> {
    let mut edges = Vec::new();
    let (Some(layer), Some(live)) = (layers.get(from), live.get(from)) else { return edges };
    // Layer by layer: what lives, the result unless it is written over a summand, and the scratch.
    let inputs = layer.op.inputs();
    let over = layer.last_read.iter().zip(inputs.values()).enumerate();
    let over = over.filter(|(_, (dies, _))| **dies).any(|(slot, _)| match layer.op {
        Op::Concat(_) | Op::Binary(_) | Op::Join(_) => false,
        Op::Add { inputs: [a, b], .. } => a != b,
        _ => slot > 0,
    });
    let aligned = |bytes: usize| bytes.next_multiple_of(super::ALIGNMENT);
    let values: usize = live.iter().map(|(_, bytes)| aligned(*bytes)).sum();
    let output = if over || layer.last_use.is_none() { 0 } else { aligned(layer.output.len() * 2) };
    let scratch = aligned(kernel::scratch(isa, &layer.op, layer.input).saturating_mul(4));
    let cost = kernel::cost(isa, layer, layer.output.height as usize);
    edges.push(Edge { from, to: from + 1, strip: 0, need: values + output + scratch, cost });
    let mut walk = Walk::new(program);
    walk.by_ref().take(from).for_each(drop);
    for to in from + 1..=layers.len().min(from + MAX_STREAM - 1) {
        let (Some(last), ops) = (layers.get(to - 1), (to - from) as u16) else { break };
        if last.last_use.is_none() || matches!(last.op, Op::Linear(_) | Op::GlobalAveragePool { .. }) {
            break;
        }
        let image = from == 0 && !layers.iter().skip(to).any(|layer| reads(layer, 0));
        let mut before = u64::MAX;
        for strip in STRIPS {
            if u32::from(strip) >= layer.input.height.max(2) {
                break;
            }
            let live: Vec<_> = live.iter().copied().filter(|(value, _)| !(image && *value == 0)).collect();
            let Some(mut space) = packed(&live) else { break };
            let stretch = Stretch { ops, strip };
            let mut windows = Windows::EMPTY;
            if windows.begin(&walk, from, stretch, image, (isa, &mut space)).is_err() {
                break;
            }
            let cost = windows.cost(&walk, isa, strip);
            // A higher strip that costs no less is of no use.
            if cost < before {
                edges.push(Edge { from, to, strip, need: windows.need(), cost });
                before = cost;
            }
        }
    }
    edges
}

/// The cheapest way through stretches of at most `most` bytes.
fn path(edges: &[Vec<Edge>], most: usize) -> Option<(Vec<Stretch>, usize, u64)> {
    let mut best: Vec<Option<(u64, &Edge)>> = std::vec![None; edges.len() + 1];
    for (from, edges) in edges.iter().enumerate() {
        let before = if from == 0 { Some(0) } else { best.get(from)?.map(|(cost, _)| cost) };
        let Some(before) = before else { continue };
        for edge in edges.iter().filter(|edge| edge.need <= most) {
            let cost = before.saturating_add(edge.cost);
            let slot = best.get_mut(edge.to)?;
            if slot.is_none_or(|(least, _)| cost < least) {
                *slot = Some((cost, edge));
            }
        }
    }
    let (mut at, mut stretches, mut need) = (edges.len(), Vec::new(), 0);
    let cost = best.get(at)?.as_ref()?.0;
    while at > 0 {
        let (_, edge) = (*best.get(at)?)?;
        stretches.push(Stretch { ops: (edge.to - edge.from) as u16, strip: edge.strip });
        (at, need) = (edge.from, edge.need.max(need));
    }
    stretches.reverse();
    Some((stretches, need, cost))
}

/// Layers that follow each other as one stretch, none at the end.
fn join(stretches: &[Stretch]) -> Vec<Stretch> {
    let mut joined: Vec<Stretch> = Vec::new();
    for stretch in stretches {
        match joined.last_mut() {
            Some(last) if last.strip == 0 && stretch.strip == 0 => last.ops += stretch.ops,
            _ => joined.push(*stretch),
        }
    }
    joined.pop_if(|last| last.strip == 0);
    joined
}

/// Schedules for `program` on `isa`, each the cheapest that needs no more memory than it does, from layer by layer to the least
/// memory that a schedule needs.
pub fn curve<'a>(program: &Program<'a>, isa: Isa) -> Result<Vec<Choice>, PlanError<'a>> {
    let by_layers = program.with_schedule(&[]).unwrap_or(*program);
    let program = &by_layers;
    let layers: Vec<LayerInfo<'_>> = program.layers().collect();
    let live = live(program, &layers);
    let edges: Vec<Vec<Edge>> =
        (0..layers.len()).map(|from| self::edges((program, isa), &layers, &live, from)).collect();
    let cost = layers.iter().map(|layer| kernel::cost(isa, layer, layer.output.height as usize)).sum();
    let mut choices = std::vec![Choice { stretches: Vec::new(), plan: Plan::new(program, isa)?, cost }];
    let mut most = usize::MAX;
    while let Some((stretches, need, cost)) = path(&edges, most) {
        let stretches = join(&stretches);
        let bytes = Stretch::bytes(&stretches);
        most = need - 1;
        let Ok(program) = program.with_schedule(&bytes) else { continue };
        let Ok(plan) = Plan::new(&program, isa) else { continue };
        // Where values lie may leave gaps: what counts is the plan.
        let least = choices.iter().map(|choice| choice.plan.arena_bytes).min().unwrap_or(usize::MAX);
        if plan.arena_bytes < least {
            choices.retain(|choice| choice.cost < cost || choice.stretches.is_empty());
            choices.push(Choice { stretches, plan, cost });
        }
    }
    Ok(choices)
}
