//! Whole training steps (forward, loss, backward, SGD) on random images: images per second, and peak memory.
//!
//! `cargo run --release -p lrpet-trainer --example step_speed -- [BATCH [STEPS [NETWORK CxHxW]…]]`; set
//! RAYON_NUM_THREADS for the threads. Rates are by the clock and, for a machine with other work, by the time that the
//! threads ran. The memory is the process's since its start: name one network to see its own.

use std::time::Instant;

use anyhow::Context;
use candle_core::{Device, Tensor};
use lrpet_runtime::model::Shape;
use lrpet_trainer::network::Network;
use lrpet_trainer::train::{Mode, Sgd, Trainable, cross_entropy};
use rand::{Rng, SeedableRng};

/// The allocator of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NETWORKS: [&str; 6] = ["resnet8", "1x28x28", "resnet8", "3x32x32", "resnet20", "3x32x32"];

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, usual| words.get(at).map_or(Ok(usual), |word| word.parse::<usize>());
    let (batch, steps) = (number(0, 128)?, number(1, 20)?);
    let threads = std::env::var("RAYON_NUM_THREADS").unwrap_or("all".to_owned());
    println!("batch {batch}, {steps} steps, {threads} threads; images/s: median, best, of CPU time");
    let mut cases: Vec<&str> = words.iter().skip(2).map(String::as_str).collect();
    if cases.is_empty() {
        cases = NETWORKS.to_vec();
    }
    for case in cases.chunks(2) {
        let &[name, shape] = case else { anyhow::bail!("network {} needs a shape, as 3x32x32", case[0]) };
        let sizes: Vec<u32> = shape.split('x').map(str::parse).collect::<Result<_, _>>()?;
        let &[c, h, w] = sizes.as_slice() else { anyhow::bail!("shape {shape} is not CxHxW") };
        measure(name, Shape::new(c, h, w), batch, steps)?;
    }
    Ok(())
}

fn measure(name: &str, shape: Shape, batch: usize, steps: usize) -> anyhow::Result<()> {
    let network =
        Network::by_name(name, shape, 10).with_context(|| format!("no network {name} for {shape}"))?;
    let mut model = Trainable::new(&network, 1, &Device::Cpu)?;
    let mut optimizer = Sgd::new(0.9, 1e-4);
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let values: Vec<f32> = (0..batch * shape.len()).map(|_| rng.random_range(-2.0..2.0)).collect();
    let labels: Vec<u32> = (0..batch).map(|_| rng.random_range(0..10)).collect();
    let [c, h, w] = [shape.channels, shape.height, shape.width].map(|size| size as usize);
    let images = Tensor::from_vec(values, (batch, c, h, w), &Device::Cpu)?;
    let (mut seconds, mut busy) = (Vec::new(), Vec::new());
    for _ in 0..steps + 2 {
        let (start, start_busy) = (Instant::now(), cpu_seconds());
        let logits = model.forward(&images, Mode::TRAIN)?;
        let loss = cross_entropy(&logits, &labels)?;
        let gradients = model.backward(&loss.gradient)?;
        optimizer.step(model.parameters(), &gradients, 0.01)?;
        seconds.push(start.elapsed().as_secs_f64());
        busy.push(cpu_seconds() - start_busy);
    }
    let sorted = |all: Vec<f64>| {
        let mut seconds = all[2..].to_vec(); // buffers are made in the first steps
        seconds.sort_by(f64::total_cmp);
        seconds
    };
    let (seconds, busy) = (sorted(seconds), sorted(busy));
    let rate = |seconds: f64| batch as f64 / seconds;
    println!(
        "{name} {shape}: {:.1}, {:.1}, {:.1}; peak memory {} MB",
        rate(seconds[steps / 2]),
        rate(seconds[0]),
        rate(busy[steps / 2]),
        peak_memory().unwrap_or(0) / 1000,
    );
    Ok(())
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

/// Most memory that was resident, in kB; `None` where the system does not say.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
