//! Pictures from a file to a class: one preparation for every command, the size of the network's images, several inputs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::{GrayImage, Luma, RgbImage};
use lrpet_network::network::{Known, Network};
use lrpet_runtime::model::{Op, Shape, Weights};
use lrpet_tests::programs::{json, number, refused, run};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

const CLASSES: [&str; 3] = ["blue", "green", "red"];

/// A checkpoint of `net` with random weights that tells three classes apart, and the metadata given.
fn checkpoint(file: &Path, net: &str, channels: u32, metadata: &[(&str, &str)]) -> String {
    let known = Known::named(net).unwrap();
    let input = Shape { channels, ..known.input };
    let network = known.network(input, CLASSES.len() as u32).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let data: Vec<(String, Vec<usize>, Vec<u8>)> = shapes(&network)
        .into_iter()
        .map(|(name, shape)| {
            let fan: usize = shape[1..].iter().product();
            let bound = (3.0 / fan as f32).sqrt();
            let low = if shape.len() == 1 && !name.ends_with("bias") { 0.5 } else { -bound };
            let count: usize = shape.iter().product();
            let bytes = (0..count).flat_map(|_| rng.random_range(low..bound).to_le_bytes()).collect();
            (name, shape, bytes)
        })
        .collect();
    let views = data
        .iter()
        .map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    let metadata: HashMap<String, String> =
        metadata.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    std::fs::write(file, safetensors::serialize(views, Some(metadata)).unwrap()).unwrap();
    text(file)
}

/// Names and shapes of the tensors of `network`.
fn shapes(network: &Network) -> Vec<(String, Vec<usize>)> {
    let values = network.value_shapes().unwrap();
    let mut found = Vec::new();
    for (index, layer) in network.layers.iter().enumerate() {
        let input = values[usize::from(layer.op.inputs().first())].channels as usize;
        let rows = values[index + 1].channels as usize;
        match &layer.op {
            Op::Conv(conv) => {
                let columns = if conv.weights == Weights::Depthwise { 1 } else { input };
                let [height, width] = conv.window.kernel.map(usize::from);
                found.push((format!("{}.weight", conv.name), vec![rows, columns, height, width]));
            }
            Op::Linear(linear) => {
                found.push((format!("{}.weight", linear.name), vec![rows, input]));
                found.push((format!("{}.bias", linear.name), vec![rows]));
            }
            _ => continue,
        }
        for part in layer.norm.iter().flat_map(|_| ["weight", "bias", "running_mean", "running_var"]) {
            found.push((format!("{}.{part}", layer.norm.as_ref().unwrap().name), vec![rows]));
        }
    }
    found
}

