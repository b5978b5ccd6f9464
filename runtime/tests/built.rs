//! Models that are laid out when a program is built: the bits of an inference are those of the model at run time.

mod support;

use lrpet_runtime::built::{Layout, Room};
use lrpet_runtime::kernel::{Any, Isa, Method, Operations, Set};
use lrpet_runtime::model::{
    Activation, Axis, Inputs, Join, Model, Op, Shape, Shuffle, Stretch, Weights, Window,
};
use lrpet_runtime::plan::Plan;
use lrpet_runtime::session::{Session, SessionError};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::{Aligned, Network, conv, every_op, linear, resnet};

/// Those of a residual network of pairs.
#[derive(Clone, Copy, Debug)]
struct OfPairs;

impl Operations for OfPairs {
    const USED: Set = Set::DENSE
        .and(Set::PAIR)
        .and(Set::LINEAR)
        .and(Set::LINEAR_PAIR)
        .and(Set::PAD_SHORTCUT)
        .and(Set::ADD)
        .and(Set::GLOBAL_AVERAGE)
        .and(Set::STREAMS)
        .and(Set::TILING)
        .and(Set::FORMS);
}

/// The image's logits at run time, by plain code on weights in place.
fn at_run_time(model: &Model<'_>, image: &[u8]) -> Vec<f32> {
    let mut arena = Aligned::zeroed(1 << 22);
    let session = Session::with_isa(model, arena.bytes_mut(), Isa::Portable).unwrap();
    let mut logits = vec![0.0; session.classes()];
    session.with_method(Method::Direct).run_image(image, &mut logits, &mut ()).unwrap();
    logits
}

/// Those of the layout, with tensors one behind the other and where they lie in the file.
fn built<U: Operations>(model: &Model<'_>, isa: Isa, room: Room, image: &[u8]) -> Vec<f32> {
    let whole = Layout::in_file(model, isa, room).unwrap();
    assert!(whole.weights == model.bytes());
    let packed = Layout::new(model, isa, room).unwrap();
    assert!(packed.weights.len() < whole.weights.len());
    let [whole, packed] = [whole, packed].map(|layout| logits::<U>(model, isa, layout, image));
    assert_eq!(whole, packed);
    packed
}

fn logits<U: Operations>(model: &Model<'_>, isa: Isa, layout: Layout, image: &[u8]) -> Vec<f32> {
    assert_eq!(layout.used.0 & !U::USED.0, 0);
    let flash = layout.flash_bytes();
    let built = layout.leak(model.program().header(), isa);
    assert_eq!(built.flash_bytes(), flash);
    let mut arena = Aligned::zeroed(built.arena_bytes());
    let mut session = Session::<U>::built(&built, arena.bytes_mut()).unwrap();
    let mut logits = vec![0.0; session.classes()];
    // Twice: nothing is left of the first.
    for _ in 0..2 {
        logits.fill(f32::NAN);
        session.run_image(image, &mut logits, &mut ()).unwrap();
    }
    logits
}

/// A network with operations and activations that are decoded when they run.
fn recorded(seed: u64) -> Network {
    let mut net = Network::new(Shape::new(3, 12, 10), 5, seed);
    let with = |mut op: Op<String>, activation| {
        match &mut op {
            Op::Conv(conv) => conv.activation = activation,
            _ => unreachable!("only convolutions"),
        }
        op
    };
    let three = Window::square(3, 1, 1);
    let a = net.push(with(conv("a", 0, 6, three, Weights::Pair { rank: 2 }, None), Activation::Silu));
    let b = net.push(with(conv("b", a, 6, three, Weights::Dense, None), Activation::HardSwish));
    let c = net.push(Op::Shuffle(Shuffle { input: b, groups: 3 }));
    let join = Join { inputs: Inputs::new(&[a, c, b]).unwrap(), axis: Axis::Channel, size: 18 };
    let d = net.push(Op::Join(join));
    let e = net.push(with(conv("e", d, 4, three, Weights::Dense, None), Activation::Relu));
    let f = net.push(Op::GlobalAveragePool { input: e });
    net.push(linear("fc", f, 5, Weights::Dense));
    net
}

fn image(net: &Network, seed: u64) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..net.header.input.len()).map(|_| rng.random()).collect()
}

