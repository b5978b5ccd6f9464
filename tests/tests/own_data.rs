//! Folders as users have them: pictures of a phone, names that mean two things, copies, damage.

use std::path::{Path, PathBuf};

use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use lrpet_tests::programs::{Done, json, number, refused, run};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Writes `bytes` and the folders above.
fn put(path: &Path, bytes: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// A JPEG in which channel `class` is brightest, turned by EXIF's `orientation`; each seed gives another.
fn jpeg(class: usize, seed: u64, orientation: u8) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(1000 * seed + class as u64);
    let (width, height) = (rng.random_range(36..90), rng.random_range(36..60));
    let picture = RgbImage::from_fn(width, height, |_, _| {
        let mut pixel = [0; 3].map(|_: i32| rng.random_range(0..120));
        pixel[class % 3] += 100;
        image::Rgb(pixel)
    });
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 90).encode_image(&picture).unwrap();
    // APP1 with a big-endian TIFF directory of one entry: tag 0x0112, a SHORT.
    let exif =
        [b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0", &[orientation][..], &[0; 6]].concat();
    let length = ((exif.len() + 2) as u16).to_be_bytes();
    bytes.splice(2..2, [&[0xff, 0xe1], &length[..], &exif].concat());
    bytes
}

/// `count` pictures of each of `classes` in a folder of its name.
fn write(folder: &Path, classes: &[&str], count: u64, seed: u64) {
    for (class, name) in classes.iter().enumerate() {
        for number in 0..count {
            put(&folder.join(name).join(format!("{number}.jpg")), jpeg(class, seed + number, 1));
        }
    }
}

/// Arguments of a training of one epoch.
fn training<'a>(data: &'a str, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let words =
        ["train", "--net", "resnet8", "--size", "32", "--batch", "16", "--lr", "0.02", "--epochs", "1"];
    [&words[..], &["--reestimate", "2", "--data", data, "--out", text(out)], more].concat()
}

/// Trains on `data` and makes a model file; what the training printed, and the file.
fn model(data: &str, folder: &Path, more: &[&str]) -> (Value, PathBuf) {
    let (out, file) = (folder.join("run"), folder.join("model.safetensors"));
    let trained = json("lrpet", &training(data, &out, more)).unwrap();
    let weights = out.join("final.safetensors");
    json("lrpet", &["factorize", text(&weights), "--data", data, "--out", text(&file)]).unwrap();
    (trained, file)
}

fn done(arguments: &[&str], words: &[&str]) -> Done {
    let done = run("lrpet", arguments).unwrap();
    assert_eq!(done.status, 0, "{}", done.errors);
    words.iter().for_each(|word| assert!(done.errors.contains(word), "{word}: {}", done.errors));
    done
}

