//! Images per second of whole training steps on a GPU (or the CPU), and the projection's share of an epoch.
//!
//! `cargo run --release -p lrpet-train --features cuda --example gpu_speed -- [--device cuda:0] [--precision tf32]`;
//! `gpu_speed.py` is PyTorch's side.

use std::time::Instant;

use anyhow::{Context, ensure};
use candle_core::{Device, Tensor};
use clap::Parser;
use lrpet_network::lrpet::{self, RankPlan};
use lrpet_network::network::Network;
use lrpet_runtime::model::Shape;
use lrpet_train::device::{DeviceName, Precision};
use lrpet_train::{Meter, Mode, Optimizer, Targets, Trainable, project};
use rand::{Rng, SeedableRng};

/// The allocator of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Images of CIFAR-10's training set, for the projection's share of an epoch.
const EPOCH: f64 = 50_000.0;

/// Speed of training steps on a device.
#[derive(Parser)]
struct Arguments {
    /// cpu, cuda or cuda:N
    #[arg(long, default_value = "cuda")]
    device: DeviceName,
    /// f32 or tf32
    #[arg(long, default_value = "f32", value_parser = ["f32", "tf32"])]
    precision: String,
    /// Networks, on images of 3×32×32
    #[arg(long, default_value = "resnet20,resnet56", value_delimiter = ',')]
    nets: Vec<String>,
    /// Images a batch
    #[arg(long, default_value_t = 128)]
    batch: usize,
    /// Steps of a measurement
    #[arg(long, default_value_t = 200)]
    steps: usize,
    /// Measurements; the median and the best are shown
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.steps > 0 && arguments.rounds > 0 && arguments.batch > 0, "nothing to measure");
    let precision = if arguments.precision == "tf32" { Precision::Tf32 } else { Precision::F32 };
    let device = arguments.device.open(precision)?;
    let Arguments { batch, steps, rounds, .. } = arguments;
    println!("{}, {}, batch {batch}, {rounds} times {steps} steps", arguments.device, arguments.precision);
    for name in &arguments.nets {
        let shape = Shape::new(3, 32, 32);
        let network = Network::by_name(name, shape, 10).with_context(|| format!("no network {name}"))?;
        let mut model = Trainable::new(&network, 1, &device)?;
        let mut optimizer = Optimizer::sgd(0.9, 1e-4);
        let (images, labels) = batch_of(batch, shape)?;
        let mut train = |steps: usize| -> anyhow::Result<f64> {
            device.synchronize()?;
            let start = Instant::now();
            let mut meter = Meter::default();
            for _ in 0..steps {
                // From the host each time, as in a training.
                let images = images.to_device(&device)?;
                let logits = model.forward(&images, Mode::TRAIN)?;
                let gradients = model.backward(&meter.add(&logits, &Targets::of(&labels))?)?;
                optimizer.step(model.parameters(), &gradients, 0.01)?;
            }
            device.synchronize()?;
            Ok(start.elapsed().as_secs_f64())
        };
        train(steps.min(20))?; // kernels are loaded, memory is taken
        let mut seconds = (0..rounds).map(|_| train(steps)).collect::<anyhow::Result<Vec<f64>>>()?;
        seconds.sort_by(f64::total_cmp);
        let rate = |seconds: f64| (batch * steps) as f64 / seconds;
        let median = rate(seconds[rounds / 2]);
        let projection = projection(&model, &device)?;
        println!(
            "{name}: median {median:.0}, best {:.0} images/s; a projection takes {:.2} ms, {:.2} % of an epoch",
            rate(seconds[0]),
            1e3 * projection,
            100.0 * projection / (EPOCH / median)
        );
    }
    Ok(())
}

fn batch_of(batch: usize, shape: Shape) -> anyhow::Result<(Tensor, Vec<u32>)> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let values: Vec<f32> = (0..batch * shape.len()).map(|_| rng.random_range(-2.0..2.0)).collect();
    let [c, h, w] = [shape.channels, shape.height, shape.width].map(|size| size as usize);
    let images = Tensor::from_vec(values, (batch, c, h, w), &Device::Cpu)?;
    Ok((images, (0..batch).map(|_| rng.random_range(0..10)).collect()))
}

/// Seconds of one projection at g = 0.57, the median of nine.
fn projection(model: &Trainable, device: &Device) -> anyhow::Result<f64> {
    let ranks = RankPlan::uniform(model.network(), 0.57)?.ranks();
    let mut seconds = Vec::new();
    for _ in 0..9 {
        device.synchronize()?;
        let start = Instant::now();
        project(model, &ranks, &lrpet::Options::default())?;
        device.synchronize()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[4])
}
