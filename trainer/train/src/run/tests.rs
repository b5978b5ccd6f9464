//! Whole runs on small made-up images.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use candle_core::Device;
use lrpet_network::lrpet::{RankRule, Rule, Scope, Spectrum};
use lrpet_network::network::Network;

use super::*;
use crate::small::{choosing, config, data, network};
use crate::*;

pub(super) fn start(config: &TrainConfig, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
    run(config, &network(), &data(), &Device::Cpu, observer)
}

/// Dies in the middle of an epoch, as a killed process does.
pub(super) struct Killer {
    pub epoch: usize,
}

impl Observer for Killer {
    fn step(&mut self, record: &StepRecord) {
        assert!((record.epoch, record.batch) != (self.epoch, 2), "killed");
    }
}

/// Keeps warnings.
#[derive(Default)]
struct Listener(Vec<String>);

impl Observer for Listener {
    fn warning(&mut self, message: &str) {
        self.0.push(message.to_owned());
    }
}

/// Name and bytes of each tensor.
pub(super) type Bytes = Vec<(String, Vec<u8>)>;

/// What must be equal in two runs: the tensors' bytes and the losses of all epochs.
pub(super) fn result(folder: &Path) -> (Bytes, Vec<(f64, Option<Evaluation>)>) {
    let bytes = std::fs::read(folder.join(FINAL)).unwrap();
    let view = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<_> =
        view.tensors().into_iter().map(|(name, tensor)| (name, tensor.data().to_vec())).collect();
    tensors.sort();
    let metrics = std::fs::read_to_string(folder.join(METRICS)).unwrap();
    let record = |line: &str| serde_json::from_str::<EpochRecord>(line).unwrap();
    (tensors, metrics.lines().map(record).map(|record| (record.train_loss, record.validation)).collect())
}

#[test]
fn a_run_learns_and_its_layers_have_their_ranks() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), 12);
    let outcome = start(&config, &mut Silent).unwrap();
    assert!(outcome.test.unwrap().accuracy >= 0.9, "{:?}", outcome.test);
    assert!(outcome.history.last().unwrap().train_loss < outcome.history[0].train_loss);
    let tensors = candle_core::safetensors::load(&outcome.weights, &Device::Cpu).unwrap();
    for (name, rank) in &config.settings.projection.unwrap().ranks {
        let weight = &tensors[&format!("{name}.weight")];
        let values: Vec<f32> = weight.flatten_all().unwrap().to_vec1().unwrap();
        let spectrum = Spectrum::new(name, &values, weight.dim(0).unwrap(), None).unwrap();
        let values = spectrum.singular_values();
        let rank = *rank as usize;
        assert!(values[rank] < 1e-5 * values[0] && values[rank - 1] > 1e-4 * values[0], "{name}: {values:?}");
    }
    let mut model = Trainable::new(&network(), 0, &Device::Cpu).unwrap();
    model.load(&tensors.into_iter().collect()).unwrap();
    assert_eq!(evaluate(&mut model, data().test.as_ref().unwrap()).unwrap(), outcome.test.unwrap());
}

#[test]
fn a_killed_run_goes_on_to_the_same_bits() {
    let [whole, killed] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    start(&config(whole.path(), 4), &mut Silent).unwrap();
    let mut config = config(killed.path(), 4);
    for epoch in [1, 3] {
        assert!(catch_unwind(AssertUnwindSafe(|| start(&config, &mut Killer { epoch }))).is_err());
        config.resume = true;
    }
    assert!(!killed.path().join(FINAL).exists());
    let mut listener = Listener::default();
    start(&config, &mut listener).unwrap();
    assert!(listener.0.is_empty());
    assert!(result(killed.path()) == result(whole.path()));
}