/// Pictures of noise, `count` of each class, whose sizes `size` says.
fn pictures(folder: &Path, count: u32, size: impl Fn(u32) -> [u32; 2]) -> String {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    for (class, name) in CLASSES.iter().enumerate() {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for number in 0..count {
            let [height, width] = size(number);
            let level: u8 = rng.random_range(40..200);
            let picture = RgbImage::from_fn(width, height, |x, y| {
                let mut pixel =
                    [level / 2, (x * 5) as u8, (y * 7) as u8].map(|base| base ^ rng.random_range(0..64));
                pixel[2 - class] |= 0x80;
                image::Rgb(pixel)
            });
            if number % 2 == 0 {
                picture.save(folder.join(format!("{number}.png"))).unwrap();
            } else {
                let file = std::fs::File::create(folder.join(format!("{number}.jfif"))).unwrap();
                JpegEncoder::new_with_quality(file, 95).encode_image(&picture).unwrap();
            }
        }
    }
    text(folder)
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn make(checkpoint: &str, model: &Path, more: &[&str]) -> String {
    let model = text(model);
    json("lrpet", &[&["factorize", checkpoint, "--out", &model][..], more].concat()).unwrap();
    model
}

/// Metadata of a checkpoint of ours.
const SAID: [(&str, &str); 5] = [
    ("network", "resnet8"),
    ("input", "3x32x32"),
    ("class_names", r#"["blue","green","red"]"#),
    ("mean", "0.5,0.4,0.3"),
    ("std", "0.2,0.3,0.4"),
];

/// `run` gives for each picture of a folder what `eval` counts: also for pictures of exactly the network's size, of which
/// testing takes the centre.
#[test]
fn run_and_eval_prepare_pictures_alike() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let exact = pictures(&at("exact"), 12, |_| [32, 32]);
    let mixed = pictures(&at("mixed"), 8, |number| [32 + 5 * number, 70 - 4 * number]);
    let usual = [&SAID[..], &[("test_resize", "1.1428571428571428")]].concat();
    let whole = [&SAID[..], &[("test_resize", "1")]].concat();
    let mut answers = Vec::new();
    for (name, metadata, channels, more) in [
        ("usual", &usual, 3, &[][..]),
        ("whole", &whole, 3, &[]),
        ("given", &usual, 3, &["--test-resize", "1.5"]),
    ] {
        let weights = checkpoint(&at(&format!("{name}.pt.safetensors")), "resnet8", channels, metadata);
        let model = make(&weights, &at(&format!("{name}.safetensors")), more);
        for data in [&exact, &mixed] {
            let counted = json("lrpet", &["eval", &model, "--data", data]).unwrap();
            let found = json("lrpet", &["run", &model, data]).unwrap();
            let images = found["images"].as_array().unwrap();
            let right = images.iter().filter(|image| {
                let file = PathBuf::from(image["file"].as_str().unwrap());
                let class = file.parent().unwrap().file_name().unwrap().to_str().unwrap();
                image["top"][0]["label"] == class
            });
            assert_eq!(number(&counted, "images").unwrap(), images.len() as f64);
            assert_eq!(number(&counted, "correct").unwrap(), right.count() as f64, "{name}, {data}");
            // Each alone gives the same logits.
            for image in images.iter().step_by(7) {
                let alone =
                    json("lrpet", &["run", &model, "--input", image["file"].as_str().unwrap()]).unwrap();
                assert_eq!(alone["logits"], image["logits"]);
            }
            answers.push(images.iter().map(|image| image["logits"].clone()).collect::<Vec<_>>());
            // Factorising with the folder measures the same.
            let again = at("again.safetensors");
            let data = ["factorize", &weights, "--data", data, "--out", again.to_str().unwrap()];
            let made = json("lrpet", &[&data[..], more].concat()).unwrap();
            assert!(
                (number(&made, "accuracy").unwrap() - number(&counted, "accuracy").unwrap()).abs() < 1e-9
            );
        }
    }
    // The resize matters for pictures of exactly the size.
    assert!(answers[0] != answers[2] && answers[0] != answers[4], "the centre is not cut");
    // The self-check's samples are prepared as `run` prepares them.
    let weights = text(&at("usual.pt.safetensors"));
    let model = make(&weights, &at("with-samples.safetensors"), &["--data", &exact]);
    let bytes = std::fs::read(&model).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let logits = file.tensor("selfcheck.logits").unwrap().data();
    let expected: Vec<f32> = logits.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let first = json("lrpet", &["run", &model, "--input", &text(&at("exact/blue/0.png"))]).unwrap();
    for (found, expected) in first["logits"].as_array().unwrap().iter().zip(&expected) {
        assert!((found.as_f64().unwrap() - f64::from(*expected)).abs() < 1e-3, "{first} and {expected}");
    }
}

fn card(model: &str, key: &str) -> Value {
    json("lrpet", &["inspect", model]).unwrap()["card"][key].clone()
}

/// A checkpoint without a word about its images has the network's usual size, and what is assumed is said.
#[test]
fn the_size_is_the_networks_usual_one_or_what_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (net, channels, usual, resize) in [
        ("mobilenet_v1_025", 3, "3x96x96", "1"),
        ("ds_cnn", 1, "1x49x10", "1"),
        ("resnet8", 1, "1x32x32", "1"),
    ] {
        let weights = checkpoint(&at("weights.safetensors"), net, channels, &[]);
        let model = text(&at("model.safetensors"));
        let done = run("lrpet", &["factorize", &weights, "--net", net, "--out", &model]).unwrap();
        assert_eq!(done.status, 0, "{}", done.errors);
        let sides: Vec<&str> = usual.split('x').skip(1).collect();
        let words = format!("assumed: size {}, for which {net} is known (--size)", sides.join("×"));
        assert!(done.errors.contains(&words) && done.errors.contains("mean 0 (--mean)"), "{}", done.errors);
        assert_eq!((card(&model, "input"), card(&model, "test_resize")), (usual.into(), resize.into()));
    }
    let weights = checkpoint(&at("weights.safetensors"), "mobilenet_v1_025", 3, &[]);
    let factorize = |more: &[&str]| {
        let model = text(&at("model.safetensors"));
        let words = ["factorize", &weights, "--net", "mobilenet_v1_025", "--out", &model];
        json("lrpet", &[&words[..], more].concat()).unwrap()
    };
    assert_eq!(factorize(&["--size", "64"])["input"], serde_json::json!([3, 64, 64]));
    assert_eq!(factorize(&["--size", "64x48"])["input"], serde_json::json!([3, 64, 48]));
    let made = factorize(&["--input", "3x48x64", "--test-resize", "1.25"]);
    assert_eq!(made["input"], serde_json::json!([3, 48, 64]));
    assert_eq!(made["preparation"]["test_resize"], "1.25");
    // Pictures of the network's size agree; those of another one contradict it, and are obeyed only when told to.
    let fitting = pictures(&at("fitting"), 2, |_| [96, 96]);
    assert_eq!(factorize(&["--data", &fitting])["input"], serde_json::json!([3, 96, 96]));
    assert_eq!(factorize(&["--data", &fitting])["preparation"]["test_resize"], "1");
    let large = pictures(&at("large"), 2, |number| [300, 400 + number]);
    let made = factorize(&["--data", &large]);
    assert_eq!(made["input"], serde_json::json!([3, 96, 96]));
    assert!(made["preparation"]["test_resize"].as_str().unwrap().starts_with("1.14"));
    let other = pictures(&at("other"), 2, |_| [64, 64]);
    let out = text(&at("refused.safetensors"));
    let words = ["factorize", &weights, "--net", "mobilenet_v1_025", "--data", &other, "--out", &out];
    let error = refused("lrpet", &words).unwrap();
    for words in ["all 64×64", "mobilenet_v1_025 is known for 96×96", "--size 64x64 or --size 96x96", "other"]
    {
        assert!(error.contains(words), "{words}: {error}");
    }
    assert!(!Path::new(&out).exists());
    assert_eq!(factorize(&["--data", &other, "--size", "64"])["input"], serde_json::json!([3, 64, 64]));
    // A data set of another size than the checkpoint says it was trained on.
    let said = checkpoint(&at("said.safetensors"), "resnet8", 3, &SAID[..2]);
    let error = refused("lrpet", &["factorize", &said, "--data", "mnist", "--out", &out]).unwrap();
    assert!(error.contains("trained on images of 3×32×32") && error.contains("1×28×28"), "{error}");
    let error = refused("lrpet", &["factorize", &said, "--size", "1x32x32", "--out", &out]).unwrap();
    assert!(error.contains("takes 3 channels"), "{error}");
}

