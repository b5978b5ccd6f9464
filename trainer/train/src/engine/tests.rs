//! The fused engine against candle's own operations and backward pass on whole networks.

use std::rc::Rc;

use candle_core::{Device, Tensor};
use lrpet_network::network::{Layer, Network, Norm, OutputKind};
use lrpet_runtime::model::{
    Activate, Activation, Affine, Binary, BinaryKind, Conv, GeneralConv, Linear, Op, Pool, PoolKind, Shape,
    Weights, Window,
};
use rand::{Rng, SeedableRng};

use super::*;
use crate::*;

fn images(count: usize, shape: Shape, seed: u64) -> (Tensor, Vec<u32>) {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f32> = (0..count * shape.len()).map(|_| rng.random_range(-2.0f32..2.0)).collect();
    let sizes = [shape.channels, shape.height, shape.width].map(|size| size as usize);
    let images = Tensor::from_vec(values, (count, sizes[0], sizes[1], sizes[2]), &Device::Cpu).unwrap();
    (images, (0..count).map(|_| rng.random_range(0..10)).collect())
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
    let largest = b.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap() / largest.max(1e-4)
}

/// ‖a − b‖ relative to ‖b‖, or to 0.01 where b is smaller: some gradients are zero but for rounding.
fn distance(a: &Tensor, b: &Tensor) -> f32 {
    let norm = |t: &Tensor| t.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
    norm(&(a - b).unwrap()) / norm(b).max(1e-2)
}

/// All parameters' gradients, the running statistics and the logits of both engines.
fn check_against_candle(name: &str, shape: Shape, batch: usize) {
    check_engines(&Network::by_name(name, shape, 10).unwrap(), batch);
}

fn check_engines(network: &Network, batch: usize) {
    let name = &network.name;
    let mut ours = Trainable::new(network, 5, &Device::Cpu).unwrap();
    assert!(Fused::new(network, Rc::new(Alone)).is_some(), "{name} runs on the fused kernels");
    let mut theirs = Trainable::with_candle(network, 5, &Device::Cpu).unwrap();
    let (images, labels) = images(batch, network.input, 1);
    let (a, b) = (ours.forward(&images, Mode::TRAIN).unwrap(), theirs.forward(&images, Mode::TRAIN).unwrap());
    assert!(largest_difference(&a, &b) < 1e-4, "{name}: logits");
    let slope = cross_entropy(&b, &labels).unwrap().gradient;
    let (a, b) = (ours.backward(&slope).unwrap(), theirs.backward(&slope).unwrap());
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    assert!(a.keys().eq(ours.parameters().trained().keys()));
    // A single value that falls on the other side of a kink of ReLU moves the deep gradients a little.
    let far: Vec<(&String, f32)> = a
        .iter()
        .map(|(parameter, a)| (parameter, distance(a, &b[parameter])))
        .filter(|(_, distance)| *distance > 5e-3)
        .collect();
    assert!(far.is_empty(), "{name}: gradients differ: {far:?}");
    for (tensor, a) in ours.tensors() {
        // Means are zero but for rounding where no activation comes before.
        let b = &theirs.tensors()[&tensor];
        let most = |t: &Tensor| t.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(most(&(a - b).unwrap()) < 1e-4 * most(b).max(1.0), "{name}: {tensor}");
    }
    let (a, b) = (ours.forward(&images, Mode::Infer).unwrap(), theirs.forward(&images, Mode::Infer).unwrap());
    assert!(largest_difference(&a, &b) < 1e-4, "{name}: inference");
}

#[test]
fn small_networks_match_candle() {
    check_against_candle("resnet8", Shape::new(1, 13, 10), 16);
    check_against_candle("resnet20", Shape::new(3, 8, 8), 16);
    check_against_candle("resnet20b", Shape::new(2, 9, 7), 16);
}

#[test]
fn separable_networks_match_candle() {
    check_against_candle("ds_cnn", Shape::new(1, 17, 10), 8);
    check_without_activations("mobilenet_v1_025", Shape::new(3, 40, 36), 8);
    check_without_activations("mobilenet_v2_cifar", Shape::new(3, 11, 8), 8);
}

