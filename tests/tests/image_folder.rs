//! A folder of images per class, from training to the runtime.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, RgbImage};
use lrpet_tests::programs::{json, number, program, refused, root, run};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const CLASSES: [&str; 3] = ["blue", "green", "red"];

/// A picture in which the class's channel is brightest.
fn picture(class: usize, rng: &mut ChaCha8Rng) -> DynamicImage {
    let (width, height) = (rng.random_range(36..80), rng.random_range(36..80));
    let image = RgbImage::from_fn(width, height, |_, _| {
        let mut pixel = [0; 3].map(|_: i32| rng.random_range(0..120));
        pixel[2 - class] += 60;
        image::Rgb(pixel)
    });
    DynamicImage::ImageRgb8(image)
}

/// Writes `count` pictures of each class: PNG and JPEG by turns.
fn write(folder: &Path, count: usize, seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for (class, name) in CLASSES.iter().enumerate() {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for number in 0..count {
            let picture = picture(class, &mut rng);
            if number % 2 == 0 {
                picture.save(folder.join(format!("{number}.png"))).unwrap();
            } else {
                let file = std::fs::File::create(folder.join(format!("{number}.jpeg"))).unwrap();
                JpegEncoder::new_with_quality(file, 95).encode_image(&picture).unwrap();
            }
        }
    }
}

/// A data set with a part for training and one for testing.
fn parts(folder: &Path) -> String {
    write(&folder.join("set/train"), 24, 1);
    write(&folder.join("set/test"), 8, 2);
    folder.join("set").to_str().unwrap().to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Arguments of a short training on `data`.
fn training<'a>(data: &'a str, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let words = ["train", "--net", "resnet8", "--size", "32", "--batch", "16", "--lr", "0.05"];
    let epochs = if more.contains(&"--epochs") { &[][..] } else { &["--epochs", "2"] };
    [&words[..], epochs, &["--data", data, "--out", text(out)], more].concat()
}

