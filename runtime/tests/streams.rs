//! Streams of rows: the bits of an inference are those of one layer by layer, however the program is cut.

mod support;

use lrpet_runtime::kernel::{Isa, Method};
use lrpet_runtime::model::{MAX_STREAM, Model, Op, Shape, Stretch, Weights};
use lrpet_runtime::plan::Plan;
use lrpet_runtime::session::{RunError, Session, SessionError};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::{Aligned, Network, every_op, linear, resnet};

/// A network of random operations, whose last value is pooled and classified.
fn random(rng: &mut ChaCha8Rng) -> Network {
    let (mut net, x) = support::random::layers(rng);
    let pooled = net.push(Op::GlobalAveragePool { input: x });
    net.push(linear("fc", pooled, 4, Weights::Dense));
    net
}

/// The network with the values that nothing reads left out, which a program must not have.
fn tidy(net: Network) -> Option<Network> {
    let mut read = vec![false; net.shapes.len()];
    net.ops
        .iter()
        .for_each(|op| op.inputs().values().iter().for_each(|&value| read[usize::from(value)] = true));
    read.pop();
    read.into_iter().all(|read| read).then_some(net)
}

fn logits(model: &Model<'_>, isa: Isa, stretches: &[Stretch]) -> Result<(Vec<u32>, Plan), String> {
    let bytes = Stretch::bytes(stretches);
    run(&model.with_schedule(&bytes).map_err(|error| error.to_string())?, isa)
}

fn run(model: &Model<'_>, isa: Isa) -> Result<(Vec<u32>, Plan), String> {
    let plan = Plan::new(model.program(), isa).map_err(|error| error.to_string())?;
    let mut arena = Aligned::zeroed(plan.arena_bytes);
    // What was there before does not matter.
    arena.bytes_mut().fill(0xa5);
    let session = Session::with_isa(model, arena.bytes_mut(), isa);
    // Every product is made, as a stream makes them.
    let mut session = session.map_err(|error| error.to_string())?.with_method(Method::Direct);
    let input = model.program().header().input;
    let image: Vec<u8> = (0..input.len()).map(|i| (i * 7919 % 251) as u8).collect();
    let mut logits = vec![0.0; session.classes()];
    // Twice: an inference leaves nothing behind.
    for _ in 0..2 {
        session.run_image(&image, &mut logits, &mut ()).map_err(|error| error.to_string())?;
    }
    Ok((logits.iter().map(|logit| logit.to_bits()).collect(), plan))
}

fn isas() -> impl Iterator<Item = Isa> {
    [Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Neon].into_iter().filter(|isa| isa.is_available())
}

