//! Whole networks: a session against the f64 reference, the arena's exact size, bad input.

mod support;

use std::num::NonZeroUsize;

use half::f16;
use lrpet_runtime::kernel::{Arithmetic, Isa, Method, WinogradTile};
use lrpet_runtime::model::{LayerInfo, Model, Op, Shape, Weights, Window, cost};
use lrpet_runtime::plan::Plan;
use lrpet_runtime::session::{Arena, Hook, RunError, Session, SessionError};
use support::{Aligned, Network, concat, conv, every_op, linear, reference, resnet};

const ISAS: [Isa; 5] = [Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Neon, Isa::NeonF16];

fn networks() -> Vec<(&'static str, Network)> {
    let gray = Shape::new(1, 28, 28);
    vec![
        ("ResNet-8 dense", resnet(gray, 1, false, None, 1)),
        ("ResNet-8 low-rank", resnet(gray, 1, false, Some(0.6), 2)),
        ("ResNet-14, padded shortcuts, low-rank", resnet(Shape::new(3, 17, 15), 2, true, Some(0.7), 3)),
        ("every operation", every_op(4)),
        ("joined logits", joined_logits()),
    ]
}

/// Logits that come from three places, one of them twice.
fn joined_logits() -> Network {
    let mut net = Network::new(Shape::new(2, 5, 4), 9, 5);
    let a = net.push(conv("a", 0, 3, Window::square(3, 1, 1), Weights::Dense, None));
    let a = net.push(Op::GlobalAveragePool { input: a });
    let b = net.push(linear("b", a, 2, Weights::Dense));
    let c = net.push(linear("c", b, 1, Weights::Dense));
    let op = concat(&net, &[b, a, c, a]);
    net.push(op);
    net
}

#[test]
fn logits_are_the_references() {
    for (name, mut net) in networks() {
        let file = net.file(2);
        let model = Model::new_checked(file.bytes()).unwrap();
        let check = model.self_check().unwrap();
        assert_eq!(check.samples(), 2);
        for isa in ISAS.into_iter().filter(|isa| isa.is_available()) {
            let plan = Plan::new(model.program(), isa).unwrap();
            let mut arena = Aligned::zeroed(plan.arena_bytes);
            let mut session = Session::with_isa(&model, arena.bytes_mut(), isa).unwrap();
            let mut logits = vec![0.0; session.classes()];
            for i in 0..check.samples() {
                session.run_image(check.image(i), &mut logits, &mut ()).unwrap();
                let scale = check.logits(i).fold(0.0f32, |a, b| a.max(b.abs()));
                for (got, want) in logits.iter().zip(check.logits(i)) {
                    // Values near a rounding boundary may go the other way: 2^-11 each, and on through the layers.
                    assert!(
                        (got - want).abs() <= 4e-3 * scale,
                        "{name}, {}: {got} and not {want}",
                        isa.name()
                    );
                }
            }
        }
    }
}

#[test]
fn f16_arithmetic_is_close_where_there_is_any() {
    for (name, mut net) in networks() {
        let file = net.file(2);
        let model = Model::new_checked(file.bytes()).unwrap();
        let check = model.self_check().unwrap();
        for isa in ISAS.into_iter().filter(|isa| isa.is_available()) {
            let plan = Plan::new(model.program(), isa).unwrap();
            let mut arena = Aligned::zeroed(plan.arena_bytes);
            let session = Session::with_isa(&model, arena.bytes_mut(), isa).unwrap();
            assert_eq!(session.arithmetic(), Arithmetic::F32);
            let mut session = match session.with_arithmetic(Arithmetic::F16) {
                Ok(session) => session,
                Err(error) => {
                    assert_eq!(error, SessionError::Arithmetic(isa, Arithmetic::F16));
                    assert_ne!(isa, Isa::NeonF16);
                    continue;
                }
            };
            assert_eq!((isa, session.arithmetic()), (Isa::NeonF16, Arithmetic::F16));
            let mut logits = vec![0.0; session.classes()];
            for i in 0..check.samples() {
                session.run_image(check.image(i), &mut logits, &mut ()).unwrap();
                let scale = check.logits(i).fold(0.0f32, |a, b| a.max(b.abs()));
                for (got, want) in logits.iter().zip(check.logits(i)) {
                    assert!((got - want).abs() <= 2e-2 * scale, "{name}: {got} and not {want}");
                }
            }
            let session = session.in_place();
            assert_eq!((session.arithmetic(), session.packed_bytes()), (Arithmetic::F32, 0));
        }
    }
}