#[test]
fn networks_that_do_not_exist_or_do_not_take_the_images_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let weights = checkpoint(&folder.path().join("w.safetensors"), "resnet8", 3, &[]);
    let out = text(&folder.path().join("out.safetensors"));
    let with = |net: &str, more: &[&str]| {
        refused("lrpet", &[&["factorize", &weights, "--net", net, "--out", &out][..], more].concat()).unwrap()
    };
    let error = with("mynet", &[]);
    assert!(
        error.contains("no network is called `mynet`; known are resnet8") && !error.contains('×'),
        "{error}"
    );
    assert!(with("ResNet8", &[]).contains("did you mean `resnet8`?"));
    let small = checkpoint(&folder.path().join("v.safetensors"), "vgg16_bn", 3, &[]);
    let words = ["factorize", &small, "--net", "vgg16_bn", "--size", "16", "--out", &out];
    let error = refused("lrpet", &words).unwrap();
    assert!(error.contains("does not take images of 3×16×16: it takes 32×32 pixels and more"), "{error}");
    let run = text(&folder.path().join("run"));
    let error = refused("lrpet", &["train", "--net", "mynet", "--data", "nowhere", "--out", &run]).unwrap();
    assert!(error.contains("no network is called `mynet`"), "{error}");
}

/// A grey model takes colours as grey, a colour model grey pictures as colours.
#[test]
fn grey_and_colour_pictures_serve_models_of_either_kind() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let grey = [("input", "1x32x32"), ("mean", "0.5"), ("std", "0.25"), ("network", "resnet8")];
    let grey = checkpoint(&at("grey.pt"), "resnet8", 1, &grey);
    let models = [
        make(&grey, &at("grey.safetensors"), &[]),
        make(&checkpoint(&at("colour.pt"), "resnet8", 3, &SAID), &at("colour.safetensors"), &[]),
    ];
    let level = |x: u32, y: u32| (6 * x + 2 * y) as u8;
    GrayImage::from_fn(32, 32, |x, y| Luma([level(x, y)])).save(at("grey.png")).unwrap();
    RgbImage::from_fn(32, 32, |x, y| image::Rgb([level(x, y); 3])).save(at("as-colours.png")).unwrap();
    RgbImage::from_pixel(32, 32, image::Rgb([255, 0, 0])).save(at("red.png")).unwrap();
    GrayImage::from_pixel(32, 32, Luma([76])).save(at("red-as-grey.png")).unwrap();
    let logits = |model: &str, picture: &str| {
        json("lrpet", &["run", model, "--input", &text(&at(picture))]).unwrap()["logits"].clone()
    };
    for model in &models {
        assert_eq!(logits(model, "grey.png"), logits(model, "as-colours.png"));
    }
    // ITU-R BT.601: 0.299 of red. BT.709 would have 54 in place of 76.
    assert_eq!(logits(&models[0], "red.png"), logits(&models[0], "red-as-grey.png"));
    assert_ne!(logits(&models[1], "red.png"), logits(&models[1], "red-as-grey.png"));
}

