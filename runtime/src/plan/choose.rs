//! Which stretches to run as streams: the cheapest for every size of the arena.
//!
//! A schedule cuts a program into stretches that follow each other; its cost is the sum of theirs, its memory the largest of
//! theirs. So the cheapest schedule within a bound is a shortest path over the cuts, along the stretches within the bound; the
//! curve follows by lowering the bound to just below what the last path needed.

use std::collections::BTreeMap;
use std::vec::Vec;

use super::place::{Place, Side, Space};
use super::windows::Windows;
use super::{Plan, PlanError};
use crate::kernel::{self, Isa};
use crate::model::{LayerInfo, MAX_STREAM, Op, Program, Stretch, Walk};

/// Heights of a strip that are tried.
const STRIPS: [u16; 10] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32];

/// Pixels for which operations wait that are tried.
const PIXELS: [u16; 6] = [8, 16, 32, 64, 128, 256];

/// Scratch that is tried, in bytes.
const SCRATCH: [u16; 20] = [
    0, 1024, 1280, 1536, 1792, 2048, 2560, 3072, 3584, 4096, 4608, 5120, 5632, 6144, 6912, 7424, 8192, 12288,
    16384, 24576,
];

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
#[derive(Clone, Copy)]
struct Edge {
    from: usize,
    stretch: Stretch,
    /// Bytes of values and scratch.
    need: usize,
    cost: u64,
}

impl Edge {
    fn to(&self) -> usize {
        self.from + usize::from(self.stretch.ops)
    }
}

/// What rows of layers cost and need, looked up once.
struct Costs<'l, 'a> {
    isa: Isa,
    layers: &'l [LayerInfo<'a>],
    known: BTreeMap<(usize, usize, u16), [u64; 2]>,
}

impl Costs<'_, '_> {
    /// Bytes of scratch that `rows` rows of an operation take where a schedule gives it `given`, and the estimate of its instructions.
    fn of(&mut self, op: usize, rows: usize, given: u16) -> [u64; 2] {
        let (isa, layers) = (self.isa, self.layers);
        *self.known.entry((op, rows, given)).or_insert_with(|| {
            let Some(layer) = layers.get(op) else { return [0; 2] };
            let scratch = kernel::strip_scratch(isa, layer, rows, given.into()).saturating_mul(4);
            let cost = kernel::cost(isa, layer, rows, (scratch, given > 0));
            [scratch as u64, cost.saturating_mul(kernel::cost_in_place(isa, &layer.op))]
        })
    }
}

/// What a layer that is computed whole takes, by the scratch that it gets: all that the values leave.
struct Whole {
    /// Bytes of the values, its result included.
    values: usize,
    /// Bytes of scratch, and the estimate of the instructions with it, from the least on.
    costs: Vec<(usize, u64)>,
}

impl Whole {
    fn new(isa: Isa, layer: &LayerInfo<'_>, values: usize) -> Whole {
        let [least, most] =
            kernel::scratch_range(isa, &layer.op, layer.input).map(|words| words.saturating_mul(4));
        let between = SCRATCH.into_iter().map(usize::from).filter(|bytes| (least + 1..most).contains(bytes));
        let rows = layer.output.height as usize;
        let costs = core::iter::once(least).chain(between).chain([most]);
        Whole {
            values,
            costs: costs.map(|bytes| (bytes, kernel::cost(isa, layer, rows, (bytes, true)))).collect(),
        }
    }

