//! Whole training steps (forward, loss, backward, SGD) on random images: images per second, and peak memory.
//!
//! `cargo run --release -p lrpet-train --example step_speed -- [BATCH [STEPS [NETWORK CxHxW]…]]`; set
//! RAYON_NUM_THREADS for the threads. Rates are by the clock and, for a machine with other work, by the time that the
//! threads ran. The memory is the process's since its start: name one network to see its own.
//!
//! `step_speed --serve NETWORK [BATCH]` is one side of `cargo xtask bench train`: for each line on standard input, a
//! number of seconds, it trains for that long on images of 3×32×32 and prints one JSON line.

use std::io::BufRead;
use std::time::{Duration, Instant};

use anyhow::Context;
use candle_core::{Device, Tensor};
use lrpet_network::network::Network;
use lrpet_runtime::model::Shape;
use lrpet_train::{Mode, Optimizer, Trainable, cross_entropy};
use rand::{Rng, SeedableRng};

/// The allocator of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Images a batch, unless another number is given.
const BATCH: usize = 128;
/// Parts of a step, in order.
const PARTS: [&str; 4] = ["forward", "loss", "backward", "optimizer"];
/// Networks and shapes, unless others are given.
const CASES: [&str; 6] = ["resnet8", "1x28x28", "resnet8", "3x32x32", "resnet20", "3x32x32"];

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, usual| words.get(at).map_or(Ok(usual), |word| word.parse::<usize>());
    if words.first().is_some_and(|word| word == "--serve") {
        let name = words.get(1).context("--serve NETWORK [BATCH]")?;
        return serve(&mut Bench::new(name, Shape::new(3, 32, 32), number(2, BATCH)?)?);
    }
    let (batch, steps) = (number(0, BATCH)?, number(1, 20)?);
    let threads = std::env::var("RAYON_NUM_THREADS").unwrap_or("all".to_owned());
    println!("batch {batch}, {steps} steps, {threads} threads; images/s: median, best, of CPU time");
    let mut cases: Vec<&str> = words.iter().skip(2).map(String::as_str).collect();
    if cases.is_empty() {
        cases = CASES.to_vec();
    }
    for case in cases.chunks(2) {
        let &[name, shape] = case else { anyhow::bail!("network {} needs a shape, as 3x32x32", case[0]) };
        let sizes: Vec<u32> = shape.split('x').map(str::parse).collect::<Result<_, _>>()?;
        let &[c, h, w] = sizes.as_slice() else { anyhow::bail!("shape {shape} is not CxHxW") };
        measure(&mut Bench::new(name, Shape::new(c, h, w), batch)?, steps)?;
    }
    Ok(())
}

/// A network and one batch of random images.
struct Bench {
    model: Trainable,
    optimizer: Optimizer,
    images: Tensor,
    labels: Vec<u32>,
}

impl Bench {
    fn new(name: &str, shape: Shape, batch: usize) -> anyhow::Result<Bench> {
        let network =
            Network::by_name(name, shape, 10).with_context(|| format!("no network {name} for {shape}"))?;
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let values: Vec<f32> = (0..batch * shape.len()).map(|_| rng.random_range(-2.0..2.0)).collect();
        let labels: Vec<u32> = (0..batch).map(|_| rng.random_range(0..10)).collect();
        let [c, h, w] = [shape.channels, shape.height, shape.width].map(|size| size as usize);
        Ok(Bench {
            model: Trainable::new(&network, 1, &Device::Cpu)?,
            optimizer: Optimizer::sgd(0.9, 1e-4),
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

/// Prints the rates of one network.
fn measure(bench: &mut Bench, steps: usize) -> anyhow::Result<()> {
    let (mut seconds, mut busy) = (Vec::new(), Vec::new());
    for step in 0..steps + 2 {
        let start = cpu_seconds();
        let parts = bench.step()?;
        // Buffers are made in the first steps.
        if step >= 2 {
            seconds.push(parts.iter().sum());
            busy.push(cpu_seconds() - start);
        }
    }
    seconds.sort_by(f64::total_cmp);
    let rate = |seconds: f64| bench.labels.len() as f64 / seconds;
    println!(
        "{} {}: {:.1}, {:.1}, {:.1}; peak memory {} MB",
        bench.model.network().name,
        bench.model.network().input,
        rate(median(&mut seconds)),
        rate(seconds[0]),
        rate(median(&mut busy)),
        peak_bytes().unwrap_or(0) / 1_000_000,
    );
    Ok(())
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
        let of = |value: &dyn Fn(&[f64; 4]) -> f64| median(&mut steps.iter().map(value).collect::<Vec<_>>());
        let parts: serde_json::Map<String, serde_json::Value> = PARTS
            .iter()
            .enumerate()
            .map(|(index, name)| ((*name).to_owned(), of(&|step| step[index]).into()))
            .collect();
        let document = serde_json::json!({
            "images_per_second": bench.labels.len() as f64 / of(&|step| step.iter().sum()),
            "steps": steps.len(),
            "parts": parts,
            "peak_bytes": peak_bytes(),
        });
        println!("{document}");
    }
    Ok(())
}

/// The middle one, the later of two.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Time that all threads of this process ran; 0 where the system does not say.
fn cpu_seconds() -> f64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0.0 };
    let nanoseconds = tasks.flatten().filter_map(|task| {
        let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        stat.split_whitespace().next()?.parse::<u64>().ok()
    });
    nanoseconds.sum::<u64>() as f64 / 1e9
}

/// Most memory that this process had in RAM so far (Linux).
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(1024 * line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?)
}
