//! From images to an answer through the command line: a little training on real data, and the models in `models/`.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use lrpet_tests::programs::{json, number, root, run};
use serde_json::Value;

const DATA: &str = "fashion-mnist";
const NET: &str = "resnet8";

/// A folder with a trained checkpoint and its dense and low-rank model files, made once for all tests.
struct Trained {
    folder: PathBuf,
    training: Value,
}

impl Trained {
    fn file(&self, name: &str) -> String {
        text(&self.folder.join(name))
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("paths of tests are text").to_owned()
}

/// Two epochs on 2560 images with a projection every five batches.
fn trained() -> &'static Trained {
    static TRAINED: OnceLock<Trained> = OnceLock::new();
    TRAINED.get_or_init(|| {
        let folder = root().join("target/test-models/whole-path");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let out = text(&folder.join("run"));
        let few = ["--limit", "2560", "--validation", "500", "--epochs", "2", "--project-iterations", "5"];
        let arguments = ["train", "--net", NET, "--data", DATA, "--prune", "0.6", "--out", &out];
        let training = json("lrpet", &[&arguments[..], &few].concat()).unwrap();
        let trained = Trained { folder, training };
        for (name, prune) in [("dense", "0"), ("lowrank", "0.6")] {
            let (checkpoint, file) =
                (trained.file("run/final.safetensors"), trained.file(&format!("{name}.safetensors")));
            let arguments = [
                "factorize",
                &checkpoint,
                "--net",
                NET,
                "--data",
                DATA,
                "--prune",
                prune,
                "--out",
                &file,
                "--no-accuracy",
            ];
            json("lrpet", &arguments).unwrap();
        }
        trained
    })
}

fn accuracy(model: &str, data: &str, engine: &str, limit: &str) -> f64 {
    let arguments = ["eval", model, "--data", data, "--engine", engine, "--limit", limit];
    number(&json("lrpet", &arguments).unwrap(), "accuracy").unwrap()
}

#[test]
fn a_little_training_learns_and_is_followed() {
    let trained = trained();
    let epochs = trained.training["epochs"].as_array().unwrap();
    assert_eq!(epochs.len(), 2);
    let loss = |epoch: &Value| number(epoch, "loss").unwrap();
    assert!(loss(&epochs[1]) < loss(&epochs[0]), "{epochs:?}");
    assert!(epochs.iter().all(|epoch| epoch["projected"] == true));
    let lines = std::fs::read_to_string(trained.folder.join("run/metrics.jsonl")).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    // Ten classes: guessing gives 0.1.
    assert!(number(&trained.training, "test.accuracy").unwrap() > 0.4, "{}", trained.training);
}

#[test]
fn projected_weights_lose_nothing_by_factoring() {
    let trained = trained();
    let exact = number(&trained.training, "test.accuracy").unwrap();
    let of = |name: &str| {
        number(&json("lrpet", &["eval", &trained.file(name), "--data", DATA]).unwrap(), "accuracy").unwrap()
    };
    // The weights have exactly the rank of the pairs, so that both files compute the trained network.
    let (dense, low) = (of("dense.safetensors"), of("lowrank.safetensors"));
    assert!((dense - exact).abs() <= 0.001, "dense file {dense}, trainer {exact}");
    assert!((low - exact).abs() <= 0.001, "low-rank file {low}, trainer {exact}");
}