    /// Estimate of the instructions in a space of so many bytes.
    fn cost(&self, space: usize) -> u64 {
        let room = space.saturating_sub(self.values);
        let fitting = self.costs.iter().take_while(|(bytes, _)| *bytes <= room).last();
        fitting.or(self.costs.first()).map_or(0, |(_, cost)| *cost)
    }
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
    costs: &mut Costs<'_, '_>,
) -> Option<(Whole, Vec<Edge>)> {
    let mut edges = Vec::new();
    let (layer, live) = (layers.get(from)?, live.get(from)?);
    // Layer by layer: what lives, the result unless it is written over a summand, and the scratch.
    let inputs = layer.op.inputs();
    let over = layer.last_read.iter().zip(inputs.values()).enumerate();
    let over = over.filter(|(_, (dies, _))| **dies).any(|(slot, _)| match layer.op {
        Op::Concat(_) | Op::Binary(_) | Op::Join(_) | Op::Outputs(_) => false,
        Op::Add { inputs: [a, b], .. } => a != b,
        _ => slot > 0,
    });
    let aligned = |bytes: usize| bytes.next_multiple_of(super::ALIGNMENT);
    let values: usize = live.iter().map(|(_, bytes)| aligned(*bytes)).sum();
    let output = if over || layer.last_use.is_none() { 0 } else { aligned(layer.output.len() * 2) };
    let scratch = aligned(kernel::scratch(isa, &layer.op, layer.input).saturating_mul(4));
    let stretch = Stretch::new(1, 0);
    let whole = Whole::new(isa, layer, values + output);
    edges.push(Edge { from, stretch, need: values + output + scratch, cost: 0 });
    let mut walk = Walk::new(program);
    walk.by_ref().take(from).for_each(drop);
    for to in from + 1..=layers.len().min(from + MAX_STREAM - 1) {
        let (Some(last), ops) = (layers.get(to - 1), (to - from) as u16) else { break };
        // A mean is there at the end only: nothing in its stream can read it.
        let mean = |layer: &LayerInfo<'_>| matches!(layer.op, Op::GlobalAveragePool { .. });
        let behind = ops > 1 && layers.get(to - 2).is_some_and(mean);
        if last.last_use.is_none() || behind || matches!(last.op, Op::Linear(_)) {
            break;
        }
        let image = from == 0 && !layers.iter().skip(to).any(|layer| reads(layer, 0));
        let values: Vec<_> = live.iter().copied().filter(|(value, _)| !(image && *value == 0)).collect();
        let mut found = Vec::new();
        let strips = STRIPS.into_iter().take_while(|strip| u32::from(*strip) < layer.input.height.max(2));
        let pixels = PIXELS.into_iter().map(|pixels| (1, pixels));
        for (strip, pixels) in strips.map(|strip| (strip, 0)).chain(pixels) {
            let Some(mut space) = packed(&values) else { break };
            let stretch = Stretch { pixels, ..Stretch::new(ops, strip) };
            let mut windows = Windows::EMPTY;
            if windows.begin(&walk, from, stretch, image, (isa, &mut space)).is_err() {
                break;
            }
            let work = windows.work(&walk);
            for scratch in SCRATCH {
                let (mut bytes, mut cost) = (0, work.own);
                for (&(op, rows), times) in &work.calls {
                    let [scratch, one] = costs.of(from + op, rows, scratch);
                    (bytes, cost) = (scratch.max(bytes), cost + one * times);
                }
                let need = windows.need() - windows.scratch_bytes() + aligned(bytes as usize);
                found.push(Edge { from, stretch: Stretch { scratch, ..stretch }, need, cost });
            }
        }
        // Those that are worth their memory.
        found.sort_by_key(|edge| (edge.need, edge.cost));
        let mut before = u64::MAX;
        found.retain(|edge| {
            let pays = edge.cost < before;
            before = edge.cost.min(before);
            pays
        });
        edges.append(&mut found);
    }
    Some((whole, edges))
}

/// The cheapest way through stretches of at most `most` bytes.
fn path(edges: &[(Whole, Vec<Edge>)], most: usize) -> Option<(Vec<Stretch>, usize)> {
    let mut best: Vec<Option<(u64, &Edge)>> = std::vec![None; edges.len() + 1];
    for (from, (whole, edges)) in edges.iter().enumerate() {
        let before = if from == 0 { Some(0) } else { best.get(from)?.map(|(cost, _)| cost) };
        let Some(before) = before else { continue };
        for edge in edges.iter().filter(|edge| edge.need <= most) {
            let one = if edge.stretch.strip == 0 { whole.cost(most) } else { edge.cost };
            let cost = before.saturating_add(one);
            let slot = best.get_mut(edge.to())?;
            if slot.is_none_or(|(least, _)| cost < least) {
                *slot = Some((cost, edge));
            }
        }
    }
    let (mut at, mut stretches, mut need) = (edges.len(), Vec::new(), 0);
    while at > 0 {
        let (_, edge) = (*best.get(at)?)?;
        stretches.push(edge.stretch);
        (at, need) = (edge.from, edge.need.max(need));
    }
    stretches.reverse();
    Some((stretches, need))
}

/// Estimate of the instructions of a way in a space of so many bytes.
fn cost(edges: &[(Whole, Vec<Edge>)], stretches: &[Stretch], space: usize) -> u64 {
    let (mut at, mut cost) = (0, 0u64);
    for stretch in stretches {
        let Some((whole, edges)) = edges.get(at) else { break };
        cost += match edges.iter().find(|edge| edge.stretch == *stretch) {
            Some(edge) if stretch.strip > 0 => edge.cost,
            _ => whole.cost(space),
        };
        at += usize::from(stretch.ops);
    }
    cost
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
    let mut costs = Costs { isa, layers: &layers, known: BTreeMap::new() };
    let from = |from| self::edges((program, isa), &layers, &live, from, &mut costs);
    let edges: Vec<(Whole, Vec<Edge>)> = (0..layers.len()).map_while(from).collect();
    let space = |plan: &Plan| plan.arena_bytes - plan.table_bytes;
    let plan = Plan::new(program, isa)?;
    let by_layers = std::vec![Stretch::new(1, 0); layers.len()];
    let mut most = space(&plan);
    let mut choices = std::vec![Choice { stretches: Vec::new(), plan, cost: cost(&edges, &by_layers, most) }];
    while let Some((way, need)) = path(&edges, most) {
        let stretches = join(&way);
        let bytes = Stretch::bytes(&stretches);
        most = need - 1;
        let Ok(program) = program.with_schedule(&bytes) else { continue };
        let Ok(plan) = Plan::new(&program, isa) else { continue };
        // Where values lie may leave gaps: what counts is the plan.
        let cost = cost(&edges, &way, space(&plan));
        let least = choices.iter().map(|choice| choice.plan.arena_bytes).min().unwrap_or(usize::MAX);
        if plan.arena_bytes < least {
            choices.retain(|choice| choice.cost < cost || choice.stretches.is_empty());
            choices.push(Choice { stretches, plan, cost });
        }
    }
    Ok(choices)
}
