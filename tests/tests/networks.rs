//! Networks as files: what is shown is what is trained, checkpoints remember it, and errors name the line.

use std::collections::BTreeMap;
use std::path::Path;

use lrpet_tests::programs::{json, number, python, refused, root, run};

/// Prints a network as a file in `folder`.
fn shown(folder: &Path, file: &str, words: &[&str]) -> String {
    let done = run("lrpet", &[&["network", "show"], words].concat()).unwrap();
    assert_eq!(done.status, 0, "{}", done.errors);
    write(folder, file, &done.output)
}

fn write(folder: &Path, file: &str, text: &str) -> String {
    let path = folder.join(file);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// What `show` is told of the pictures of [`pictures`].
const SHAPE: [&str; 4] = ["--input", "3x16x16", "--classes", "2"];

/// A data set of pictures 3×16×16 of two classes, one brighter than the other; its folder.
fn pictures(folder: &Path) -> String {
    let set = folder.join("set");
    for (part, count) in [("train", 16), ("test", 4)] {
        for (class, light) in [("dark", 40), ("light", 160)] {
            let to = set.join(part).join(class);
            std::fs::create_dir_all(&to).unwrap();
            for number in 0..count {
                let pixel = |x: u32, y: u32| light + ((x * 7 + y * 13 + number * 29) % 64) as u8;
                let picture =
                    image::RgbImage::from_fn(16, 16, |x, y| image::Rgb([pixel(x, y), light, pixel(y, x)]));
                picture.save(to.join(format!("{number}.png"))).unwrap();
            }
        }
    }
    set.to_str().unwrap().to_owned()
}

/// A short training on `data`; its folder.
fn train(folder: &Path, data: &str, net: &str, out: &str) -> String {
    let out = folder.join(out).to_str().unwrap().to_owned();
    json("lrpet", &words(data, net, &out, &[])).unwrap();
    out
}

fn words<'w>(data: &'w str, net: &'w str, out: &'w str, more: &[&'w str]) -> Vec<&'w str> {
    let plain = "train --size 16 --batch 16 --validation 0 --reestimate 2 --prune 0.6 --epochs 1";
    let mut words: Vec<&str> = plain.split(' ').collect();
    words.extend(["--data", data, "--net", net, "--out", out]);
    words.extend(more);
    words
}

/// Bytes of every tensor of the final weights, and their metadata.
fn weights(out: &str) -> (BTreeMap<String, Vec<u8>>, BTreeMap<String, String>) {
    weights_of(&Path::new(out).join("final.safetensors"))
}

/// As [`weights`], of a file.
fn weights_of(path: &Path) -> (BTreeMap<String, Vec<u8>>, BTreeMap<String, String>) {
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.iter().map(|(name, tensor)| (name.to_owned(), tensor.data().to_vec())).collect();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    (tensors, header.metadata().clone().unwrap().into_iter().collect())
}

#[test]
fn a_file_trains_to_the_bits_of_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let data = pictures(folder);
    let file = shown(folder, "f.toml", &[&["resnet20"][..], &SHAPE].concat());
    let (of_name, said) = weights(&train(folder, &data, "resnet20", "name"));
    let (of_file, said_too) = weights(&train(folder, &data, &file, "file"));
    assert_eq!(of_name, of_file);
    // It is the known network: each may go on from the other.
    assert_eq!((&said["network"], &said["settings"]), (&said_too["network"], &said_too["settings"]));
    assert!(!said_too.contains_key("network_file"));
}

/// The layers of a network's file without their names, which say what reads what: by their places.
fn nameless(text: &str) -> Vec<String> {
    let layers: Vec<&str> = text.split("[[layer]]").skip(1).collect();
    let named = |layer: &str| {
        let line = layer.lines().find(|line| line.starts_with("name = "));
        line.map(|line| line["name = ".len()..].to_owned())
    };
    let names: Vec<Option<String>> = layers.iter().map(|layer| named(layer)).collect();
    let placed = |line: &str| match line.split_once(" = ") {
        Some(("name" | "norm", _)) => None,
        Some((field @ ("input" | "residual"), name)) => {
            let place = names.iter().position(|other| other.as_deref() == Some(name));
            Some(format!("{field} = {place:?}"))
        }
        _ => Some(line.to_owned()),
    };
    layers.iter().map(|layer| layer.lines().filter_map(placed).collect::<Vec<_>>().join(";")).collect()
}

#[test]
fn an_imported_network_trains_to_the_bits_of_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let data = pictures(folder);
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (onnx, mine) = (path("r.onnx"), path("mine"));
    let script = root().join("tests/python/resnet20.py");
    let written = std::process::Command::new(python().unwrap()).arg(script).arg(&onnx).output().unwrap();
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let import = json("lrpet", &["network", "import", &onnx, "--out", &mine]).unwrap();
    assert_eq!(import["report"]["patterns"]["every n-th pixel, and zero channels: shortcut"], 2);

    // The same operations in the same order: a step of training costs the same.
    let imported = std::fs::read_to_string(Path::new(&mine).join("network.toml")).unwrap();
    let file = shown(folder, "f.toml", &[&["resnet20"][..], &SHAPE].concat());
    let known = std::fs::read_to_string(file).unwrap();
    assert_eq!(nameless(&imported), nameless(&known));
    assert_eq!(nameless(&known).len(), 23);

    let weights_file = path("mine/weights.safetensors");
    let by_name = folder.join("name").to_str().unwrap().to_owned();
    json("lrpet", &words(&data, "resnet20", &by_name, &["--init", &weights_file])).unwrap();
    let by_file = train(folder, &data, &onnx, "file");
    let (of_name, of_file) = (weights(&by_name).0, weights(&by_file).0);
    assert_eq!(of_name, of_file);
    assert_ne!(of_name["fc.bias"], weights_of(Path::new(&weights_file)).0["fc.bias"], "nothing was learnt");

    // The same model but for names.
    let model = |out: &str| {
        let model = path(&format!("{}.safetensors", Path::new(out).file_name().unwrap().to_str().unwrap()));
        json("lrpet", &["factorize", &format!("{out}/final.safetensors"), "--out", &model]).unwrap();
        let said = json("lrpet", &["inspect", &model]).unwrap();
        let layers = said["layers"].as_array().unwrap().iter().map(|layer| {
            let mut layer = layer.clone();
            layer.as_object_mut().unwrap().remove("name");
            layer
        });
        let sizes = ["macs", "params", "arena_bytes", "self_check_samples"].map(|key| said[key].clone());
        (layers.collect::<Vec<_>>(), sizes, weights_of(Path::new(&model)).0)
    };
    let ((layers, sizes, tensors), (layers_too, sizes_too, tensors_too)) = (model(&by_name), model(&by_file));
    assert_eq!((layers, sizes), (layers_too, sizes_too));
    assert_eq!(tensors.keys().collect::<Vec<_>>(), tensors_too.keys().collect::<Vec<_>>());
    let other: Vec<_> = tensors.iter().filter(|(name, bytes)| tensors_too[*name] != **bytes).collect();
    assert!(other.is_empty(), "{:?}", other.iter().map(|(name, _)| name).collect::<Vec<_>>());
}

