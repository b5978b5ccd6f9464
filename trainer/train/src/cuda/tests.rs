//! The device engine against the CPU's engines: the kernels emulated, and on the GPU where there is one.

use std::rc::Rc;

use candle_core::{Device, Tensor};
use lrpet_network::network::{Layer, Network};
use lrpet_runtime::model::{
    Activation, Concat, Conv, Inputs, Linear, Op, PadShortcut, Pool, PoolKind, Shape, Weights, Window,
};
use rand::{Rng, SeedableRng};

use super::norm::{Norm, Share, Shift, Statistics, finish};
use super::{launch, parameters};
use crate::exchange::whole_gradients;
use crate::threads::Threads;
use crate::{Alone, Exchange, Gradients, Mode, Optimizer, Parameters, Trainable, cross_entropy};

/// The devices that run the kernels here: the emulation, and a GPU where the build and the machine have one.
pub(crate) fn devices() -> Vec<Device> {
    let mut devices = vec![Device::Cpu];
    match crate::device::DeviceName::Cuda(0).open(crate::device::Precision::F32) {
        Ok(gpu) => devices.push(gpu),
        Err(error) => eprintln!("NOT RUN on a GPU, only emulated: {error}"),
    }
    devices
}

fn random(count: usize, seed: u64) -> Vec<f32> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(-2.0f32..2.0)).collect()
}

fn images(count: usize, shape: Shape) -> (Tensor, Vec<u32>) {
    let sizes = [shape.channels, shape.height, shape.width].map(|size| size as usize);
    let dims = (count, sizes[0], sizes[1], sizes[2]);
    let images = Tensor::from_vec(random(count * shape.len(), 1), dims, &Device::Cpu).unwrap();
    (images, (0..count as u32).map(|image| image % 10).collect())
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()
}

fn largest(tensor: &Tensor) -> f32 {
    values(tensor).iter().fold(0.0, |largest: f32, value| largest.max(value.abs()))
}

/// Largest difference of two tensors over the largest value of the second.
fn difference(found: &Tensor, expected: &Tensor) -> f32 {
    difference_over(found, expected, 1e-4)
}

/// As [`difference`]; the value that it is over is at least `least`.
fn difference_over(found: &Tensor, expected: &Tensor, least: f32) -> f32 {
    assert_eq!(found.dims(), expected.dims());
    let largest = largest(expected).max(least);
    let (found, expected) = (values(found), values(expected));
    let differences = found.iter().zip(&expected).map(|(a, b)| (a - b).abs() / largest);
    differences.fold(0.0, |most, one| if one <= most { most } else { one })
}

/// `network` with kernels on `device` and `reference`'s parameters.
fn copied(reference: &Trainable, device: &Device) -> Trainable {
    let network = reference.network();
    let mut model =
        Trainable::with_kernels(network, Parameters::new(network, 9, device).unwrap(), Rc::new(Alone));
    model.load(&reference.tensors()).unwrap();
    model
}

fn to(device: &Device, gradients: &Gradients) -> Gradients {
    gradients.iter().map(|(name, tensor)| (name.clone(), tensor.to_device(device).unwrap())).collect()
}

/// One training pass and one inference of `reference` and of the kernels on every device.
fn compare(name: &str, reference: &mut Trainable, batch: usize) {
    let (images, labels) = images(batch, reference.network().input);
    let start = reference.tensors();
    // Values of their own: the passes move the running statistics where they lie.
    let start = start.into_iter().map(|(name, tensor)| (name, tensor.copy().unwrap())).collect();
    for device in devices() {
        reference.load(&start).unwrap();
        let mut ours = copied(reference, &device);
        let there = images.to_device(&device).unwrap();
        let expected = reference.forward(&images, Mode::TRAIN).unwrap();
        let found = ours.forward(&there, Mode::TRAIN).unwrap();
        assert!(difference(&found, &expected) < 1e-4, "{name}: logits");
        let slope = cross_entropy(&expected, &labels).unwrap().gradient;
        let found = ours.backward(&slope.to_device(&device).unwrap()).unwrap();
        let expected = reference.backward(&slope).unwrap();
        assert!(found.keys().eq(expected.keys()), "{name}");
        assert!(found.keys().eq(ours.parameters().trained().keys()), "{name}");
        // Gradients that cancel are noise beside the others: that of a γ whose scale the next normalisation undoes is 0.
        let least = 0.01 * expected.values().map(largest).fold(0.0, f32::max);
        for (parameter, found) in &found {
            // A single value that falls on the other side of a kink of ReLU moves the deep gradients a little.
            let off = difference_over(found, &expected[parameter], least);
            assert!(off < 2e-3, "{name}: gradient of {parameter}: {off}");
        }
        let (found, expected) = (ours.tensors(), reference.tensors());
        for (tensor, found) in &found {
            assert!(difference(found, &expected[tensor]) < 1e-5, "{name}: {tensor}");
        }
        let expected = reference.forward(&images, Mode::Infer).unwrap();
        let found = ours.forward(&there, Mode::Infer).unwrap();
        assert!(difference(&found, &expected) < 1e-4, "{name}: inference");
        assert!(ours.backward(&found).is_err(), "{name}: a backward pass needs a training forward pass");
    }
}

