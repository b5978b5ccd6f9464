//! Batch normalisation with ε = 1e-3, as Keras has it: a training step, a projection and the weights' label against definitions
//! written out here.

use std::collections::BTreeMap;
use std::rc::Rc;

use candle_core::{Device, Tensor};
use lrpet_network::lrpet::{LayerWeight, Options};
use lrpet_network::network::{Layer, Network, Norm};
use lrpet_runtime::model::{Activation, Conv, Linear, Op, Shape, Weights, Window};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

const EPSILON: f64 = 1e-3;
const SHAPE: Shape = Shape::new(2, 4, 3);
const PIXELS: usize = 12;
const IMAGES: usize = 5;
const FILTERS: usize = 3;

/// A 1×1 convolution, normalisation, ReLU, means, one logit.
fn small() -> Network {
    let conv = Conv {
        name: "conv".to_owned(),
        input: 0,
        out_channels: FILTERS as u32,
        window: Window::square(1, 1, 0),
        weights: Weights::Dense,
        residual: None,
        activation: Activation::Relu,
    };
    let linear = Linear {
        name: "fc".to_owned(),
        input: 2,
        out_features: 1,
        weights: Weights::Dense,
        activation: Activation::None,
    };
    let norm = Norm { epsilon: EPSILON, ..Norm::new("bn") };
    let layers = vec![
        Layer::normalised(Op::Conv(conv), norm),
        Layer::new(Op::GlobalAveragePool { input: 1 }),
        Layer::new(Op::Linear(linear)),
    ];
    Network::new("small", SHAPE, 1, layers)
}

/// The logits by definition; with the moments of the batch, or else with the running ones.
fn by_hand(images: &[f32], tensors: &BTreeMap<String, Vec<f64>>, of_batch: bool) -> Vec<f64> {
    let at = |name: &str, index: usize| tensors[name][index];
    let channels = SHAPE.channels as usize;
    let mut logits = vec![at("fc.bias", 0); IMAGES];
    for filter in 0..FILTERS {
        let y = |image: usize, pixel: usize| -> f64 {
            let x = |channel: usize| f64::from(images[(image * channels + channel) * PIXELS + pixel]);
            (0..channels).map(|channel| at("conv.weight", filter * channels + channel) * x(channel)).sum()
        };
        let count = (IMAGES * PIXELS) as f64;
        let over_all = |of: &dyn Fn(f64) -> f64| -> f64 {
            (0..IMAGES).flat_map(|image| (0..PIXELS).map(move |pixel| of(y(image, pixel)))).sum::<f64>()
                / count
        };
        let (mut mean, mut variance) = (at("bn.running_mean", filter), at("bn.running_var", filter));
        if of_batch {
            mean = over_all(&|y| y);
            variance = over_all(&|y| (y - mean).powi(2));
        }
        for (image, logit) in logits.iter_mut().enumerate() {
            for pixel in 0..PIXELS {
                let normal = (y(image, pixel) - mean) / (variance + EPSILON).sqrt();
                let z = (at("bn.weight", filter) * normal + at("bn.bias", filter)).max(0.0);
                *logit += at("fc.weight", filter) * z / PIXELS as f64;
            }
        }
    }
    logits
}

