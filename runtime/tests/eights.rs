//! Weights of 8 bits: an inference has the bits of one on the same weights as f16, and a file that lies is refused.

mod support;

use lrpet_runtime::built::{Layout, Room};
use lrpet_runtime::kernel::{Any, Isa, Method};
use lrpet_runtime::model::{Model, ModelError, Needs, Op, ProgramError, Shape, Stretch, Weights, Window};
use lrpet_runtime::plan::Plan;
use lrpet_runtime::session::Session;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::eights::eights;
use support::{Aligned, Network, conv, find, linear, resnet};

const ISAS: [Isa; 7] =
    [Isa::Portable, Isa::CortexM, Isa::CortexM55, Isa::CortexM55Half, Isa::Avx2, Isa::Avx512, Isa::Neon];

/// A network with convolutions and linear layers of both forms, over maps that need several tiles.
fn network(rng: &mut ChaCha8Rng) -> Network {
    let (side, c) = (rng.random_range(1..24), rng.random_range(1..40));
    let mut net =
        Network::new(Shape::new(rng.random_range(1..5), side, rng.random_range(1..24)), 7, rng.random());
    let form = |rng: &mut ChaCha8Rng| match rng.random() {
        true => Weights::Dense,
        false => Weights::Pair { rank: rng.random_range(1..40) },
    };
    let window = |rng: &mut ChaCha8Rng| match rng.random_range(0..4) {
        0 => Window::square(1, 1, 0),
        1 => Window::square(3, 2, 1),
        2 => Window::square(5, 1, 2),
        _ => Window::square(3, 1, 1),
    };
    let a = net.push(conv("a", 0, c, window(rng), form(rng), None));
    let b = net.push(conv("b", a, c, Window::square(3, 1, 1), Weights::Depthwise, None));
    let residual = rng.random::<bool>().then_some(b);
    let d = net.push(conv("d", b, c, Window::square(3, 1, 1), form(rng), residual));
    let e = net.push(conv("e", d, rng.random_range(1..30), window(rng), form(rng), None));
    let x = if rng.random() { net.push(Op::GlobalAveragePool { input: e }) } else { e };
    let f = net.push(linear("f", x, rng.random_range(1..50), form(rng)));
    net.push(linear("g", f, 7, form(rng)));
    net
}

fn run(mut session: Session<'_>, image: &[u8]) -> Vec<f32> {
    let mut logits = vec![f32::NAN; session.classes()];
    session.run_image(image, &mut logits, &mut ()).unwrap();
    logits
}

/// Logits layer by layer or in a stream, at the least and the most memory, by packed weights and in place.
fn logits(model: &Model<'_>, isa: Isa, image: &[u8]) -> Vec<Vec<f32>> {
    let layers = u16::try_from(model.program().len()).unwrap();
    let stream = Stretch::bytes(&[Stretch::new(layers - 3, 2)]);
    let stream = model.with_schedule(&stream).unwrap();
    let mut all = Vec::new();
    for model in [model, &stream] {
        let Ok(plan) = Plan::new(model.program(), isa) else { continue };
        for bytes in [plan.arena_bytes, plan.fastest_bytes] {
            let mut arena = Aligned::zeroed(bytes);
            all.push(run(Session::with_isa(model, arena.bytes_mut(), isa).unwrap(), image));
            let session = Session::with_isa(model, arena.bytes_mut(), isa).unwrap();
            all.push(run(session.with_method(Method::Direct), image));
            let session = Session::with_isa(model, arena.bytes_mut(), isa).unwrap();
            all.push(run(session.in_place(), image));
        }
    }
    let built = Layout::new(model, isa, Room::Least).unwrap().leak(model.program().header(), isa);
    let mut arena = Aligned::zeroed(built.arena_bytes());
    let mut session = Session::<Any>::built(&built, arena.bytes_mut()).unwrap();
    let mut logits = vec![f32::NAN; session.classes()];
    session.run_image(image, &mut logits, &mut ()).unwrap();
    all.push(logits);
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn logits_are_those_of_the_same_weights_as_f16(seed: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut net = network(&mut rng);
        let mut twin = eights(&mut net, &mut rng);
        let (file, twin) = (net.file(0), twin.file(0));
        let (model, twin) = (Model::new_checked(file.bytes()).unwrap(), Model::new_checked(twin.bytes()).unwrap());
        let image: Vec<u8> = (0..model.program().header().input.len()).map(|_| rng.random()).collect();
        for isa in ISAS.into_iter().filter(|isa| isa.is_available()) {
            let (plan, same) = (Plan::new(model.program(), isa), Plan::new(twin.program(), isa));
            prop_assert_eq!(plan.unwrap().arena_bytes, same.unwrap().arena_bytes);
            let (found, expected) = (logits(&model, isa, &image), logits(&twin, isa, &image));
            prop_assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                prop_assert!(expected.iter().all(|logit| logit.is_finite() && logit.abs() < 1e4));
                for (a, b) in found.iter().zip(expected) {
                    // The dot products of its linear layers are summed in parts.
                    let parts = matches!(isa, Isa::CortexM55 | Isa::CortexM55Half);
                    let room = if parts { 1e-3 * b.abs().max(1.0) } else { 0.0 };
                    prop_assert!((a - b).abs() <= room, "{}: {a} {b}", isa.name());
                }
            }
        }
    }
}

