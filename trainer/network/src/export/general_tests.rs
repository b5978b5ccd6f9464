//! Networks with operations from elsewhere: exported, held against the reference layer by layer, and read again.

use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::kernel::Method;
use lrpet_runtime::model::{
    Activate, Activation, Affine, Axis, Binary, BinaryKind, Conv, Coordinates, GeneralConv, GeneralPool,
    Inputs, Join, Linear, Nearest, Normalise, NormaliseOver, Op, Pad, PadMode, Reduce, Reduction, Resize,
    ResizeMode, Shape, Shuffle, Slice, Softmax, Weights, Window,
};

use super::agreement::{Reference, Trace};
use super::reference::Interpreter;
use super::*;
use crate::lrpet::{RankPlan, Scope};
use crate::network::{InputKind, Layer};
use crate::support::{card, normalization};
use crate::{Checkpoint, Dataset, Network, Normalization};

const INPUT: Shape = Shape::new(3, 12, 10);

/// One of nearly everything: squeeze and excite, dilation, groups, a transposed convolution, broadcasting, and a head over a whole map.
fn network() -> Network {
    let one = Window::square(1, 1, 0);
    let general = |name: &str, input, out_channels, window, groups, transposed| GeneralConv {
        name: name.to_owned(),
        input,
        out_channels,
        window,
        dilation: [1, 1],
        groups,
        transposed,
        weights: Weights::Dense,
        residual: None,
        activation: Activation::Silu,
    };
    let stem = Conv {
        name: "stem".to_owned(),
        input: 0,
        out_channels: 8,
        window: Window::square(3, 1, 1),
        weights: Weights::Dense,
        residual: None,
        activation: Activation::HardSwish,
    };
    let dilated = GeneralConv {
        dilation: [2, 3],
        ..general("dilated", 1, 8, Window { padding: [2, 3, 2, 3], ..Window::square(3, 1, 0) }, 1, None)
    };
    let ops = vec![
        Op::Conv(stem),
        Op::GeneralConv(dilated),
        Op::GeneralConv(GeneralConv {
            residual: Some(2),
            ..general("grouped", 1, 8, Window::square(3, 1, 1), 4, None)
        }),
        Op::Reduce(Reduce { input: 3, kind: Reduction::Mean, axes: [false, true, true] }),
        Op::GeneralConv(GeneralConv {
            activation: Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
            ..general("excite", 4, 8, one, 1, None)
        }),
        Op::Binary(Binary {
            kind: BinaryKind::Mul,
            inputs: [3, 5],
            output: Shape::new(8, 12, 10),
            activation: Activation::None,
        }),
        Op::Normalise(Normalise {
            name: "norm".to_owned(),
            input: 6,
            epsilon: 1e-5,
            over: NormaliseOver::Groups(2),
        }),
        Op::Activate(Activate { input: 7, activation: Activation::None, slope: Some("prelu".to_owned()) }),
        Op::GeneralPool(GeneralPool {
            input: 8,
            kind: Reduction::Mean,
            window: Window::square(2, 2, 0),
            dilation: [1, 1],
            counted: [0; 4],
        }),
        Op::GeneralConv(general("up", 9, 6, Window::square(2, 2, 0), 1, Some([0, 0]))),
        Op::Resize(Resize {
            input: 9,
            size: [12, 10],
            mode: ResizeMode::Linear,
            coordinates: Coordinates::HalfPixel,
            scales: [2.0, 2.0],
        }),
        Op::Join(Join { inputs: Inputs::new(&[10, 11]).unwrap(), axis: Axis::Channel, size: 14 }),
        Op::Shuffle(Shuffle { input: 12, groups: 2 }),
        Op::Affine(Affine { name: "affine".to_owned(), input: 13, activation: Activation::Gelu }),
        Op::Slice(Slice { input: 14, start: [1, 0, 0], step: [2, 2, 3], output: Shape::new(6, 6, 4) }),
        Op::Pad(Pad { input: 15, before: [0, 1, 0], after: [0, 0, 1], mode: PadMode::Reflect }),
        Op::Resize(Resize {
            input: 16,
            size: [4, 4],
            mode: ResizeMode::Nearest(Nearest::Floor),
            coordinates: Coordinates::Asymmetric,
            scales: [4.0 / 7.0, 0.8],
        }),
        Op::Linear(Linear {
            name: "head".to_owned(),
            input: 17,
            out_features: 5,
            weights: Weights::Dense,
            activation: Activation::Tanh,
        }),
        Op::Softmax(Softmax { input: 18, log: true }),
    ];
    Network::new("from elsewhere", INPUT, 5, ops.into_iter().map(Layer::new).collect())
}