#[test]
fn a_checkpoint_from_elsewhere_needs_no_data_set() {
    let trained = trained();
    let bytes = std::fs::read(trained.folder.join("run/final.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    // The same tensors, and not a word about them.
    let (stranger, model) =
        (trained.file("stranger.safetensors"), trained.file("stranger-model.safetensors"));
    std::fs::write(&stranger, safetensors::serialize(file.iter(), None).unwrap()).unwrap();
    let arguments =
        ["factorize", &stranger, "--net", NET, "--prune", "0.6", "--input", "1x28x28", "--out", &model];
    json("lrpet", &[&arguments[..], &["--mean", "0.286", "--std", "0.353", "--energy-transfer"]].concat())
        .unwrap();
    assert_eq!(run("lrpet-run", &["check", &model]).unwrap().status, 0);
    let known = json("lrpet", &["eval", &trained.file("lowrank.safetensors"), "--data", DATA]).unwrap();
    let stranger = json("lrpet", &["eval", &model, "--data", DATA]).unwrap();
    let difference = number(&known, "accuracy").unwrap() - number(&stranger, "accuracy").unwrap();
    assert!(difference.abs() <= 0.001, "{known} and {stranger}");
}

#[test]
fn inspect_counts_what_the_layers_add_up_to() {
    let trained = trained();
    let low = json("lrpet", &["inspect", &trained.file("lowrank.safetensors")]).unwrap();
    let dense = json("lrpet", &["inspect", &trained.file("dense.safetensors")]).unwrap();
    for key in ["macs", "params", "weight_bytes", "arena_bytes"] {
        let twin = format!("{key}_dense");
        assert_eq!(low[&twin], dense[key], "{key}");
        assert_eq!(dense[&twin], dense[key], "{key}");
    }
    let layers = low["layers"].as_array().unwrap();
    for key in ["macs", "macs_dense", "params", "params_dense", "weight_bytes", "weight_bytes_dense"] {
        let sum: f64 = layers.iter().map(|layer| number(layer, key).unwrap()).sum();
        assert_eq!(sum, number(&low, key).unwrap(), "{key}");
    }
    let rank = |name: &str| layers.iter().find(|layer| layer["name"] == name).unwrap()["rank"].as_u64();
    assert_eq!(
        ["conv1", "layer1.0.conv1", "layer2.0.conv2", "layer3.0.conv2", "fc"].map(rank),
        [Some(3), Some(6), Some(12), Some(25), None]
    );
    let factored = |key: &str| number(&low, key).unwrap();
    assert!(factored("macs_factored") <= 0.47 * factored("macs_factored_dense"));
    assert!(factored("arena_bytes") <= factored("arena_bytes_dense"));
}

#[test]
fn a_picture_and_its_values_give_the_logits_of_the_self_check() {
    let trained = trained();
    let model = trained.file("lowrank.safetensors");
    let bytes = std::fs::read(&model).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let pixels = &file.tensor("selfcheck.images").unwrap().data()[..28 * 28];
    let logits = file.tensor("selfcheck.logits").unwrap().data();
    let expected: Vec<f32> = logits[..40].as_chunks().0.iter().map(|x| f32::from_le_bytes(*x)).collect();

    let picture = trained.folder.join("sample.png");
    image::GrayImage::from_raw(28, 28, pixels.to_vec()).unwrap().save(&picture).unwrap();
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let card = metadata.metadata().as_ref().unwrap();
    let (mean, std): (f32, f32) = (card["mean"].parse().unwrap(), card["std"].parse().unwrap());
    let values: Vec<f32> = pixels.iter().map(|x| (f32::from(*x) / 255.0 - mean) / std).collect();
    let array = trained.folder.join("sample.npy");
    write_npy(&array, &values);

    for input in [picture, array] {
        let answer = json("lrpet", &["run", &model, "--input", &text(&input), "--top", "3"]).unwrap();
        let found: Vec<f64> =
            answer["logits"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(&expected) {
            assert!((a - f64::from(*b)).abs() < 1e-4, "{found:?} and {expected:?}");
        }
        assert_eq!(answer["top"].as_array().unwrap().len(), 3);
    }
}

/// An array of one grey 28×28 image in numpy's format 1.0.
fn write_npy(path: &Path, values: &[f32]) {
    let mut header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 28, 28), }".to_owned();
    while !(10 + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    values.iter().for_each(|x| bytes.extend(x.to_le_bytes()));
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn bench_and_lrpet_run_agree_on_the_layers() {
    let model = trained().file("lowrank.safetensors");
    let bench = json("lrpet", &["bench", &model, "--iterations", "5", "--warm-up", "1"]).unwrap();
    assert!(bench["total"]["median"].as_u64().unwrap() > 0);
    let layers = |bench: &Value| bench["layers"].as_array().unwrap().len();
    let small = json("lrpet-run", &["bench", &model, "--iterations", "5", "--warm-up", "1"]).unwrap();
    assert!(small["total"]["median"].as_u64().unwrap() > 0);
    // The same document, of the same kernels.
    for field in ["format", "board", "isa", "macs", "outputs_crc32", "memory"] {
        assert_eq!(small[field], bench[field], "{field}");
    }
    assert_eq!(small["model"]["crc32"], bench["model"]["crc32"]);
    assert_eq!(layers(&small), layers(&bench));
    assert_eq!(run("lrpet-run", &["check", &model]).unwrap().status, 0);
}

#[test]
fn kept_models_do_what_their_cards_say() {
    let mut seen = 0;
    for entry in std::fs::read_dir(root().join("models")).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|extension| extension != "safetensors") {
            continue;
        }
        seen += 1;
        let model = text(&file);
        let card = json("lrpet", &["inspect", &model]).unwrap()["card"].clone();
        let data = card["dataset"].as_str().unwrap();
        let runtime = accuracy(&model, data, "runtime", "10000");
        let stated: f64 = card["accuracy"].as_str().unwrap().parse().unwrap();
        assert!((runtime - stated).abs() < 5e-4, "{model}: {runtime}, its card says {stated}");
        let candle = accuracy(&model, data, "candle", "10000");
        assert!((runtime - candle).abs() <= 0.001, "{model}: runtime {runtime}, candle {candle}");
    }
    assert!(seen >= 2, "models/ holds {seen} models");
}
