//! Checkpoints from elsewhere, from the command line.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::path::Path;

use image::RgbImage;
use lrpet_tests::programs::{json, refused, run};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use zip::write::SimpleFileOptions;

/// A tensor in f32.
type Tensor = (Vec<usize>, Vec<u8>);

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Twelve pictures of each of `classes` colours, a folder for each.
fn pictures(folder: &Path, classes: usize) -> String {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for class in 0..classes {
        let folder = folder.join(format!("colour{class}"));
        std::fs::create_dir_all(&folder).unwrap();
        for number in 0..12 {
            let picture = RgbImage::from_fn(24, 24, |_, _| {
                image::Rgb(
                    [0, 1, 2].map(|channel| rng.random_range(0..90) + 120 * u8::from(channel == class)),
                )
            });
            picture.save(folder.join(format!("{number}.png"))).unwrap();
        }
    }
    text(folder).to_owned()
}

fn train<'a>(data: &'a str, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let words =
        ["train", "--net", "resnet8", "--size", "16", "--batch", "8", "--epochs", "1", "--lr", "0.01"];
    [&words[..], &["--data", data, "--out", text(out)], more].concat()
}

fn tensors(file: &Path) -> BTreeMap<String, Tensor> {
    let bytes = std::fs::read(file).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |view: TensorView<'_>| (view.shape().to_vec(), view.data().to_vec());
    file.iter().map(|(name, view)| (name.to_owned(), tensor(view))).collect()
}

