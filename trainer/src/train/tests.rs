//! The fused engine against candle's own operations and backward pass on whole networks.

use candle_core::{Device, Tensor};
use lrpet_runtime::model::Shape;
use rand::{Rng, SeedableRng};

use super::*;
use crate::network::Network;

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

#[test]
fn whole_networks_match_candle() {
    for (name, shape) in [
        ("resnet8", Shape::new(1, 13, 10)),
        ("resnet20", Shape::new(3, 8, 8)),
        ("resnet20b", Shape::new(2, 9, 7)),
    ] {
        let network = Network::by_name(name, shape, 10).unwrap();
        let mut ours = Trainable::new(&network, 5, &Device::Cpu).unwrap();
        let mut theirs = Trainable::with_candle(&network, 5, &Device::Cpu).unwrap();
        let (images, labels) = images(16, shape, 1);
        let (a, b) =
            (ours.forward(&images, Mode::TRAIN).unwrap(), theirs.forward(&images, Mode::TRAIN).unwrap());
        assert!(largest_difference(&a, &b) < 1e-4, "{name}: logits");
        let slope = cross_entropy(&b, &labels).unwrap().gradient;
        let (a, b) = (ours.backward(&slope).unwrap(), theirs.backward(&slope).unwrap());
        assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
        assert!(a.keys().eq(ours.parameters().trained().keys()));
        for (parameter, a) in &a {
            // A single value that falls on the other side of a kink of ReLU moves the deep gradients a little.
            assert!(largest_difference(a, &b[parameter]) < 2e-3, "{name}: gradient of {parameter}");
        }
        for (tensor, a) in ours.tensors() {
            assert!(largest_difference(&a, &theirs.tensors()[&tensor]) < 1e-5, "{name}: {tensor}");
        }
        let (a, b) =
            (ours.forward(&images, Mode::Infer).unwrap(), theirs.forward(&images, Mode::Infer).unwrap());
        assert!(largest_difference(&a, &b) < 1e-4, "{name}: inference");
    }
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