#[test]
fn logits_have_the_bits_of_the_model_at_run_time() {
    let shape = Shape::new(3, 17, 16);
    let nets = [every_op(1), every_op(2), resnet(shape, 1, true, Some(0.6), 3), recorded(4)];
    for (seed, mut net) in (0..).zip(nets) {
        let file = net.file(0);
        let model = Model::new_checked(file.bytes()).unwrap();
        let image = image(&net, seed);
        let expected = at_run_time(&model, &image);
        for room in [Room::Least, Room::Fastest, Room::Within(1 << 20)] {
            assert_eq!(built::<Any>(&model, Isa::Portable, room, &image), expected, "{seed}, {room:?}");
        }
        // Begun by a stream that the image enters in rows.
        for strip in [1, 3] {
            let stretches = Stretch::bytes(&[Stretch::new(2, strip)]);
            let streamed = model.with_schedule(&stretches).unwrap();
            assert_eq!(
                built::<Any>(&streamed, Isa::Portable, Room::Least, &image),
                expected,
                "{seed}, {strip}"
            );
        }
    }
}

#[test]
fn a_session_of_some_operations_has_the_same_bits() {
    for prune in [None, Some(0.6)] {
        let mut net = resnet(Shape::new(3, 14, 12), 1, true, prune, 7);
        let file = net.file(0);
        let model = Model::new_checked(file.bytes()).unwrap();
        let image = image(&net, 7);
        let expected = at_run_time(&model, &image);
        assert_eq!(built::<OfPairs>(&model, Isa::Portable, Room::Least, &image), expected);
        // The control code of the devices, with inner loops in Rust: as many bits as these kernels have in common.
        for isa in [Isa::CortexM, Isa::CortexM55, Isa::CortexM55Half] {
            let some = built::<OfPairs>(&model, isa, Room::Least, &image);
            assert_eq!(some, built::<Any>(&model, isa, Room::Least, &image), "{}", isa.name());
            let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 0.02 * b.abs().max(1.0);
            assert!(some.iter().zip(&expected).all(close), "{}: {some:?} {expected:?}", isa.name());
        }
    }
}

#[test]
fn a_layout_has_no_table_in_memory_and_only_what_a_step_reads_in_flash() {
    let mut net = resnet(Shape::new(3, 32, 32), 1, false, Some(0.6), 3);
    let (small, large) = (net.file(0), net.file(3));
    let weights: usize = net.weights.values().map(|(.., bytes)| bytes.len()).sum();
    for file in [small, large] {
        let model = Model::new_checked(file.bytes()).unwrap();
        let plan = Plan::new(model.program(), Isa::CortexM).unwrap();
        let layout = Layout::new(&model, Isa::CortexM, Room::Least).unwrap();
        assert_eq!(layout.plan.arena_bytes, plan.arena_bytes - plan.table_bytes);
        assert!(
            (weights..weights + 64).contains(&layout.weights.len()),
            "{weights} {}",
            layout.weights.len()
        );
        assert!(!layout.used.has(Set::RECORDS.and(Set::GENERAL).and(Set::DEPTHWISE)));
    }
}

#[test]
fn rooms_and_arenas_that_are_too_small_are_refused() {
    let mut net = every_op(1);
    let file = net.file(0);
    let model = Model::new_checked(file.bytes()).unwrap();
    let least = Layout::new(&model, Isa::Portable, Room::Least).unwrap();
    let needed = least.plan.arena_bytes;
    let error = Layout::new(&model, Isa::Portable, Room::Within(needed - 1)).unwrap_err();
    assert_eq!(error, SessionError::ArenaTooSmall { needed, given: needed - 1 });
    let exact = Layout::new(&model, Isa::Portable, Room::Within(needed)).unwrap();
    assert_eq!((exact.plan, exact.steps.len()), (least.plan, least.steps.len()));
    let built = least.leak(model.program().header(), Isa::Portable);
    let mut arena = Aligned::zeroed(needed + 1);
    let given = needed - 1;
    let refused = |arena: &mut [u8]| Session::<Any>::built(&built, arena).map(drop).unwrap_err();
    assert_eq!(refused(&mut arena.bytes_mut()[..given]), SessionError::ArenaTooSmall { needed, given });
    assert_eq!(refused(&mut arena.bytes_mut()[1..]), SessionError::ArenaMisaligned);
}
