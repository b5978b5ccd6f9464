//! Statistics of batch normalisations where batches are small or of unequal size.

use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use lrpet_data::files::{Cache, Listed};
use lrpet_data::{BadImages, Batch, DataError, Dataset, Files, LoaderOptions, Normalization, Preparation};
use lrpet_runtime::model::Shape;
use rand::{Rng, SeedableRng};

use super::*;
use crate::small::config;

/// The smallest images of a ResNet-8: its last maps are of one pixel.
const SHAPE: Shape = Shape::new(2, 4, 4);

fn noise(count: usize) -> Dataset {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
    let mut images = vec![0; count * SHAPE.len()];
    // Images of different brightness, so that batches differ too.
    for image in images.chunks_exact_mut(SHAPE.len()) {
        let base = rng.random_range(0..150u8);
        image.iter_mut().for_each(|pixel| *pixel = base + rng.random_range(0..100u8));
    }
    let labels = (0..count as u32).map(|index| index % 4).collect();
    Dataset { images, labels, shape: SHAPE, classes: (0..4).map(|class| class.to_string()).collect() }
}

fn loader(images: usize, batch: usize) -> Loader {
    let options = LoaderOptions {
        shuffle: true,
        ..LoaderOptions::plain(batch, Normalization { mean: vec![0.5; 2], std: vec![0.25; 2] })
    };
    Loader::new(Arc::new(noise(images)), options)
}

fn network() -> Network {
    Network::by_name("resnet8", SHAPE, 4).unwrap()
}

fn train(folder: &Path, images: usize, batch: usize, epochs: usize) -> Result<Outcome, TrainError> {
    train_on(folder, loader(images, batch), epochs, &mut Silent)
}

fn train_on(
    folder: &Path,
    train: Loader,
    epochs: usize,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    let mut config = config(folder, epochs);
    config.settings.batch = train.options().batch;
    config.settings.projection = None;
    config.settings.reestimate_batches = 0;
    // The weights all but stay, so the statistics have one right value.
    config.settings.schedule.rate = 1e-9;
    let network = Network::by_name("resnet8", train.data().shape(), 4).unwrap();
    let data = TrainData { train, validation: None, test: None };
    run(&config, &network, &data, &Device::Cpu, observer)
}

#[test]
fn one_image_too_many_for_the_batches_does_not_pull_the_running_variances_to_zero() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = train(folder.path(), 25, 24, 20).unwrap();
    let tensors = candle_core::safetensors::load(&outcome.weights, &Device::Cpu).unwrap();
    let mut model = Trainable::new(&network(), 0, &Device::Cpu).unwrap();
    model.load(&tensors.into_iter().collect()).unwrap();
    let variances = |model: &Trainable| model.parameters().values("layer3.0.bn1.running_var").unwrap();
    let running = variances(&model);
    // All images in one batch.
    reestimate(&mut model, loader(25, 25).epoch(0, 0)).unwrap();
    let sum = |values: &[f32]| values.iter().sum::<f32>();
    let ratio = sum(&running) / sum(&variances(&model));
    // Batches of 24 and of 1 in turn end at 0.47 of it.
    assert!((0.8..1.1).contains(&ratio), "{ratio}");
}

#[test]
fn a_batch_that_gives_a_normalisation_one_value_is_refused_before_anything_is_written() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("run");
    let error = train(&folder, 25, 1, 1).unwrap_err().to_string();
    assert!(error.contains("--batch 1") && error.contains("layer3.0."), "{error}");
    assert!(error.contains("at least 2") && !folder.exists(), "{error}");
    // An odd number of images in batches of two leaves none by itself.
    assert!(train(&folder, 25, 2, 1).is_ok());
}

/// The stem's convolution of a normalised image, `[channel][pixel]`, in f64.
fn stem(image: &[f32], weight: &[f32]) -> Vec<Vec<f64>> {
    let at = |channel: usize, row: i32, column: i32| -> f64 {
        let inside = (0..4).contains(&row) && (0..4).contains(&column);
        if inside { f64::from(image[channel * 16 + (row * 4 + column) as usize]) } else { 0.0 }
    };
    let pixel = |filter: &[f32], pixel: i32| -> f64 {
        let taps = filter.iter().enumerate();
        taps.map(|(tap, &value)| {
            let (channel, row, column) = (tap / 9, (tap / 3 % 3) as i32, (tap % 3) as i32);
            f64::from(value) * at(channel, pixel / 4 + row - 1, pixel % 4 + column - 1)
        })
        .sum()
    };
    weight.chunks_exact(18).map(|filter| (0..16).map(|at| pixel(filter, at)).collect()).collect()
}

