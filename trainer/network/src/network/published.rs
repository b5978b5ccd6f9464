//! Costs of the networks against those that are published, to the last printed digit.

use lrpet_runtime::model::cost::Cost;
use lrpet_runtime::model::{Activation, Op, Shape, Weights};

use super::{KNOWN, Known, Network};
use crate::lrpet::RankPlan;

fn network(name: &str) -> Network {
    let known = Known::by_name(name).unwrap();
    known.build(known.input, known.classes).unwrap()
}

/// `value` / 10^`exponent` with `digits` behind the point.
fn print(value: u64, exponent: i32, digits: usize) -> String {
    format!("{:.digits$}", value as f64 / 10f64.powi(exponent))
}

/// MACs and parameters of a network in 10⁶, with two and three digits.
fn millions(name: &str) -> [String; 2] {
    let cost = network(name).cost();
    [print(cost.macs, 6, 2), print(cost.params, 6, 3)]
}

/// What `low` saves of `dense` in percent: MACs and parameters.
fn cuts(dense: Cost, low: Cost) -> [String; 2] {
    let cut = |dense: u64, low: u64| format!("{:.1}", 100.0 * (1.0 - low as f64 / dense as f64));
    [cut(dense.macs, low.macs), cut(dense.params, low.params)]
}

/// Dense network, and its cost with uniform ranks.
fn uniform(name: &str, g: f64) -> (Cost, Cost) {
    let network = network(name);
    (network.cost(), RankPlan::uniform(&network, g).unwrap().cost())
}

/// The table of arXiv 2204.05566: CIFAR-10.
#[test]
fn uniform_ranks_on_cifar_cost_what_the_paper_says() {
    let (dense, low) = uniform("resnet56", 0.57);
    assert_eq!(millions("resnet56"), ["125.49", "0.849"]);
    assert_eq!(
        (print(low.macs, 6, 2).as_str(), cuts(dense, low)),
        ("56.06", ["55.3", "53.5"].map(String::from))
    );
    let (dense, low) = uniform("resnet110", 0.65);
    assert_eq!([print(dense.macs, 6, 2), print(dense.params, 6, 2)], ["252.89", "1.72"]);
    assert_eq!(
        (print(low.macs, 6, 2).as_str(), cuts(dense, low)),
        ("93.78", ["62.9", "61.9"].map(String::from))
    );
    let (dense, low) = uniform("googlenet", 0.60);
    let [macs, _] = cuts(dense, low);
    assert_eq!((print(low.macs, 9, 2).as_str(), macs.as_str()), ("0.74", "51.4"));
    assert_eq!((dense.macs, dense.params), (1_521_756_160, 6_142_528));
}

/// The same table: ImageNet.
#[test]
fn uniform_ranks_on_imagenet_cost_what_the_paper_says() {
    let (dense, low) = uniform("resnet18", 0.58);
    assert_eq!([print(dense.macs, 9, 3), print(dense.params, 6, 2)], ["1.814", "11.68"]);
    assert_eq!(
        (print(low.macs, 9, 2).as_str(), cuts(dense, low)),
        ("0.86", ["52.5", "50.2"].map(String::from))
    );
    let (dense, low) = uniform("resnet34", 0.58);
    assert_eq!(cuts(dense, low), ["53.2", "51.7"]);
    // The paper's 1.71 G is this cut off, not rounded.
    assert_eq!(print(low.macs, 9, 4), "1.7154");
    let (dense, low) = uniform("resnet50", 0.62);
    assert_eq!(
        (print(low.macs, 9, 2).as_str(), cuts(dense, low)),
        ("1.90", ["53.5", "49.5"].map(String::from))
    );
}

