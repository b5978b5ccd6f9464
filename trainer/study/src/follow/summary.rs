//! The page about a finished run: what was asked, what came out, on what machine, in what time.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use lrpet_report::units;
use lrpet_runtime::model::cost::Cost;
use lrpet_train::{EpochRecord, Evaluation, FINAL, LAST, METRICS, Origin, Outcome};
use serde_json::Value;

use super::document::{Block, Document};
use super::setup::{Setup, cost_at};
use super::{About, CURVES};
use crate::host::Host;

/// The page of the run `about` that ended as `outcome`. `began` and `ended` are in seconds since 1970; `events` is the name of the
/// file for TensorBoard, where there is one.
pub(super) fn document(
    about: &About,
    setup: Option<&Setup>,
    outcome: &Outcome,
    host: &Host,
    [began, ended]: [f64; 2],
    events: Option<String>,
) -> Document {
    let mut blocks = vec![
        Block::Facts(results(outcome)),
        Block::Command(about.command.clone()),
        Block::Heading("Network and data"),
        Block::Facts(network(about, setup, outcome)),
        Block::Picture { file: CURVES, text: "Curves by epoch" },
        Block::Heading("Time"),
        Block::Facts(time(outcome, began, ended)),
        Block::Heading("Settings"),
        Block::Facts(settings(about)),
        Block::Heading("Machine and build"),
        Block::Facts(machine(about, host)),
    ];
    if let Some(known) = &outcome.ranks {
        blocks.push(Block::Heading("Ranks"));
        blocks.push(ranks(about, known, &outcome.history));
    }
    blocks.push(Block::Heading("Files"));
    let mut files = vec![
        (FINAL.to_owned(), "final weights"),
        (METRICS.to_owned(), "one JSON line an epoch"),
        (CURVES.to_owned(), "curves by epoch"),
        (LAST.to_owned(), "last checkpoint, with the optimiser's state"),
    ];
    files.extend(events.map(|name| (name, "curves for TensorBoard")));
    blocks.push(Block::Files(files));
    Document { title: title(about), blocks }
}

/// Network, data and whether it is low-rank.
pub(super) fn title(about: &About) -> String {
    let kind = if about.settings.projection.is_some() { "low-rank" } else { "dense" };
    format!("{} on {}, {kind}", about.network.name, about.settings.dataset)
}

fn fact(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

fn results(outcome: &Outcome) -> Vec<(String, String)> {
    let text = |found: &Evaluation| {
        let images = units::things(found.images as u64, "image");
        format!("{} of {images}, loss {:.4}", units::percent(found.accuracy), found.loss)
    };
    let mut facts = Vec::new();
    if let Some(test) = &outcome.test {
        facts.push(fact("Test accuracy", text(test)));
    }
    if let Some(validation) = &outcome.validation {
        facts.push(fact("Validation accuracy, final weights", text(validation)));
    }
    let validations = outcome.history.iter().filter_map(|record| Some((record.epoch, record.validation?)));
    // The first of equals: the earliest epoch that was as good.
    if let Some((epoch, best)) =
        validations.reduce(|best, next| if next.1.accuracy > best.1.accuracy { next } else { best })
    {
        facts.push(fact("Best validation of an epoch", format!("{}, epoch {epoch}", text(&best))));
    }
    if let Some(last) = outcome.history.last() {
        let accuracy = units::percent(last.train_accuracy);
        facts.push(fact("Training, last epoch", format!("loss {:.4}, accuracy {accuracy}", last.train_loss)));
    }
    facts
}

fn network(about: &About, setup: Option<&Setup>, outcome: &Outcome) -> Vec<(String, String)> {
    let ranks = outcome.ranks.as_ref();
    let dense = about.network.cost();
    let low = ranks.map_or(dense, |ranks| cost_at(about.network, ranks));
    let count = |of: fn(&Cost) -> u64| {
        let [whole, less] = [of(&dense) as f64, of(&low) as f64];
        let exact = |value: f64| format!("{} ({})", units::count(value), units::grouped(value));
        match ranks {
            None => exact(whole),
            Some(_) => format!("{} → {}, {}", exact(whole), exact(less), units::times(less / whole)),
        }
    };
    let images = |count: usize| units::grouped(count as f64);
    let start = Origin::of(&about.settings, about.network);
    let start = start.map_or("fresh weights".to_owned(), |origin| origin.to_string());
    let mut facts = vec![
        fact("Network", about.network.name.clone()),
        fact("Start", start),
        fact(
            "Input",
            format!("{}, {}", about.network.input, units::things(about.network.classes.into(), "class")),
        ),
        fact("Multiply-adds", count(|cost| cost.macs)),
        fact("Parameters (without biases)", count(|cost| cost.params)),
        fact("Data", about.settings.dataset.clone()),
        fact(
            "Images",
            format!(
                "{} training, {} validation, {} test",
                images(about.images.train),
                images(about.images.validation),
                images(about.images.test)
            ),
        ),
        fact("Augmentation", about.augmentation.clone()),
    ];
    if let Some(setup) = setup {
        let steps = format!(
            "{} of at most {}",
            units::grouped(setup.batches as f64),
            units::things(setup.batch as u64, "image")
        );
        facts.push(fact("Steps of an epoch", steps));
        facts.push(fact("Ranks", setup.ranks.clone()));
        facts.extend(setup.recipe.iter().map(|recipe| fact("Recipe", recipe.clone())));
        facts.extend(setup.hints.iter().map(|hint| fact("Hint", hint.clone())));
    }
    facts
}

fn time(outcome: &Outcome, began: f64, ended: f64) -> Vec<(String, String)> {
    let history = &outcome.history;
    let date = |seconds: f64| {
        let time = UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).unwrap_or_default());
        time.map_or("unknown".to_owned(), |time| humantime::format_rfc3339_seconds(time).to_string())
    };
    let total: f64 = history.iter().map(|record| record.seconds).sum();
    let part = |seconds: f64| {
        let share = if total > 0.0 { seconds / total } else { 0.0 };
        format!("{} of the epochs' time ({})", units::percent(share), units::duration(seconds))
    };
    let mut rates: Vec<f64> = history.iter().map(|record| record.images_per_second).collect();
    rates.sort_by(f64::total_cmp);
    let mut facts = vec![
        fact("Began", date(began)),
        fact("Ended", date(ended)),
        fact("Epochs", format!("{} in {}, validation included", history.len(), units::duration(total))),
    ];
    if let Some(median) = rates.get(rates.len() / 2) {
        facts.push(fact("Training speed, median epoch", format!("{} images/s", units::grouped(*median))));
    }
    let projections = || history.iter().filter_map(|record| record.projection.as_ref());
    if projections().next().is_some() {
        let times: usize = projections().map(|projection| projection.count).sum();
        let seconds = projections().map(|projection| projection.seconds).sum();
        facts.push(fact("Projections", format!("{times}, {}", part(seconds))));
    }
    facts.push(fact("Waiting for images", part(history.iter().map(|record| record.wait_seconds).sum())));
    facts
}

