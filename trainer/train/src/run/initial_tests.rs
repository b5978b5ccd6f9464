//! Runs that start from a file of weights.

use std::path::{Path, PathBuf};

use candle_core::Tensor;

use super::tests::{Killer, result, start};
use super::*;
use crate::small::{choosing, config, data, network};

/// The weights of a dense run of `epochs` epochs.
fn trained(folder: &Path, epochs: usize) -> PathBuf {
    let mut dense = config(folder, epochs);
    dense.settings.projection = None;
    start(&dense, &mut Silent).unwrap().weights
}

type Tensors = BTreeMap<String, Tensor>;

fn read(path: &Path) -> Tensors {
    candle_core::safetensors::load(path, &Device::Cpu).unwrap().into_iter().collect()
}

fn write(folder: &Path, tensors: &Tensors) -> PathBuf {
    let path = folder.join("weights.safetensors");
    write_safetensors(&path, tensors, std::collections::HashMap::new()).unwrap();
    path
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Keeps what the run says that it does.
#[derive(Default)]
struct Stages(Vec<String>);

impl Observer for Stages {
    fn stage(&mut self, what: &str) {
        self.0.push(what.to_owned());
    }
}

/// Why a run of one epoch cannot start from `init`.
fn refused(init: &Path, network: &Network) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder.path().join("run"), 1);
    config.settings.init = Some(init.to_owned());
    let error = run(&config, network, &data(), &Device::Cpu, &mut Silent).unwrap_err().to_string();
    assert!(!config.run_dir.exists());
    error
}

#[test]
fn weights_of_another_network_or_of_no_sound_numbers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let larger = Network::by_name("resnet56", network().input, 4).unwrap();
    let smaller = Network::by_name("resnet20", network().input, 4).unwrap();
    let weights = Trainable::new(&larger, 1, &Device::Cpu).unwrap().tensors();
    let error = refused(&write(folder.path(), &weights), &smaller);
    assert!(
        error.contains("weights.safetensors") && error.contains("unexpected: layer1.3.bn1.bias"),
        "{error}"
    );

    let mut weights = Trainable::new(&network(), 1, &Device::Cpu).unwrap().tensors();
    let mut variance = values(&weights["bn1.running_var"]);
    variance[2] = -0.25;
    weights.insert("bn1.running_var".to_owned(), Tensor::new(variance, &Device::Cpu).unwrap());
    let error = refused(&write(folder.path(), &weights), &network());
    assert!(error.contains("bn1.running_var holds -0.25 (element 2)"), "{error}");
}

#[test]
fn biases_of_convolutions_count_for_the_running_mean() {
    let folder = tempfile::tempdir().unwrap();
    let mut weights = Trainable::new(&network(), 1, &Device::Cpu).unwrap().tensors();
    let bias: Vec<f32> = (0..16).map(|row| row as f32 * 0.1 - 0.5).collect();
    weights.insert("conv1.bias".to_owned(), Tensor::new(bias.clone(), &Device::Cpu).unwrap());
    let mut config = config(&folder.path().join("run"), 1);
    config.settings.init = Some(write(folder.path(), &weights));
    let mut stages = Stages::default();
    let data = data();
    let run = Run::start(&config, &network(), &data, &Device::Cpu, Rc::new(Alone), &mut stages).unwrap();
    let mean = run.model.parameters().values("bn1.running_mean").unwrap();
    assert_eq!(mean, bias.iter().map(|bias| -bias).collect::<Vec<_>>());
    assert!(stages.0[0].contains("running mean") && stages.0[0].contains("conv1.bias"), "{:?}", stages.0);
    assert!(stages.0[1].contains("all 10 layers from"), "{:?}", stages.0);
}