fn cut(ops: usize, rng: &mut ChaCha8Rng) -> Vec<Stretch> {
    // The classifier runs as a layer.
    let (mut stretches, mut left) = (Vec::new(), ops - 1);
    while left > 0 {
        let ops = rng.random_range(1..=left.min(MAX_STREAM - 1));
        let strip = if rng.random_range(0..5) == 0 { 0 } else { rng.random_range(1..9) };
        // Some wait for several rows, or have scratch of their own.
        let pixels = if rng.random() { 0 } else { rng.random_range(1..12) * 4 };
        let scratch = if strip == 0 || rng.random() { 0 } else { rng.random_range(1..40) * 256 };
        stretches.push(Stretch { pixels, scratch, ..Stretch::new(ops as u16, strip) });
        left -= ops;
    }
    stretches
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn streams_change_no_bit(seed: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut net = (0..).find_map(|_| tidy(random(&mut rng))).unwrap();
        let file = net.file(0);
        let model = Model::new_checked(file.bytes()).unwrap();
        for isa in isas() {
            let (expected, _) = logits(&model, isa, &[]).unwrap();
            for _ in 0..3 {
                let stretches = cut(model.program().len(), &mut rng);
                let (found, _) = logits(&model, isa, &stretches).unwrap();
                prop_assert_eq!(&found, &expected, "{} {:?}", isa.name(), stretches);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]
    /// Whatever a file says: it is refused in a sentence, or the logits are right.
    #[test]
    fn a_schedule_that_lies_is_refused_or_harmless(
        stretches in prop::collection::vec(
            (0u8..50, prop_oneof![Just(0u8), any::<u8>()], prop_oneof![0u8..4, any::<u8>()], prop_oneof![Just(0u8), any::<u8>()]),
            0..5,
        ),
        cut: bool,
    ) {
        let mut net = every_op(4);
        let file = net.file(0);
        let model = Model::new_checked(file.bytes()).unwrap();
        let mut bytes: Vec<u8> =
            stretches.into_iter().flat_map(|(ops, pixels, strip, scratch)| [ops, pixels, strip, scratch]).collect();
        bytes.truncate(bytes.len().saturating_sub(2 * usize::from(cut)));
        match model.with_schedule(&bytes) {
            Err(error) => prop_assert!(!error.to_string().is_empty()),
            Ok(model) => match run(&model, Isa::Portable) {
                Err(error) => prop_assert!(error.contains("in a stream, where it cannot be"), "{error}"),
                Ok((found, _)) => prop_assert_eq!(found, logits(&model, Isa::Portable, &[]).unwrap().0),
            },
        }
    }
}

/// Schedules that hold, with damage: each is refused in a sentence, or runs within its arena to the right logits.
#[test]
fn thousands_of_damaged_schedules_are_refused_or_harmless() {
    /// Behind the arena, and what they hold.
    const GUARDS: (usize, u8) = (64, 0x5a);
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut nets = [every_op(4), resnet(Shape::new(3, 12, 10), 1, false, Some(0.6), 3)];
    for net in &mut nets {
        let file = net.file(0);
        let model = Model::new_checked(file.bytes()).unwrap();
        let ops = model.program().len();
        let input = model.program().header().input;
        let image: Vec<u8> = (0..input.len()).map(|i| (i * 7919 % 251) as u8).collect();
        for isa in isas() {
            let (expected, _) = logits(&model, isa, &[]).unwrap();
            let (mut ran, cases) = (0, 400);
            for _ in 0..cases {
                let mut bytes = Stretch::bytes(&cut(ops, &mut rng));
                for _ in 0..rng.random_range(1..4) {
                    let at = rng.random_range(0..bytes.len());
                    match rng.random_range(0..5) {
                        0 => bytes[at] ^= 1 << rng.random_range(0..8),
                        1 => bytes[at] = [0, 1, 0x7f, u8::MAX][rng.random_range(0..4)],
                        2 => bytes.truncate(at.max(1)),
                        3 => bytes.rotate_left(at),
                        _ => bytes[at] = bytes[at].wrapping_sub(1),
                    }
                }
                let damaged = match model.with_schedule(&bytes) {
                    Err(error) => {
                        assert!(error.to_string().contains("stretch"), "{error}");
                        continue;
                    }
                    Ok(damaged) => damaged,
                };
                let plan = match Plan::new(damaged.program(), isa) {
                    Err(error) => {
                        assert!(error.to_string().contains("in a stream, where it cannot be"), "{error}");
                        continue;
                    }
                    Ok(plan) => plan,
                };
                let mut memory = Aligned::zeroed(plan.arena_bytes + GUARDS.0);
                memory.bytes_mut().fill(GUARDS.1);
                let (arena, _) = memory.bytes_mut().split_at_mut(plan.arena_bytes);
                let session = Session::with_isa(&damaged, arena, isa).unwrap();
                let mut session = session.with_method(Method::Direct);
                let mut found = vec![0.0f32; session.classes()];
                session.run_image(&image, &mut found, &mut ()).unwrap();
                drop(session);
                let found: Vec<u32> = found.iter().map(|logit| logit.to_bits()).collect();
                assert_eq!(found, expected, "{} {bytes:?}", isa.name());
                let behind = &memory.bytes()[plan.arena_bytes..][..GUARDS.0];
                assert!(behind.iter().all(|byte| *byte == GUARDS.1), "{} {bytes:?}", isa.name());
                ran += 1;
            }
            assert!(ran > cases / 20 && ran < cases * 19 / 20, "{ran} of {cases} ran");
        }
    }
}

#[test]
fn every_operation_streams() {
    let mut net = every_op(4);
    let file = net.file(0);
    let model = Model::new_checked(file.bytes()).unwrap();
    for isa in isas() {
        let (expected, layers) = logits(&model, isa, &[]).unwrap();
        for strip in [1, 2, 5, 13, 200] {
            let (found, plan) = logits(&model, isa, &[Stretch::new(13, strip)]).unwrap();
            assert_eq!(found, expected, "{} {strip}", isa.name());
            assert!(plan.arena_bytes < layers.arena_bytes || strip > 2, "{plan:?} {layers:?}");
        }
    }
}

#[test]
fn a_resnet_runs_in_a_third_of_its_maps() {
    for prune in [None, Some(0.6)] {
        let mut net = resnet(Shape::new(3, 32, 32), 1, false, prune, 3);
        let file = net.file(0);
        let model = Model::new_checked(file.bytes()).unwrap();
        let (expected, layers) = logits(&model, Isa::Portable, &[]).unwrap();
        let (found, plan) = logits(&model, Isa::Portable, &[Stretch::new(9, 1)]).unwrap();
        assert_eq!(found, expected);
        assert!(plan.activation_bytes * 2 < layers.activation_bytes, "{plan:?} {layers:?}");
    }
}

#[test]
fn an_arena_a_byte_too_small_is_refused() {
    let mut net = resnet(Shape::new(3, 16, 16), 1, false, None, 3);
    let file = net.file(0);
    let model = Model::new_checked(file.bytes()).unwrap();
    let bytes = Stretch::bytes(&[Stretch::new(9, 1)]);
    let model = model.with_schedule(&bytes).unwrap();
    let plan = Plan::new(model.program(), Isa::Portable).unwrap();
    let mut arena = Aligned::zeroed(plan.arena_bytes - 1);
    let session = Session::with_isa(&model, arena.bytes_mut(), Isa::Portable);
    assert!(matches!(session, Err(SessionError::ArenaTooSmall { needed, .. }) if needed == plan.arena_bytes));
}

/// The image comes a few rows at a time: a line of a camera, or what the schedule takes together.
#[test]
fn pushed_rows_give_the_bits_of_the_image() {
    let mut net = resnet(Shape::new(3, 20, 12), 1, false, Some(0.6), 3);
    let file = net.file(0);
    let model = Model::new_checked(file.bytes()).unwrap();
    let image: Vec<u8> = (0..3 * 20 * 12).map(|i| (i * 7919 % 251) as u8).collect();
    let row = 3 * 12;
    for (schedule, together) in [
        (vec![], 1),
        (vec![Stretch::new(10, 1)], 1),
        (vec![Stretch::new(3, 6)], 6),
        (vec![Stretch::new(2, 0)], 1),
    ] {
        let bytes = Stretch::bytes(&schedule);
        let model = model.with_schedule(&bytes).unwrap();
        let plan = Plan::new(model.program(), Isa::Portable).unwrap();
        let mut arena = Aligned::zeroed(plan.arena_bytes);
        let mut session = Session::with_isa(&model, arena.bytes_mut(), Isa::Portable).unwrap();
        assert_eq!(session.rows_together(), together);
        let (mut expected, mut found) = (vec![0.0; 10], vec![0.0; 10]);
        session.run_image(&image, &mut expected, &mut ()).unwrap();
        let refused = |error: RunError| error.to_string();
        for step in [together, 2 * together] {
            // What is no row, too much, or too little, changes nothing.
            for wrong in [0, row - 1, 21 * row] {
                let wrong = vec![1; wrong];
                assert!(
                    refused(session.push_rows(&wrong, &mut found, &mut ()).unwrap_err())
                        .contains("20 are left")
                );
            }
            let mut given = 0;
            for rows in image.chunks(step * row) {
                if together > 1 && given == 0 {
                    let few = session.push_rows(&rows[..row], &mut found, &mut ()).unwrap_err();
                    assert!(refused(few).contains("6 at a time"));
                }
                given += rows.len();
                let done = session.push_rows(rows, &mut found, &mut ()).unwrap();
                assert_eq!(done, given == image.len());
            }
            assert_eq!(
                found.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
                expected.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
            );
            found.fill(0.0);
        }
        // In the middle of an image what is wrong changes nothing either, and the image goes on.
        let (begun, rest) = image.split_at(2 * together * row);
        assert!(!session.push_rows(begun, &mut found, &mut ()).unwrap());
        let left = format!("{} are left", 20 - 2 * together);
        for wrong in [vec![1; row - 1], vec![1; row + 1], vec![1; rest.len() + row], Vec::new()] {
            let error = session.push_rows(&wrong, &mut found, &mut ()).unwrap_err();
            assert!(refused(error).contains(&left), "{}", wrong.len());
        }
        let few = session.push_rows(rest, &mut found[..9], &mut ()).unwrap_err();
        assert_eq!(few, RunError::LogitsLength { needed: 10, given: 9 });
        assert!(session.push_rows(rest, &mut found, &mut ()).unwrap());
        assert_eq!(found, expected);
        // An image that is given up leaves nothing behind.
        session.push_rows(begun, &mut found, &mut ()).unwrap();
        session.restart();
        assert!(!session.push_rows(begun, &mut found, &mut ()).unwrap());
        assert!(session.push_rows(rest, &mut found, &mut ()).unwrap());
        assert_eq!(found, expected);
        // Nor does one in whose place a whole one comes.
        session.push_rows(&image[..together * row], &mut found, &mut ()).unwrap();
        session.run_image(&image, &mut found, &mut ()).unwrap();
        assert_eq!(found, expected);
        assert!(refused(session.push_rows(&[], &mut found, &mut ()).unwrap_err()).contains("20 are left"));
    }
}
