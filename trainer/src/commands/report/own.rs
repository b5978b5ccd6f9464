//! Model files measured here, as a report: what they cost, how long they take, how accurate they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use lrpet_network::inspect;
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::Model as File;
use lrpet_study::boards::{Board, HOST};
use lrpet_study::host::Host;
use lrpet_study::measure::BenchOptions;
use lrpet_study::report::{self, AsTrained, Report};
use lrpet_study::schema::{self, Bench, Dataset, Eval, Model, Step};
use sha2::{Digest, Sha256};

use crate::commands::bench::on_host;
use crate::commands::eval::{Test, TestArgs, tally};
use crate::commands::model_file::ModelFile;

/// Inferences on this machine before timing, and timed.
const WARM_UP: usize = 20;
const ITERATIONS: usize = 200;

/// What is measured.
pub struct Wanted<'a> {
    /// Model files.
    pub files: &'a [PathBuf],
    /// Data set on which they are tested, where one is named.
    pub data: Option<&'a str>,
    /// Its images.
    pub test: &'a TestArgs,
    /// Boards, this machine among them.
    pub boards: &'a [String],
    /// Folders of trainings.
    pub trainings: Vec<Trained>,
}

/// A training.
pub struct Trained {
    /// Its report.
    pub report: Report,
    /// Network and ranks of its weights, where they are there.
    pub as_trained: Option<AsTrained>,
}

/// What a model file says of where it comes from.
struct Made {
    /// Command of the training.
    training: Option<String>,
    /// Network and ranks, as of the training's weights.
    like: Option<AsTrained>,
}

impl Made {
    fn of(model: &File<'_>) -> Made {
        let said = |key: &str| card(model, key);
        let pair = |pair: &str| {
            let (layer, rank) = pair.split_once('=')?;
            Some((layer.to_owned(), rank.parse().ok()?))
        };
        let ranks = |said: String| match said.as_str() {
            "dense" => Some(BTreeMap::new()),
            list => list.split(',').map(pair).collect(),
        };
        Made { training: said("training"), like: said("network").zip(said("ranks").and_then(ranks)) }
    }
}

/// The report of model files and trainings. A model file that was made of a training's weights and that training become one model.
pub fn measure(wanted: Wanted<'_>) -> Result<Report> {
    let mut steps = Steps(Vec::new());
    let (paths, files) = distinct(wanted.files)?;
    let wanted = Wanted { files: &paths, ..wanted };
    let opened: Vec<File<'_>> = files.iter().map(ModelFile::model).collect::<Result<_>>()?;
    // What is quick and may fail comes first: the images are looked for before anything is measured.
    let tests: Vec<Option<Test>> = match wanted.data {
        Some(data) => {
            let pairs = opened.iter().zip(wanted.files);
            pairs
                .map(|(model, path)| wanted.test.images(data, model, path).map(Some))
                .collect::<Result<_>>()?
        }
        None => opened.iter().map(|_| None).collect(),
    };
    let mut models = Vec::new();
    for (file, (path, model)) in files.iter().zip(wanted.files.iter().zip(&opened)) {
        models.push(described(file, path, model, wanted.data)?);
    }
    for board in wanted.boards.iter().filter(|board| *board != HOST) {
        let mut bench = Board::find(board).with_context(|| format!("there is no board {board}"))?.bench()?;
        for (model, path) in models.iter_mut().zip(wanted.files) {
            let found = steps.run(format!("measure {} on {board}", model.name), || bench.measure(path))?;
            model.boards.push(found);
        }
    }
    if wanted.boards.iter().any(|board| board == HOST) && !models.is_empty() {
        let options =
            BenchOptions { warm_up: WARM_UP, iterations: ITERATIONS, threads: std::num::NonZeroUsize::MIN };
        let what = "measure on this machine".to_owned();
        let runs = steps.run(what, || on_host(wanted.files, options))?;
        for (model, run) in models.iter_mut().zip(runs) {
            if let Some(warning) = run.disturbed() {
                tracing::warn!("{}: {warning}", model.name);
            }
            model.bench = Some(Bench::try_from(run).map_err(anyhow::Error::msg)?);
        }
    }
    for ((model, path), (file, test)) in models.iter_mut().zip(wanted.files).zip(opened.iter().zip(&tests)) {
        let Some(test) = test else { continue };
        let tally =
            steps.run(format!("evaluate {}", model.name), || Ok(tally(file, path, &test.images, None)?.0))?;
        model.eval = Some(Eval { runtime: Some(test.accuracy(&tally)), candle: None });
    }
    let made: Vec<Made> = opened.iter().map(Made::of).collect();
    let here = Host::here();
    let mut report = Report {
        title: None,
        created: Some(humantime::format_rfc3339_seconds(SystemTime::now()).to_string()),
        command: Some(crate::commands::command_line()),
        version: Some(here.version.to_owned()),
        revision: Some(here.revision.to_owned()).filter(|revision| !revision.is_empty()),
        host: Some(schema::Host::here()),
        dataset: dataset(&models, &tests),
        models,
        steps: steps.0,
        origins: Vec::new(),
    };
    for training in wanted.trainings {
        join(&mut report, training, &made);
    }
    report::name_apart(&mut report.models);
    report.title = Some(report::title_of(&report));
    Ok(report)
}

