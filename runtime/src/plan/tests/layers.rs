use std::collections::BTreeMap;
use std::ops::Range;
use std::vec::Vec;

use proptest::prelude::*;

use super::super::*;
use super::{Builder, random, resnet};
use crate::kernel;
use crate::model::{Activation, Conv, Op, Shape, Value, Weights, Window};

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
    let mut windows = Windows::EMPTY;
    let mut placer = Placer::new(program, isa, Some(&mut windows));
    placer.start().unwrap();
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
    let mut windows = Windows::EMPTY;
    let mut placer = Placer::new(program, isa, Some(&mut windows));
    placer.start().unwrap();
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