/// Bytes of every tensor of the final weights.
fn weights(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = std::fs::read(out.join("final.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    file.iter().map(|(name, tensor)| (name.to_owned(), tensor.data().to_vec())).collect()
}

#[test]
fn from_images_to_the_runtime_with_the_same_accuracy() {
    let folder = tempfile::tempdir().unwrap();
    let data = parts(folder.path());
    let out = folder.path().join("run");
    let options = ["--prune", "0.5", "--project-iterations", "2", "--normalize", "measured"];
    let trained = json("lrpet", &training(&data, &out, &options)).unwrap();
    assert_eq!(number(&trained, "test.images").unwrap(), 24.0);
    assert!(number(&trained, "wait_seconds").unwrap() > 0.0);
    let accuracy = number(&trained, "test.accuracy").unwrap();
    assert!(accuracy > 0.5, "colours are learnt at once: {accuracy}");
    let metrics = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    assert!(metrics.lines().all(|line| line.contains("\"wait_seconds\":")), "{metrics}");

    // The checkpoint says all that is needed: classes, normalisation, and how pictures are prepared.
    let weights = out.join("final.safetensors");
    let model = folder.path().join("model.safetensors");
    let factorize =
        ["factorize", text(&weights), "--net", "resnet8", "--prune", "0.5", "--out", text(&model)];
    let made = json("lrpet", &[&factorize[..], &["--data", &data]].concat()).unwrap();
    let near = |found: f64, what: &str| {
        // One image of 24 may change sides by rounding to f16.
        assert!((found - accuracy).abs() < 1.5 / 24.0, "{what}: {found}, the trainer's {accuracy}");
    };
    near(number(&made, "accuracy").unwrap(), "factorize");
    // Weights of 8 bits are fitted to the pictures for training.
    let eight = folder.path().join("eight.safetensors");
    let factorize = ["factorize", text(&weights), "--prune", "0.5", "--weights", "i8", "--out", text(&eight)];
    let rounded = json("lrpet", &[&factorize[..], &["--data", &data]].concat()).unwrap();
    assert_eq!(rounded["calibration"], 72, "{rounded}");
    near(number(&rounded, "accuracy").unwrap(), "8 bits");
    for engine in ["runtime", "candle"] {
        let eval = ["eval", text(&model), "--data", &data, "--engine", engine];
        let found = json("lrpet", &eval).unwrap();
        assert_eq!(number(&found, "images").unwrap(), 24.0);
        near(number(&found, "accuracy").unwrap(), engine);
    }
    json("lrpet", &["bench", text(&model), "--iterations", "5"]).unwrap();
    // A picture of any size is prepared as in testing, and the labels are the folders'.
    let mut right = 0;
    for (class, name) in CLASSES.iter().enumerate() {
        let picture = folder.path().join("set/test").join(name).join("0.png");
        let answer = json("lrpet", &["run", text(&model), "--input", text(&picture), "--top", "3"]).unwrap();
        let best = &answer["top"][0];
        right += usize::from(best["label"] == **name && best["class"] == class);
    }
    assert!(right >= 2, "{right} of 3");

    // Without the folder, the checkpoint alone makes the same model but for accuracy and self-check.
    let alone = folder.path().join("alone.safetensors");
    let factorize =
        ["factorize", text(&weights), "--net", "resnet8", "--prune", "0.5", "--out", text(&alone)];
    assert!(json("lrpet", &factorize).unwrap()["accuracy"].is_null());
    let found = json("lrpet", &["eval", text(&alone), "--data", &data]).unwrap();
    assert_eq!(found["correct"], json("lrpet", &["eval", text(&model), "--data", &data]).unwrap()["correct"]);

    // A test folder with other classes is told by name.
    let other = folder.path().join("other/test");
    write(&other, 1, 3);
    std::fs::rename(other.join("red"), other.join("violet")).unwrap();
    let error = refused("lrpet", &["eval", text(&model), "--data", text(&other)]).unwrap();
    assert!(error.contains("missing here: red") && error.contains("only here: violet"), "{error}");
}

#[test]
fn results_do_not_depend_on_threads_nor_on_memory_nor_on_an_interruption() {
    let folder = tempfile::tempdir().unwrap();
    let data = parts(folder.path());
    let more: [&[&str]; 3] = [
        &["--loader-threads", "1", "--epochs", "6"],
        &["--loader-threads", "3", "--epochs", "6", "--image-cache", "0"],
        &["--loader-threads", "2", "--epochs", "6", "--resume"],
    ];
    let outs = ["one", "three", "killed"].map(|name| folder.path().join(name));
    let start = Instant::now();
    let mut killed = Command::new(program("lrpet"))
        .args(training(&data, &outs[2], more[2]))
        .current_dir(root())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while std::fs::read_to_string(outs[2].join("metrics.jsonl")).unwrap_or_default().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(120), "no epoch in two minutes");
        assert!(killed.try_wait().unwrap().is_none(), "the training ended before it was killed");
        std::thread::sleep(Duration::from_millis(5));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(!outs[2].join("final.safetensors").exists(), "the training ended before it was killed");
    for (out, options) in outs.iter().zip(more) {
        json("lrpet", &training(&data, out, options)).unwrap();
    }
    assert!(weights(&outs[0]) == weights(&outs[1]), "other threads, other weights");
    assert!(weights(&outs[0]) == weights(&outs[2]), "the resumed run has other weights");
}

#[test]
fn class_folders_alone_are_split_and_never_tested_on_what_was_trained() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("plain");
    write(&data, 20, 4);
    let report = json("lrpet", &["data", "check", text(&data), "--test-share", "0.25"]).unwrap();
    assert_eq!(report["parts"][0]["by_class"], serde_json::json!([15, 15, 15]));
    assert_eq!(report["parts"][1]["by_class"], serde_json::json!([5, 5, 5]));
    let out = folder.path().join("run");
    let options = ["--test-share", "0.25", "--epochs", "1"];
    let trained = json("lrpet", &training(text(&data), &out, &options)).unwrap();
    assert_eq!(number(&trained, "test.images").unwrap(), 15.0);
    let model = folder.path().join("model.safetensors");
    let weights = out.join("final.safetensors");
    let factorize =
        ["factorize", text(&weights), "--net", "resnet8", "--data", text(&data), "--out", text(&model)];
    json("lrpet", &factorize).unwrap();
    // The share that the training held back is known to the model.
    let found = json("lrpet", &["eval", text(&model), "--data", text(&data)]).unwrap();
    assert_eq!(number(&found, "images").unwrap(), 15.0);
}