/// The files, of those with the same bytes the first.
fn distinct(named: &[PathBuf]) -> Result<(Vec<PathBuf>, Vec<ModelFile>)> {
    let (mut paths, mut files): (Vec<PathBuf>, Vec<ModelFile>) = (Vec::new(), Vec::new());
    for path in named {
        let file = ModelFile::open(path)?;
        match files.iter().position(|other| other.bytes() == file.bytes()) {
            Some(at) => eprintln!("{} has the bytes of {}: one model", path.display(), paths[at].display()),
            None => {
                paths.push(path.clone());
                files.push(file);
            }
        }
    }
    Ok((paths, files))
}

/// Name and costs of a model file, which is tested on `data` where that is named.
fn described(file: &ModelFile, path: &Path, model: &File<'_>, data: Option<&str>) -> Result<Model> {
    let header = model.program().header();
    let [channels, height, width] = [header.input.channels, header.input.height, header.input.width];
    let inspection = inspect(model, Isa::CortexM).with_context(|| path.display().to_string())?;
    let stem = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let sha256 = Sha256::digest(file.bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Model {
        name: stem,
        file: Some(path.display().to_string()),
        sha256: Some(sha256),
        prune: inspection.card.get("prune").and_then(|rule| rule.parse().ok()),
        dataset: data.map(named).or_else(|| card(model, "dataset")),
        classes: Some(header.classes.into()),
        input: Some([channels, height, width].map(u64::from)),
        inspect: Some(serde_json::from_value(serde_json::to_value(&inspection)?)?),
        ..Model::default()
    })
}

/// What the card of a model file says of `key`.
fn card(model: &File<'_>, key: &str) -> Option<String> {
    model.container().metadata_value(key).map(|text| text.to_string()).filter(|text| !text.is_empty())
}

/// Name of the data set or folder `data`: a set known by name keeps it; only a folder of that name is told apart.
fn named(data: &str) -> String {
    match lrpet_data::registry::entry(data) {
        Ok(entry) => entry.name.to_owned(),
        Err(_) => lrpet_data::folder::name(Path::new(data)),
    }
}

/// The data set that all `models` have in common, with the number of test images where they were tested.
fn dataset(models: &[Model], tests: &[Option<Test>]) -> Option<Dataset> {
    let first = models.first()?;
    let same = |of: fn(&Model) -> Option<String>| {
        of(first).filter(|value| models.iter().all(|m| of(m).as_ref() == Some(value)))
    };
    let images = |test: &Option<Test>| test.as_ref().map(|test| test.all as u64);
    let count = tests.first().and_then(images);
    Some(Dataset {
        name: same(|model| model.dataset.clone())?,
        train_images: None,
        test_images: count.filter(|_| tests.iter().all(|test| images(test) == count)),
        classes: first.classes.filter(|_| models.iter().all(|model| model.classes == first.classes)),
        shape: first.input.filter(|_| models.iter().all(|model| model.input == first.input)),
    })
}

/// Adds a training to the model files that are its weights as they were trained, at its ranks: what the trainer measured is true of
/// those alone. Where there are none, or others were made of it at other ranks, it stands as a model of its own.
fn join(report: &mut Report, training: Trained, made: &[Made]) {
    let Trained { report: training, as_trained } = training;
    let command = report::training_command(&training).map(str::to_owned);
    let of_it = |made: &&Made| made.training.is_some() && made.training == command;
    let as_it_is = |made: &Made| as_trained.is_some() && made.like == as_trained;
    let tested_elsewhere = |model: &Model| {
        let pair = model.dataset.as_ref().zip(training.dataset.as_ref());
        pair.is_some_and(|(tested, trained)| *tested != trained.name)
    };
    let own: Vec<usize> = (0..made.len())
        .filter(|&at| of_it(&&made[at]) && as_it_is(&made[at]) && !tested_elsewhere(&report.models[at]))
        .collect();
    let all = made.iter().filter(of_it).count() == own.len();
    let name = |dataset: &Option<Dataset>| dataset.as_ref().map(|dataset| dataset.name.clone());
    if report.models.is_empty() {
        report.dataset = training.dataset;
    } else if name(&report.dataset) != name(&training.dataset) {
        // One head for several data sets would be wrong of all but one.
        report.dataset = None;
    }
    for trained in training.models {
        for &at in &own {
            let model = &mut report.models[at];
            model.training.clone_from(&trained.training);
            if let Some(candle) = trained.eval.as_ref().and_then(|eval| eval.candle.clone()) {
                model.eval.get_or_insert_default().candle = Some(candle);
            }
        }
        if own.is_empty() || !all {
            if !all {
                eprintln!(
                    "{}: model files made of this training have other ranks or were tested on other images; its accuracy stands apart",
                    trained.name
                );
            }
            report.models.push(Model { name: format!("{} (training)", trained.name), ..trained });
        }
    }
}