#[test]
fn whole_networks_match_the_cpu() {
    for (name, shape, batch) in [
        ("resnet8", Shape::new(1, 13, 10), 16),
        // More than one part a channel.
        ("resnet8", Shape::new(3, 18, 19), 25),
        ("resnet20", Shape::new(3, 8, 8), 16),
        ("resnet20b", Shape::new(2, 9, 7), 16),
        ("resnet8", Shape::new(3, 8, 8), 1),
        ("ds_cnn", Shape::new(1, 49, 10), 3),
    ] {
        let network = Network::by_name(name, shape, 10).unwrap();
        compare(name, &mut Trainable::new(&network, 5, &Device::Cpu).unwrap(), batch);
    }
}

fn conv(name: &str, input: u16, out_channels: u32, window: Window, activation: Activation) -> Layer {
    let weights = if name.starts_with("depthwise") { Weights::Depthwise } else { Weights::Dense };
    // One is Keras', in momentum too, one has no β and one no γ.
    let norm = (!name.ends_with("biased")).then(|| lrpet_network::network::Norm {
        epsilon: if name == "first" { 1e-5 } else { 1e-3 },
        momentum: if name == "twice" { 0.01 } else { 0.1 },
        scale: name != "point",
        shift: name != "sparse",
        ..lrpet_network::network::Norm::new(format!("{name}_norm"))
    });
    let name = name.to_owned();
    let conv = Conv { name, input, out_channels, window, weights, residual: None, activation };
    match norm {
        Some(norm) => Layer::normalised(Op::Conv(conv), norm),
        None => Layer::new(Op::Conv(conv)),
    }
}

fn pool(input: u16, kind: PoolKind, window: Window) -> Layer {
    Layer::new(Op::Pool(Pool { input, kind, window }))
}

/// Every operation, with windows whose axes and sides differ, a value with several readers, a residual that is also the
/// input, against candle's own operations and backward pass.
#[test]
fn all_operations_match_candle() {
    let odd = Window { kernel: [3, 2], stride: [2, 1], padding: [1, 0, 2, 1] };
    let wide = Window { kernel: [2, 5], stride: [1, 3], padding: [0, 2, 1, 2] };
    let same = Window::square(3, 1, 1);
    let layers = vec![
        conv("first", 0, 4, same, Activation::Relu6),
        conv("depthwise", 1, 4, odd, Activation::Relu6),
        conv("depthwise_biased", 2, 4, same, Activation::None),
        Layer::new(Op::Add { inputs: [2, 3], activation: Activation::Relu }),
        pool(4, PoolKind::Max, odd),
        pool(4, PoolKind::Average, odd),
        Layer::new(Op::Add { inputs: [5, 6], activation: Activation::None }),
        conv("odd_biased", 7, 6, wide, Activation::Relu),
        {
            let mut layer = conv("twice", 8, 6, same, Activation::Relu6);
            if let Op::Conv(conv) = &mut layer.op {
                conv.residual = Some(8);
            }
            layer
        },
        conv("point", 9, 3, Window::square(1, 1, 0), Activation::None),
        conv("sparse", 10, 5, Window::square(1, 2, 0), Activation::None),
        Layer::new(Op::PadShortcut(PadShortcut { input: 10, out_channels: 5, stride: 2 })),
        Layer::new(Op::Add { inputs: [11, 12], activation: Activation::None }),
        Layer::new(Op::Concat(Concat { inputs: Inputs::new(&[13, 12, 13]).unwrap(), out_channels: 15 })),
        pool(14, PoolKind::Max, Window::square(2, 1, 0)),
        Layer::new(Op::GlobalAveragePool { input: 15 }),
        Layer::new(Op::Linear(Linear {
            name: "fc".to_owned(),
            input: 16,
            out_features: 10,
            weights: Weights::Dense,
            activation: Activation::None,
        })),
    ];
    let network = Network::new("all", Shape::new(3, 17, 14), 10, layers);
    assert!(network.value_shapes().is_some());
    compare("all", &mut Trainable::with_candle(&network, 5, &Device::Cpu).unwrap(), 5);
}