#[test]
fn missing_statistics_are_measured_first() {
    let [first, second] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let weights = read(&trained(first.path(), 2));
    let mut without = weights.clone();
    without.retain(|name, _| !name.contains("running"));
    // Ranks by energy need the statistics before the first batch.
    let mut config = choosing(&second.path().join("run"), 1, 0);
    config.settings.init = Some(write(second.path(), &without));
    let data = data();
    let mut stages = Stages::default();
    let run = Run::start(&config, &network(), &data, &Device::Cpu, Rc::new(Alone), &mut stages).unwrap();
    // Those of the file were measured in the same way, over the batches of an epoch behind the last.
    let [found, expected] = ["bn1.running_mean", "bn1.running_var"]
        .map(|name| (run.model.parameters().values(name).unwrap(), values(&weights[name])));
    for (found, expected) in [found, expected] {
        for (a, b) in found.iter().zip(&expected) {
            assert!((a - b).abs() < 0.2 * (0.1 + b.abs()), "{found:?} {expected:?}");
        }
    }
    assert!(stages.0.iter().any(|stage| stage.contains("measuring the statistics")), "{:?}", stages.0);
    drop(run);
    config.settings.projection = None;
    config.settings.reestimate_batches = 0;
    config.run_dir = second.path().join("none");
    let error = start(&config, &mut Silent).unwrap_err().to_string();
    assert!(error.contains("--reestimate"), "{error}");
}

#[test]
fn where_some_statistics_are_missing_all_are_measured_as_if_none_were_there() {
    let folder = tempfile::tempdir().unwrap();
    let weights = read(&trained(&folder.path().join("trained"), 2));
    let data = data();
    let mut stages = Stages::default();
    let mut means = |missing: &str| {
        let mut left = weights.clone();
        left.retain(|name, _| !(name.contains("running") && name.starts_with(missing)));
        let mut config = config(&folder.path().join("run"), 1);
        config.settings.init = Some(write(folder.path(), &left));
        let run = Run::start(&config, &network(), &data, &Device::Cpu, Rc::new(Alone), &mut stages);
        let model = run.unwrap().model;
        let names = ["bn1.running_mean", "layer2.0.bn1.running_mean"];
        names.map(|name| model.parameters().values(name).unwrap())
    };
    let (none, some) = (means(""), means("bn1."));
    assert_eq!(none, some);
    let said = "no running statistics of bn1, while others have them";
    assert!(stages.0.iter().any(|stage| stage.contains(said)), "{:?}", stages.0);
}

#[test]
fn a_new_head_trains_on_other_classes_and_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let other = Network::by_name("resnet8", network().input, 7).unwrap();
    let weights = Trainable::new(&other, 5, &Device::Cpu).unwrap().tensors();
    let init = write(folder.path(), &weights);
    let error = refused(&init, &network());
    assert!(
        error.contains("fc.weight") && error.contains("7 classes") && error.contains("--new-head"),
        "{error}"
    );

    let [whole, killed] = [folder.path().join("whole"), folder.path().join("killed")];
    let mut config = choosing(&whole, 3, 0);
    (config.settings.init, config.settings.new_head) = (Some(init.clone()), true);
    let mut stages = Stages::default();
    let data = data();
    let run = Run::start(&config, &network(), &data, &Device::Cpu, Rc::new(Alone), &mut stages).unwrap();
    let fresh = Trainable::new(&network(), config.settings.seed, &Device::Cpu).unwrap().tensors();
    for (name, tensor) in run.model.tensors() {
        let expected = if name.starts_with("fc.") { &fresh[&name] } else { &weights[&name] };
        assert_eq!(values(&tensor), values(expected), "{name}");
    }
    drop(run);
    let said = format!("9 layers from {}, fresh: fc", init.display());
    assert!(stages.0.iter().any(|stage| stage.contains(&said)), "{:?}", stages.0);
    let origin = Origin::of(&config.settings, &network()).unwrap();
    assert_eq!((origin.to_string(), origin.fresh), (said, vec!["fc".to_owned()]));

    std::fs::remove_file(whole.join(METRICS)).unwrap();
    start(&config, &mut Silent).unwrap();
    config.run_dir = killed.clone();
    let stopped = std::panic::AssertUnwindSafe(|| start(&config, &mut Killer { epoch: 2 }));
    assert!(std::panic::catch_unwind(stopped).is_err());
    // What the checkpoint of the run holds needs the file no more.
    std::fs::remove_file(&init).unwrap();
    config.resume = true;
    start(&config, &mut Silent).unwrap();
    assert!(result(&killed) == result(&whole));
    config.settings.new_head = false;
    let error = start(&config, &mut Silent).unwrap_err();
    assert!(matches!(&error, TrainError::OtherRun { setting, .. } if setting == "new_head"), "{error}");
}