/// What was done, with its time.
struct Steps(Vec<Step>);

impl Steps {
    fn run<T>(&mut self, name: String, step: impl FnOnce() -> Result<T>) -> Result<T> {
        eprintln!("{name}");
        let start = Instant::now();
        let done = step().with_context(|| format!("cannot {name}"))?;
        self.0.push(Step { name, seconds: start.elapsed().as_secs_f64() });
        Ok(done)
    }
}

/// Model files that were made of the weights of the training in `folder`: there, beside it, and here.
pub fn models_of(folder: &Path, training: &Report) -> Result<Vec<PathBuf>> {
    let Some(command) = report::training_command(training) else { return Ok(Vec::new()) };
    let above = folder.parent().map(Path::to_owned);
    let mut found: Vec<PathBuf> = Vec::new();
    for place in [Some(folder.to_owned()), above, Some(PathBuf::new())].into_iter().flatten() {
        let place = if place.as_os_str().is_empty() { PathBuf::from(".") } else { place };
        for path in report::model_files(&place) {
            let path = path.strip_prefix(".").map(Path::to_owned).unwrap_or(path);
            // What cannot be read or is no model is another's business.
            let Ok(file) = ModelFile::open(&path) else { continue };
            let Ok(model) = file.model() else { continue };
            let training = model.container().metadata_value("training").map(|text| text.to_string());
            let known = found.iter().any(|other| other.canonicalize().ok() == path.canonicalize().ok());
            if training.as_deref() == Some(command) && !known {
                found.push(path);
            }
        }
    }
    ensure!(
        found.len() < 16,
        "{}: {} model files were made of this training; name those to report",
        folder.display(),
        found.len()
    );
    Ok(found)
}

#[cfg(test)]
mod tests {
    use lrpet_study::schema::{Accuracy, Training};

    use super::*;

    fn ranks(rank: u64) -> Option<AsTrained> {
        Some(("resnet8".to_owned(), [("conv1".to_owned(), rank)].into()))
    }

    fn training(dataset: &str) -> Trained {
        let candle = Accuracy { accuracy: 0.7, images: 10, ..Accuracy::default() };
        let model = Model {
            name: "run".to_owned(),
            eval: Some(Eval { candle: Some(candle), runtime: None }),
            training: Some(Training { command: Some("lrpet train".to_owned()), ..Training::default() }),
            ..Model::default()
        };
        let dataset = Some(Dataset { name: dataset.to_owned(), ..Dataset::default() });
        Trained { report: Report { models: vec![model], dataset, ..Report::default() }, as_trained: ranks(4) }
    }

    #[test]
    fn the_trainer_s_accuracy_is_that_of_the_ranks_trained() {
        let model = |name: &str| Model { name: name.to_owned(), ..Model::default() };
        let candle = |model: &Model| Some(model.eval.as_ref()?.candle.as_ref()?.accuracy);
        let made = |rank| Made { training: Some("lrpet train".to_owned()), like: ranks(rank) };
        let head = Some(Dataset { name: "a".to_owned(), ..Dataset::default() });
        for (like, expected) in [
            (vec![made(4)], vec![("0", Some(0.7))]),
            (vec![made(2)], vec![("0", None), ("run (training)", Some(0.7))]),
            (vec![made(2), made(4)], vec![("0", None), ("1", Some(0.7)), ("run (training)", Some(0.7))]),
            (vec![Made { like: None, ..made(4) }], vec![("0", None), ("run (training)", Some(0.7))]),
        ] {
            let models = (0..like.len()).map(|at| model(&at.to_string())).collect();
            let mut report = Report { models, dataset: head.clone(), ..Report::default() };
            join(&mut report, training("a"), &like);
            let found: Vec<_> = report.models.iter().map(|m| (m.name.as_str(), candle(m))).collect();
            assert_eq!(found, expected);
            assert_eq!(report.dataset, head);
            join(&mut report, training("b"), &like);
            assert_eq!(report.dataset, None, "two data sets have no head in common");
        }
        // What was measured on other images than those that the file was tested on stands apart.
        let tested = Model { dataset: Some("b".to_owned()), ..model("0") };
        let mut report = Report { models: vec![tested], dataset: head, ..Report::default() };
        join(&mut report, training("a"), &[made(4)]);
        let found: Vec<_> = report.models.iter().map(|m| (m.name.as_str(), candle(m))).collect();
        assert_eq!(found, [("0", None), ("run (training)", Some(0.7))]);
    }

    #[test]
    fn files_of_the_same_bytes_are_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let named = [file("a", "one"), file("b", "two"), file("c", "one")];
        let (paths, files) = distinct(&named).unwrap();
        assert_eq!((&paths[..], files.len()), (&named[..2], 2));
        assert_eq!(distinct(&[named[0].clone(), named[0].clone()]).unwrap().0, [named[0].clone()]);
    }
}