fn write(path: &Path, tensors: &BTreeMap<String, Tensor>) {
    let views = tensors
        .iter()
        .map(|(name, (shape, bytes))| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// A checkpoint of PyTorch with `tensors` under `state_dict`.
fn pth(path: &Path, tensors: &BTreeMap<String, Tensor>) {
    let mut pickle = b"\x80\x02}(".to_vec();
    let string = |pickle: &mut Vec<u8>, text: &str| {
        pickle.push(b'X');
        pickle.extend((text.len() as u32).to_le_bytes());
        pickle.extend(text.as_bytes());
    };
    let ints = |pickle: &mut Vec<u8>, values: &[usize]| {
        pickle.push(b'(');
        for value in values {
            pickle.push(b'J');
            pickle.extend((*value as i32).to_le_bytes());
        }
        pickle.push(b't');
    };
    string(&mut pickle, "epoch");
    pickle.extend(b"K\x05");
    string(&mut pickle, "state_dict");
    pickle.extend(b"ccollections\nOrderedDict\n)R(");
    for (number, (name, (shape, bytes))) in tensors.iter().enumerate() {
        string(&mut pickle, name);
        pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        string(&mut pickle, "storage");
        pickle.extend(b"ctorch\nFloatStorage\n");
        string(&mut pickle, &number.to_string());
        string(&mut pickle, "cpu");
        pickle.push(b'J');
        pickle.extend((bytes.len() as i32 / 4).to_le_bytes());
        pickle.extend(b"tQK\x00");
        ints(&mut pickle, shape);
        let strides: Vec<usize> = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect();
        ints(&mut pickle, &strides);
        pickle.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    }
    pickle.extend(b"uu.");
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    zip.start_file("weights/data.pkl", options).unwrap();
    zip.write_all(&pickle).unwrap();
    for (number, (_, bytes)) in tensors.values().enumerate() {
        zip.start_file(format!("weights/data/{number}"), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    std::fs::write(path, zip.finish().unwrap().into_inner()).unwrap();
}

#[test]
fn a_checkpoint_of_pytorch_makes_the_same_model_and_starts_a_training_on_other_classes() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (three, two) = (pictures(&at("three"), 3), pictures(&at("two"), 2));
    json("lrpet", &train(&three, &at("first"), &[])).unwrap();
    let weights = tensors(&at("first/final.safetensors"));
    let torch: BTreeMap<String, Tensor> = weights
        .iter()
        .map(|(name, tensor)| (format!("module.{}", name.replace("fc.", "linear.")), tensor.clone()))
        .collect();
    pth(&at("torch.pth"), &torch);
    write(&at("plain.safetensors"), &weights);

    // The same weights make the same model, whatever holds them.
    let factorize = |from: &str, to: &str| {
        let (from, to) = (at(from), at(to));
        let words =
            ["factorize", text(&from), "--net", "resnet8", "--input", "3x16x16", "--mean", "0.5,0.5,0.5"];
        json("lrpet", &[&words[..], &["--std", "0.2,0.2,0.2", "--prune", "0.5", "--out", text(&to)]].concat())
            .unwrap()
    };
    factorize("plain.safetensors", "plain.model");
    let document = factorize("torch.pth", "torch.model");
    let notes = document["notes"].to_string();
    for note in ["under `state_dict`", "`module.` in front", "`linear` is taken"] {
        assert!(notes.contains(note), "{notes}");
    }
    assert!(tensors_of(&at("plain.model")) == tensors_of(&at("torch.model")));

    // Two classes where the file has three.
    let (out, file) = (at("second"), at("torch.pth"));
    let init = ["--init", text(&file)];
    let error = refused("lrpet", &train(&two, &out, &init)).unwrap();
    assert!(
        error.contains("torch.pth") && error.contains("3 classes") && error.contains("--new-head"),
        "{error}"
    );
    assert!(!out.exists());
    let fresh = [&init[..], &["--new-head", "--prune", "0.5"]].concat();
    let trained = json("lrpet", &train(&two, &out, &fresh)).unwrap();
    assert_eq!(trained["init"]["fresh"], serde_json::json!(["fc"]));
    assert!(
        trained["init"]["loaded"].as_array().unwrap().len() == 9 && trained["init"]["file"] == text(&file)
    );
    let summary = std::fs::read_to_string(out.join("summary.md")).unwrap();
    assert!(summary.contains("9 layers from") && summary.contains("fresh: fc"), "{summary}");
    assert_eq!(tensors(&out.join("final.safetensors"))["fc.weight"].0, [2, 64]);
    assert_eq!(run("lrpet", &train(&two, &at("third"), &["--new-head"])).unwrap().status, 2);

    // In a sweep, the run that starts from another one has its head.
    let words = train(&two, &at("sweep"), &fresh[..3])
        .split_off(1)
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>();
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    words.extend(["--prune", "0,0.5", "--warm-start", "dense", "--boards", "host"]);
    let sweep = json("lrpet", &[&["sweep"][..], &words].concat()).unwrap();
    assert_eq!(sweep["rows"].as_array().map_or(0, Vec::len), 2, "{sweep}");
}

/// The tensors of a file in whatever types.
fn tensors_of(file: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = std::fs::read(file).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter().map(|(name, view)| (name.to_owned(), view.data().to_vec())).collect()
}

#[test]
fn a_checkpoint_without_the_statistics_of_one_layer_is_no_model_and_starts_a_training() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let photos = pictures(&at("photos"), 2);
    json("lrpet", &train(&photos, &at("first"), &[])).unwrap();
    let mut weights = tensors(&at("first/final.safetensors"));
    weights.retain(|name, _| !name.starts_with("layer1.0.bn2.running"));
    let (file, model) = (at("some.safetensors"), at("model"));
    write(&file, &weights);
    let factorize =
        ["factorize", text(&file), "--net", "resnet8", "--input", "3x16x16", "--out", text(&model)];
    let error = refused("lrpet", &factorize).unwrap();
    for word in ["some.safetensors", "of layer1.0.bn2;", "lrpet train --init", "--reestimate"] {
        assert!(error.contains(word), "{error}");
    }
    let init = ["--init", text(&file)];
    let error = refused("lrpet", &train(&photos, &at("none"), &[&init[..], &["--reestimate", "0"]].concat()));
    assert!(error.as_ref().is_ok_and(|error| error.contains("--reestimate BATCHES")), "{error:?}");
    let done = run("lrpet", &train(&photos, &at("second"), &init)).unwrap();
    assert!(
        done.status == 0 && done.errors.contains("no running statistics of layer1.0.bn2, while"),
        "{}",
        done.errors
    );
    assert!(tensors(&at("second/final.safetensors")).contains_key("layer1.0.bn2.running_var"));

    // Without γ and β of another layer too.
    weights.retain(|name, _| !matches!(name.as_str(), "bn1.weight" | "bn1.bias"));
    write(&file, &weights);
    let done = run("lrpet", &train(&photos, &at("third"), &init)).unwrap();
    assert!(done.status == 0 && done.errors.contains("(affine=False) of bn1"), "{}", done.errors);
}

#[test]
fn a_checkpoint_where_a_model_is_needed_names_the_command_that_makes_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weights.safetensors");
    write(&file, &BTreeMap::from([("fc.weight".to_owned(), (vec![1], vec![0; 4]))]));
    let file = text(&file);
    for words in [&["inspect", file][..], &["bench", file], &["eval", file, "--data", "fashion-mnist"]] {
        let error = refused("lrpet", words).unwrap();
        assert!(
            error.contains("lrpet factorize CHECKPOINT --out MODEL (with --prune 0 for a dense one)"),
            "{error}"
        );
    }
}

#[test]
fn what_is_no_checkpoint_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model");
    let refuses = |name: &str, bytes: &[u8], word: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        let error =
            refused("lrpet", &["factorize", text(&file), "--net", "resnet8", "--out", text(&out)]).unwrap();
        assert!(error.contains(name) && error.contains(word), "{error}");
        assert!(!out.exists());
    };
    refuses("old.pth", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "torch.save(torch.load(OLD");
    refuses("cut.pth", b"PK\x03\x04\x00\x00", "zip archive");
    refuses("empty.pth", b"", "");
    refuses("keras.h5", b"\x89HDF\r\n\x1a\n and more", "HDF5");
}