#[test]
fn an_edited_network_is_trained_and_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let data = pictures(folder);
    let file = shown(folder, "known.toml", &[&["resnet8"][..], &SHAPE].concat());
    let known = std::fs::read_to_string(&file).unwrap();
    // Narrower, with Keras' normalisation in one place and none of its shift in another.
    let mine = known.replace("name = \"resnet8\"", "name = \"mine\"").replace("out = 64", "out = 24");
    let mine = mine.replace("norm = \"bn1\"", "norm = { name = \"bn1\", epsilon = 0.001, momentum = 0.01 }");
    let mine = mine.replace("norm = \"layer1.0.bn1\"", "norm = { name = \"layer1.0.bn1\", shift = false }");
    let file = write(folder, "mine.toml", &mine);
    let out = train(folder, &data, &file, "mine");
    let (tensors, metadata) = weights(&out);
    assert!(!tensors.contains_key("layer1.0.bn1.bias") && tensors.contains_key("layer1.0.bn1.weight"));
    assert_eq!(metadata["network_file"], mine);

    // The weights say what network they are of.
    let last = format!("{out}/final.safetensors");
    assert_eq!(run("lrpet", &["network", "show", &last]).unwrap().output, mine);
    let model = folder.join("mine.safetensors").to_str().unwrap().to_owned();
    let done = json("lrpet", &["factorize", &last, "--out", &model]).unwrap();
    let checked = json("lrpet", &["network", "check", &file]).unwrap();
    assert_eq!(number(&done, "macs_dense").unwrap(), number(&checked, "macs").unwrap());
    let card = json("lrpet", &["inspect", &model]).unwrap()["card"].clone();
    assert_eq!(card["network"], "mine");
    assert_eq!(card["network_digest"].as_str().unwrap().len(), 16);
    json("lrpet", &["factorize", &last, "--net", &file, "--out", &model]).unwrap();
    let error = refused("lrpet", &["factorize", &last, "--net", "resnet8", "--out", &model]).unwrap();
    assert!(error.contains("final.safetensors") && error.contains("leave --net away"), "{error}");

    // Another network of the same tensors is another one, for a model and for a run that goes on.
    let other = write(folder, "other.toml", &mine.replacen("epsilon = 0.001", "epsilon = 0.002", 1));
    let error = refused("lrpet", &["factorize", &last, "--net", &other, "--out", &model]).unwrap();
    assert!(error.contains("\"conv1\"") && error.contains("epsilon = 0.001"), "{error}");
    let error = refused("lrpet", &words(&data, &other, &out, &["--resume"])).unwrap();
    assert!(error.contains("\"conv1\"") && error.contains("epsilon = 0.002"), "{error}");
    let error = refused("lrpet", &words(&data, "resnet8", &out, &["--resume"])).unwrap();
    assert!(error.contains("network"), "{error}");
    // What it is about changes nothing.
    let renamed = write(folder, "renamed.toml", &mine.replacen("about = \"", "about = \"Mine: ", 1));
    json("lrpet", &words(&data, &renamed, &out, &["--resume"])).unwrap();

    let drawing = folder.join("mine.svg").to_str().unwrap().to_owned();
    json("lrpet", &["network", "draw", &model, "--out", &drawing]).unwrap();
    let drawn = std::fs::read_to_string(&drawing).unwrap();
    assert!(drawn.contains("rank 6 of 16") && drawn.contains(">mine<"), "{drawn}");
}

