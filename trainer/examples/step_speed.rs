//! Images per second of whole training steps (forward, loss, backward, SGD) on random images.
//!
//! `cargo run --release -p lrpet-trainer --example step_speed -- [BATCH [STEPS]]`; set RAYON_NUM_THREADS for the threads.

use std::time::Instant;

use candle_core::{Device, Tensor};
use lrpet_runtime::model::Shape;
use lrpet_trainer::network::Network;
use lrpet_trainer::train::{Mode, Sgd, Trainable, cross_entropy};
use rand::{Rng, SeedableRng};

/// The allocator of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let batch = arguments.next().transpose()?.unwrap_or(128);
    let steps = arguments.next().transpose()?.unwrap_or(20);
    let threads = std::env::var("RAYON_NUM_THREADS").unwrap_or("all".to_owned());
    println!("batch {batch}, {steps} steps, {threads} threads; images/s: median, best");
    for (name, shape) in [
        ("resnet8", Shape::new(1, 28, 28)),
        ("resnet8", Shape::new(3, 32, 32)),
        ("resnet20", Shape::new(3, 32, 32)),
    ] {
        let Some(network) = Network::by_name(name, shape, 10) else { anyhow::bail!("no network {name}") };
        let mut model = Trainable::new(&network, 1, &Device::Cpu)?;
        let mut optimizer = Sgd::new(0.9, 1e-4);
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let values: Vec<f32> = (0..batch * shape.len()).map(|_| rng.random_range(-2.0..2.0)).collect();
        let labels: Vec<u32> = (0..batch).map(|_| rng.random_range(0..10)).collect();
        let [c, h, w] = [shape.channels, shape.height, shape.width].map(|size| size as usize);
        let images = Tensor::from_vec(values, (batch, c, h, w), &Device::Cpu)?;
        let mut seconds = Vec::new();
        for _ in 0..steps + 2 {
            let start = Instant::now();
            let logits = model.forward(&images, Mode::TRAIN)?;
            let loss = cross_entropy(&logits, &labels)?;
            let gradients = model.backward(&loss.gradient)?;
            optimizer.step(model.parameters(), &gradients, 0.01)?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        let mut seconds = seconds.split_off(2); // buffers are made in the first steps
        seconds.sort_by(f64::total_cmp);
        let rate = |seconds: f64| batch as f64 / seconds;
        println!("{name} {shape}: {:.0}, {:.0}", rate(seconds[seconds.len() / 2]), rate(seconds[0]));
    }
    Ok(())
}
