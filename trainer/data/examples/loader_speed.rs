//! Images a second of the loader alone, without a training beside it.
//!
//! `cargo run --release -p lrpet-data --example loader_speed [THREADS]` times images of CIFAR-10's size in memory with crop
//! and flip on one thread, and JPEG files of 500×375 with a random resized crop to 224×224 and flip, decoded anew
//! each time, on 1 thread and on THREADS (2 unless given). The pictures are made here: waves with some noise.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use image::codecs::jpeg::JpegEncoder;
use lrpet_data::files::{Cache, Listed};
use lrpet_data::{
    Augmentation, BadImages, Dataset, Files, Images, Loader, LoaderOptions, Normalization, Preparation,
    RandomCrop,
};
use lrpet_runtime::model::Shape;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const CIFAR: Shape = Shape::new(3, 32, 32);
const IMAGENET: Shape = Shape::new(3, 224, 224);
const PICTURES: usize = 256;

fn main() -> Result<()> {
    let threads = std::env::args().nth(1).map_or(Ok(2), |count| count.parse())?;
    let mut rng = ChaCha8Rng::seed_from_u64(1);

    let count = 50_000;
    let mut images = vec![0; count * CIFAR.len()];
    rng.fill(&mut images[..]);
    let labels = (0..count as u32).map(|index| index % 10).collect();
    let classes = (0..10).map(|class| class.to_string()).collect();
    let data = Dataset { images, labels, shape: CIFAR, classes };
    let padded = Augmentation { crop_padding: 4, flip: true, part: None, cutout: 0 };
    measure("32×32 in memory, crop and flip", &Images::from(data), padded, 1, 6)?;

    let folder = tempfile::tempdir()?;
    let files = pictures(folder.path(), &mut rng)?;
    let part = Augmentation { crop_padding: 0, flip: true, part: Some(RandomCrop::default()), cutout: 0 };
    for threads in [1, threads] {
        measure("500×375 JPEG to 224×224, random resized crop and flip", &files, part, threads, 4)?;
    }
    Ok(())
}

/// Writes JPEG files of a photograph's size and detail.
fn pictures(folder: &Path, rng: &mut ChaCha8Rng) -> Result<Images> {
    let mut listed = Vec::new();
    let mut bytes = 0;
    for number in 0..PICTURES {
        let frequency: [f32; 6] = std::array::from_fn(|_| rng.random_range(0.01..0.2));
        let picture = image::RgbImage::from_fn(500, 375, |x, y| {
            let mut wave = |channel: usize| {
                let (x, y) = (x as f32 * frequency[2 * channel], y as f32 * frequency[2 * channel + 1]);
                (128.0 + 50.0 * x.sin() + 50.0 * y.sin() + rng.random_range(-12.0..12.0)) as u8
            };
            image::Rgb([wave(0), wave(1), wave(2)])
        });
        let mut encoded = Vec::new();
        JpegEncoder::new_with_quality(&mut encoded, 85).encode_image(&picture)?;
        bytes += encoded.len();
        let path = folder.join(format!("{number}.jpg"));
        std::fs::write(&path, encoded)?;
        listed.push(Listed { path, label: number as u32 % 2 });
    }
    println!("{PICTURES} JPEG files of {} KB each", bytes / PICTURES / 1024);
    let classes = Arc::new(vec!["even".to_owned(), "odd".to_owned()]);
    let preparation =
        Preparation { shape: IMAGENET, test_resize: Preparation::TEST_RESIZE, test_share: None };
    Ok(Files::new(listed, classes, preparation, BadImages::Refuse, Cache::new(0)).into())
}

/// Prints the best and the median of `epochs` epochs.
fn measure(
    what: &str,
    images: &Images,
    augmentation: Augmentation,
    threads: usize,
    epochs: u64,
) -> Result<()> {
    let options = LoaderOptions {
        shuffle: true,
        augmentation,
        threads,
        ..LoaderOptions::plain(128, Normalization::imagenet())
    };
    let loader = Loader::new(images.clone(), options);
    let mut seconds = Vec::new();
    for epoch in 0..epochs {
        let start = Instant::now();
        let mut count = 0;
        for batch in loader.epoch(epoch, 0) {
            count += batch?.labels.len();
        }
        seconds.push(start.elapsed().as_secs_f64() / count as f64);
    }
    seconds.sort_by(f64::total_cmp);
    let line = |seconds: f64| format!("{:.0} images/s ({:.1} µs an image)", 1.0 / seconds, 1e6 * seconds);
    let (best, median) = (line(seconds[0]), line(seconds[seconds.len() / 2]));
    println!("{what}, {threads} threads: best {best}, median {median}");
    Ok(())
}
