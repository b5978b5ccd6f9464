//! Writes a model file of a known network with random weights:
//! `cargo run --release -p lrpet-tests --example random-model -- resnet8 1x28x28 0.6 model.safetensors`; `default` in place
//! of the shape takes the images and the classes that the network is known for.

use anyhow::{Context, Result, bail};
use lrpet_network::lrpet::RankPlan;
use lrpet_network::network::Known;
use lrpet_runtime::model::Shape;
use lrpet_tests::random_model::{factor, random_model};

/// Classes where the shape is given.
const CLASSES: u32 = 10;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, shape, ratio, file] = arguments.as_slice() else {
        bail!("usage: random-model NETWORK CxHxW|default PRUNING-RATIO FILE");
    };
    let known = Known::named(name)?;
    let (input, classes) =
        if shape == "default" { (known.input, known.classes) } else { (parse(shape)?, CLASSES) };
    let network = known.network(input, classes)?;
    let plan = RankPlan::uniform(&network, ratio.parse().context("the pruning ratio is a number")?)?;
    let ops = network.layers.into_iter().map(|layer| layer.op).collect();
    let ops = factor(ops, |name| plan.rank(name));
    std::fs::write(file, random_model(input, classes, &ops, 1)?)
        .with_context(|| format!("cannot write {file}"))
}

fn parse(shape: &str) -> Result<Shape> {
    let sizes =
        shape.split('x').map(str::parse).collect::<Result<Vec<u32>, _>>().context("CxHxW takes numbers")?;
    let [channels, height, width] = sizes[..] else { bail!("the shape is CxHxW, not {shape}") };
    Ok(Shape::new(channels, height, width))
}