/// "Ranks 18 then 43": 18 for the first convolution, whose matrix has 27 singular values, and 43 for all others.
#[test]
fn vgg_at_ranks_18_and_43_costs_what_the_paper_says() {
    let network = network("vgg16_bn");
    let convolutions = network.matrices().into_iter().filter(|(_, name, _)| *name != "classifier");
    let ranks =
        convolutions.enumerate().map(|(i, (_, name, _))| format!("{name}={}", if i == 0 { 18 } else { 43 }));
    let list = ranks.collect::<Vec<_>>().join(",").parse().unwrap();
    let (dense, low) = (network.cost(), RankPlan::listed(&network, &list).unwrap().cost());
    assert_eq!([print(dense.macs, 6, 1), print(dense.params, 6, 2)], ["313.2", "14.72"]);
    assert_eq!(
        (print(low.macs, 6, 2).as_str(), cuts(dense, low)),
        ("81.29", ["74.0", "89.0"].map(String::from))
    );
}

#[test]
fn other_networks_cost_what_is_known() {
    assert_eq!(millions("resnet8"), ["12.50", "0.077"]);
    assert_eq!(millions("resnet20"), ["40.55", "0.268"]);
    assert_eq!(millions("resnet20b"), ["40.81", "0.271"]);
    assert_eq!(millions("resnet32"), ["68.86", "0.462"]);
    assert_eq!(millions("resnet56b"), ["125.75", "0.852"]);
    assert_eq!(millions("resnet110b"), ["253.15", "1.722"]);
    // torchvision's counts less batch normalisation and biases: 21.80 M, 25.56 M and 3.50 M parameters with them.
    assert_eq!(millions("resnet34"), ["3663.76", "21.780"]);
    assert_eq!(millions("resnet50"), ["4089.18", "25.503"]);
    assert_eq!(millions("mobilenet_v2"), ["300.77", "3.470"]);
    // Of each of MLPerf Tiny's networks: convolutions and classifier without biases.
    assert_eq!(network("ds_cnn").cost().macs, 2_656_768);
    assert_eq!(network("ds_cnn").cost().params, 22_016);
    assert_eq!(millions("mobilenet_v1_025"), ["7.49", "0.208"]);
}

#[test]
fn names_are_unique_and_small_images_are_refused() {
    for known in KNOWN {
        assert_eq!(KNOWN.iter().filter(|other| other.name == known.name).count(), 1, "{}", known.name);
        assert!(!known.about.is_empty());
        assert!(known.build(Shape::new(3, 0, 32), 10).is_none());
        assert!(known.build(known.input, 0).is_none());
    }
    assert!(Network::by_name("resnet9", Shape::new(3, 32, 32), 10).is_none());
    assert!(Network::by_name("vgg16_bn", Shape::new(3, 31, 32), 10).is_none());
    assert!(Network::by_name("vgg16_bn", Shape::new(3, 33, 64), 10).is_some());
}

/// The liberties that only some networks take: a network that lost one would cost the same.
#[test]
fn networks_have_the_layers_that_they_are_known_for() {
    let convolutions = |name: &str| -> Vec<_> {
        let layers = network(name).layers.into_iter();
        layers.filter_map(|layer| if let Op::Conv(conv) = layer.op { Some(conv) } else { None }).collect()
    };
    let [ds_cnn, v1, v2, resnet50] =
        ["ds_cnn", "mobilenet_v1_025", "mobilenet_v2", "resnet50"].map(convolutions);
    assert_eq!((ds_cnn[0].window.kernel, ds_cnn[0].window.padding), ([10, 4], [4, 1, 5, 1]));
    assert_eq!(v1[0].window.padding, [0, 0, 1, 1]);
    for (network, depthwise) in [(&ds_cnn, 4), (&v1, 13), (&v2, 17)] {
        assert_eq!(network.iter().filter(|conv| conv.weights == Weights::Depthwise).count(), depthwise);
    }
    assert_eq!(v2.iter().filter(|conv| conv.activation == Activation::Relu6).count(), 35);
    assert_eq!(v2.iter().filter(|conv| conv.residual.is_some()).count(), 10);
    let strided =
        resnet50.iter().filter(|conv| conv.window.stride == [2, 2]).map(|conv| conv.window.kernel[0]);
    assert_eq!(strided.collect::<Vec<_>>(), [7, 1, 3, 1, 3, 1, 3]);
    let joined = network("googlenet").layers.iter().filter(|layer| matches!(layer.op, Op::Concat(_))).count();
    assert_eq!(joined, 9);
}