#[test]
fn networks_are_listed_and_checked() {
    let listed = json("lrpet", &["network", "list"]).unwrap();
    let names: Vec<&str> = listed["networks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|network| network["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"resnet8") && names.len() > 15);
    let checked = json("lrpet", &["network", "check", "resnet8"]).unwrap();
    assert_eq!(number(&checked, "macs").unwrap(), 12_501_632.0);
    assert_eq!(checked["layers"][0]["pair"]["pays_up_to"], 10);
    assert_eq!(checked["layers"][1]["inputs"], serde_json::json!(["conv1"]));
    assert_eq!(checked["known"], true);
}

#[test]
fn what_is_wrong_with_a_file_is_one_error_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = shown(folder, "f.toml", &["resnet8"]);
    let text = std::fs::read_to_string(&file).unwrap();
    for (old, new, said) in [
        (
            "padding = 1",
            "paddin = 1",
            "line 19: layer \"conv1\": `paddin`: there is no such field (did you mean `padding`?)",
        ),
        (
            "op = \"conv\"",
            "op = \"convolution\"",
            "line 15: layer \"conv1\": `op`: `convolution` is no operation",
        ),
        ("residual = \"conv1\"", "residual = \"fc\"", "a later one (line"),
        ("residual = \"conv1\"", "residual = \"input\"", "the residual of 3×32×32"),
        ("version = 1", "version = 3", "line 2: `version`"),
    ] {
        assert!(text.contains(old), "{old}");
        let wrong = write(folder, "wrong.toml", &text.replacen(old, new, 1));
        let out = folder.join("out").to_str().unwrap().to_owned();
        let commands: [&[&str]; 2] =
            [&["network", "check", &wrong], &["train", "--net", &wrong, "--data", "cifar10", "--out", &out]];
        for command in commands {
            let error = refused("lrpet", command).unwrap();
            assert!(error.contains("wrong.toml, line ") && error.contains(said), "{error}");
        }
    }
    let error = refused("lrpet", &["network", "check", "folder/none.toml"]).unwrap();
    assert!(error.contains("folder/none.toml"), "{error}");
    let error = refused("lrpet", &["network", "check", "resnet9"]).unwrap();
    assert!(error.contains("did you mean `resnet8`"), "{error}");
    // For other images, for other classes, and for none.
    let data = pictures(folder);
    let other = |net: &str| refused("lrpet", &words(&data, net, "out", &[])).unwrap();
    let error = other(&file);
    assert!(error.contains("f.toml") && error.contains("3×32×32") && error.contains("3×16×16"), "{error}");
    let small = text.replace("height = 32", "height = 16").replace("width = 32", "width = 16");
    let error = other(&write(folder, "ten.toml", &small));
    assert!(error.contains("ten.toml") && error.contains("10 classes") && error.contains('2'), "{error}");
    let error = other(&write(folder, "values.toml", &small.replace("classes = 10", "kind = \"values\"")));
    assert!(error.contains("values.toml") && error.contains("its output is values"), "{error}");
}