/// As the README's "Your own data" has it: check, train, factorize, eval, on a folder as it comes from a phone.
#[test]
fn pictures_of_a_phone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("Meine Bilder");
    // The second name as a Mac writes it, the third with what parts names in a card.
    let classes = ["Schöne Äpfel", "Wa\u{308}lder", "rund, rot"];
    for (class, name) in classes.iter().enumerate() {
        for number in 0..15_u64 {
            let ending = ["JPG", "jpeg", "jpg"][number as usize % 3];
            let file = format!("{name}/Kopie von IMG_{number:04} ({number}).{ending}");
            put(&data.join(file), jpeg(class, number, [1, 6, 3, 8][number as usize % 4]));
        }
        put(&data.join(name).join("IMG_9001.HEIC"), b"\0\0\0\x18ftypheic");
        put(&data.join(name).join("Thumbs.db"), "none");
        put(&data.join(name).join("@eaDir/small.jpg"), jpeg(class, 99, 1));
    }
    put(&data.join(".thumbnails/small.jpg"), jpeg(0, 99, 1));
    let data = text(&data);

    let report = json("lrpet", &["data", "check", data]).unwrap();
    assert_eq!(report["classes"], serde_json::json!(["Schöne Äpfel", "W\u{e4}lder", "rund, rot"]));
    let [train, test] = [&report["parts"][0], &report["parts"][1]];
    assert_eq!(
        (&train["by_class"], &test["by_class"]),
        (&serde_json::json!([12, 12, 12]), &serde_json::json!([3, 3, 3]))
    );
    assert_eq!(
        (&train["not_read"]["heic"], &train["ignored_by_class"]),
        (&3.into(), &serde_json::json!([2, 2, 2]))
    );
    assert_eq!(train["left_out"].as_array().unwrap().len(), 4);
    let shown = run("lrpet", &["data", "check", data]).unwrap().output;
    for words in
        ["\"rund, rot\"", "3 pictures with the ending .heic", "@eaDir", "2 files of class Schöne Äpfel"]
    {
        assert!(shown.contains(words), "{words}: {shown}");
    }

    let (out, file) = (folder.path().join("run"), folder.path().join("model.safetensors"));
    let said = done(
        &training(data, &out, &["--json"]),
        &["Meine Bilder: 36 images in 3 classes", ".heic", "held back"],
    );
    let trained: Value = serde_json::from_str(&said.output).unwrap();
    let weights = out.join("final.safetensors");
    let made = json("lrpet", &["factorize", text(&weights), "--data", data, "--out", text(&file)]).unwrap();
    let found = json("lrpet", &["eval", text(&file), "--data", data]).unwrap();
    assert_eq!((number(&found, "images").unwrap(), number(&trained, "test.images").unwrap()), (9.0, 9.0));
    assert_eq!(found["accuracy"], made["accuracy"]);
    // One image of 9 may change sides by rounding to f16.
    assert!(
        (number(&found, "accuracy").unwrap() - number(&trained, "test.accuracy").unwrap()).abs() < 1.5 / 9.0
    );
    let picture = Path::new(data).join("rund, rot/Kopie von IMG_0001 (1).jpeg");
    let answer = json("lrpet", &["run", text(&file), "--input", text(&picture)]).unwrap();
    let labels: Vec<&str> =
        answer["top"].as_array().unwrap().iter().filter_map(|top| top["label"].as_str()).collect();
    assert!(
        labels.len() == 3 && labels.contains(&"rund, rot") && labels.contains(&"W\u{e4}lder"),
        "{labels:?}"
    );
}

/// What the training was told of its folder reaches the commands behind it.
#[test]
fn a_class_called_test_is_trained_and_tested() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("signals");
    write(&data, &["go", "stop", "test"], 5, 0);
    let out = folder.path().join("refused");
    let error = refused("lrpet", &training(text(&data), &out, &[])).unwrap();
    assert!(error.contains("test beside go, stop") && error.contains("--flat") && !out.exists(), "{error}");
    let (trained, file) = model(text(&data), folder.path(), &["--flat"]);
    assert_eq!(number(&trained, "test.images").unwrap(), 3.0);
    let found = done(
        &["eval", text(&file), "--data", text(&data), "--json"],
        &["0.2 of each class", "3 images in 3 classes"],
    );
    assert!(found.output.contains("\"images\": 3"), "{}", found.output);
}

/// A folder called as a known data set is a folder, with its own mean, deviation and classes.
#[test]
fn a_folder_called_as_a_known_set_has_nothing_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("cifar10");
    write(&data, &["a", "b"], 5, 0);
    let out = folder.path().join("run");
    json("lrpet", &training(text(&data), &out, &["--normalize", "measured"])).unwrap();
    let (weights, file) = (out.join("final.safetensors"), folder.path().join("model.safetensors"));
    json("lrpet", &["factorize", text(&weights), "--out", text(&file)]).unwrap();
    let card = json("lrpet", &["inspect", text(&file)]).unwrap()["card"].clone();
    assert_eq!((&card["dataset"], &card["classes"]), (&"cifar10 (folder)".into(), &"a,b".into()));
    assert!(!card["mean"].as_str().unwrap().starts_with("0.4914,"), "{card}");
    // The name alone means two things here.
    let both = ["eval", text(&file), "--data", "cifar10", "--data-dir", text(folder.path())];
    let error = refused("lrpet", &both).unwrap();
    assert!(error.contains("a folder of images: say --data") && error.contains("--data-dir"), "{error}");
}