/// The rows of `images` from `first` on, `count` of them.
fn part(images: &Tensor, (first, count): (usize, usize)) -> Tensor {
    images.narrow(0, first, count).unwrap().contiguous().unwrap()
}

/// A batch of six images in shares of four and two: one training pass forward and back, and the statistics that it leaves.
#[test]
fn shares_of_a_batch_are_as_the_whole() {
    let shape = Shape::new(3, 8, 8);
    // One with depthwise layers, and one with residuals.
    for name in ["ds_cnn", "resnet8"] {
        let network = Network::by_name(name, shape, 10).unwrap();
        let (images, labels) = images(6, shape);
        let mut one = Trainable::new(&network, 5, &Device::Cpu).unwrap();
        let start = one.tensors().into_iter().map(|(name, tensor)| (name, tensor.copy().unwrap())).collect();
        let logits = one.forward(&images, Mode::TRAIN).unwrap();
        let slope = cross_entropy(&logits, &labels).unwrap().gradient;
        let expected = one.backward(&slope).unwrap();
        let found = Threads::run(2, |thread| {
            let share = [(0, 4), (4, 2)][thread.rank()];
            let parameters = Parameters::new(&network, 9, &Device::Cpu).unwrap();
            let mut model = Trainable::with_kernels(&network, parameters, Rc::new(thread));
            model.load(&start).unwrap();
            let found = model.forward(&part(&images, share), Mode::TRAIN).unwrap();
            assert!(difference(&found, &part(&logits, share)) < 1e-4, "{name}: logits");
            let gradients = model.backward(&part(&slope, share)).unwrap();
            (whole_gradients(model.exchange(), gradients).unwrap(), model.tensors())
        });
        let least = 0.01 * expected.values().map(largest).fold(0.0, f32::max);
        for (gradients, tensors) in &found {
            assert!(gradients.keys().eq(expected.keys()), "{name}");
            for (parameter, found) in gradients {
                let off = difference_over(found, &expected[parameter], least);
                assert!(off < 2e-3, "{name}: gradient of {parameter}: {off}");
            }
            for (tensor, expected) in one.tensors() {
                assert!(difference(&tensors[&tensor], &expected) < 1e-5, "{name}: {tensor}");
            }
        }
        // Not one bit apart, or they would drift.
        for (tensor, first) in &found[0].1 {
            assert_eq!(values(first), values(&found[1].1[tensor]), "{name}: {tensor}");
        }
    }
}

/// Statistics of values far from zero, against f64.
#[test]
fn statistics_do_not_cancel() {
    let (channels, length) = (3, 9001);
    let values: Vec<f32> =
        random(channels * length, 2).iter().enumerate().map(|(i, v)| 1e3 * (i / length) as f32 + v).collect();
    for device in devices() {
        let y = Tensor::from_slice(&values, (channels, 1, 1, length), &device).unwrap();
        let vector = |value: f32| Tensor::full(value, channels, &device).unwrap().contiguous().unwrap();
        let (gamma, beta, mean, variance) = (vector(1.0), vector(0.0), vector(0.0), vector(0.0));
        let norm = Norm { gamma: &gamma, beta: &beta, mean: &mean, variance: &variance, epsilon: 1e-5 };
        let found =
            Statistics::of_batch(&y, &norm, 1.0, Share { exchange: &Alone, images: 1, whole: 1 }).unwrap();
        let z = finish(&y, &Shift::Norm(&found, &norm), None, Activation::None).unwrap();
        let z = z.reshape((channels, length)).unwrap().to_vec2::<f32>().unwrap();
        let (mean, variance) = (mean.to_vec1::<f32>().unwrap(), variance.to_vec1::<f32>().unwrap());
        for (channel, values) in values.chunks_exact(length).enumerate() {
            let average = values.iter().map(|&v| f64::from(v)).sum::<f64>() / length as f64;
            let squares: f64 = values.iter().map(|&v| (f64::from(v) - average).powi(2)).sum();
            // Within f32's steps at the mean, and of the sums.
            assert!((f64::from(mean[channel]) - average).abs() < 1e-7 * average.abs() + 1e-6);
            assert!((f64::from(variance[channel]) * (length - 1) as f64 / squares - 1.0).abs() < 1e-6);
            let deviation = (squares / length as f64 + 1e-5).sqrt();
            for (z, &value) in z[channel].iter().zip(values) {
                // The mean of channel 2 has steps of 1.2e-4 in f32.
                assert!((f64::from(*z) - (f64::from(value) - average) / deviation).abs() < 2e-4);
            }
        }
    }
}