/// The control code of the devices, with inner loops in Rust.
#[test]
fn boards_have_the_logits_of_the_same_weights_as_f16() {
    let built = |model: &Model<'_>, isa, room, image: &[u8]| {
        let built = Layout::new(model, isa, room).unwrap().leak(model.program().header(), isa);
        let mut arena = Aligned::zeroed(built.arena_bytes());
        let mut session = Session::<Any>::built(&built, arena.bytes_mut()).unwrap();
        let mut logits = vec![f32::NAN; session.classes()];
        session.run_image(image, &mut logits, &mut ()).unwrap();
        logits
    };
    for seed in 0..12 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut net = match seed % 3 {
            0 => resnet(Shape::new(3, 20, 18), 1, true, Some(0.5), seed),
            _ => network(&mut rng),
        };
        let mut twin = eights(&mut net, &mut rng);
        let (file, twin) = (net.file(0), twin.file(0));
        let (model, twin) =
            (Model::new_checked(file.bytes()).unwrap(), Model::new_checked(twin.bytes()).unwrap());
        let image: Vec<u8> = (0..model.program().header().input.len()).map(|_| rng.random()).collect();
        for isa in [Isa::CortexM, Isa::CortexM55, Isa::CortexM55Half] {
            for room in [Room::Least, Room::Fastest] {
                let (found, expected) = (built(&model, isa, room, &image), built(&twin, isa, room, &image));
                for (a, b) in found.iter().zip(&expected) {
                    let room = if isa == Isa::CortexM { 0.0 } else { 1e-3 * b.abs().max(1.0) };
                    assert!((a - b).abs() <= room, "{seed} {}: {a} {b}", isa.name());
                }
            }
        }
    }
}

fn of_eights() -> (Network, ChaCha8Rng) {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut net = resnet(Shape::new(3, 16, 16), 1, true, Some(0.5), 1);
    eights(&mut net, &mut rng);
    (net, rng)
}

#[test]
fn weights_of_8_bits_take_fewer_bytes() {
    let mut net = resnet(Shape::new(3, 16, 16), 2, true, Some(0.5), 1);
    let half = net.file(0).bytes().len();
    eights(&mut net, &mut ChaCha8Rng::seed_from_u64(3));
    let eight = net.file(0).bytes().len();
    assert!(eight < half * 3 / 4, "{eight} {half}");
}

#[test]
fn files_that_lie_are_refused_by_name() {
    let refused = |net: &mut Network, change: &dyn Fn(&mut [u8])| {
        let mut file = net.file(0);
        change(file.bytes_mut());
        Model::new_checked(file.bytes()).map(|_| ()).map_err(|error| error.to_string())
    };
    let (mut net, mut rng) = of_eights();
    assert_eq!(refused(&mut net, &|_| {}), Ok(()));
    let (name, _) =
        net.weights.iter().find(|(name, tensor)| name.ends_with("bias") && tensor.1.len() == 2).unwrap();
    let (name, rows) = (name.clone(), net.weights[name].1[1]);
    // Zero, negative, five significant bits, too small, too large.
    for scale in [0.0f32, -0.5, 17.0 / 1024.0, 1.0 / 4_194_304.0, 512.0] {
        let row = rng.random_range(0..rows);
        let error = refused(&mut net, &|file| {
            let at = find(file, &name).start + 4 * (rows + row);
            file[at..at + 4].copy_from_slice(&scale.to_le_bytes());
        });
        let error = error.unwrap_err();
        assert!(error.contains(&format!("scale {row} of tensor {name}")), "{error}");
    }
    // A bias beside which there are no scales.
    let mut other = of_eights().0;
    let (_, shape, data) = other.weights.get_mut(&name).unwrap();
    (*shape, *data) = (vec![rows], data[..4 * rows].to_vec());
    let error = refused(&mut other, &|_| {}).unwrap_err();
    assert!(error.contains(&format!("tensor {name} is [{rows}] and must be [2, {rows}]")), "{error}");
    // One half of a pair of 8 bits, the other of f16.
    let mut other = of_eights().0;
    let thin = other
        .weights
        .iter()
        .find(|(name, tensor)| name.ends_with("thin.weight") && tensor.0 == safetensors::Dtype::I8);
    let expand = thin.unwrap().0.replace("thin", "expand");
    let (dtype, _, data) = other.weights.get_mut(&expand).unwrap();
    (*dtype, *data) = (safetensors::Dtype::F16, data.repeat(2));
    let error = refused(&mut other, &|_| {}).unwrap_err();
    assert!(error.contains(&format!("tensor {expand} is F16 and must be I8")), "{error}");
    // Not stated.
    let mut other = of_eights().0;
    other.header.needs = Needs::NONE;
    let file = other.file(0);
    let error = Model::new_checked(file.bytes()).unwrap_err();
    let unstated =
        matches!(&error, ModelError::Program(ProgramError::Unstated { missing: Needs::EIGHTS, .. }));
    assert!(unstated, "{error}");
    // A depthwise layer has none.
    let mut other = Network::new(Shape::new(4, 8, 8), 4, 1);
    other.header.needs = Needs::EIGHTS;
    let a = other.push(conv("a", 0, 4, Window::square(3, 1, 1), Weights::Depthwise, None));
    let b = other.push(Op::GlobalAveragePool { input: a });
    other.push(linear("b", b, 4, Weights::Dense));
    let (dtype, _, data) = other.weights.get_mut("a.weight").unwrap();
    (*dtype, *data) = (safetensors::Dtype::I8, data[..36].to_vec());
    let error = refused(&mut other, &|_| {}).unwrap_err();
    assert!(error.contains("tensor a.weight is I8 and must be F16"), "{error}");
}
