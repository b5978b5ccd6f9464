//! One training pass of every kind of network; what it leaves, folded, is what inference computes.

use candle_core::{Device, Tensor};
use lrpet_data::Normalization;
use lrpet_network::export::Folded;
use lrpet_network::export::reference::{Storage, logits};
use lrpet_network::lrpet::RankPlan;
use lrpet_network::network::Network;
use lrpet_runtime::model::Shape;

use super::Mode;
use crate::{Trainable, cross_entropy};

#[test]
fn every_kind_of_network_trains_and_is_what_it_exports() {
    for (name, shape) in [
        ("vgg16_bn", Shape::new(3, 32, 32)),
        ("googlenet", Shape::new(3, 7, 6)),
        ("resnet18", Shape::new(3, 33, 30)),
        ("resnet50", Shape::new(3, 25, 24)),
        ("mobilenet_v2_cifar", Shape::new(3, 9, 10)),
        ("mobilenet_v1_025", Shape::new(3, 20, 17)),
        ("ds_cnn", Shape::new(1, 21, 10)),
    ] {
        let network = Network::by_name(name, shape, 3).unwrap();
        let mut model = Trainable::new(&network, 5, &Device::Cpu).unwrap();
        let count = 3;
        let value = |i: usize| ((i * 7919 + 13) % 997) as f32 / 400.0 - 1.2;
        let values: Vec<f32> = (0..count * shape.len()).map(value).collect();
        let sizes = [count, shape.channels as usize, shape.height as usize, shape.width as usize];
        let images = Tensor::from_slice(&values, &sizes, &Device::Cpu).unwrap();
        let trained = model.forward(&images, Mode::MEASURE).unwrap();
        let slope = cross_entropy(&trained, &[0, 1, 2]).unwrap().gradient;
        let gradients = model.backward(&slope).unwrap();
        assert!(gradients.keys().eq(model.parameters().trained().keys()), "{name}");
        for (parameter, gradient) in &gradients {
            let size = gradient.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(size.is_finite() && size > 0.0, "{name}: the gradient of {parameter} has size {size}");
        }
        let found = model.forward(&images, Mode::Infer).unwrap().to_vec2::<f32>().unwrap();
        let checkpoint = crate::checkpoint(&model.tensors()).unwrap();
        let channels = shape.channels as usize;
        let plain = Normalization { mean: vec![0.0; channels], std: vec![1.0; channels] };
        let dense = RankPlan::dense(&network);
        let (folded, _) = Folded::new(&network, &checkpoint, &dense, plain, false).unwrap();
        for (found, image) in found.iter().zip(values.chunks_exact(shape.len())) {
            let expected = logits(&folded, image, Storage::F64);
            let scale = expected.iter().fold(1.0f64, |scale, value| scale.max(value.abs()));
            for (found, expected) in found.iter().zip(&expected) {
                let off = (f64::from(*found) - expected).abs() / scale;
                assert!(off < 1e-3, "{name}: {found} and not {expected}");
            }
        }
    }
}