#[test]
fn a_training_step_is_the_definition_with_its_epsilon() {
    let (network, device) = (small(), Device::Cpu);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    // So small that ε is most of what is under the root.
    let images: Vec<f32> = (0..IMAGES * SHAPE.len()).map(|_| rng.random_range(-0.03f32..0.03)).collect();
    let input = Tensor::from_vec(images.clone(), (IMAGES, 2, 4, 3), &device).unwrap();
    let kernels =
        Trainable::with_kernels(&network, Parameters::new(&network, 3, &device).unwrap(), Rc::new(Alone));
    let models = [
        ("fused", Trainable::new(&network, 3, &device).unwrap()),
        ("candle", Trainable::with_candle(&network, 3, &device).unwrap()),
        ("device", kernels),
    ];
    for (engine, mut model) in models {
        let parameters = model.parameters();
        for (name, values) in [
            ("bn.weight", vec![1.5, 0.7, -1.1]),
            ("bn.bias", vec![0.2, -0.1, 0.3]),
            ("bn.running_mean", vec![0.01, 0.0, -0.02]),
            ("bn.running_var", vec![2e-3, 5e-4, 1e-3]),
        ] {
            parameters.set(name, values).unwrap();
        }
        let tensors: BTreeMap<String, Vec<f64>> = (model.tensors().keys())
            .map(|name| (name.clone(), parameters.values(name).unwrap().into_iter().map(f64::from).collect()))
            .collect();
        let close = |found: &Tensor, of_batch: bool| {
            let found = found.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for (found, expected) in found.iter().zip(by_hand(&images, &tensors, of_batch)) {
                assert!((f64::from(*found) - expected).abs() < 1e-5, "{engine}: {found} for {expected}");
            }
        };
        close(&model.forward(&input, Mode::Infer).unwrap(), false);
        let logits = model.forward(&input, Mode::TRAIN).unwrap();
        close(&logits, true);
        let gradients = model.backward(&logits.ones_like().unwrap()).unwrap();
        for name in ["conv.weight", "bn.weight", "bn.bias"] {
            let found = gradients[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for (index, found) in found.iter().enumerate() {
                let at = |step: f64| {
                    let mut moved = tensors.clone();
                    moved.get_mut(name).unwrap()[index] += step;
                    by_hand(&images, &moved, true).iter().sum::<f64>()
                };
                let expected = (at(1e-6) - at(-1e-6)) / 2e-6;
                let off = (f64::from(*found) - expected).abs();
                assert!(
                    off < 1e-3 * expected.abs().max(0.1),
                    "{engine}: {name} {index}: {found} for {expected}"
                );
            }
        }
    }
}

#[test]
fn a_projection_rectifies_with_the_networks_epsilon() {
    let network = Network::by_name("resnet8", Shape::new(3, 8, 8), 10).unwrap().with_epsilon(EPSILON);
    assert_eq!(network.epsilon(), Some(EPSILON));
    let layer = "layer2.0.conv1";
    let model = Trainable::new(&network, 2, &Device::Cpu).unwrap();
    let parameters = model.parameters();
    let variance: Vec<f32> = (0..32).map(|row| 1e-4 * (1 + row) as f32).collect();
    parameters.set("layer2.0.bn1.running_var", variance.clone()).unwrap();
    let gamma: Vec<f32> = (0..32).map(|row| 0.5 + row as f32 / 20.0).collect();
    parameters.set("layer2.0.bn1.weight", gamma.clone()).unwrap();
    let name = format!("{layer}.weight");
    let mut expected = parameters.values(&name).unwrap();
    let alpha = gamma.iter().zip(&variance);
    let alpha = alpha.map(|(gamma, variance)| f64::from(*gamma) / (f64::from(*variance) + EPSILON).sqrt());
    let alpha = Some(alpha.collect());
    let mut weight = LayerWeight { name: layer, weight: &mut expected, rows: 32, alpha, rank: 6 };
    lrpet_network::lrpet::project(&mut weight, &Options::default()).unwrap();
    project(&model, &BTreeMap::from([(layer.to_owned(), 6)]), &Options::default()).unwrap();
    assert_eq!(parameters.values(&name).unwrap(), expected);
}

/// The label of the final weights says ε, and a run is gone on with the same one alone.
#[test]
fn epsilon_stays_with_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let config = small::config(folder.path(), 1);
    let network = small::network().with_epsilon(EPSILON);
    let data = small::data();
    let outcome = run(&config, &network, &data, &Device::Cpu, &mut Silent).unwrap();
    let named = |path: &std::path::Path| {
        lrpet_network::checkpoint::epsilon::epsilon_of(
            &lrpet_network::Checkpoint::read(path).unwrap().metadata,
        )
        .unwrap()
    };
    assert_eq!(named(&outcome.weights), Some(EPSILON));
    assert_eq!(named(&folder.path().join(LAST)), Some(EPSILON));
    let again = TrainConfig { resume: true, ..config };
    run(&again, &network, &data, &Device::Cpu, &mut Silent).unwrap();
    let error = run(&again, &small::network(), &data, &Device::Cpu, &mut Silent).unwrap_err().to_string();
    assert!(error.contains("bn_epsilon"), "{error}");
}
