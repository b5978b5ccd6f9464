//! Runs with everything beyond plain SGD.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use candle_core::Device;
use lrpet_data::{Loader, LoaderOptions};
use lrpet_network::network::Network;

use super::tests::{Killer, result, start};
use super::*;
use crate::small::{config, data, network};
use crate::*;

/// A checkpoint of a trained dense network.
fn trained(folder: &Path) -> PathBuf {
    let mut config = config(folder, 4);
    config.settings.projection = None;
    start(&config, &mut Silent).unwrap().weights
}

fn distillation(teacher: &Path) -> Option<Distillation> {
    Some(Distillation { teacher: teacher.to_owned(), distill_weight: 0.6, temperature: 3.0 })
}

/// The made-up images, with a square cut out of each.
fn cut() -> TrainData {
    let plain = data();
    let mut options: LoaderOptions = plain.train.options().clone();
    options.augmentation.cutout = 3;
    TrainData { train: Loader::new(plain.train.data().clone(), options), ..plain }
}

fn all_on(teacher: &Path, algorithm: Algorithm) -> Recipe {
    Recipe {
        algorithm,
        label_smoothing: 0.1,
        mixup: 0.2,
        ema: Some(0.9),
        distillation: distillation(teacher),
    }
}

#[test]
fn with_all_of_it_a_killed_run_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = trained(&folder.path().join("teacher"));
    for algorithm in [Algorithm::Nesterov, Algorithm::AdamW] {
        let run = |config: &TrainConfig, observer: &mut dyn Observer| {
            run(config, &network(), &cut(), &Device::Cpu, observer)
        };
        let config = |name: &str| {
            let mut config = config(&folder.path().join(format!("{algorithm:?} {name}")), 2);
            config.settings.recipe = all_on(&teacher, algorithm);
            config.settings.schedule.rate = if algorithm == Algorithm::AdamW { 0.003 } else { 0.05 };
            config
        };
        let whole = config("whole");
        run(&whole, &mut Silent).unwrap();
        let mut killed = config("killed");
        for epoch in [1, 2] {
            assert!(catch_unwind(AssertUnwindSafe(|| run(&killed, &mut Killer { epoch }))).is_err());
            killed.resume = true;
        }
        run(&killed, &mut Silent).unwrap();
        assert!(result(&killed.run_dir) == result(&whole.run_dir), "{algorithm:?}");
        let weights = lrpet_network::Checkpoint::read(&whole.run_dir.join(FINAL)).unwrap();
        for word in ["label_smoothing", "mixup", "ema", "teacher", "distill_weight", "temperature", "cutout"]
        {
            assert!(weights.metadata["settings"].contains(word), "{word}: {}", weights.metadata["settings"]);
        }
        // What else reads checkpoints sees weights alone.
        let last = lrpet_network::Checkpoint::read(&whole.run_dir.join(LAST)).unwrap();
        assert!(last.tensors.keys().eq(weights.tensors.keys()));
    }
}

#[test]
fn another_recipe_is_another_run() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = trained(&folder.path().join("teacher"));
    let mut config = config(&folder.path().join("run"), 1);
    config.settings.recipe = all_on(&teacher, Algorithm::Nesterov);
    start(&config, &mut Silent).unwrap();
    config.resume = true;
    start(&config, &mut Silent).unwrap();
    type Change = fn(&mut Recipe);
    let changes: [(&str, Change); 7] = [
        ("optimizer", |recipe| recipe.algorithm = Algorithm::Sgd),
        ("label_smoothing", |recipe| recipe.label_smoothing = 0.0),
        ("mixup", |recipe| recipe.mixup = 0.3),
        ("ema", |recipe| recipe.ema = None),
        ("temperature", |recipe| recipe.distillation.as_mut().unwrap().temperature = 2.0),
        ("distill_weight", |recipe| recipe.distillation.as_mut().unwrap().distill_weight = 1.0),
        ("checksum of the teacher", |recipe| recipe.distillation = None),
    ];
    for (name, change) in changes {
        let mut other = config.clone();
        change(&mut other.settings.recipe);
        let error = start(&other, &mut Silent).unwrap_err();
        assert!(matches!(&error, TrainError::OtherRun { setting, .. } if setting == name), "{name}: {error}");
    }
    let error = run(&config, &network(), &cut(), &Device::Cpu, &mut Silent).unwrap_err();
    assert!(matches!(&error, TrainError::OtherRun { setting, .. } if setting == "cutout"), "{error}");
    // Other weights under the teacher's name.
    std::fs::copy(config.run_dir.join(FINAL), &teacher).unwrap();
    let error = start(&config, &mut Silent).unwrap_err();
    let expected = "checksum of the teacher";
    assert!(matches!(&error, TrainError::OtherRun { setting, .. } if setting == expected), "{error}");
}