/// Normalisations with an ε and a momentum of their own and without γ, β or both, and a convolution without a bias.
#[test]
fn each_normalisation_has_its_own_parts() {
    let shape = Shape::new(3, 9, 8);
    let mut network = Network::by_name("resnet8", shape, 10).unwrap();
    let count = network.layers.iter().filter(|layer| layer.norm.is_some()).count();
    let mut parts = 0..;
    for norm in network.layers.iter_mut().filter_map(|layer| layer.norm.as_mut()) {
        let part = parts.next().unwrap_or(0);
        (norm.scale, norm.shift) = (part % 4 != 1 && part % 4 != 3, part % 4 != 2 && part % 4 != 3);
        norm.epsilon = [1e-5, 1e-3, 1e-2][part % 3];
        norm.momentum = [0.1, 0.01, 0.5][part % 3];
    }
    for layer in network.layers.iter_mut().filter(|layer| layer.op.name() == "layer3.0.downsample.0") {
        (layer.norm, layer.bias) = (None, false);
    }
    check_engines(&network, 16);
    let model = Trainable::new(&network, 5, &Device::Cpu).unwrap();
    let has = |name: &str| model.tensors().contains_key(name);
    assert!(has("bn1.weight") && has("bn1.bias") && count > 6);
    assert!(!has("layer1.0.bn1.weight") && has("layer1.0.bn1.bias") && has("layer1.0.bn1.running_mean"));
    assert!(!has("layer3.0.downsample.0.bias"));
}

/// running = (1 − momentum)·running + momentum·batch, with the momentum of each.
#[test]
fn running_statistics_move_by_the_momentum_of_each() {
    let shape = Shape::new(1, 8, 8);
    let mut network = Network::by_name("resnet8", shape, 10).unwrap();
    for (norm, momentum) in
        network.layers.iter_mut().filter_map(|layer| layer.norm.as_mut()).zip([0.25, 0.01])
    {
        norm.momentum = momentum;
    }
    let (images, _) = images(8, shape, 1);
    let means = |mode: Mode, name: &str| {
        let mut model = Trainable::new(&network, 5, &Device::Cpu).unwrap();
        model.forward(&images, mode).unwrap();
        model.parameters().values(name).unwrap()
    };
    for (name, momentum) in
        [("bn1.running_mean", 0.25), ("layer1.0.bn1.running_mean", 0.01), ("layer1.0.bn2.running_mean", 0.1)]
    {
        let (moved, measured) = (means(Mode::TRAIN, name), means(Mode::MEASURE, name));
        assert!(measured.iter().any(|mean| mean.abs() > 1e-3), "{name}");
        for (moved, measured) in moved.iter().zip(measured) {
            assert!((moved - momentum * measured).abs() < 1e-6 * measured.abs().max(1.0), "{name}");
        }
    }
}

#[test]
fn wide_networks_match_candle() {
    check_against_candle("vgg16_bn", Shape::new(3, 32, 32), 6);
    check_without_activations("googlenet", Shape::new(3, 16, 12), 4);
}

#[test]
fn networks_for_large_images_match_candle() {
    check_against_candle("resnet18", Shape::new(3, 48, 40), 6);
    check_without_activations("resnet50", Shape::new(3, 40, 40), 6);
}

/// In deep networks rounding moves a few values to the other side of a kink, each of which changes all gradients before
/// it by up to a percent: they are compared as linear networks.
fn check_without_activations(name: &str, shape: Shape, batch: usize) {
    let mut network = Network::by_name(name, shape, 10).unwrap();
    for layer in &mut network.layers {
        if let Op::Conv(conv) = &mut layer.op {
            conv.activation = Activation::None;
        }
    }
    check_engines(&network, batch);
}

#[test]
fn passes_are_repeatable_and_batches_may_change_size() {
    let shape = Shape::new(3, 12, 12);
    let network = Network::by_name("resnet8", shape, 10).unwrap();
    let mut model = Trainable::new(&network, 5, &Device::Cpu).unwrap();
    let mut pass = |count: usize| {
        let (images, labels) = images(count, shape, 3);
        let logits = model.forward(&images, Mode::TRAIN).unwrap();
        let gradients = model.backward(&cross_entropy(&logits, &labels).unwrap().gradient).unwrap();
        let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        gradients.values().map(values).collect::<Vec<_>>()
    };
    let (large, small) = (pass(19), pass(4));
    assert_eq!((pass(4), pass(19)), (small, large));
}

