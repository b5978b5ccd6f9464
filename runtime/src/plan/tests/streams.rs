//! Streams, followed row by row: every row that is read is there, whatever was written in between.

use std::vec::Vec;

use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::*;
use super::{Builder, random, resnet};
use crate::model::{Activation, LayerInfo, MAX_STREAM, Op, Pool, PoolKind, Shape, Stretch, Value, Window};

/// The space of an arena: what lies at each f16.
struct Space {
    tags: Vec<u64>,
}

/// A map or a window: offset in values, channels, rows of a plane, columns, and the row that lies first.
#[derive(Clone, Copy, Debug)]
struct Map {
    value: usize,
    at: usize,
    channels: usize,
    capacity: usize,
    width: usize,
    first: usize,
}

impl Map {
    fn new(value: usize, place: Place, space: usize, shape: Shape, rows: Option<(usize, usize)>) -> Map {
        let (capacity, first) = rows.unwrap_or((shape.height as usize, 0));
        let [channels, width] = [shape.channels, shape.width].map(|size| size as usize);
        assert!(channels * capacity * width * 2 <= place.bytes, "value {value}");
        assert!(place.offset(space) + place.bytes <= space, "value {value}");
        Map { value, at: place.offset(space) / 2, channels, capacity, width, first }
    }

    fn cells(&self, rows: core::ops::Range<usize>) -> impl Iterator<Item = (usize, u64)> {
        let map = *self;
        assert!(
            rows.is_empty() || (rows.start >= map.first && rows.end <= map.first + map.capacity),
            "{map:?} {rows:?}"
        );
        (0..map.channels).flat_map(move |channel| {
            rows.clone().flat_map(move |row| {
                let at = map.at + (channel * map.capacity + row - map.first) * map.width;
                let tag = ((map.value as u64 + 1) << 40) + ((channel as u64) << 20) + row as u64;
                (at..at + map.width).map(move |at| (at, tag))
            })
        })
    }
}

impl Space {
    fn write(&mut self, map: &Map, rows: core::ops::Range<usize>) {
        map.cells(rows).for_each(|(at, tag)| self.tags[at] = tag);
    }

    fn holds(&self, map: &Map, rows: core::ops::Range<usize>) -> bool {
        map.cells(rows).all(|(at, tag)| self.tags[at] == tag)
    }

    fn shift(&mut self, map: &Map, strip: &Strip) {
        for channel in 0..map.channels {
            let at = map.at + channel * map.capacity * map.width;
            let from = at + strip.shift * map.width;
            self.tags.copy_within(from..from + strip.stay * map.width, at);
        }
    }
}

/// One operation as it was placed.
struct Placed<'a> {
    layer: LayerInfo<'a>,
    placement: Placement,
    /// Of those that begin a stream.
    nodes: Vec<Node>,
}

/// Rows of the first input under the rows `from..to` of the result.
fn under(op: &Op<&str>, from: usize, to: usize, height: usize) -> core::ops::Range<usize> {
    let [kernel, stride, above] = match op {
        Op::Conv(conv) => [conv.window.kernel[0], conv.window.stride[0], conv.window.padding[0]],
        Op::Pool(pool) => [pool.window.kernel[0], pool.window.stride[0], pool.window.padding[0]],
        Op::PadShortcut(shortcut) => [1, shortcut.stride, 0],
        _ => [1, 1, 0],
    }
    .map(usize::from);
    (from * stride).saturating_sub(above)..((to - 1) * stride + kernel).saturating_sub(above).min(height)
}

