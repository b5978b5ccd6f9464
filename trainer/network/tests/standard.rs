//! Networks of ONNX files: the standard's own tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use lrpet_network::checkpoint::Array;
use lrpet_network::export::Folded;
use lrpet_network::export::reference::{Storage, logits};
use lrpet_network::import::{ImportError, Imported, Options, import, input_names, output_names};
use lrpet_network::lrpet::RankPlan;
use lrpet_network::{Checkpoint, Network, Normalization};

/// Operators whose cases are run.
const OPERATORS: [&str; 63] = [
    "Abs",
    "Add",
    "ArgMax",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Celu",
    "Clip",
    "Concat",
    "Conv",
    "ConvTranspose",
    "DepthToSpace",
    "Div",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Flatten",
    "Gather",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GroupNormalization",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "InstanceNormalization",
    "LayerNormalization",
    "LeakyRelu",
    "LogSoftmax",
    "MatMul",
    "Max",
    "MaxPool",
    "Min",
    "Mish",
    "Mul",
    "Neg",
    "PRelu",
    "Pad",
    "Pow",
    "Reciprocal",
    "ReduceMax",
    "ReduceMean",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Resize",
    "Selu",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Softplus",
    "Softsign",
    "SpaceToDepth",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Swish",
    "Tanh",
    "Transpose",
    "Unsqueeze",
];

/// The folder of the whole project.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What became of a case.
enum Outcome {
    Passed,
    Refused(String),
    Failed(String),
}

/// An array of a numpy file of f32.
fn array(path: &Path) -> Option<Array> {
    let bytes = std::fs::read(path).ok()?;
    let head = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let text = std::str::from_utf8(&bytes[10..10 + head]).ok()?;
    let shape = text.split("'shape': (").nth(1)?.split(')').next()?;
    let shape = shape.split(',').filter_map(|axis| axis.trim().parse().ok()).collect();
    let values =
        bytes[10 + head..].as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    Some(Array { shape, values })
}

/// One image of an array of `images`.
fn part(array: &Array, image: usize, images: usize) -> Array {
    let each = array.values.len() / images;
    let mut shape = array.shape.clone();
    shape[0] /= images;
    Array { shape, values: array.values[image * each..(image + 1) * each].to_vec() }
}

