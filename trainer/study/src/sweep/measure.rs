//! A row of a finished run: its model file, what that costs, and what the boards say.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lrpet_network::Checkpoint;
use lrpet_network::Source;
use lrpet_network::atomic;
use lrpet_network::export::schedule::{choices, in_file, share};
use lrpet_network::export::{checked, folded};
use lrpet_network::inspect;
use lrpet_network::network::Network;
use lrpet_runtime::host::{AlignedBytes, MappedModel};
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::Shape;
use lrpet_runtime::plan::{Plan, Ram};
use lrpet_train::{EpochRecord, FINAL};
use sha2::{Digest, Sha256};

use super::progress::history;
use super::{Job, Runs};
use crate::boards::Board;
use crate::measure::{self, BenchOptions};
use crate::schema::sweep::{Row, RowLayer, RowSchedule, Sweep};
use crate::schema::{Accuracy, Bench, Eval, Inspect, Model, Training};

/// The model file in a run's folder.
const MODEL: &str = "model.safetensors";
/// Inferences of [`host_times`].
const ITERATIONS: usize = 320;

/// The row of `job`'s run, which is trained. Figures of `known` are kept where they are of the same model file; `say`
/// hears what is done.
///
/// # Errors
/// Where a step fails; the error names the file or the board.
pub fn measure(
    runs: &Runs,
    job: &Job,
    init: Option<String>,
    earlier_epochs: u64,
    known: Option<&Row>,
    say: &dyn Fn(&str),
) -> Result<Row> {
    let folder = runs.folder(job);
    let (weights, file) = (folder.join(FINAL), folder.join(MODEL));
    if !newer(&file, &weights) {
        say("making the model file");
        factorize(runs, &weights, &file)?;
    }
    let schedule = schedule(&file, runs.ram)?;
    let checkpoint = Checkpoint::read(&weights)?;
    let map = MappedModel::open(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let sha256: String = Sha256::digest(map.bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let known = known.filter(|row| row.model.sha256.as_ref() == Some(&sha256));
    let model = checked(map.bytes(), &file.display().to_string())?;

    let inspection = inspect(&model, Isa::CortexM)?;
    let card = inspection.card.clone();
    let inspect: Inspect = serde_json::from_value(serde_json::to_value(&inspection)?)?;
    let plan = |board: Board| {
        let plan = Plan::new(model.program(), board.isa).ok()?;
        Some((board.name.to_owned(), plan.arena_bytes as u64))
    };
    let arenas = Board::all().filter_map(plan).collect();

    let mut boards = known.map(|row| row.model.boards.clone()).unwrap_or_default();
    for name in &runs.boards {
        if boards.iter().all(|board| board.board != *name) {
            say(&format!("measuring on {name}"));
            let board = Board::find(name).with_context(|| format!("there is no board {name}"))?;
            boards.push(board.bench()?.measure(&file)?);
        }
    }
    let history = history(&folder);
    Ok(Row {
        prune: job.prune,
        run: job.name(),
        init,
        epochs: history.len() as u64,
        epochs_in_all: history.len() as u64 + earlier_epochs,
        file_bytes: map.bytes().len() as u64,
        arenas,
        schedule: Some(schedule),
        layers: layers(&checkpoint, &inspect, &history).with_context(|| weights.display().to_string())?,
        model: Model {
            name: job.name(),
            file: Some(format!("runs/{}/{MODEL}", job.name())),
            sha256: Some(sha256),
            prune: Some(job.prune),
            inspect: Some(inspect),
            eval: Some(eval(&checkpoint, &card)),
            bench: known.and_then(|row| row.model.bench.clone()),
            boards,
            training: Some(training(&checkpoint, &history)),
            ..Model::default()
        },
    })
}

/// Whether `file` is there and not older than `source`.
fn newer(file: &Path, source: &Path) -> bool {
    let time = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified()).ok();
    matches!((time(file), time(source)), (Some(file), Some(source)) if file >= source)
}

fn factorize(runs: &Runs, weights: &Path, file: &Path) -> Result<()> {
    let mut command = Command::new(&runs.program);
    command.arg("factorize").arg(weights).args(&runs.images).arg("--out").arg(file).arg("--json");
    let output = command.output().with_context(|| format!("cannot start {}", runs.program.display()))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let error = errors.lines().rev().find_map(|line| line.strip_prefix("error: "));
    ensure!(output.status.success(), "`lrpet factorize` failed: {}", error.unwrap_or(errors.trim()));
    Ok(())
}

/// Gives a model file the schedule that suits `ram` on a Cortex-M, or none where nothing is asked for: then what is said is the least.
fn schedule(file: &Path, ram: Option<Ram>) -> Result<RowSchedule> {
    let name = file.display().to_string();
    let before = AlignedBytes::copy_of(&std::fs::read(file).with_context(|| format!("cannot read {name}"))?);
    let model = checked(before.as_slice(), &name)?;
    let choices = choices(&model, Isa::CortexM, &name)?;
    let choose = |ram: Ram| ram.choose(&choices).with_context(|| name.clone());
    let has = &choices[choose(ram.unwrap_or(Ram::Fastest))?];
    let after = in_file(before.as_slice(), Isa::CortexM, has)?;
    if after != before.as_slice() {
        atomic::write(file, &after).with_context(|| format!("cannot write {name}"))?;
    }
    let said = ram.unwrap_or(Ram::Least);
    let chosen = &choices[choose(said)?];
    Ok(RowSchedule {
        ram: said.to_string(),
        written: ram.is_some(),
        layers_bytes: choices.first().map_or(0, |layers| layers.plan.arena_bytes as u64),
        arena_bytes: chosen.plan.arena_bytes as u64,
        cost: share(&choices, chosen),
    })
}

/// Accuracy on the test set: of the trainer from the checkpoint's metadata, of the runtime from the model's card.
fn eval(checkpoint: &Checkpoint, card: &BTreeMap<String, String>) -> Eval {
    let trained = |key: &str| checkpoint.metadata.get(key)?.parse::<f64>().ok();
    let images = trained("test_images").map_or(0, |images| images as u64);
    let accuracy = |accuracy: f64| Accuracy { accuracy, images, ..Accuracy::default() };
    Eval {
        candle: trained("test_accuracy").map(accuracy),
        runtime: card.get("accuracy").and_then(|text| text.parse().ok()).map(accuracy),
    }
}

fn training(checkpoint: &Checkpoint, history: &[EpochRecord]) -> Training {
    Training {
        epochs: history.iter().map(Into::into).collect(),
        seconds: Some(history.iter().map(|epoch| epoch.seconds).sum()),
        seed: checkpoint.metadata.get("seed").and_then(|seed| seed.parse().ok()),
        command: checkpoint.metadata.get("command").cloned(),
    }
}

/// Ranks and spectra of the layers with a matrix.
fn layers(checkpoint: &Checkpoint, inspect: &Inspect, history: &[EpochRecord]) -> Result<Vec<RowLayer>> {
    let network = network(checkpoint)?;
    let spectra = folded::spectra(&network, checkpoint)?;
    let projected = history.iter().rev().find_map(|epoch| epoch.projection.as_ref());
    let layer = |(_, name, _): (usize, &str, _)| {
        let cost = inspect.layers.iter().find(|layer| layer.name == name)?;
        let values = spectra.get(name)?.singular_values();
        let largest = values.first().copied().filter(|&largest| largest > 0.0).unwrap_or(1.0);
        let rank = cost.rank;
        Some(RowLayer {
            name: name.to_owned(),
            rank,
            energy_kept: projected.and_then(|of| of.layers.get(name).copied()).filter(|_| rank.is_some()),
            // Five decimals are more than a chart shows.
            singular_values: values.iter().map(|value| (value / largest * 1e5).round() / 1e5).collect(),
        })
    };
    Ok(network.matrices().into_iter().filter_map(layer).collect())
}

/// The network that the checkpoint names.
fn network(checkpoint: &Checkpoint) -> Result<Network> {
    let said = |key: &str| checkpoint.metadata.get(key).with_context(|| format!("the metadata has no {key}"));
    let input: Vec<u32> = said("input")?.split('x').filter_map(|axis| axis.parse().ok()).collect();
    let &[channels, height, width] = &input[..] else { anyhow::bail!("metadata: input {}", said("input")?) };
    let classes = said("classes")?.parse().context("metadata: classes")?;
    let source = Source::of_weights(None, &checkpoint.metadata, Path::new("metadata"))?;
    source.network(Shape::new(channels, height, width), classes).context("metadata")
}

/// Times all models of the sweep in `folder` on one thread of this machine, in turns ([`measure::run_all`]).
///
/// # Errors
/// Where a model cannot be read.
pub fn host_times(sweep: &mut Sweep, folder: &Path) -> Result<()> {
    let options = BenchOptions { warm_up: 5, iterations: ITERATIONS, threads: NonZeroUsize::MIN };
    let file = |row: &Row| folder.join(row.model.file.as_deref().unwrap_or_default());
    let names: Vec<String> = sweep.rows.iter().map(|row| file(row).display().to_string()).collect();
    let open =
        |name: &String| MappedModel::open(Path::new(name)).with_context(|| format!("cannot read {name}"));
    let maps: Vec<MappedModel> = names.iter().map(open).collect::<Result<_>>()?;
    let models: Vec<_> =
        maps.iter().zip(&names).map(|(map, name)| checked(map.bytes(), name)).collect::<Result<_, _>>()?;
    let pairs: Vec<_> = models.iter().zip(&names).map(|(model, name)| (model, name.as_str())).collect();
    for (row, run) in sweep.rows.iter_mut().zip(measure::run_all(&pairs, options)?) {
        row.model.bench = Some(Bench::try_from(run).map_err(anyhow::Error::msg)?);
    }
    Ok(())
}
