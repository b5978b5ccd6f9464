//! Several processes, here threads, train as one does.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use lrpet_data::{Augmentation, Dataset, Loader, LoaderOptions, Normalization};
use lrpet_network::network::Network;
use lrpet_runtime::model::Shape;
use lrpet_train::{
    Alone, Decay, Exchange, Outcome, Period, ProjectionSettings, Recipe, Schedule, Settings, Silent,
    TrainConfig, TrainData, TrainError, run_together,
};

mod threads;

use threads::Threads;

const SHAPE: Shape = Shape::new(2, 8, 8);

/// Images whose class is the bright half, under a pattern that differs from image to image.
fn data(batch: usize) -> TrainData {
    let images = |count: usize, seed: usize| {
        let mut pixels = Vec::new();
        for image in 0..count {
            for at in 0..SHAPE.len() {
                let bright = (at / 64 == 1) == (image % 2 == 1);
                let noise = (image * 7919 + at * 104_729 + seed * 31) % 97;
                pixels.push((if bright { 120 } else { 60 }) + noise as u8);
            }
        }
        let labels = (0..count as u32).map(|image| image % 2).collect();
        Dataset { images: pixels, labels, shape: SHAPE, classes: vec!["left".to_owned(), "right".to_owned()] }
    };
    let normalization = Normalization { mean: vec![0.5; 2], std: vec![0.2; 2] };
    let options = LoaderOptions {
        shuffle: true,
        augmentation: Augmentation { crop_padding: 1, flip: false, part: None, cutout: 0 },
        seed: 3,
        ..LoaderOptions::plain(batch, normalization.clone())
    };
    TrainData {
        train: Loader::new(Arc::new(images(100, 1)), options),
        validation: Some(Loader::new(Arc::new(images(33, 2)), LoaderOptions::plain(16, normalization))),
        test: None,
    }
}

fn config(folder: &Path, batch: usize) -> TrainConfig {
    let ranks = [("layer1.0.conv1", 5), ("layer2.0.conv2", 9), ("layer3.0.conv2", 20)];
    TrainConfig {
        settings: Settings {
            dataset: "halves".to_owned(),
            epochs: 2,
            batch,
            schedule: Schedule { rate: 0.02, warm_up: 0.0, decay: Decay::Cosine },
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
            reestimate_batches: 2,
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

fn train(folder: &Path, batch: usize, exchange: Rc<dyn Exchange>) -> Result<Outcome, TrainError> {
    let network = Network::by_name("resnet8", SHAPE, 2).unwrap();
    run_together(&config(folder, batch), &network, &data(batch), &Device::Cpu, exchange, &mut Silent)
}

/// What each of `size` threads comes to.
fn together(folder: &Path, batch: usize, size: usize) -> Vec<Result<Outcome, TrainError>> {
    Threads::run(size, |thread| train(folder, batch, Rc::new(thread)))
}

fn weights(outcome: &Outcome) -> BTreeMap<String, Tensor> {
    candle_core::safetensors::load(&outcome.weights, &Device::Cpu).unwrap().into_iter().collect()
}

#[test]
fn shares_of_a_batch_train_as_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let one = train(&folder.path().join("one"), 24, Rc::new(Alone)).unwrap();
    let expected = weights(&one);
    for size in [2, 3] {
        // An epoch has five batches of twenty images: shares of three differ in size.
        let all = together(&folder.path().join(size.to_string()), 24, size);
        let all: Vec<Outcome> = all.into_iter().map(Result::unwrap).collect();
        for outcome in &all {
            assert_eq!(outcome.history.len(), one.history.len());
            for (found, expected) in outcome.history.iter().zip(&one.history) {
                assert!((found.train_loss - expected.train_loss).abs() < 1e-5, "{found:?} {expected:?}");
                assert_eq!(found.train_accuracy, expected.train_accuracy);
                let (found, expected) = (found.validation.unwrap(), expected.validation.unwrap());
                assert_eq!(found.images, expected.images);
                assert!((found.loss - expected.loss).abs() < 1e-4, "{found:?} {expected:?}");
            }
        }
        assert!(all[0].history[0].projection.is_some());
        for (name, found) in weights(&all[0]) {
            let most = |of: &Tensor| of.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            let difference = most(&(&found - &expected[&name]).unwrap());
            assert!(difference < 1e-4 * most(&expected[&name]).max(0.1), "{name}: {difference}");
        }
    }
}

#[test]
fn batches_that_leave_one_without_a_share_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (batch, size, words) in [(24, 5, "--batch 24 for 5 processes"), (3, 3, "has 2 for 3 processes")] {
        for outcome in together(folder.path(), batch, size) {
            let error = outcome.unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
}