/// The average is what is written, of the ranks that were asked for, and the weights themselves go on as if there were none.
#[test]
fn a_run_ends_with_its_average_and_trains_as_without() {
    let folder = tempfile::tempdir().unwrap();
    let of = |name: &str, ema| {
        let mut config = config(&folder.path().join(name), 2);
        config.settings.recipe.ema = ema;
        (start(&config, &mut Silent).unwrap(), config)
    };
    let ((plain, without), (outcome, with)) = (of("plain", None), of("averaged", Some(0.95)));
    let losses = |outcome: &Outcome| outcome.history.iter().map(|epoch| epoch.train_loss).collect::<Vec<_>>();
    assert_eq!(losses(&plain), losses(&outcome));
    let read = |folder: &Path, file| {
        checkpoint::newest(folder, |_| ())
            .map(|_| candle_core::safetensors::load(folder.join(file), &Device::Cpu).unwrap())
    };
    let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let [before, after] = [&without, &with].map(|config| read(&config.run_dir, LAST).unwrap());
    for (name, tensor) in &before {
        assert_eq!(values(tensor), values(&after[name]), "{name}");
    }
    // A layer without a rank is the average as it is; its statistics are its own.
    let last = read(&with.run_dir, FINAL).unwrap();
    assert_eq!(values(&last["fc.weight"]), values(&after["optimizer.average.fc.weight"]));
    assert_ne!(values(&last["fc.weight"]), values(&after["fc.weight"]));
    assert_ne!(values(&last["layer1.0.bn1.running_var"]), values(&after["layer1.0.bn1.running_var"]));
    for (layer, rank) in &with.settings.projection.unwrap().ranks {
        let weight = &last[&format!("{layer}.weight")];
        let spectrum =
            lrpet_network::lrpet::Spectrum::new(layer, &values(weight), weight.dim(0).unwrap(), None);
        let singular = spectrum.unwrap().singular_values().to_vec();
        assert!(singular[*rank as usize] < 1e-5 * singular[0], "{layer}: {singular:?}");
    }
}

#[test]
fn a_student_comes_nearer_to_its_teacher() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = trained(&folder.path().join("teacher"));
    let mut model = Trainable::new(&network(), 0, &Device::Cpu).unwrap();
    model
        .load(&candle_core::safetensors::load(&teacher, &Device::Cpu).unwrap().into_iter().collect())
        .unwrap();
    let batch = data().test.unwrap().epoch(0, 0).next().unwrap().unwrap();
    let (_, images) = passes::input(&model, batch).unwrap();
    let theirs = model.forward(&images, Mode::Infer).unwrap();
    let mut distance = |distillation: Option<Distillation>| {
        let name = if distillation.is_none() { "alone" } else { "taught" };
        let mut config = config(&folder.path().join(name), 6);
        config.settings.projection = None;
        config.settings.seed = 5;
        config.settings.recipe.distillation = distillation;
        let outcome = start(&config, &mut Silent).unwrap();
        let tensors = candle_core::safetensors::load(&outcome.weights, &Device::Cpu).unwrap();
        model.load(&tensors.into_iter().collect()).unwrap();
        let ours = model.forward(&images, Mode::Infer).unwrap();
        (ours - &theirs).unwrap().sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap()
    };
    let (alone, taught) = (distance(None), distance(distillation(&teacher)));
    assert!(taught < 0.8 * alone, "{taught} for {alone}");
}

#[test]
fn a_teacher_that_cannot_teach_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let run_dir = folder.path().join("run");
    let refused = |path: &Path| {
        let mut config = config(&run_dir, 1);
        config.settings.recipe.distillation = distillation(path);
        let error = start(&config, &mut Silent).unwrap_err().to_string();
        assert!(!run_dir.exists());
        error
    };
    let at = |name: &str| folder.path().join(name);
    assert!(refused(&at("nowhere.safetensors")).contains("nowhere.safetensors"));
    std::fs::write(at("text.safetensors"), "no weights").unwrap();
    let error = refused(&at("text.safetensors"));
    assert!(error.starts_with("the teacher") && error.contains("text.safetensors"), "{error}");
    let other = Network::by_name("resnet8", network().input, 7).unwrap();
    let model = Trainable::new(&other, 1, &Device::Cpu).unwrap();
    let metadata = [("network".to_owned(), "resnet8".to_owned())].into();
    write_safetensors(&at("seven.safetensors"), &model.tensors(), metadata).unwrap();
    let error = refused(&at("seven.safetensors"));
    assert!(error.contains("seven.safetensors") && error.contains("fc"), "{error}");
    let model = Trainable::new(&network(), 1, &Device::Cpu).unwrap();
    let names = serde_json::json!(["a", "b", "c", "d"]).to_string();
    let metadata = [("network".to_owned(), "resnet8".to_owned()), ("class_names".to_owned(), names)].into();
    write_safetensors(&at("others.safetensors"), &model.tensors(), metadata).unwrap();
    assert!(refused(&at("others.safetensors")).contains("other classes"));
}