#[test]
fn a_backward_pass_needs_a_training_pass() {
    let network = Network::by_name("resnet8", Shape::new(1, 8, 8), 10).unwrap();
    for mut model in [
        Trainable::new(&network, 1, &Device::Cpu).unwrap(),
        Trainable::with_candle(&network, 1, &Device::Cpu).unwrap(),
    ] {
        let (images, _) = images(2, Shape::new(1, 8, 8), 1);
        let logits = model.forward(&images, Mode::Infer).unwrap();
        assert!(model.backward(&logits).is_err());
        assert!(model.forward(&images.narrow(2, 0, 7).unwrap(), Mode::Infer).is_err());
    }
}

#[test]
fn names_are_torchvisions() {
    let network = Network::by_name("resnet20b", Shape::new(3, 32, 32), 10).unwrap();
    let model = Trainable::new(&network, 1, &Device::Cpu).unwrap();
    let tensors = model.tensors();
    for (name, dims) in [
        ("conv1.weight", vec![16, 3, 3, 3]),
        ("bn1.running_var", vec![16]),
        ("layer2.0.downsample.0.weight", vec![32, 16, 1, 1]),
        ("layer2.0.downsample.1.bias", vec![32]),
        ("layer3.2.conv2.weight", vec![64, 64, 3, 3]),
        ("fc.weight", vec![10, 64]),
        ("fc.bias", vec![10]),
    ] {
        assert_eq!(tensors[name].dims(), dims, "{name}");
    }
    assert_eq!(tensors.len(), 21 * 5 + 2);
    let count = model.parameters().trained().values().map(|var| var.elem_count()).sum::<usize>();
    assert_eq!(count, network.cost().params as usize + 10 + 2 * (7 * 16 + 7 * 32 + 7 * 64));
}

/// Value of a pixel, `outside` where it is in the padding.
fn pixel(x: &[Vec<f32>], row: isize, col: isize, outside: f64) -> f64 {
    let inside =
        usize::try_from(row).ok().and_then(|row| x.get(row)?.get(usize::try_from(col).ok()?).copied());
    inside.map_or(outside, f64::from)
}

/// Depthwise convolution with a bias, pools and sums on both engines, written out for one channel at a time.
#[test]
fn layers_match_their_definitions() {
    layers_match(Trainable::new);
    layers_match(Trainable::with_candle);
}