#[test]
fn several_pictures_give_a_line_each_and_bad_ones_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let weights = checkpoint(&at("w.pt"), "resnet8", 3, &SAID);
    let model = make(&weights, &at("model.safetensors"), &[]);
    let data = pictures(&at("data"), 3, |_| [40, 50]);
    let paths = ["blue/0.png", "red/1.jfif"].map(|name| text(&at("data").join(name)));
    let done = run("lrpet", &["run", &model, &paths[0], &paths[1], "--top", "2"]).unwrap();
    let lines: Vec<&str> = done.output.lines().collect();
    assert_eq!((done.status, lines.len()), (0, 2), "{}", done.errors);
    for (line, path) in lines.iter().zip(&paths) {
        assert!(line.starts_with(&format!("{path}: ")) && line.matches('%').count() == 2, "{line}");
    }

    // A folder, with pictures that cannot be read and files that are none.
    std::fs::write(at("data/red/text, so to speak.png"), "no picture").unwrap();
    std::fs::write(at("data/red/photo.jpg"), b"\0\0\0\x18ftypheic\0\0\0\0mif1heic").unwrap();
    std::fs::write(at("data/red/notes.txt"), "of no matter").unwrap();
    let csv = text(&at("rows.csv"));
    let done = run("lrpet", &["run", &model, &data, "--csv", &csv, "--top", "2", "--json"]).unwrap();
    assert_eq!(done.status, 1);
    assert!(done.errors.contains("error: 2 of 11 files could not be used"), "{}", done.errors);
    let document: Value = serde_json::from_str(&done.output).unwrap();
    let (images, failed) = (document["images"].as_array().unwrap(), document["failed"].as_array().unwrap());
    assert_eq!((images.len(), failed.len()), (9, 2));
    assert!(failed[0]["file"].as_str().unwrap().ends_with("photo.jpg"));
    assert!(failed[0]["reason"].as_str().unwrap().starts_with("HEIC is not read: convert"));
    let rows = std::fs::read_to_string(&csv).unwrap();
    let rows: Vec<&str> = rows.lines().collect();
    assert_eq!(rows[0], "file,image,class,label,probability,class_2,label_2,probability_2,error");
    assert_eq!(rows.len(), 12);
    for (row, image) in rows[1..].iter().zip(images) {
        let start = format!("{},,{},", image["file"].as_str().unwrap(), image["top"][0]["class"]);
        assert!(row.starts_with(&start) && row.ends_with(','), "{row}");
        assert_eq!(row.split(',').count(), 9, "{row}");
    }
    let bad = format!("\"{}\",,,,,,,,\"not a picture", text(&at("data/red/text, so to speak.png")));
    assert!(rows.iter().any(|row| row.starts_with(&bad)), "{rows:?}");
    let text_too = run("lrpet", &["run", &model, &data]).unwrap();
    assert!(text_too.output.contains("photo.jpg: HEIC is not read"), "{}", text_too.output);

    // One alone is an error by itself, and so is a folder without pictures.
    let error = refused("lrpet", &["run", &model, &text(&at("data/red/photo.jpg"))]).unwrap();
    assert!(error.contains("photo.jpg: HEIC is not read"), "{error}");
    std::fs::create_dir(at("empty")).unwrap();
    let error = refused("lrpet", &["run", &model, &text(&at("empty"))]).unwrap();
    assert!(error.contains("no picture in this folder"), "{error}");
    let inspected = run("lrpet", &["run", &model]).unwrap();
    assert_eq!(inspected.status, 2, "no input at all is wrong usage");
}

/// A model whose card says nothing of the preparation takes pictures of its size alone, unless told how.
#[test]
fn a_card_without_preparation_is_no_licence_to_guess() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let bytes = lrpet_tests::random_model::small_model(Shape::new(3, 16, 16), 8, 3).unwrap();
    let model = text(&at("model.safetensors"));
    std::fs::write(&model, bytes).unwrap();
    let exact = pictures(&at("exact"), 2, |_| [16, 16]);
    let other = pictures(&at("other"), 2, |number| [16 + number, 20]);
    for command in [&["eval", "--data"][..], &["run", "--input"]] {
        let words = [command[0], &model, command[1]];
        json("lrpet", &[&words[..], &[&exact]].concat()).unwrap();
        let done = run("lrpet", &[&words[..], &[&other]].concat()).unwrap();
        assert_eq!(done.status, 1);
        let said = done.errors.contains("--test-resize") || done.output.contains("--test-resize");
        assert!(said, "{}{}", done.output, done.errors);
        json("lrpet", &[&words[..], &[&other, "--test-resize", "1.2"]].concat()).unwrap();
    }
}