/// Test images in a folder of their own: nothing that was trained is tested, and a part of the classes is enough.
#[test]
fn test_images_elsewhere_are_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let [data, new] = ["photos", "new"].map(|name| folder.path().join(name));
    write(&data, &["a", "b", "c"], 4, 0);
    write(&new, &["a", "b"], 2, 50);
    std::fs::rename(new.join("b"), new.join("c")).unwrap();
    std::fs::create_dir(new.join("empty")).unwrap();
    let (out, file) = (folder.path().join("run"), folder.path().join("model.safetensors"));
    let apart = ["--test-data", text(&new)];
    done(
        &training(text(&data), &out, &apart),
        &["new: 4 images in 2 of 3 classes", "no test image of class b"],
    );
    let weights = out.join("final.safetensors");
    let factorize = ["factorize", text(&weights), "--data", text(&data), "--out", text(&file)];
    let error = refused("lrpet", &factorize).unwrap();
    assert!(error.contains("in a folder of their own: name it with --test-data"), "{error}");
    json("lrpet", &[&factorize[..], &apart].concat()).unwrap();
    let eval = ["eval", text(&file), "--data", text(&data)];
    assert!(refused("lrpet", &eval).unwrap().contains("--test-data"));
    let found = json("lrpet", &[&eval[..], &apart].concat()).unwrap();
    assert_eq!(number(&found, "images").unwrap(), 4.0);
    write(&new, &["d"], 1, 70);
    let error = refused("lrpet", &[&eval[..], &apart].concat()).unwrap();
    assert!(error.contains("only here: d"), "{error}");
}

/// Copies on both sides and very unequal classes are told before the training.
#[test]
fn copies_and_unequal_classes_are_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("photos");
    write(&data.join("train"), &["a"], 22, 0);
    write(&data.join("train"), &["b"], 2, 500);
    write(&data.join("test"), &["a", "b"], 2, 40);
    std::fs::copy(data.join("train/a/3.jpg"), data.join("test/a/other.jpg")).unwrap();
    std::fs::copy(data.join("train/a/4.jpg"), data.join("test/b/false.jpg")).unwrap();
    let out = folder.path().join("run");
    let words = [
        "2 images of test are in train too",
        "test/a/other.jpg",
        "1 image is in two classes",
        "22 training images of a and 2 of b",
    ];
    done(&training(text(&data), &out, &["--validation", "2"]), &words);
    let report = json("lrpet", &["data", "check", text(&data)]).unwrap();
    assert_eq!(
        (&report["copies"]["shared"][0]["count"], number(&report, "unequal").unwrap()),
        (&2.into(), 11.0)
    );
}

/// With the cache off too, what ends a training ends it before it begins.
#[test]
fn damage_is_found_before_the_training() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("photos");
    write(&data.join("train"), &["a", "b"], 6, 0);
    write(&data.join("test"), &["a", "b"], 2, 40);
    let cut = |path: &Path| {
        let bytes = std::fs::read(path).unwrap();
        std::fs::write(path, &bytes[..bytes.len() * 2 / 3]).unwrap();
    };
    let test = data.join("test/b/1.jpg");
    cut(&test);
    let out = folder.path().join("run");
    let error = refused("lrpet", &training(text(&data), &out, &["--image-cache", "0"])).unwrap();
    assert!(error.contains("test/b/1.jpg") && !out.exists(), "{error}");
    std::fs::remove_file(&test).unwrap();
    // A link that leads nowhere and a pipe are bad images, and nothing waits for the pipe.
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("nowhere.jpg", data.join("train/a/gone.jpg")).unwrap();
        let pipe = data.join("train/a/pipe.jpg");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let error = refused("lrpet", &training(text(&data), &out, &[])).unwrap();
        assert!(error.contains("2 of 17 images cannot be read") && error.contains("a pipe"), "{error}");
    }
    for number in 0..6 {
        cut(&data.join(format!("train/b/{number}.jpg")));
    }
    let skip = ["--image-cache", "0", "--bad-images", "skip"];
    let error = refused("lrpet", &training(text(&data), &out, &skip)).unwrap();
    assert!(error.contains("no readable train image is left of class b") && !out.exists(), "{error}");
}
