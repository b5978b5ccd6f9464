//! Writes a model file of a known network with the weights with which a training begins, exported with self-check and tolerances:
//! `cargo run --release -p lrpet-tests --example fresh-model -- resnet8 1x28x28 0.6 SEED model.safetensors`.

#[path = "../tests/support/fresh.rs"]
mod fresh;

use anyhow::{Context, Result, bail};
use lrpet_runtime::model::Shape;

/// Classes.
const CLASSES: u32 = 10;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, shape, ratio, seed, file] = arguments.as_slice() else {
        bail!("usage: fresh-model NETWORK CxHxW PRUNING-RATIO SEED FILE");
    };
    let sizes =
        shape.split('x').map(str::parse).collect::<Result<Vec<u32>, _>>().context("CxHxW takes numbers")?;
    let [channels, height, width] = sizes[..] else { bail!("the shape is CxHxW, not {shape}") };
    let (ratio, seed) = (ratio.parse().context("the pruning ratio is a number")?, seed.parse()?);
    let model = fresh::fresh_model(name, Shape::new(channels, height, width), CLASSES, ratio, seed)?;
    std::fs::write(file, model).with_context(|| format!("cannot write {file}"))
}