#[test]
fn packed_weights_change_no_bit() {
    for (name, mut net) in networks() {
        let file = net.file(1);
        let model = Model::new_checked(file.bytes()).unwrap();
        let image = model.self_check().unwrap().image(0);
        for isa in ISAS.into_iter().filter(|isa| isa.is_available()) {
            let plan = Plan::new(model.program(), isa).unwrap();
            let mut arena = Aligned::zeroed(plan.arena_bytes);
            let session = Session::with_isa(&model, arena.bytes_mut(), isa).unwrap();
            let mut session = session.with_method(Method::Direct);
            assert!((0..net.ops.len()).all(|layer| session.tile(layer).is_none()));
            let weights: usize = model.program().layers().map(|layer| packed_at_least(&layer, isa)).sum();
            let expected = if isa == Isa::Portable { 0 } else { weights };
            assert!(session.packed_bytes() >= expected, "{name}, {}", isa.name());
            assert_eq!(session.packed_bytes() == 0, isa == Isa::Portable || weights == 0);
            let (mut packed, mut in_place) = (vec![0.0; session.classes()], vec![0.0; session.classes()]);
            session.run_image(image, &mut packed, &mut ()).unwrap();
            let mut session = session.in_place();
            assert_eq!(session.packed_bytes(), 0);
            session.run_image(image, &mut in_place, &mut ()).unwrap();
            assert_eq!(packed, in_place, "{name}, {}", isa.name());
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for (name, mut net) in networks() {
        let file = net.file(1);
        let model = Model::new_checked(file.bytes()).unwrap();
        let image = model.self_check().unwrap().image(0);
        for isa in ISAS.into_iter().filter(|isa| isa.is_available()) {
            let plan = Plan::new(model.program(), isa).unwrap();
            let run = |method, threads| {
                let mut arena = Aligned::zeroed(plan.arena_bytes);
                let session = Session::with_isa(&model, arena.bytes_mut(), isa).unwrap();
                let session = session.with_method(method);
                let mut session = session.with_threads(NonZeroUsize::new(threads).unwrap()).unwrap();
                assert_eq!(session.threads(), threads);
                // Each further thread has the scratch of the layer that needs most, and each of these networks has one that does.
                assert_eq!(session.team_bytes() % threads.saturating_sub(1).max(1), 0);
                assert_eq!(session.team_bytes() == 0, threads == 1);
                let mut logits = vec![0.0; session.classes()];
                for _ in 0..3 {
                    session.run_image(image, &mut logits, &mut ()).unwrap();
                }
                logits
            };
            let tiles = [WinogradTile::Two, WinogradTile::Four].map(Method::Tiles);
            for method in [Method::Fastest, Method::Direct].into_iter().chain(tiles) {
                let one = run(method, 1);
                let counts: &[usize] = if method == Method::Direct { &[2, 3, 5] } else { &[3] };
                for &threads in counts {
                    let logits = run(method, threads);
                    assert_eq!(logits, one, "{name}, {}, {method:?}, {threads} threads", isa.name());
                }
            }
        }
    }
}

/// A session says which layers it computes by tiles; none of them where that is refused, nor on weights in place.
#[test]
fn winograd_is_said_and_can_be_refused() {
    let mut net = resnet(Shape::new(1, 28, 28), 1, false, None, 1);
    let file = net.file(1);
    let model = Model::new_checked(file.bytes()).unwrap();
    for isa in [Isa::Avx2, Isa::Avx512].into_iter().filter(|isa| isa.is_available()) {
        let mut arena = Aligned::zeroed(Plan::new(model.program(), isa).unwrap().arena_bytes);
        let session = Session::with_isa(&model, arena.bytes_mut(), isa).unwrap();
        let layers = 0..net.ops.len();
        let tiles = |session: &Session<'_>| layers.clone().filter_map(|layer| session.tile(layer)).count();
        let forms = |session: &Session<'_>| layers.clone().filter_map(|layer| session.form(layer)).count();
        let convolutions = net.ops.iter().filter(|op| matches!(op, Op::Conv(_))).count();
        assert!(tiles(&session) > 0);
        assert_eq!(forms(&session), convolutions);
        let by_tiles = session.packed_bytes();
        let session = session.with_method(Method::Direct);
        assert_eq!((tiles(&session), forms(&session)), (0, convolutions));
        assert!(session.packed_bytes() < by_tiles);
        let session = session.with_arithmetic(Arithmetic::F32).unwrap();
        assert_eq!(tiles(&session), 0, "the method outlives the arithmetic");
        let session = session.with_method(Method::Fastest).in_place();
        assert_eq!((tiles(&session), forms(&session)), (0, 0));
    }
}

/// Least bytes that packing a layer takes: f32 with pixels in the lanes, which is the only way on A64 and of depthwise
/// layers; f16 with output channels in the lanes, which x86-64 takes where that is faster.
fn packed_at_least(layer: &LayerInfo<'_>, isa: Isa) -> usize {
    let Op::Conv(conv) = &layer.op else { return 0 };
    let in_f32 = matches!(isa, Isa::Neon | Isa::NeonF16) || conv.weights == Weights::Depthwise;
    let bytes = if in_f32 { 4 } else { 2 };
    bytes * cost::stored(&layer.op, layer.input).params as usize
}

/// Convolutions of `input`, pooled, and a classifier.
fn convolutions(input: Shape, layers: &[(u32, Weights)]) -> Network {
    let mut net = Network::new(input, 3, 7);
    let mut a = 0;
    for (index, &(out_channels, weights)) in layers.iter().enumerate() {
        a = net.push(conv(&format!("conv{index}"), a, out_channels, Window::square(3, 1, 1), weights, None));
    }
    let a = net.push(Op::GlobalAveragePool { input: a });
    net.push(linear("fc", a, 3, Weights::Dense));
    net
}

/// Packed bytes a weight, in the two forms that weights are packed in.
#[test]
fn weights_are_packed_in_f32_on_large_maps_and_in_f16_on_small_ones_of_many_channels() {
    let (large, small) = (Shape::new(4, 64, 64), Shape::new(4, 4, 4));
    let pair = |rank| Weights::Pair { rank };
    for (input, layers, many) in [
        (large, &[(64, Weights::Dense)][..], false),
        (large, &[(64, pair(32))], false),
        (large, &[(4, Weights::Depthwise)], false),
        (small, &[(4, Weights::Depthwise)], false),
        (small, &[(64, Weights::Dense), (512, Weights::Dense)], true),
        (small, &[(64, Weights::Dense), (512, pair(256))], true),
    ] {
        let mut net = convolutions(input, layers);
        let file = net.file(1);
        let model = Model::new_checked(file.bytes()).unwrap();
        let convolutions = model.program().layers().filter(|layer| matches!(layer.op, Op::Conv(_)));
        let params: usize =
            convolutions.map(|layer| cost::stored(&layer.op, layer.input).params as usize).sum();
        for isa in ISAS.into_iter().filter(|isa| isa.is_available() && *isa != Isa::Portable) {
            let mut arena = Aligned::zeroed(Plan::new(model.program(), isa).unwrap().arena_bytes);
            let session = Session::with_isa(&model, arena.bytes_mut(), isa).unwrap();
            let session = session.with_method(Method::Direct);
            let half = many && matches!(isa, Isa::Avx2 | Isa::Avx512);
            let what = format!("{} {input} {layers:?}: {}", isa.name(), session.packed_bytes());
            assert!(session.packed_bytes() >= params * if half { 2 } else { 4 }, "{what} of {params}");
            if half {
                // With bias and offsets.
                assert!(session.packed_bytes() < params * 4, "{what} of {params}");
            }
        }
    }
}

#[test]
fn a_team_has_scratch_where_a_layer_has_some() {
    let threads = |count: usize| NonZeroUsize::new(count).unwrap();
    let mut bare = Network::new(Shape::new(4, 1, 1), 4, 8);
    bare.push(Op::GlobalAveragePool { input: 0 });
    let mut convolved = convolutions(Shape::new(4, 16, 16), &[(8, Weights::Dense)]);
    for isa in ISAS.into_iter().filter(|isa| isa.is_available()) {
        let bytes = |net: &mut Network, count| {
            let file = net.file(1);
            let model = Model::new_checked(file.bytes()).unwrap();
            let mut arena = Aligned::zeroed(Plan::new(model.program(), isa).unwrap().arena_bytes);
            let session = Session::with_isa(&model, arena.bytes_mut(), isa).unwrap();
            session.with_threads(threads(count)).unwrap().team_bytes()
        };
        assert_eq!([1, 2, 5].map(|count| bytes(&mut bare, count)), [0; 3], "{}", isa.name());
        let one = bytes(&mut convolved, 2);
        assert!(one > 0, "{}", isa.name());
        assert_eq!(
            [1, 3, 5].map(|count| bytes(&mut convolved, count)),
            [0, 2 * one, 4 * one],
            "{}",
            isa.name()
        );
    }
}

#[test]
fn the_arena_is_exact_and_16_byte_aligned() {
    for (_, mut net) in networks() {
        let file = net.file(1);
        let model = Model::new_checked(file.bytes()).unwrap();
        let needed = Plan::new(model.program(), Isa::detect()).unwrap().arena_bytes;
        let mut arena = Aligned::zeroed(needed + 16);
        let short = Session::new(&model, &mut arena.bytes_mut()[..needed - 1]).unwrap_err();
        assert_eq!(short, SessionError::ArenaTooSmall { needed, given: needed - 1 });
        assert!(short.to_string().contains(": 1 bytes are missing"), "{short}");
        let none = Session::new(&model, &mut []).unwrap_err();
        assert_eq!(none, SessionError::ArenaTooSmall { needed, given: 0 });
        let shifted = Session::new(&model, &mut arena.bytes_mut()[8..]).unwrap_err();
        assert_eq!(shifted, SessionError::ArenaMisaligned);
        // Whatever was in the arena before, and nothing behind it is touched.
        arena.bytes_mut().fill(0xff);
        let mut session = Session::new(&model, arena.bytes_mut()).unwrap();
        let check = model.self_check().unwrap();
        let mut first = vec![0.0; session.classes()];
        session.run_image(check.image(0), &mut first, &mut ()).unwrap();
        let mut second = vec![0.0; session.classes()];
        session.run_image(check.image(0), &mut second, &mut ()).unwrap();
        assert_eq!(first, second, "an inference leaves nothing behind");
        assert!(arena.bytes()[needed..].iter().all(|byte| *byte == 0xff));
    }
}

#[test]
fn images_of_bytes_and_of_values_agree() {
    let mut net = every_op(9);
    let file = net.file(1);
    let model = Model::new_checked(file.bytes()).unwrap();
    let header = model.program().header();
    let image = model.self_check().unwrap().image(0);
    let values: Vec<f32> = support::reference::normalise(header, image).iter().map(|x| *x as f32).collect();
    let mut arena = Aligned::zeroed(Plan::new(model.program(), Isa::detect()).unwrap().arena_bytes);
    let mut session = Session::new(&model, arena.bytes_mut()).unwrap();
    let (mut a, mut b) = (vec![0.0; session.classes()], vec![0.0; session.classes()]);
    session.run_image(image, &mut a, &mut ()).unwrap();
    session.run_values(&values, &mut b, &mut ()).unwrap();
    assert_eq!(a, b);

    let needed = image.len();
    let short = session.run_image(&image[1..], &mut a, &mut ()).unwrap_err();
    assert_eq!(short, RunError::InputLength { needed, given: needed - 1 });
    let few = session.run_values(&values, &mut b[1..], &mut ()).unwrap_err();
    assert_eq!(few, RunError::LogitsLength { needed: a.len(), given: a.len() - 1 });
    for bad in [f32::NAN, f32::INFINITY] {
        let mut values = values.clone();
        values[7] = bad;
        let error = session.run_values(&values, &mut b, &mut ()).unwrap_err();
        assert_eq!(error, RunError::InputNotFinite { index: 7 });
    }
}

#[test]
fn the_hook_sees_every_layer_in_order() {
    #[derive(Default)]
    struct Log(Vec<(bool, usize)>);
    impl Hook for Log {
        fn before(&mut self, layer: usize) {
            self.0.push((false, layer));
        }
        fn after(&mut self, layer: usize) {
            self.0.push((true, layer));
        }
    }
    let mut net = every_op(10);
    let file = net.file(1);
    let model = Model::new_checked(file.bytes()).unwrap();
    let mut arena = Box::new(Arena::<65536>::default());
    let mut session = Session::new(&model, &mut arena.0).unwrap();
    let mut log = Log::default();
    let mut logits = vec![0.0; session.classes()];
    session.run_image(model.self_check().unwrap().image(0), &mut logits, &mut log).unwrap();
    let expected: Vec<_> = (0..net.ops.len()).flat_map(|layer| [(false, layer), (true, layer)]).collect();
    assert_eq!(log.0, expected);
}

#[test]
fn an_instruction_set_that_the_machine_lacks_is_refused() {
    let mut net = every_op(11);
    let file = net.file(0);
    let model = Model::new_checked(file.bytes()).unwrap();
    assert!(model.self_check().is_none());
    let mut arena = Aligned::zeroed(1 << 20);
    let error = Session::with_isa(&model, arena.bytes_mut(), Isa::CortexM).unwrap_err();
    assert_eq!(error, SessionError::Isa(Isa::CortexM));
}

/// Each layer's result goes to the hook as it is stored; the logits are not stored.
#[test]
fn the_hook_sees_what_each_layer_stored() {
    #[derive(Default)]
    struct Seen(Vec<(usize, Vec<u16>)>);
    impl Hook for Seen {
        fn stored(&mut self, layer: usize, values: &[u16]) {
            self.0.push((layer, values.to_vec()));
        }
    }
    let mut net = every_op(12);
    let file = net.file(1);
    let model = Model::new_checked(file.bytes()).unwrap();
    let image = model.self_check().unwrap().image(0);
    let expected = reference::values(&net, &reference::normalise(model.program().header(), image));
    let mut arena = Box::new(Arena::<65536>::default());
    let mut session = Session::new(&model, &mut arena.0).unwrap();
    let (mut seen, mut logits) = (Seen::default(), vec![0.0; session.classes()]);
    session.run_image(image, &mut logits, &mut seen).unwrap();
    assert_eq!(seen.0.len(), net.ops.len() - 1);
    for (index, (layer, values)) in seen.0.iter().enumerate() {
        assert_eq!((*layer, values.len()), (index, net.shapes[index + 1].len()));
        for (value, expected) in values.iter().zip(&expected[index + 1]) {
            let off = (f16::from_bits(*value).to_f64() - expected).abs();
            assert!(off <= 0.01 * expected.abs().max(1.0), "layer {layer}: {off} from {expected}");
        }
    }
}
