use std::collections::BTreeMap;
use std::ops::Range;
use std::vec::Vec;

use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::model::{
    Activation, Concat, Conv, FORMAT_VERSION, Header, Inputs, Linear, PadShortcut, Pool, PoolKind, Shape,
    Value, Weights, Window,
};

/// A program in the making; names are the indices.
struct Builder {
    ops: Vec<Op<String>>,
    shapes: Vec<Shape>,
    unread: Vec<Value>,
}

impl Builder {
    fn new(input: Shape) -> Self {
        Self { ops: Vec::new(), shapes: vec![input], unread: vec![0] }
    }

    fn push(&mut self, op: Op<String>) -> Value {
        let inputs = op.inputs();
        self.unread.retain(|value| !inputs.values().contains(value));
        self.shapes.push(op.output_shape(self.shape(inputs.first())).unwrap());
        self.ops.push(op);
        self.unread.push(self.ops.len() as Value);
        self.ops.len() as Value
    }

    fn shape(&self, value: Value) -> Shape {
        self.shapes[usize::from(value)]
    }

    fn conv(&mut self, input: Value, n: u32, window: Window, rank: u32, residual: Option<Value>) -> Value {
        let weights = if rank == 0 { Weights::Dense } else { Weights::Pair { rank } };
        let name = self.ops.len().to_string();
        let activation = Activation::Relu;
        self.push(Op::Conv(Conv { name, input, out_channels: n, window, weights, residual, activation }))
    }

    /// Joins what is unread, and adds a classifier.
    fn bytes(mut self) -> Vec<u8> {
        while self.unread.len() > 1 {
            let (a, b) = (self.unread[0], self.unread[1]);
            let a = self.push(Op::GlobalAveragePool { input: a });
            let b = self.push(Op::GlobalAveragePool { input: b });
            let a = self.conv(a, 8, Window::square(1, 1, 0), 0, None);
            let b = self.conv(b, 8, Window::square(1, 1, 0), 0, None);
            self.push(Op::Add { inputs: [a, b], activation: Activation::None });
        }
        let pooled = self.push(Op::GlobalAveragePool { input: self.unread[0] });
        let (weights, activation) = (Weights::Dense, Activation::None);
        self.push(Op::Linear(Linear {
            name: "fc".into(),
            input: pooled,
            out_features: 10,
            weights,
            activation,
        }));
        let header = Header {
            version: FORMAT_VERSION,
            input: self.shapes[0],
            mean: [0.0; 4],
            std: [1.0; 4],
            classes: 10,
            ops: self.ops.len() as u16,
        };
        let mut buffer = vec![0; 1 << 16];
        let mut at = postcard::to_slice(&header, &mut buffer).unwrap().len();
        for op in &self.ops {
            at += postcard::to_slice(op, &mut buffer[at..]).unwrap().len();
        }
        buffer.truncate(at);
        buffer
    }
}