/// Every setting by name; ranks have a table of their own.
fn settings(about: &About) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let value = serde_json::to_value(&about.settings).unwrap_or_default();
    flatten("", &value, &mut facts);
    facts
}

fn flatten(prefix: &str, value: &Value, facts: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(name, _)| *name != "ranks") {
                let name = name.replace('_', " ");
                let name = if prefix.is_empty() { name } else { format!("{prefix}: {name}") };
                flatten(&name, value, facts);
            }
        }
        Value::String(text) => facts.push(fact(prefix, text.clone())),
        Value::Null => facts.push(fact(prefix, "none")),
        other => facts.push(fact(prefix, other.to_string())),
    }
}

fn machine(about: &About, host: &Host) -> Vec<(String, String)> {
    let known = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
    vec![
        fact("lrpet", format!("{}, revision {}", host.version, known(&host.revision))),
        fact("Compiler", known(&host.rustc)),
        fact(
            "Target",
            format!("{}, features {}", known(&host.target), known(&host.target_features.replace(',', ", "))),
        ),
        fact("Device", about.device.clone()),
        fact("CPU", format!("{}, {} processors", host.cpu, host.processors)),
        fact("CPU kernels", host.isa),
        fact("Threads", host.threads.to_string()),
    ]
}

/// Every layer with weights, with its rank and what its last projection kept.
fn ranks(about: &About, ranks: &BTreeMap<String, u64>, history: &[EpochRecord]) -> Block {
    let last = history.iter().rev().find_map(|record| record.projection.as_ref());
    let dash = || "–".to_owned();
    let rows = about.network.matrices().into_iter().map(|(_, name, matrix)| {
        let rank = ranks.get(name).copied().unwrap_or(0);
        let kept = last.and_then(|last| last.layers.get(name)).filter(|_| rank > 0);
        let (dense, low) = (matrix.cost(0).macs as f64, matrix.cost(rank).macs as f64);
        vec![
            name.to_owned(),
            format!("{} × {}", matrix.rows, matrix.columns),
            if rank > 0 { rank.to_string() } else { "dense".to_owned() },
            matrix.rows.min(matrix.columns).to_string(),
            kept.map_or_else(dash, |kept| units::percent(*kept)),
            units::grouped(dense),
            units::grouped(low),
            units::times(low / dense),
        ]
    });
    Block::Table {
        head: vec![
            "Layer",
            "Matrix",
            "Rank",
            "Of",
            "Energy kept by the last projection",
            "Multiply-adds, dense",
            "At the rank",
            "Ratio",
        ],
        rows: rows.collect(),
    }
}