#[test]
fn images_that_cannot_be_read_are_refused_or_skipped_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let data = parts(folder.path());
    let red = folder.path().join("set/train/red");
    let cut = |name: &str, to: &str| {
        let bytes = std::fs::read(red.join(name)).unwrap();
        std::fs::write(red.join(to), &bytes[..bytes.len() - bytes.len() / 3]).unwrap();
    };
    std::fs::write(red.join("text.jpg"), "not a picture").unwrap();
    std::fs::write(red.join("empty.png"), []).unwrap();
    cut("0.png", "cut.png");
    cut("1.jpeg", "cut.jpg");
    // No fault: a PNG that is called otherwise.
    std::fs::copy(red.join("0.png"), red.join("png-in-truth.JPG")).unwrap();
    std::fs::write(red.join("notes.txt"), "on the pictures").unwrap();
    std::fs::write(folder.path().join("set/train/readme.md"), "on the classes").unwrap();

    let done = run("lrpet", &["data", "check", &data, "--json"]).unwrap();
    assert_eq!(done.status, 1);
    assert!(done.errors.contains("4 images cannot be read"), "{}", done.errors);
    let report: serde_json::Value = serde_json::from_str(&done.output).unwrap();
    let train = &report["parts"][0];
    assert_eq!((&train["images"], &train["ignored"].as_array().unwrap().len()), (&73.into(), &2));
    let bad = train["bad"].to_string();
    for words in ["text.jpg", "empty.png", "the file is empty", "cut.png", "cut.jpg", "truncated JPEG"] {
        assert!(bad.contains(words), "{words}: {bad}");
    }

    let out = folder.path().join("run");
    let error = refused("lrpet", &training(&data, &out, &[])).unwrap();
    assert!(error.contains("2 of 101 images") && error.contains("text.jpg"), "{error}");
    assert!(error.contains("--bad-images skip") && !out.exists(), "{error}");
    std::fs::remove_file(red.join("text.jpg")).unwrap();
    std::fs::remove_file(red.join("empty.png")).unwrap();
    // What the headers do not tell is found by decoding: before the training where all fits, else in it.
    let error = refused("lrpet", &training(&data, &out, &[])).unwrap();
    assert!(error.contains("2 of 99 images") && error.contains("cut.png") && !out.exists(), "{error}");
    let error = refused("lrpet", &training(&data, &out, &["--image-cache", "0"])).unwrap();
    assert!(error.contains("cut."), "{error}");
    for (cache, name) in [("0", "late"), ("64", "early")] {
        let out = folder.path().join(name);
        let more = ["--image-cache", cache, "--bad-images", "skip"];
        let done = run("lrpet", &training(&data, &out, &more)).unwrap();
        assert_eq!(done.status, 0, "{}", done.errors);
        for words in ["cut.png", "cut.jpg", "2 files are no images", "left out"] {
            assert!(done.errors.contains(words), "{words}: {}", done.errors);
        }
    }
}

#[test]
fn folders_that_are_no_data_sets_are_refused_by_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let fresh = |name: &str| {
        let data = folder.path().join(name);
        write(&data.join("train"), 2, 5);
        write(&data.join("test"), 1, 6);
        data
    };
    let refuse = |data: &Path, more: &[&'static str], words: &[&str]| {
        let error = refused("lrpet", &training(text(data), &out, more)).unwrap();
        words.iter().for_each(|word| assert!(error.contains(word), "{word}: {error}"));
        assert!(!out.exists());
    };
    let nowhere = folder.path().join("nowhere");
    refuse(&nowhere, &[], &["nowhere", "no folder of images is there", "cifar10"]);

    let data = fresh("empty");
    std::fs::create_dir_all(data.join("train/amber")).unwrap();
    std::fs::create_dir_all(data.join("train/yellow")).unwrap();
    refuse(&data, &[], &["empty/train", "no image", "amber, yellow"]);

    let data = fresh("differ");
    std::fs::rename(data.join("test/red"), data.join("test/crimson")).unwrap();
    refuse(&data, &[], &["differ/test", "other classes", "missing here: red", "only here: crimson"]);

    let data = fresh("single");
    for part in ["train", "test"] {
        std::fs::remove_dir_all(data.join(part).join("red")).unwrap();
        std::fs::remove_dir_all(data.join(part).join("blue")).unwrap();
    }
    refuse(&data, &[], &["single/train", "one class folder only (green)"]);

    let data = folder.path().join("flat");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("0.png"), "").unwrap();
    refuse(&data, &[], &["flat", "no class folders", "DIR/CLASS/image.jpg"]);

    let data = fresh("good");
    refuse(&data, &["--test-share", "0.5"], &["good", "test images of its own"]);
    let wrong = run("lrpet", &training(text(&data), &out, &["--crop-scale", "1.5"])).unwrap();
    assert!(wrong.status == 2 && wrong.errors.contains("'1.5' for '--crop-scale"), "{}", wrong.errors);
    refuse(&data, &["--channels", "1", "--normalize", "imagenet"], &["3 channels"]);
    refuse(Path::new("fashion-mnist"), &[], &["--size is for a folder of images"]);
}