fn layers_match(make: fn(&Network, u64, &Device) -> Result<Trainable, TrainError>) {
    let window = Window { kernel: [3, 2], stride: [2, 1], padding: [1, 0, 2, 1] };
    let shape = Shape::new(3, 6, 5);
    let layer = Layer::new;
    let depthwise = |input| {
        Op::Conv(Conv {
            name: "depthwise".to_owned(),
            input,
            out_channels: 3,
            window,
            weights: Weights::Depthwise,
            residual: None,
            activation: Activation::Relu6,
        })
    };
    let pool = |kind| Op::Pool(Pool { input: 0, kind, window });
    let run = |op: Op<String>, images: &Tensor| {
        let linear = Linear {
            name: "fc".to_owned(),
            input: 2,
            out_features: 2,
            weights: Weights::Dense,
            activation: Activation::None,
        };
        let head = [layer(Op::GlobalAveragePool { input: 1 }), layer(Op::Linear(linear))];
        let layers = std::iter::once(layer(op)).chain(head).collect();
        let network = Network::new("one layer", shape, 2, layers);
        let mut model = make(&network, 1, &Device::Cpu).unwrap();
        // The head passes the mean of channel 1, and the sum of all three means.
        model.parameters().set("fc.weight", vec![0.0, 1.0, 0.0, 1.0, 1.0, 1.0]).unwrap();
        model.parameters().set("fc.bias", vec![0.0, 0.0]).unwrap();
        if let Ok(weight) = model.parameters().values("depthwise.weight") {
            let weight = weight.iter().map(|value| 8.0 * value).collect();
            model.parameters().set("depthwise.weight", weight).unwrap();
        }
        let logits = model.forward(images, Mode::TRAIN).unwrap();
        let gradients = model.backward(&logits.ones_like().unwrap()).unwrap();
        assert_eq!(gradients.len(), model.parameters().trained().len());
        (model, logits.to_vec2::<f32>().unwrap())
    };
    let (images, _) = images(2, shape, 8);
    let planes = images.planes();
    let (oh, ow) = window.output(6, 5).unwrap();
    let mean_over = |f: &dyn Fn(&[Tap]) -> f64| {
        let mut sum = 0.0;
        for (oy, ox) in (0..oh as isize).flat_map(|oy| (0..ow as isize).map(move |ox| (oy, ox))) {
            let taps =
                [0, 1, 2, 3, 4, 5].map(|tap| (tap, 2 * oy - 1 + (tap / 2) as isize, ox + (tap % 2) as isize));
            sum += f(&taps);
        }
        sum / f64::from(oh * ow)
    };
    let (model, found) = run(depthwise(0), &images);
    let weight = model.parameters().values("depthwise.weight").unwrap();
    let bias = model.parameters().values("depthwise.bias").unwrap();
    let expected = |plane: &[Vec<f32>], channel: usize| {
        mean_over(&|taps| {
            let sum: f64 = taps
                .iter()
                .map(|&(tap, r, c)| f64::from(weight[channel * 6 + tap]) * pixel(plane, r, c, 0.0))
                .sum();
            (sum + f64::from(bias[channel])).clamp(0.0, 6.0)
        })
    };
    check(&planes, &found, &expected);

    let (_, found) = run(pool(PoolKind::Max), &images);
    let largest = |plane: &[Vec<f32>], _: usize| {
        mean_over(&|taps| {
            taps.iter()
                .map(|&(_, r, c)| pixel(plane, r, c, f64::NEG_INFINITY))
                .fold(f64::NEG_INFINITY, f64::max)
        })
    };
    check(&planes, &found, &largest);

    let (_, found) = run(pool(PoolKind::Average), &images);
    let average = |plane: &[Vec<f32>], _: usize| {
        mean_over(&|taps| {
            let inside: Vec<f64> = taps
                .iter()
                .map(|&(_, r, c)| pixel(plane, r, c, f64::NAN))
                .filter(|value| !value.is_nan())
                .collect();
            inside.iter().sum::<f64>() / inside.len() as f64
        })
    };
    check(&planes, &found, &average);

    let (_, found) = run(Op::Add { inputs: [0, 0], activation: Activation::Relu }, &images);
    let twice = |plane: &[Vec<f32>], _: usize| {
        plane.iter().flatten().map(|value| (2.0 * f64::from(*value)).max(0.0)).sum::<f64>() / 30.0
    };
    check(&planes, &found, &twice);
}

/// Layers that the networks have not, or not yet: biases with residual, activations of linear layers and sums.
#[test]
fn biased_layers_and_sums_match_candle() {
    let shape = Shape::new(5, 7, 6);
    let conv = |name: &str, input, window, weights, residual, activation| {
        let name = name.to_owned();
        let conv = Conv { name, input, out_channels: 5, window, weights, residual, activation };
        Layer::new(Op::Conv(conv))
    };
    let linear = |name: &str, input, out_features, activation| {
        let weights = Weights::Dense;
        Layer::new(Op::Linear(Linear { name: name.to_owned(), input, out_features, weights, activation }))
    };
    let same = Window::square(3, 1, 1);
    for activation in [Activation::None, Activation::Relu, Activation::Relu6] {
        let layers = vec![
            conv("a", 0, same, Weights::Dense, None, activation),
            conv("b", 1, same, Weights::Depthwise, Some(1), activation),
            conv("c", 2, Window::square(1, 1, 0), Weights::Dense, Some(1), activation),
            Layer::new(Op::Add { inputs: [3, 2], activation }),
            Layer::new(Op::Pool(Pool { input: 4, kind: PoolKind::Average, window: Window::square(3, 2, 1) })),
            Layer::new(Op::GlobalAveragePool { input: 5 }),
            linear("d", 6, 9, activation),
            linear("e", 7, 10, Activation::None),
        ];
        let network = Network::new("biased", shape, 10, layers);
        check_engines(&network, 7);
    }
}

/// Number of a tap with the row and column under it.
type Tap = (usize, isize, isize);

/// Image, channel, row, column.
type Planes = Vec<Vec<Vec<Vec<f32>>>>;

trait ToPlanes {
    fn planes(&self) -> Planes;
}