/// Runs the program as a session does, and checks every read; gives its plan.
fn follow(program: &Program<'_>, isa: Isa, stretches: &[Stretch]) -> Result<Plan, String> {
    let bytes = Stretch::bytes(stretches);
    let program = &program.with_schedule(&bytes).map_err(|error| error.to_string())?;
    let plan = Plan::new(program, isa).map_err(|error| error.to_string())?;
    let size = plan.arena_bytes - plan.table_bytes;
    let mut windows = Windows::EMPTY;
    let mut placer = Placer::new(program, isa, Some(&mut windows));
    placer.start().unwrap();
    let input = program.header().input;
    let image = placer.input();
    let mut placed = Vec::new();
    while let Some((layer, placement)) = placer.next_step().unwrap() {
        placed.push(Placed { layer, placement, nodes: placer.begun().0.to_vec() });
    }
    let mut space = Space { tags: std::vec![0; size / 2] };
    let mut whole = std::vec![None; program.len() + 1];
    let streamed = placed[0].nodes.len() > stretches.first().map_or(0, |first| usize::from(first.ops));
    if !streamed {
        let map = Map::new(0, image, size, input, None);
        space.write(&map, 0..input.height as usize);
        whole[0] = Some(map);
    }
    let mut next = 0;
    let mut stretches = stretches.iter().copied().chain([Stretch::new(u16::MAX, 0)]);
    while next < placed.len() {
        let stretch = stretches.next().unwrap();
        let ops = usize::from(stretch.ops).min(placed.len() - next);
        let some = &placed[next..next + ops];
        if stretch.strip == 0 {
            some.iter().for_each(|one| by_layers(&mut space, size, &mut whole, one));
        } else {
            stream(
                &mut space,
                size,
                &mut whole,
                (some, next, stretch.strip),
                streamed && next == 0,
                (image, input),
            );
        }
        next += ops;
    }
    Ok(plan)
}

fn junk(space: &mut Space, size: usize, placement: &Placement) {
    let at = placement.scratch.offset(size);
    assert!(at + placement.scratch.bytes <= size);
    space.tags[at / 2..(at + placement.scratch.bytes) / 2].fill(u64::MAX);
}

/// Checks that the values that an operation reads whole, in any order, are there.
fn by_layers(space: &mut Space, size: usize, whole: &mut [Option<Map>], one: &Placed<'_>) {
    junk(space, size, &one.placement);
    for &value in one.layer.op.inputs().values() {
        let map = whole[usize::from(value)].expect("a value that was stored whole");
        assert!(space.holds(&map, 0..map.capacity), "operation {} reads value {value}", one.layer.index);
        let offset = |place: &Place| place.offset(size) / 2 == map.at;
        assert!(one.placement.inputs.iter().flatten().any(offset));
    }
    if let Some(output) = one.placement.output {
        let map = Map::new(one.layer.index + 1, output, size, one.layer.output, None);
        space.write(&map, 0..map.capacity);
        whole[map.value] = Some(map);
    }
}

