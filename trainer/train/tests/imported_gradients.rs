//! Gradients of imported networks against PyTorch's in f64. They need a Python with torchvision, which `cargo xtask setup --bench`
//! installs: `cargo test --release -p lrpet-train --test imported_gradients -- --ignored --nocapture`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::{Device, Tensor};
use lrpet_network::Checkpoint;
use lrpet_network::checkpoint::{Array, Purpose};
use lrpet_network::import::{Imported, Options, import};
use lrpet_train::{Mode, Trainable, cross_entropy};

/// Largest relative error: of a tensor's gradient g, ‖g − g₆₄‖ / ‖g₆₄‖.
const BOUND: f64 = 1e-4;
/// The share of the longest gradient below which one of PyTorch's counts as none: biases in front of a normalisation have none.
const NONE: f64 = 1e-9;
/// The share that such a gradient of ours may have, whose sums in f32 round.
const NONE_OF_OURS: f64 = 1e-6;
/// Convolutions of DenseNet that have a bias here, as no normalisation follows them that is one of ours, and none in PyTorch.
const DENSENET_BIASES: [&str; 8] = [
    "features.denseblock1.denselayer1.conv2.bias",
    "features.denseblock1.denselayer2.conv2.bias",
    "features.denseblock2.denselayer1.conv2.bias",
    "features.denseblock2.denselayer2.conv2.bias",
    "features.denseblock3.denselayer1.conv2.bias",
    "features.denseblock3.denselayer2.conv2.bias",
    "features.transition1.conv.bias",
    "features.transition2.conv.bias",
];
/// Of each network how many tensors have a gradient that is compared, and those of ours that are none of PyTorch's.
const NETWORKS: [(&str, usize, &[&str]); 12] = [
    ("convnext", 28, &[]),
    ("decoder", 14, &[]),
    ("densenet", 49, &DENSENET_BIASES),
    ("efficientnet", 65, &[]),
    ("inception", 41, &[]),
    ("mnasnet", 141, &[]),
    ("mobilenet_v2", 141, &[]),
    ("mobilenet_v3_small", 131, &[]),
    ("resnet", 38, &[]),
    ("resnext", 53, &[]),
    ("shufflenet_v2", 151, &[]),
    ("squeezenet1_1", 52, &[]),
];

