//! Small runs on made-up images, for tests in this crate and in those above it.

// Each takes a part of it.
#![allow(dead_code)]

use std::path::Path;
use std::sync::Arc;

use lrpet_data::{Augmentation, Dataset, Loader, LoaderOptions, Normalization};
use lrpet_network::Network;
use lrpet_network::lrpet::{RankRule, Rule, Scope};
use lrpet_runtime::model::Shape;
use lrpet_train::{
    Choose, Decay, Period, ProjectionSettings, Recipe, Schedule, Settings, TrainConfig, TrainData,
};
use rand::{Rng, SeedableRng};

/// Shape of the images.
pub const SHAPE: Shape = Shape::new(2, 8, 8);

/// Images whose class is the brighter quadrant, under noise.
fn quadrants(count: usize, seed: u64) -> Dataset {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let labels: Vec<u32> = (0..count as u32).map(|index| index % 4).collect();
    let mut images = Vec::new();
    for label in &labels {
        for (row, col) in (0..8).flat_map(|row| (0..8).map(move |col| (row, col))) {
            let bright = u32::from(row >= 4) * 2 + u32::from(col >= 4) == *label;
            let base = if bright { 120 } else { 40 };
            images.extend([0, 1].map(|_| base + rng.random_range(0..100u8)));
        }
    }
    let classes = (0..4).map(|class| format!("quadrant {class}")).collect();
    Dataset { images, labels, shape: SHAPE, classes }
}

/// 100 images for training, 40 for validation and for testing.
pub fn data() -> TrainData {
    let normalization = Normalization { mean: vec![0.4; 2], std: vec![0.2; 2] };
    let options = LoaderOptions {
        batch: 24,
        shuffle: true,
        augmentation: Augmentation { crop_padding: 1, flip: false, part: None, cutout: 0 },
        normalization: normalization.clone(),
        seed: 3,
        ahead: 2,
        threads: 1,
    };
    let plain =
        |seed| Loader::new(Arc::new(quadrants(40, seed)), LoaderOptions::plain(16, normalization.clone()));
    TrainData {
        train: Loader::new(Arc::new(quadrants(100, 1)), options),
        validation: Some(plain(2)),
        test: Some(plain(3)),
    }
}

/// A network for them.
pub fn network() -> Network {
    Network::by_name("resnet8", SHAPE, 4).unwrap()
}

/// A run of `epochs` in `folder` that projects.
pub fn config(folder: &Path, epochs: usize) -> TrainConfig {
    let ranks = [("layer1.0.conv1", 5), ("layer2.0.conv2", 9), ("layer3.0.conv2", 20)];
    TrainConfig {
        settings: Settings {
            dataset: "quadrants".to_owned(),
            epochs,
            batch: 24,
            schedule: Schedule { rate: 0.05, warm_up: 0.5, decay: Decay::Cosine },
            momentum: 0.9,
            weight_decay: 1e-4,
            seed: 11,
            projection: Some(ProjectionSettings {
                ranks: ranks.map(|(name, rank)| (name.to_owned(), rank)).into(),
                rule: "listed".to_owned(),
                choose: None,
                period: Period::Iterations(3),
                energy_transfer: true,
                rectification: true,
                residual: 0.0,
            }),
            reestimate_batches: 3,
            init: None,
            new_head: false,
            recipe: Recipe::default(),
            extended: Vec::new(),
        },
        run_dir: folder.to_owned(),
        resume: false,
        extend: None,
        command: "lrpet train".to_owned(),
    }
}

/// A run that chooses its ranks after an epoch.
pub fn choosing(folder: &Path, epochs: usize, after: usize) -> TrainConfig {
    let mut config = config(folder, epochs);
    let projection = config.settings.projection.as_mut().unwrap();
    projection.ranks.clear();
    let rule = RankRule { rule: Rule::Budget("macs=0.5x".parse().unwrap()), scope: Scope::Convolutions };
    projection.choose = Some(Choose { rule, after });
    config
}