/// The folders of the cases, written by the package that brings them.
fn cases(folder: &Path) {
    let python = root().join("target/venv/bin/python");
    assert!(python.exists(), "the Python of the tests is missing: run `cargo xtask setup`");
    let script = root().join("tests/python/onnx_cases.py");
    let output = Command::new(python).arg(script).arg(folder).args(OPERATORS).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The file for the input of one image, its other inputs being constants.
fn import_case(
    model: &Path,
    names: &[String],
    outputs: &[String],
    inputs: &[Option<Array>],
) -> Result<Imported, ImportError> {
    let mut options = Options::default();
    for (at, (name, input)) in names.iter().zip(inputs).enumerate() {
        match input {
            Some(input) if at == 0 => {
                options.axes.insert(name.clone(), input.shape.clone());
            }
            Some(input) => {
                options.constants.insert(name.clone(), input.clone());
            }
            None => {}
        }
    }
    match import(model, &options) {
        // Where not all of several outputs can be, the first.
        Err(_) if outputs.len() > 1 => {
            options.outputs = outputs[..1].to_vec();
            import(model, &options)
        }
        other => other,
    }
}

/// Imports a case and computes it, one image after another.
fn run(folder: &Path) -> Outcome {
    let model = folder.join("model.onnx");
    let file = |kind: &str, index: usize| array(&folder.join(format!("0-{kind}-{index}.npy")));
    let reason =
        |error: &ImportError| error.to_string().split("model.onnx: ").last().unwrap_or_default().to_owned();
    let (names, outputs) = match input_names(&model).and_then(|names| Ok((names, output_names(&model)?))) {
        Ok(names) => names,
        Err(error) => return Outcome::Refused(reason(&error)),
    };
    let inputs: Vec<Option<Array>> = (0..names.len()).map(|index| file("input", index)).collect();
    let results: Option<Vec<Array>> = (0..outputs.len()).map(|index| file("output", index)).collect();
    let (Some(Some(first)), Some(results)) = (inputs.first(), results) else {
        return Outcome::Refused("its data are no arrays of numbers".to_owned());
    };
    let all = if first.shape.is_empty() { 1 } else { first.shape[0] };
    // As one image, or its first axis as that of images.
    let mut outcome = Outcome::Refused(String::new());
    for images in if all > 1 && matches!(first.shape.len(), 2 | 4) { vec![all] } else { vec![1, all] } {
        let axis = |array: &Array| array.shape.first() == Some(&images);
        if images > 1 && !results.iter().all(axis) {
            return Outcome::Refused("its result has no axis of images".to_owned());
        }
        outcome = Outcome::Passed;
        for image in 0..images {
            let of_image = |(at, input): (usize, &Option<Array>)| {
                let input = input.as_ref()?;
                let cut = images > 1
                    && (at == 0
                        || (input.shape.len() == first.shape.len()
                            && axis(input)
                            && input.shape == first.shape));
                Some(if cut { part(input, image, images) } else { input.clone() })
            };
            let inputs: Vec<Option<Array>> = inputs.iter().enumerate().map(of_image).collect();
            let imported = match import_case(&model, &names, &outputs, &inputs) {
                Ok(imported) => imported,
                Err(error) => {
                    outcome = Outcome::Refused(reason(&error));
                    break;
                }
            };
            let Imported { network, checkpoint, .. } = &imported;
            let several = network.outputs().len();
            let of_image = |result: &Array| match images > 1 {
                true => part(result, image, images).values,
                false => result.values.clone(),
            };
            let expected: Vec<f32> = results[..several].iter().flat_map(of_image).collect();
            if network.input.len() != inputs[0].as_ref().unwrap().values.len() {
                outcome = Outcome::Refused("the network takes one image".to_owned());
                break;
            }
            let values = match evaluate(network, checkpoint, &inputs[0].as_ref().unwrap().values) {
                Ok(values) => values,
                Err(error) => return Outcome::Failed(error),
            };
            let same = |(a, &b): (&f64, &f32)| {
                let b = f64::from(b);
                *a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-5 + 1e-3 * b.abs()
            };
            if values.len() != expected.len() || !values.iter().zip(&expected).all(same) {
                let few = |count: usize| count.min(6);
                return Outcome::Failed(format!(
                    "{:?} and not {:?}, {:?}",
                    &values[..few(values.len())],
                    &expected[..few(expected.len())],
                    network.layers.iter().map(|layer| &layer.op).collect::<Vec<_>>()
                ));
            }
        }
        if matches!(outcome, Outcome::Passed) {
            break;
        }
    }
    outcome
}

/// The result of `network` for the values `input`, C×H×W, in f64: by the reference that model files are held against.
fn evaluate(network: &Network, checkpoint: &Checkpoint, input: &[f32]) -> Result<Vec<f64>, String> {
    let channels = network.input.channels as usize;
    let plain = Normalization { mean: vec![0.0; channels], std: vec![1.0; channels] };
    let folded = Folded::new(network, checkpoint, &RankPlan::dense(network), plain, false);
    let (folded, _) = folded.map_err(|error| error.to_string())?;
    Ok(logits(&folded, input, Storage::F64))
}

/// Folders in a folder, by name.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

#[test]
fn the_standards_tests_give_its_results() {
    let folder = tempfile::tempdir().unwrap();
    cases(folder.path());
    let mut failed = Vec::new();
    // How many must pass at least, so that a refusal too many is noticed.
    for (group, least) in [("node", 240), ("pytorch-converted", 55), ("pytorch-operator", 14), ("simple", 1)]
    {
        let (mut passed, mut refused) = (0, BTreeMap::<String, Vec<String>>::new());
        for case in folders(&folder.path().join(group)) {
            let name = case.file_name().unwrap().to_string_lossy().into_owned();
            match run(&case) {
                Outcome::Passed => passed += 1,
                Outcome::Refused(reason) => refused.entry(reason).or_default().push(name),
                Outcome::Failed(how) => failed.push(format!("{name}: {how}")),
            }
        }
        let count: usize = refused.values().map(Vec::len).sum();
        println!("{group}: {passed} passed, {count} refused");
        for (reason, names) in &refused {
            println!("  {} refused: {}: {}", names.len(), reason.trim(), names.join(" "));
        }
        assert!(passed >= least, "{group}: {passed} passed");
    }
    // Forms of known networks whose weights are all one number: they are imported, or have what has no operation here.
    let light = folders(&folder.path().join("light"));
    for network in &light {
        match import(&network.join("model.onnx"), &Options::default()) {
            Ok(imported) => println!("{}: {} operations", network.display(), imported.network.layers.len()),
            Err(ImportError::Refused { nodes, .. }) => {
                assert!(nodes.iter().all(|node| node.operator == "LRN"), "{nodes:?}")
            }
            Err(error) => failed.push(error.to_string()),
        }
    }
    assert!(light.len() >= 9);
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}
