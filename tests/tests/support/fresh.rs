//! Models with the weights with which a training begins, exported as `lrpet factorize` does.

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use lrpet_network::export::{Card, Precision, Request, Samples, export};
use lrpet_network::lrpet::RankPlan;
use lrpet_network::network::Network;
use lrpet_network::{Dataset, Normalization};
use lrpet_runtime::model::Shape;
use lrpet_train::folded::Candle;
use lrpet_train::{Mode, Trainable, checkpoint};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Images of the batch whose statistics the normalisations take.
const IMAGES: usize = 12;

/// A model file of a known network at ratio `g`: weights by `seed`, images of noise, self-check and tolerances included.
///
/// # Errors
/// Where the network does not take such images, and those of the export.
pub fn fresh_model(name: &str, input: Shape, classes: u32, g: f64, seed: u64) -> Result<Vec<u8>> {
    let network = Network::by_name(name, input, classes).context("no such network")?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let channels = input.channels as usize;
    let mut images = Vec::with_capacity(IMAGES * input.len());
    for _ in 0..IMAGES {
        // Noise about a level of its own for each channel, or all images would look the same to a network that averages.
        let levels: Vec<u8> = (0..channels).map(|_| rng.random()).collect();
        for _ in 0..input.pixels() {
            images.extend(levels.iter().map(|level| if rng.random() { *level } else { rng.random() }));
        }
    }
    let data = Dataset {
        images,
        labels: (0..IMAGES as u32).map(|image| image % classes).collect(),
        shape: input,
        classes: (0..classes).map(|class| format!("class {class}")).collect(),
    };
    let normalization = Normalization { mean: vec![0.5; channels], std: vec![0.25; channels] };
    let [height, width] = [input.height, input.width].map(|size| size as usize);
    let values: Vec<f32> = data.images.iter().map(|&byte| (f32::from(byte) / 255.0 - 0.5) / 0.25).collect();
    let batch = Tensor::from_vec(values, (IMAGES, height, width, channels), &Device::Cpu)?;
    let batch = batch.permute((0, 3, 1, 2))?.contiguous()?;
    let mut model = Trainable::new(&network, seed, &Device::Cpu)?;
    model.forward(&batch, Mode::MEASURE)?;
    let card = Card {
        dataset: "noise".to_owned(),
        classes: data.classes.clone(),
        prune: g.to_string(),
        accuracy_dense: None,
        accuracy: None,
        training: None,
        command: "test".to_owned(),
    };
    let checkpoint = checkpoint(model.tensors().iter())?;
    let exported = export(&Request {
        network: &network,
        checkpoint: &checkpoint,
        plan: &RankPlan::uniform(&network, g)?,
        energy_transfer: true,
        normalization: &normalization,
        card: &card,
        precision: Precision::Half,
        samples: Some(Samples::Images { data: &data, machine: &Candle }),
    })?;
    Ok(exported.to_bytes()?)
}