#[test]
fn reestimated_statistics_are_those_of_all_values_whatever_the_sizes_of_batches() {
    // Batches of 40, 7, 2 and 1 image of very different brightness.
    let all: Vec<Batch> = loader(50, 50).epoch(0, 0).map(Result::unwrap).collect();
    let mut rest = (&all[0].images[..], &all[0].labels[..]);
    let mut batches: Vec<Result<Batch, DataError>> = Vec::new();
    for count in [40, 7, 2, 1] {
        let (images, labels) = (rest.0.split_at(count * SHAPE.len()), rest.1.split_at(count));
        batches.push(Ok(Batch { images: images.0.to_vec(), labels: labels.0.to_vec() }));
        rest = (images.1, labels.1);
    }
    let mut model = Trainable::new(&network(), 4, &Device::Cpu).unwrap();
    let weight = model.parameters().values("conv1.weight").unwrap();
    // The last batch gives layer 3 one value a channel, and is left out.
    let images = &all[0].images[..49 * SHAPE.len()];
    let mut channels = vec![Vec::new(); 16];
    for image in images.chunks_exact(SHAPE.len()) {
        stem(image, &weight).into_iter().zip(&mut channels).for_each(|(new, all)| all.extend(new));
    }
    reestimate(&mut model, batches.into_iter()).unwrap();
    let [means, variances] =
        ["bn1.running_mean", "bn1.running_var"].map(|name| model.parameters().values(name).unwrap());
    for (channel, values) in channels.iter().enumerate() {
        let count = values.len() as f64;
        assert_eq!(values.len(), 49 * 16);
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let close = |found: f32, right: f64| {
            (f64::from(found) - right).abs() <= 2e-6 * variance.sqrt().max(right.abs())
        };
        assert!(close(means[channel], mean), "{} for {mean}", means[channel]);
        assert!(close(variances[channel], variance), "{} for {variance}", variances[channel]);
    }
}

/// A picture of 4×4 pixels as a BMP file.
fn bitmap(seed: u8) -> Vec<u8> {
    let mut file = b"BM".to_vec();
    for field in [102u32, 0, 54, 40, 4, 4, 24 << 16 | 1, 0, 48, 0, 0, 0, 0] {
        file.extend(field.to_le_bytes());
    }
    file.extend((0..48).map(|at: u8| at.wrapping_mul(seed).wrapping_add(seed)));
    file
}

/// Warnings of a run.
#[derive(Default)]
struct Warnings(Vec<String>);

impl Observer for Warnings {
    fn warning(&mut self, message: &str) {
        self.0.push(message.to_owned());
    }
}

#[test]
fn batches_that_unreadable_images_make_too_small_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let picture = |number: u8| folder.path().join(format!("{number}.bmp"));
    let listed = (0..6u8).map(|number| {
        std::fs::write(picture(number), bitmap(number + 1)).unwrap();
        Listed { path: picture(number), label: u32::from(number % 4) }
    });
    let preparation = Preparation { shape: Shape::new(3, 4, 4), test_resize: 1.0, test_share: None };
    let classes = Arc::new((0..4).map(|class| class.to_string()).collect());
    let files = Files::new(listed.collect(), classes, preparation, BadImages::Skip, Cache::new(0));
    // In the order of the files, three batches of two: the first keeps two images, the others one and none.
    let loader =
        Loader::new(files, LoaderOptions::plain(2, Normalization { mean: vec![0.5; 3], std: vec![0.25; 3] }));
    for number in 3..6 {
        std::fs::write(picture(number), "no picture").unwrap();
    }
    let mut warnings = Warnings::default();
    let outcome = train_on(&folder.path().join("run"), loader.clone(), 1, &mut warnings).unwrap();
    assert_eq!(warnings.0.len(), 1, "{:?}", warnings.0);
    assert!(warnings.0[0].contains("batch 2 of epoch 1 is left out: 1 of its images"), "{:?}", warnings.0);
    // The statistics are those of one step with two images, and no others.
    let statistics = |path: &Path| {
        let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
        tensors["layer3.0.bn1.running_var"].to_vec1::<f32>().unwrap()
    };
    let network = Network::by_name("resnet8", Shape::new(3, 4, 4), 4).unwrap();
    let seed = config(folder.path(), 1).settings.seed;
    let mut model = Trainable::new(&network, seed, &Device::Cpu).unwrap();
    let one = loader.epoch(0, 0).next().unwrap().unwrap();
    let (_, input) = input(&model, one).unwrap();
    model.forward(&input, Mode::TRAIN).unwrap();
    let right = model.parameters().values("layer3.0.bn1.running_var").unwrap();
    assert_eq!(statistics(&outcome.weights), right);
    // Without any batch there is nothing to train on.
    std::fs::write(picture(0), "no picture").unwrap();
    let error =
        train_on(&folder.path().join("none"), loader, 1, &mut Warnings::default()).unwrap_err().to_string();
    assert!(
        error.contains("epoch 1") && error.contains("6 training images") && error.contains("--batch"),
        "{error}"
    );
}