#[test]
fn a_damaged_checkpoint_falls_back_to_the_one_before() {
    let whole = tempfile::tempdir().unwrap();
    let each_epoch = |folder: &Path| {
        let mut config = config(folder, 4);
        config.settings.projection.as_mut().unwrap().period = Period::Epochs(1);
        config
    };
    start(&each_epoch(whole.path()), &mut Silent).unwrap();
    let damage: [fn(&mut Vec<u8>); 3] = [
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.clear(),
        |bytes| *bytes.last_mut().unwrap() ^= 4,
    ];
    for damage in damage {
        let folder = tempfile::tempdir().unwrap();
        let mut config = each_epoch(folder.path());
        assert!(catch_unwind(AssertUnwindSafe(|| start(&config, &mut Killer { epoch: 4 }))).is_err());
        let path = folder.path().join(LAST);
        let mut bytes = std::fs::read(&path).unwrap();
        damage(&mut bytes);
        std::fs::write(&path, &bytes).unwrap();
        config.resume = true;
        let mut listener = Listener::default();
        start(&config, &mut listener).unwrap();
        assert!(listener.0.len() == 1 && listener.0[0].contains("after epoch 2"), "{:?}", listener.0);
        assert!(result(folder.path()) == result(whole.path()));

        // Both damaged: refused, and nothing is overwritten.
        for name in [LAST, BEFORE] {
            std::fs::write(folder.path().join(name), b"torn").unwrap();
        }
        assert!(matches!(start(&config, &mut Silent), Err(TrainError::Checkpoint { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"torn");
    }
}

#[test]
fn a_loss_that_is_no_number_stops_and_names_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), 4);
    assert!(catch_unwind(AssertUnwindSafe(|| start(&config, &mut Killer { epoch: 2 }))).is_err());
    let found = checkpoint::newest(folder.path(), |_| ()).unwrap().unwrap();
    let mut model = Trainable::new(&network(), 0, &Device::Cpu).unwrap();
    model.load(&found.tensors).unwrap();
    model.parameters().set("fc.bias", vec![f32::NAN; 4]).unwrap();
    let rest = Optimizer::sgd(0.9, 1e-4);
    checkpoint::save(folder.path(), model.parameters(), &rest, &found.settings, &found.history, None)
        .unwrap();
    config.resume = true;
    let error = start(&config, &mut Silent).unwrap_err();
    let TrainError::Diverged { loss, epoch: 2, batch: 1, checkpoint: Some(path) } = &error else {
        panic!("{error}");
    };
    assert!(loss.is_nan() && *path == folder.path().join(LAST));

    let folder = tempfile::tempdir().unwrap();
    let mut config = self::config(folder.path(), 4);
    config.settings.schedule = Schedule { rate: 1e38, warm_up: 0.0, decay: Decay::Cosine };
    config.settings.projection = None;
    let error = start(&config, &mut Silent).unwrap_err();
    assert!(matches!(&error, TrainError::Diverged { epoch: 1, checkpoint: None, .. }), "{error}");
}

#[test]
fn a_validation_loss_that_is_no_number_comes_back_from_a_checkpoint() {
    for loss in [f64::NAN, f64::INFINITY, 0.25] {
        let text = serde_json::to_string(&Evaluation { loss, accuracy: 0.1, images: 10 }).unwrap();
        let read: Evaluation = serde_json::from_str(&text).unwrap();
        assert_eq!((read.loss.is_nan(), read.images), (!loss.is_finite(), 10), "{text}");
        assert!(read.loss.is_nan() || read.loss == loss);
    }
}

#[test]
fn weights_that_are_no_numbers_reach_no_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), 4);
    assert!(catch_unwind(AssertUnwindSafe(|| start(&config, &mut Killer { epoch: 3 }))).is_err());
    let sound = std::fs::read(folder.path().join(LAST)).unwrap();
    let found = checkpoint::newest(folder.path(), |_| ()).unwrap().unwrap();
    let mut model = Trainable::new(&network(), 0, &Device::Cpu).unwrap();
    model.load(&found.tensors).unwrap();
    assert_eq!(model.parameters().not_finite().unwrap(), None);
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut values = model.parameters().values("layer2.0.bn1.running_var").unwrap();
        values[3] = value;
        model.parameters().set("layer2.0.bn1.running_var", values).unwrap();
        assert_eq!(model.parameters().not_finite().unwrap().as_deref(), Some("layer2.0.bn1.running_var"));
    }
    // In training the running variance is not read, so the loss stays finite; the projection and the checkpoint do read it.
    let rest = Optimizer::sgd(0.9, 1e-4);
    checkpoint::save(folder.path(), model.parameters(), &rest, &found.settings, &found.history, None)
        .unwrap();
    config.resume = true;
    let error = start(&config, &mut Silent).unwrap_err();
    assert!(matches!(&error, TrainError::NotFinite { epoch: 3, checkpoint: Some(_), .. }), "{error}");
    assert_eq!(std::fs::read(folder.path().join(BEFORE)).unwrap(), sound);
}

#[test]
fn another_run_is_not_overwritten_nor_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), 1);
    start(&config, &mut Silent).unwrap();
    let before = result(folder.path());
    assert!(matches!(start(&config, &mut Silent), Err(TrainError::Occupied { .. })));
    config.resume = true;
    config.settings.momentum = 0.8;
    let error = start(&config, &mut Silent).unwrap_err();
    assert!(matches!(&error, TrainError::OtherRun { setting, .. } if setting == "momentum"), "{error}");
    config.settings.momentum = 0.9;
    start(&config, &mut Silent).unwrap();
    assert!(result(folder.path()) == before);
}