/// A Python that has torchvision.
fn python() -> Option<PathBuf> {
    let has = |python: &PathBuf| {
        let output = Command::new(python).args(["-c", "import torchvision"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    ["python3", "/usr/bin/python3"].map(PathBuf::from).into_iter().find(has)
}

/// The names of the networks that the script writes to `folder`.
fn write(python: &Path, folder: &Path) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/python/gradients.py");
    let output = Command::new(python).arg(script).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let networks = files.filter(|file| file.extension().is_some_and(|extension| extension == "onnx"));
    let mut names: Vec<String> =
        networks.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// The trained network's gradients by name, of the batch in `theirs`.
fn gradients(imported: Imported, theirs: &Checkpoint) -> BTreeMap<String, (Vec<f32>, Vec<f32>)> {
    let Imported { network, checkpoint, .. } = imported;
    let device = Device::Cpu;
    let mut model = Trainable::new(&network, 1, &device).unwrap();
    let fitted = checkpoint.fit(&network, Purpose::Training { new_head: false }).unwrap();
    let tensor = |array: &Array| Tensor::from_slice(&array.values, array.shape.clone(), &device).unwrap();
    let tensors = fitted.checkpoint.tensors.iter().map(|(name, array)| (name.clone(), tensor(array)));
    model.load(&tensors.collect()).unwrap();
    let labels: Vec<u32> = theirs.values("labels").unwrap().iter().map(|&label| label as u32).collect();
    let logits = model.forward(&tensor(&theirs.tensors["images"]), Mode::TRAIN).unwrap();
    let loss = cross_entropy(&logits, &labels).unwrap();
    let gradients = model.backward(&loss.gradient).unwrap();
    let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let trained = model.parameters().trained().iter();
    trained
        .map(|(name, var)| (name.clone(), (numbers(var.as_tensor()), numbers(gradients.get(name).unwrap()))))
        .collect()
}

fn length(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

/// Values of a 4-D array with the two first axes exchanged: PyTorch's order of a transposed convolution's weights is another.
fn exchanged(array: &Array) -> Option<Vec<f32>> {
    let &[a, b, h, w] = array.shape.as_slice() else { return None };
    let taps = h * w;
    let place = |at: usize| (at / taps % a * b + at / taps / a) * taps + at % taps;
    Some((0..a * b * taps).map(|at| array.values[place(at)]).collect())
}

/// PyTorch's gradient by a tensor of ours: of the parameter that has its values, first of all the one of its name.
fn counterpart(name: &str, values: &[f32], theirs: &Checkpoint) -> Option<Vec<f32>> {
    let is = |given: &[f32]| {
        let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-4 * a.abs().max(1e-3);
        given.len() == values.len() && given.iter().zip(values).all(close)
    };
    let of = |other: &str| {
        let value = &theirs.tensors[&format!("value.{other}")];
        let gradient = &theirs.tensors[&format!("gradient.{other}")];
        if is(&value.values) {
            return Some(gradient.values.clone());
        }
        exchanged(value).filter(|value| is(value)).and_then(|_| exchanged(gradient))
    };
    let mut others: Vec<&str> = theirs.tensors.keys().filter_map(|key| key.strip_prefix("value.")).collect();
    others.sort_by_key(|other| *other != name);
    others.into_iter().find_map(of)
}

#[test]
#[ignore = "needs torchvision: cargo xtask setup --bench"]
fn gradients_of_imported_networks_are_pytorchs() {
    let python = python().expect("no Python has torchvision: cargo xtask setup --bench");
    let folder = tempfile::tempdir().unwrap();
    let names = write(&python, folder.path());
    assert_eq!(names, NETWORKS.map(|(name, _, _)| name));
    for (name, tensors, lone) in NETWORKS {
        let theirs = Checkpoint::read(&folder.path().join(format!("{name}.pt"))).unwrap();
        let file = folder.path().join(format!("{name}.onnx"));
        let ours = gradients(import(&file, &Options::default()).unwrap(), &theirs);
        let longest = theirs.tensors.iter().filter(|(name, _)| name.starts_with("gradient."));
        let longest = longest.map(|(_, array)| length(array.values.iter().map(|&value| f64::from(value))));
        let longest = longest.fold(0.0, f64::max);
        let (mut compared, mut numbers, mut furthest) = (0, 0, (0.0, ""));
        let (mut alone, mut least) = (Vec::new(), 0.0_f64);
        for (tensor, (values, found)) in &ours {
            let Some(wanted) = counterpart(tensor, values, &theirs) else {
                alone.push(tensor.as_str());
                continue;
            };
            let wide = || wanted.iter().map(|&value| f64::from(value));
            if length(wide()) <= NONE * longest {
                let share = length(found.iter().map(|&value| f64::from(value))) / longest;
                assert!(
                    share <= NONE_OF_OURS,
                    "{name}: {tensor} has a gradient of {share:.1e} of the longest"
                );
                least = least.max(share);
                continue;
            }
            let error = length(found.iter().zip(wide()).map(|(&a, b)| f64::from(a) - b)) / length(wide());
            assert!(error.is_finite() && error <= BOUND, "{name}: {tensor} is off by {error:.2e}");
            (compared, numbers) = (compared + 1, numbers + found.len());
            if error > furthest.0 {
                furthest = (error, tensor);
            }
        }
        let (error, tensor) = furthest;
        println!("| {name} | {compared} | {numbers} | {error:.1e} | `{tensor}` |");
        println!(
            "where PyTorch has none, at most {least:.1e} of the longest; without counterpart: {alone:?}"
        );
        assert_eq!((compared, &alone[..]), (tensors, lone), "{name}");
    }
}