fn random(seed: u64, ops: usize) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut net =
        Builder::new(Shape::new(rng.random_range(1..5), rng.random_range(1..30), rng.random_range(1..30)));
    for _ in 0..ops {
        let recent = net.shapes.len().saturating_sub(5)..net.shapes.len();
        let input = rng.random_range(recent) as Value;
        let shape = net.shape(input);
        match rng.random_range(0..10) {
            0 => net.push(Op::Pool(Pool { input, kind: PoolKind::Max, window: Window::square(1, 2, 0) })),
            1 => {
                net.push(Op::PadShortcut(PadShortcut { input, out_channels: shape.channels + 3, stride: 1 }))
            }
            2 | 3 => {
                let same =
                    (0..net.shapes.len()).rev().find(|&v| net.shapes[v] == shape && v != usize::from(input));
                let other = same.filter(|v| v + 6 > net.shapes.len()).unwrap_or(usize::from(input)) as Value;
                net.push(Op::Add { inputs: [input, other], activation: Activation::Relu })
            }
            4 => {
                let fits = |v: &usize| Shape { channels: shape.channels, ..net.shapes[*v] } == shape;
                let others = (0..net.shapes.len()).rev().filter(fits).map(|v| v as Value);
                let count = rng.random_range(0..MAX_INPUTS);
                let joined: Vec<Value> = [input].into_iter().chain(others.take(count)).collect();
                let out_channels = joined.iter().map(|&v| net.shape(v).channels).sum();
                net.push(Op::Concat(Concat { inputs: Inputs::new(&joined).unwrap(), out_channels }))
            }
            _ => {
                let (n, k) = (rng.random_range(1..40), rng.random_range(0..2));
                let window = Window::square(2 * k + 1, 1, k);
                let residual = (net.shapes.len().saturating_sub(6)..net.shapes.len())
                    .find(|&v| net.shapes[v] == Shape { channels: net.shapes[v].channels, ..shape });
                let residual = residual.filter(|_| rng.random()).map(|v| v as Value);
                let n = residual.map_or(n, |v| net.shape(v).channels);
                net.conv(input, n, window, rng.random_range(0..6), residual)
            }
        };
        if net.unread.len() > 8 {
            break;
        }
    }
    net.bytes()
}

/// Basic blocks with projections, all layers that pay pairs of a fraction of their rank where `low_rank`.
fn resnet(blocks: u32, low_rank: bool) -> Vec<u8> {
    let mut net = Builder::new(Shape::new(3, 32, 32));
    let rank = |c: u32, n: u32, k: u32| if low_rank { n.min(c * k * k) * 2 / 5 } else { 0 };
    let mut x = net.conv(0, 16, Window::square(3, 1, 1), rank(3, 16, 3), None);
    let mut c = 16;
    for (stage, n) in [16, 32, 64].into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let shortcut =
                if c == n { x } else { net.conv(x, n, Window::square(1, 2, 0), rank(c, n, 1), None) };
            let middle = net.conv(x, n, Window::square(3, stride, 1), rank(c, n, 3), None);
            x = net.conv(middle, n, Window::square(3, 1, 1), rank(n, n, 3), Some(shortcut));
            c = n;
        }
    }
    net.bytes()
}

