//! Images per second of whole training steps (forward, loss, backward, SGD) on random images.
//!
//! `cargo run --release -p lrpet-trainer --example step_speed -- [BATCH [STEPS]]`; set RAYON_NUM_THREADS for the threads.
//!
//! `step_speed --serve NETWORK [BATCH]` is one side of `cargo xtask bench train`: for each line on standard input, a number of
//! seconds, it trains for that long on images of 3×32×32 and prints one JSON line.

use std::io::BufRead;
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use lrpet_runtime::model::Shape;
use lrpet_trainer::network::Network;
use lrpet_trainer::train::{Mode, Sgd, Trainable, cross_entropy};
use rand::{Rng, SeedableRng};

/// The allocator of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Images a batch, unless another number is given.
const BATCH: usize = 128;
/// Parts of a step, in order.
const PARTS: [&str; 4] = ["forward", "loss", "backward", "optimizer"];

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default| arguments.get(index).map_or(Ok(default), |word| word.parse());
    if arguments.first().is_some_and(|word| word == "--serve") {
        let Some(name) = arguments.get(1) else { anyhow::bail!("--serve NETWORK [BATCH]") };
        return serve(&mut Bench::new(name, Shape::new(3, 32, 32), number(2, BATCH)?)?);
    }
    let (batch, steps) = (number(0, BATCH)?, number(1, 20)?);
    let threads = std::env::var("RAYON_NUM_THREADS").unwrap_or("all".to_owned());
    println!("batch {batch}, {steps} steps, {threads} threads; images/s: median, best");
    for (name, shape) in [
        ("resnet8", Shape::new(1, 28, 28)),
        ("resnet8", Shape::new(3, 32, 32)),
        ("resnet20", Shape::new(3, 32, 32)),
    ] {
        let mut bench = Bench::new(name, shape, batch)?;
        let mut seconds = Vec::new();
        for _ in 0..steps + 2 {
            seconds.push(bench.step()?.iter().sum());
        }
        let mut seconds: Vec<f64> = seconds.split_off(2); // buffers are made in the first steps
        seconds.sort_by(f64::total_cmp);
        let rate = |seconds: f64| batch as f64 / seconds;
        println!("{name} {shape}: {:.0}, {:.0}", rate(seconds[seconds.len() / 2]), rate(seconds[0]));
    }
    Ok(())
}

/// A network and one batch of random images.
struct Bench {
    model: Trainable,
    optimizer: Sgd,
    images: Tensor,
    labels: Vec<u32>,
}

impl Bench {
    fn new(name: &str, shape: Shape, batch: usize) -> anyhow::Result<Bench> {
        let Some(network) = Network::by_name(name, shape, 10) else { anyhow::bail!("no network {name}") };
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let values: Vec<f32> = (0..batch * shape.len()).map(|_| rng.random_range(-2.0..2.0)).collect();
        let labels: Vec<u32> = (0..batch).map(|_| rng.random_range(0..10)).collect();
        let [c, h, w] = [shape.channels, shape.height, shape.width].map(|size| size as usize);
        Ok(Bench {
            model: Trainable::new(&network, 1, &Device::Cpu)?,
            optimizer: Sgd::new(0.9, 1e-4),
            images: Tensor::from_vec(values, (batch, c, h, w), &Device::Cpu)?,
            labels,
        })
    }

    /// One training step: seconds of each of its [`PARTS`].
    fn step(&mut self) -> anyhow::Result<[f64; 4]> {
        let start = Instant::now();
        let logits = self.model.forward(&self.images, Mode::TRAIN)?;
        let forward = start.elapsed();
        let loss = cross_entropy(&logits, &self.labels)?;
        let compared = start.elapsed();
        let gradients = self.model.backward(&loss.gradient)?;
        let backward = start.elapsed();
        self.optimizer.step(self.model.parameters(), &gradients, 0.01)?;
        let ends = [Duration::ZERO, forward, compared, backward, start.elapsed()];
        Ok(std::array::from_fn(|part| (ends[part + 1] - ends[part]).as_secs_f64()))
    }
}

/// Trains for as long as each line says.
fn serve(bench: &mut Bench) -> anyhow::Result<()> {
    for line in std::io::stdin().lock().lines() {
        let limit: f64 = line?.trim().parse()?;
        let mut steps: Vec<[f64; 4]> = Vec::new();
        let start = Instant::now();
        while steps.is_empty() || start.elapsed().as_secs_f64() < limit {
            steps.push(bench.step()?);
        }
        let median = |value: &dyn Fn(&[f64; 4]) -> f64| {
            let mut values: Vec<f64> = steps.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let parts: serde_json::Map<String, serde_json::Value> = PARTS
            .iter()
            .enumerate()
            .map(|(index, name)| ((*name).to_owned(), median(&|step| step[index]).into()))
            .collect();
        let document = serde_json::json!({
            "images_per_second": bench.labels.len() as f64 / median(&|step| step.iter().sum()),
            "steps": steps.len(),
            "parts": parts,
            "peak_bytes": peak_bytes(),
        });
        println!("{document}");
    }
    Ok(())
}

/// Most memory that this process had in RAM so far (Linux).
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(1024 * line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?)
}