#[test]
fn a_network_of_values_is_held_on_values_and_its_self_check_is_of_them() {
    let mut network = network();
    network.input_kind = InputKind::Values;
    let checkpoint = Checkpoint::random(&network, 5);
    let plan = RankPlan::uniform_in(&network, 0.5, Scope::Convolutions).unwrap();
    let request = Request {
        network: &network,
        checkpoint: &checkpoint,
        plan: &plan,
        energy_transfer: false,
        normalization: &Normalization { mean: Vec::new(), std: Vec::new() },
        card: &card(),
        precision: Precision::Half,
        samples: Some(Samples::Values { data: None, machine: Some(&Interpreter) }),
    };
    let exported = export(&request).unwrap();
    assert!(!exported.card.contains_key("mean"));
    let bytes = AlignedBytes::copy_of(&exported.to_bytes().unwrap());
    let model = checked(bytes.as_slice(), "model").unwrap();
    assert!(!exported.ranges.of(&model).is_empty());
    let check = model.self_check().unwrap();
    assert_eq!((check.samples(), check.values(3).len(), check.image(0).len()), (4, network.input.len(), 0));
    let widened: Vec<f32> = check.values(1).iter().map(|&bits| half::f16::from_bits(bits).to_f32()).collect();
    let traced = Trace::of_values(&model, &widened, Method::Direct).unwrap();
    assert!(check.logits(1).eq(traced.logits.iter().copied()) && check.tolerance(1) > 0.0);
    // Other weights than the model's do not agree with what it computes.
    let mut other = exported.folded.rounded();
    other.weights.get_mut("stem").unwrap().bias[0] += 1.0;
    let inputs = values::samples(network.input, 1);
    assert!(values::hold(&exported.folded.rounded(), &model, &inputs).is_ok());
    assert!(matches!(values::hold(&other, &model, &inputs), Err(ExportError::Disagreement { .. })));
}

#[test]
fn a_network_from_elsewhere_is_exported_and_agrees_in_every_layer() {
    let network = network();
    assert!(network.value_shapes().is_some());
    let checkpoint = Checkpoint::random(&network, 4);
    checkpoint.check(&network).unwrap();
    let data = Dataset::noise(6, INPUT, 5, 9);
    for g in [0.0, 0.5] {
        let plan = RankPlan::uniform_in(&network, g, Scope::Convolutions).unwrap();
        let samples = Some(Samples::Images { data: &data, machine: &Interpreter });
        let request = Request {
            network: &network,
            checkpoint: &checkpoint,
            plan: &plan,
            energy_transfer: false,
            normalization: &normalization(3),
            card: &card(),
            precision: Precision::Half,
            samples,
        };
        // That checks every value of every layer.
        let exported = export(&request).unwrap();
        assert_eq!(exported.card["format"], "2");
        let bytes = AlignedBytes::copy_of(&exported.to_bytes().unwrap());
        let model = checked(bytes.as_slice(), "model").unwrap();
        assert_eq!(model.program().header().version, 2);
        let again = Folded::from_model(&model).unwrap();
        assert_eq!(again, exported.folded.rounded());
        // A number that is wrong is found where it stands.
        let sound = Trace::of(&model, data.image(0), Method::Direct).unwrap();
        let reference = Reference::new(&again);
        reference.check(0, data.image(0), &sound).unwrap();
        for layer in 0..sound.stored.len() {
            let mut wrong = sound.clone();
            let value = wrong.stored[layer].iter_mut().max_by_key(|bits| **bits & 0x7fff).unwrap();
            *value ^= 0x0040;
            let error = reference.check(0, data.image(0), &wrong).unwrap_err();
            let name = network.layers[layer].op.name();
            assert!(matches!(&error, ExportError::Disagreement { layer, .. } if layer == name), "{error}");
        }
    }
}