/// Places all values, checks that no two that live at once overlap; returns the plan, the least bytes that live values
/// and scratch take at any step, and how many values were placed over their residual.
fn check(program: &Program<'_>, isa: Isa) -> (Plan, usize, usize) {
    let plan = Plan::new(program, isa).unwrap();
    let space = plan.arena_bytes - plan.table_bytes;
    let layers: Vec<_> = program.layers().collect();
    let mut last_read = BTreeMap::from([(0, 0)]);
    for layer in &layers {
        last_read.extend(layer.op.inputs().values().iter().map(|&value| (usize::from(value), layer.index)));
    }
    let range = |place: Place, bytes: usize| place.offset(space)..place.offset(space) + bytes;
    let mut placer = Placer::new(program, isa).unwrap();
    let mut values: Vec<Option<Range<usize>>> =
        vec![Some(range(placer.input(), program.header().input.len() * 2))];
    let (mut least, mut in_place) = (0, 0);
    while let Some((layer, placement)) = placer.next_step().unwrap() {
        let read = |&value: &Value| values[usize::from(value)].clone().unwrap();
        let expected: Vec<Range<usize>> = layer.op.inputs().values().iter().map(read).collect();
        let places = placement.inputs.iter().flatten().zip(&expected);
        let mut found: Vec<Range<usize>> =
            places.map(|(place, range_of)| range(*place, range_of.len())).collect();
        let input = found[0].clone();
        if matches!(layer.op, Op::Add { .. }) && input != expected[0] {
            found.reverse();
        }
        assert_eq!(found, expected);
        let scratch = range(placement.scratch, placement.scratch.bytes);
        let output = placement.output.map(|place| range(place, layer.output.len() * 2));
        let alive = |value: &usize| last_read[value] >= layer.index && *value <= layer.index;
        let live: Vec<usize> = last_read.keys().copied().filter(alive).collect();
        let mut bytes = scratch.len();
        for &value in &live {
            let place = values[value].clone().unwrap();
            bytes += place.len().next_multiple_of(ALIGNMENT);
            assert!(place.end <= space && !overlap(&place, &scratch), "scratch of {}", layer.index);
            if let Some(output) = output.clone().filter(|output| overlap(output, &place)) {
                assert_eq!(output, place, "only whole values are overwritten");
                assert_eq!(last_read[&value], layer.index, "a value is overwritten that lives on");
                let summand = expected.len() == 2 && !matches!(layer.op, Op::Concat(_));
                assert!(summand && place != input, "only a summand is overwritten");
                in_place += 1;
                bytes -= place.len().next_multiple_of(ALIGNMENT);
            }
        }
        if let Some(output) = &output {
            assert!(output.end <= space && !overlap(output, &scratch));
            bytes += output.len().next_multiple_of(ALIGNMENT);
        }
        least = least.max(bytes);
        values.push(output);
    }
    (plan, least, in_place)
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn live_values_never_overlap(seed: u64, ops in 0usize..40) {
        let bytes = random(seed, ops);
        let program = Program::new_checked(&bytes).unwrap();
        for isa in [Isa::Portable, Isa::CortexM, Isa::CortexM55, Isa::CortexM55Half, Isa::Avx2, Isa::Avx512] {
            let (plan, least, _) = check(&program, isa);
            prop_assert_eq!(plan.activation_bytes + plan.scratch_bytes + plan.table_bytes, plan.arena_bytes);
            prop_assert!(plan.arena_bytes - plan.table_bytes >= least);
        }
    }
}