impl ToPlanes for Tensor {
    fn planes(&self) -> Planes {
        (0..self.dim(0).unwrap()).map(|image| self.get(image).unwrap().to_vec3().unwrap()).collect()
    }
}

fn check(planes: &Planes, found: &[Vec<f32>], expected: &dyn Fn(&[Vec<f32>], usize) -> f64) {
    for (image, found) in planes.iter().zip(found) {
        let means: Vec<f64> =
            image.iter().enumerate().map(|(channel, plane)| expected(plane, channel)).collect();
        assert!((f64::from(found[0]) - means[1]).abs() < 1e-4, "{found:?} for {means:?}");
        assert!((f64::from(found[1]) - means.iter().sum::<f64>()).abs() < 1e-4, "{found:?} for {means:?}");
    }
}

/// Squeeze-and-excite, hard swish and its kin as activations, a grouped and a transposed convolution, a linear layer over a map, and
/// values that several layers read.
fn network_from_elsewhere() -> Network {
    let window = |k, stride, padding| Window::square(k, stride, padding);
    let conv = |name: &str, input, out_channels, window, residual, activation| {
        let name = name.to_owned();
        Op::Conv(Conv { name, input, out_channels, window, weights: Weights::Dense, residual, activation })
    };
    let general = |name: &str, input, out_channels, window, groups, transposed, activation| {
        Op::GeneralConv(GeneralConv {
            name: name.to_owned(),
            input,
            out_channels,
            window,
            dilation: [1, 2],
            groups,
            transposed,
            weights: Weights::Dense,
            residual: None,
            activation,
        })
    };
    let gate = Activation::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 };
    let product = Binary {
        kind: BinaryKind::Mul,
        inputs: [1, 4],
        output: Shape::new(8, 9, 7),
        activation: Activation::None,
    };
    let normalised = |op: Op<String>| {
        let norm = Norm::new(format!("{}.bn", op.name()));
        Layer::normalised(op, norm)
    };
    let layers = vec![
        normalised(conv("stem", 0, 8, window(3, 1, 1), None, Activation::HardSwish)), // 1
        Layer::new(Op::GlobalAveragePool { input: 1 }),                               // 2
        Layer::new(conv("squeeze", 2, 3, window(1, 1, 0), None, Activation::Relu)),   // 3
        Layer::new(conv("excite", 3, 8, window(1, 1, 0), None, gate)),                // 4
        Layer::new(Op::Binary(product)),                                              // 5
        normalised(general("grouped", 5, 12, window(3, 2, 2), 4, None, Activation::Silu)), // 6
        normalised(conv("block", 6, 12, window(3, 1, 1), Some(6), Activation::Tanh)), // 7
        Layer::new(general("up", 7, 6, window(3, 2, 1), 2, Some([1, 0]), Activation::Sigmoid)), // 8
        Layer::new(Op::Affine(Affine { name: "shift".into(), input: 8, activation: Activation::Gelu })), // 9
        Layer::new(Op::Activate(Activate {
            input: 9,
            activation: Activation::None,
            slope: Some("prelu".into()),
        })),
        Layer::new(Op::Linear(Linear {
            name: "fc".into(),
            input: 10,
            out_features: 10,
            weights: Weights::Dense,
            activation: Activation::Elu { alpha: 1.0 },
        })),
    ];
    Network::new("elsewhere", Shape::new(3, 9, 7), 10, layers)
}

#[test]
fn networks_from_elsewhere_match_candle() {
    let network = network_from_elsewhere();
    assert_eq!(network.value_shapes().unwrap().len(), 12);
    check_engines(&network, 6);
    // Without the whole batch a normalisation behind a grouped convolution has no statistics.
    let shared = crate::threads::Threads::run(2, |thread| Fused::new(&network, Rc::new(thread)).is_some());
    assert_eq!(shared, [false, false]);
}

#[test]
fn a_map_as_a_result_has_its_channels_first() {
    let network = network_from_elsewhere();
    let layers = network.layers[..7].to_vec();
    let map = Network {
        output_kind: OutputKind::Values,
        classes: 12 * 6 * 4,
        ..Network::new("map", network.input, 1, layers)
    };
    let shape = *map.value_shapes().unwrap().last().unwrap();
    assert_eq!(shape.len(), map.classes as usize, "{shape}");
    check_engines(&map, 3);
}