#[test]
fn ranks_chosen_on_the_way_stay_and_survive_a_kill() {
    let [whole, killed] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let outcome = start(&choosing(whole.path(), 4, 1), &mut Silent).unwrap();
    let counts: Vec<usize> = outcome
        .history
        .iter()
        .map(|epoch| epoch.projection.as_ref().map_or(0, |projection| projection.count))
        .collect();
    assert!(counts[0] == 0 && counts[1..].iter().all(|&count| count > 0), "{counts:?}");
    let weights = lrpet_network::Checkpoint::read(&outcome.weights).unwrap();
    let ranks: BTreeMap<String, u64> = serde_json::from_str(&weights.metadata["ranks"]).unwrap();
    let cost = |rank: &dyn Fn(&str) -> u64| -> u64 {
        network().matrices().iter().map(|(_, name, matrix)| matrix.cost(rank(name)).macs).sum()
    };
    let (low, dense) = (cost(&|name| ranks.get(name).copied().unwrap_or(0)), cost(&|_| 0));
    assert!(low <= dense / 2 && low > dense * 2 / 5, "{low} of {dense}");

    let mut config = choosing(killed.path(), 4, 1);
    assert!(catch_unwind(AssertUnwindSafe(|| start(&config, &mut Killer { epoch: 3 }))).is_err());
    config.resume = true;
    start(&config, &mut Silent).unwrap();
    assert!(result(killed.path()) == result(whole.path()));
}

#[test]
fn a_run_can_start_from_trained_weights() {
    let [first, second] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut dense = config(first.path(), 6);
    dense.settings.projection = None;
    let trained = start(&dense, &mut Silent).unwrap();
    let mut config = choosing(second.path(), 1, 0);
    config.settings.init = Some(trained.weights.clone());
    config.settings.schedule.rate = 0.01;
    let tuned = start(&config, &mut Silent).unwrap();
    assert!(tuned.history[0].projection.is_some());
    assert!(tuned.history[0].train_loss < trained.history[0].train_loss);

    let folder = second.path().join("other");
    config.run_dir = folder.clone();
    let other = Network::by_name("resnet20", network().input, network().classes).unwrap();
    let refused = |config: &TrainConfig, network: &Network| {
        let error = run(config, network, &data(), &Device::Cpu, &mut Silent).unwrap_err().to_string();
        assert!(!folder.exists());
        error
    };
    let error = refused(&config, &other);
    assert!(error.contains("final.safetensors") && error.contains("layer1.1.bn1"), "{error}");
    config.settings.init = Some(first.path().join("metrics.jsonl"));
    let error = refused(&config, &network());
    assert!(error.contains("metrics.jsonl"), "{error}");
}

type Change = Box<dyn Fn(&mut Settings)>;

#[test]
fn wrong_settings_are_refused_before_anything_is_written() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("run");
    let rank = |name: &str, rank| {
        let name = name.to_owned();
        move |settings: &mut Settings| {
            settings.projection.as_mut().unwrap().ranks.insert(name.clone(), rank);
        }
    };
    let wrong: [Change; 8] = [
        Box::new(|settings| {
            let rule = RankRule { rule: Rule::Energy(0.9), scope: Scope::All };
            settings.projection.as_mut().unwrap().choose = Some(Choose { rule, after: 1 });
        }),
        Box::new(|settings| settings.epochs = 0),
        Box::new(|settings| settings.momentum = 1.0),
        Box::new(|settings| settings.schedule.rate = f64::NAN),
        Box::new(|settings| settings.projection.as_mut().unwrap().residual = 1.0),
        Box::new(rank("layer9.0.conv1", 3)),
        Box::new(rank("conv1", 0)),
        Box::new(rank("conv1", 17)),
    ];
    for change in wrong {
        let mut config = config(&folder, 1);
        change(&mut config.settings);
        assert!(matches!(start(&config, &mut Silent), Err(TrainError::Setting(_))));
        assert!(!folder.exists());
    }
}

#[test]
fn weights_that_give_no_loss_at_all_are_to_blame_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let model = Trainable::new(&network(), 0, &Device::Cpu).unwrap();
    // Sound numbers, but of no sound network.
    model.parameters().set("fc.weight", vec![3e38; 4 * 64]).unwrap();
    let path = folder.path().join("init.safetensors");
    write_safetensors(&path, &model.tensors(), Default::default()).unwrap();
    let mut config = config(&folder.path().join("run"), 1);
    config.settings.init = Some(path);
    let error = start(&config, &mut Silent).unwrap_err().to_string();
    assert!(error.contains("init.safetensors") && error.contains("before any step"), "{error}");
}