/// Runs a stream pass by pass.
fn stream(
    space: &mut Space,
    size: usize,
    whole: &mut [Option<Map>],
    (some, first, strip): (&[Placed<'_>], usize, u16),
    image: bool,
    (image_place, input): (Place, Shape),
) {
    let mut nodes = some[0].nodes.clone();
    assert_eq!(nodes.len(), some.len() + usize::from(image));
    let offset = usize::from(image);
    let window = |nodes: &[Node], at: usize| {
        let node = &nodes[at];
        let (value, place, shape) = match at.checked_sub(offset) {
            None => (0, image_place, input),
            Some(op) => (first + op + 1, some[op].placement.output.unwrap(), some[op].layer.output),
        };
        let rows = (!node.is_whole()).then(|| (node.capacity(), node.first()));
        Map::new(value, place, size, shape, rows)
    };
    let mut computed = std::vec![0; nodes.len()];
    let mut stream = Stream::new(&mut nodes, strip);
    while stream.next_pass() {
        for (at, computed) in computed.iter_mut().enumerate() {
            let before = window(stream.nodes(), at);
            let Some(strip) = stream.advance(at) else { continue };
            assert_eq!(strip.from, *computed, "nothing is computed twice, nothing left out");
            *computed = strip.to;
            space.shift(&before, &strip);
            let map = window(stream.nodes(), at);
            let Some(op) = at.checked_sub(offset) else {
                space.write(&map, strip.from..strip.to);
                continue;
            };
            let Placed { layer, placement, .. } = &some[op];
            let mean = matches!(layer.op, Op::GlobalAveragePool { .. });
            if mean {
                // Its scratch are the sums of the rows before.
                let at = placement.scratch.offset(size) / 2;
                let sums = &mut space.tags[at..at + 2 * layer.output.len()];
                let tag = (layer.index as u64 + 1) << 50;
                assert!(strip.from == 0 || sums.iter().all(|found| *found == tag), "sums of {}", layer.index);
                sums.fill(tag);
            } else {
                junk(space, size, placement);
            }
            for (slot, place) in placement.inputs.iter().enumerate() {
                let Some(place) = place else { continue };
                let height = layer.input.height as usize;
                let rows = if slot == 0 {
                    under(&layer.op, strip.from, strip.to, height)
                } else {
                    strip.from..strip.to
                };
                match stream.nodes()[at].source(slot) {
                    Some(back) => {
                        let source = window(stream.nodes(), at - back);
                        assert_eq!(source.at, place.offset(size) / 2);
                        assert!(
                            space.holds(&source, rows.clone()),
                            "operation {} reads {rows:?}: {source:?}",
                            layer.index
                        );
                        // Its value is the one that the program says, in this place or, of a sum, in the other.
                        assert!(layer.op.inputs().values().contains(&(source.value as Value)));
                    }
                    None => {
                        let values = layer.op.inputs();
                        let mut outside =
                            values.values().iter().filter_map(|&value| whole[usize::from(value)]);
                        let found = outside
                            .any(|map| map.at == place.offset(size) / 2 && space.holds(&map, rows.clone()));
                        assert!(found, "operation {} reads {rows:?} of slot {slot}", layer.index);
                    }
                }
            }
            match mean {
                false => space.write(&map, strip.from..strip.to),
                true if strip.to == layer.input.height as usize => space.write(&map, 0..map.capacity),
                true => {}
            }
        }
    }
    for (at, node) in nodes.iter().enumerate().skip(offset) {
        if node.is_whole() {
            let map = window(&nodes, at);
            assert!(space.holds(&map, 0..map.capacity), "value {}", map.value);
            whole[map.value] = Some(map);
        }
    }
}

/// Cuts a program at random, into streams where operations allow it.
fn cut(program: &Program<'_>, rng: &mut ChaCha8Rng) -> Vec<Stretch> {
    let last = program.len() - 1;
    let by_rows = |layer: &LayerInfo<'_>| !matches!(layer.op, Op::Linear(_)) && layer.index < last;
    let allowed: Vec<bool> = program.layers().map(|layer| by_rows(&layer)).collect();
    // Nothing in its stream reads a mean.
    let ends: Vec<bool> =
        program.layers().map(|layer| matches!(layer.op, Op::GlobalAveragePool { .. })).collect();
    let (mut stretches, mut at) = (Vec::new(), 0);
    while at < allowed.len() {
        let run = allowed[at..].iter().take(MAX_STREAM - 1).take_while(|allowed| **allowed).count();
        let run = ends[at..at + run].iter().position(|end| *end).map_or(run, |mean| mean + 1);
        let stretch = if run == 0 || rng.random_range(0..4) == 0 {
            Stretch::new(1, 0)
        } else {
            let pixels = if rng.random() { 0 } else { rng.random_range(1..20) * 4 };
            let scratch = if rng.random() { 0 } else { rng.random_range(1..40) * 256 };
            Stretch {
                pixels,
                scratch,
                ..Stretch::new(rng.random_range(1..=run) as u16, rng.random_range(1..7))
            }
        };
        at += usize::from(stretch.ops);
        stretches.push(stretch);
    }
    stretches
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_row_that_is_read_is_there(seed: u64, ops in 0usize..40) {
        let bytes = random(seed, ops);
        let program = Program::new_checked(&bytes).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let stretches = cut(&program, &mut rng);
        for isa in [Isa::Portable, Isa::CortexM, Isa::CortexM55] {
            match follow(&program, isa, &stretches) {
                Ok(_) => {}
                // More values than a device keeps places for.
                Err(error) => prop_assert!(error.contains("alive at once"), "{error}"),
            }
        }
    }
}

#[test]
fn without_streams_a_schedule_changes_nothing() {
    let bytes = resnet(3, true);
    let program = Program::new_checked(&bytes).unwrap();
    let layers = Plan::new(&program, Isa::CortexM).unwrap();
    for stretches in [&[][..], &[Stretch::new(5, 0)]] {
        assert_eq!(follow(&program, Isa::CortexM, stretches).unwrap(), layers);
    }
}

#[test]
fn a_block_is_written_over_its_input() {
    let mut net = Builder::new(Shape::new(3, 32, 32));
    let mut x = net.conv(0, 16, Window::square(3, 1, 1), 0, None);
    for _ in 0..3 {
        let middle = net.conv(x, 16, Window::square(3, 1, 1), 6, None);
        x = net.conv(middle, 16, Window::square(3, 1, 1), 6, Some(x));
    }
    let bytes = net.bytes();
    let program = Program::new_checked(&bytes).unwrap();
    let plan = |strip| {
        let stretches = [1, 2, 2, 2].map(|ops| Stretch::new(ops, strip));
        follow(&program, Isa::CortexM, &stretches).unwrap()
    };
    // A map is 32 KB; layer by layer, two of them are needed.
    let map = 2 * 16 * 32 * 32;
    assert_eq!(Plan::new(&program, Isa::CortexM).unwrap().activation_bytes, 2 * map);
    for strip in [1u16, 2, 4] {
        let plan = plan(strip);
        // Three rows of the block's middle, and as many more as a strip is high.
        let middle = 16 * 32 * 2 * (2 + usize::from(strip));
        assert_eq!(plan.activation_bytes, map + middle, "{plan:?}");
    }
}

#[test]
fn what_cannot_be_in_a_stream_is_refused_by_name() {
    let mut net = Builder::new(Shape::new(2, 8, 8));
    let x = net.conv(0, 4, Window::square(3, 1, 1), 0, None);
    let x = net.push(Op::Pool(Pool { input: x, kind: PoolKind::Max, window: Window::square(2, 2, 0) }));
    net.push(Op::Add { inputs: [x, x], activation: Activation::None });
    let bytes = net.bytes();
    let program = Program::new_checked(&bytes).unwrap();
    let refusal = |stretches: &[(u16, u16)]| {
        let stretches: Vec<Stretch> =
            stretches.iter().map(|&(ops, strip)| Stretch::new(ops, strip)).collect();
        follow(&program, Isa::Portable, &stretches).unwrap_err()
    };
    for ops in [3, 4] {
        assert!(follow(&program, Isa::Portable, &[Stretch::new(ops, 1)]).is_ok());
    }
    assert!(refusal(&[(5, 1)]).contains("it makes the logits"));
    assert!(refusal(&[(3, 1), (1, 0), (1, 1)]).contains("it makes the logits"));
    assert!(refusal(&[(0, 1)]).contains("stretch 0 has no operation"));
    assert!(refusal(&[(3, 0), (60, 1)]).contains("more than 48"));
    assert!(refusal(&[(3, 0), (40, 1)]).contains("43 operations and the program 5"));
    assert!(program.with_schedule(&[1, 0, 1]).unwrap_err().to_string().contains("3 bytes"));
    let mut net = Builder::new(Shape::new(2, 8, 8));
    let x = net.push(Op::GlobalAveragePool { input: 0 });
    let x = net.push(Op::Add { inputs: [x, x], activation: Activation::None });
    net.push(Op::Add { inputs: [x, x], activation: Activation::None });
    let bytes = net.bytes();
    let program = Program::new_checked(&bytes).unwrap();
    let refused = follow(&program, Isa::Portable, &[Stretch::new(2, 1)]).unwrap_err();
    assert!(refused.contains("operation 1 (add) in a stream, where it cannot be: it needs all rows"));
}