#[test]
fn steps_match_the_cpu() {
    let network = Network::by_name("resnet8", Shape::new(1, 8, 8), 10).unwrap();
    let reference = Trainable::new(&network, 5, &Device::Cpu).unwrap();
    for device in devices() {
        let start = Trainable::new(&network, 5, &Device::Cpu).unwrap();
        reference.parameters().load(&start.tensors()).unwrap();
        let ours = copied(&reference, &device);
        let (mut a, mut b) = (Optimizer::sgd(0.9, 1e-2), Optimizer::sgd(0.9, 1e-2));
        for step in 0..3 {
            let gradient = |(index, (name, var)): (usize, (&String, &candle_core::Var))| {
                let values = random(var.elem_count(), 100 * step + index as u64);
                (name.clone(), Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap())
            };
            let gradients: Gradients =
                reference.parameters().trained().iter().enumerate().map(gradient).collect();
            a.step(reference.parameters(), &gradients, 0.1).unwrap();
            b.step_by_kernel(ours.parameters(), &to(&device, &gradients), 0.1).unwrap();
        }
        for (name, expected) in reference.tensors() {
            assert!(difference(&ours.tensors()[&name], &expected) < 1e-6, "{name}");
        }
        assert!(a.state().keys().eq(b.state().keys()));
        for (name, expected) in a.state() {
            assert!(difference(&b.state()[&name], &expected) < 1e-6, "{name}");
        }
        let wrong = Gradients::from([(
            "fc.bias".to_owned(),
            Tensor::zeros(3, candle_core::DType::F32, &device).unwrap(),
        )]);
        assert!(b.step_by_kernel(ours.parameters(), &wrong, 0.1).is_err());
    }
}

/// Twelve steps from the same weights on the same images: both engines learn them, and alike.
#[test]
fn a_training_goes_the_same_way() {
    let network = Network::by_name("resnet8", Shape::new(1, 8, 8), 10).unwrap();
    let (images, labels) = images(20, network.input);
    let run = |model: &mut Trainable, device: &Device| {
        let images = images.to_device(device).unwrap();
        let mut optimizer = Optimizer::sgd(0.9, 1e-4);
        let mut losses = Vec::new();
        for _ in 0..12 {
            let logits = model.forward(&images, Mode::TRAIN).unwrap();
            let loss = cross_entropy(&logits, &labels).unwrap();
            losses.push(loss.sum / 20.0);
            let gradients = model.backward(&loss.gradient).unwrap();
            optimizer.step_by_kernel(model.parameters(), &gradients, 0.05).unwrap();
        }
        losses
    };
    let mut reference = Trainable::new(&network, 5, &Device::Cpu).unwrap();
    let ours: Vec<_> = devices().into_iter().map(|device| (copied(&reference, &device), device)).collect();
    let expected = run(&mut reference, &Device::Cpu);
    assert!(expected[11] < 0.8 * expected[0], "{expected:?}");
    for (mut model, device) in ours {
        let found = run(&mut model, &device);
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 0.02 * expected + 0.01, "{found} for {expected}");
        }
    }
}

#[test]
fn tensors_that_no_kernel_takes_are_refused() {
    let turned = Tensor::zeros((2, 3), candle_core::DType::F32, &Device::Cpu).unwrap().t().unwrap();
    assert!(launch::address(&turned).is_err());
    assert!(launch::address(&Tensor::zeros(2, candle_core::DType::U8, &Device::Cpu).unwrap()).is_err());
    let huge = Shape::new(1, 1 << 15, 1 << 15);
    assert!(parameters::Geometry::new(huge, huge, &Window::square(1, 1, 0), 2).is_err());
}