/// In an arena of `arena` bytes: no scratch meets a value that lives, none is less than a step needs, and in the fastest
/// each is the most that it can use. Returns the bytes of all scratch.
fn scratch_of(program: &Program<'_>, plan: &Plan, isa: Isa, arena: usize) -> usize {
    let space = arena - plan.table_bytes;
    let layers: Vec<_> = program.layers().collect();
    let last_read = |value: usize| {
        layers
            .iter()
            .rev()
            .find(|layer| layer.op.inputs().values().contains(&(value as Value)))
            .map(|layer| layer.index)
    };
    let range = |place: Place, bytes: usize| place.offset(space)..place.offset(space) + bytes;
    let mut placer = Placer::new(program, isa).unwrap();
    let mut values = vec![Some(range(placer.input(), program.header().input.len() * 2))];
    let mut all = 0;
    while let Some((layer, placement)) = placer.next_step().unwrap() {
        let [begin, bytes] = placement.scratch_in(space);
        let scratch = begin..begin + bytes;
        assert!(scratch.end <= space && begin.is_multiple_of(ALIGNMENT) && bytes >= placement.scratch.bytes);
        assert!(bytes <= placement.most.max(placement.scratch.bytes));
        assert!(arena < plan.fastest_bytes || bytes >= placement.most, "layer {}", layer.index);
        values.push(placement.output.map(|place| range(place, layer.output.len() * 2)));
        for (value, place) in values.iter().enumerate() {
            let lives = value == layer.index + 1 || last_read(value).is_some_and(|last| last >= layer.index);
            assert!(
                !lives || place.as_ref().is_none_or(|place| !overlap(place, &scratch)),
                "scratch of {}",
                layer.index
            );
        }
        all += bytes;
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn scratch_takes_what_values_leave(seed: u64, ops in 0usize..40, share in 0.0f64..1.0) {
        let bytes = random(seed, ops);
        let program = Program::new_checked(&bytes).unwrap();
        for isa in [Isa::Portable, Isa::CortexM, Isa::CortexM55] {
            let plan = Plan::new(&program, isa).unwrap();
            let (least, fastest) = (plan.arena_bytes, plan.fastest_bytes);
            prop_assert!(least <= fastest && (least == fastest || isa == Isa::CortexM));
            let between = least + ((fastest - least) as f64 * share) as usize / ALIGNMENT * ALIGNMENT;
            let all = [least, between, fastest].map(|arena| scratch_of(&program, &plan, isa, arena));
            prop_assert!(all.is_sorted());
        }
    }
}

/// Layers behind the peak run by tiles in the least arena already; those at the peak take more.
#[test]
fn a_resnet_has_a_faster_arena() {
    let bytes = resnet(1, true);
    let plan = Plan::new(&Program::new_checked(&bytes).unwrap(), Isa::CortexM).unwrap();
    assert!(plan.fastest_bytes > plan.arena_bytes + (16 << 10), "{plan:?}");
    assert!(plan.fastest_bytes < 2 * plan.arena_bytes, "{plan:?}");
}

#[test]
fn resnets_take_the_least_that_their_values_allow() {
    for blocks in [1, 3, 5] {
        for low_rank in [false, true] {
            let bytes = resnet(blocks, low_rank);
            let program = Program::new_checked(&bytes).unwrap();
            let (plan, least, in_place) = check(&program, Isa::CortexM);
            assert_eq!(plan.arena_bytes - plan.table_bytes, least, "{blocks} blocks");
            // Every block's sum takes the place of its shortcut.
            assert_eq!(in_place, 3 * blocks as usize);
            // Two feature maps of the first stage: the block's input, overwritten by its output, and its middle.
            assert_eq!(plan.activation_bytes, 2 * 2 * 16 * 32 * 32);
        }
    }
}

#[test]
fn a_low_rank_model_needs_no_larger_arena_than_its_dense_twin() {
    let (dense, low_rank) = (resnet(3, false), resnet(3, true));
    let (dense, low_rank) = (Program::new_checked(&dense).unwrap(), Program::new_checked(&low_rank).unwrap());
    for isa in [Isa::Portable, Isa::CortexM, Isa::CortexM55, Isa::CortexM55Half, Isa::Avx2, Isa::Avx512] {
        assert!(
            Plan::new(&low_rank, isa).unwrap().arena_bytes <= Plan::new(&dense, isa).unwrap().arena_bytes
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn scratch_of_a_pair_that_pays_is_its_dense_layers(
        c in 1u32..200, n in 1u32..200, h in 1u32..60, w in 1u32..60, k in 1u16..6, stride in 1u16..3, share in 0.0f64..1.0,
    ) {
        let layer = |weights| Op::Conv(Conv {
            name: "", input: 0, out_channels: n, window: Window::square(k, stride, k / 2), weights, residual: None,
            activation: Activation::None,
        });
        let input = Shape::new(c, h, w);
        let columns = c * u32::from(k) * u32::from(k);
        // Strictly below n·c·k² / (n + c·k²).
        let most = (n * columns - 1) / (n + columns);
        let rank = (f64::from(most) * share).ceil() as u32;
        for isa in [Isa::CortexM, Isa::CortexM55, Isa::CortexM55Half, Isa::Avx512] {
            let dense = kernel::scratch(isa, &layer(Weights::Dense), input);
            if rank > 0 {
                prop_assert_eq!(kernel::scratch(isa, &layer(Weights::Pair { rank }), input), dense);
            }
        }
    }
}

#[test]
fn what_cannot_be_addressed_is_refused() {
    let mut net = Builder::new(Shape::new(1, 30000, 30000));
    let x = net.conv(0, 2, Window::square(1, 1, 0), 0, None);
    net.conv(x, 2, Window::square(1, 1, 0), 0, None);
    let bytes = net.bytes();
    let program = Program::new_checked(&bytes).unwrap();
    assert!(matches!(Plan::new(&program, Isa::Portable), Err(PlanError::TooLarge { .. })));
}
