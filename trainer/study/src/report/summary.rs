//! The report in one sentence, and what follows from its figures.

use super::table::{baseline, boards, dataset, latencies, on_board};
use super::units;
use crate::schema::{Accuracy, Bench, Model, Report};

/// The value that all have in common; none where one is not known.
pub(super) fn common<T: PartialEq>(mut values: impl Iterator<Item = Option<T>>) -> Option<T> {
    let first = values.next()??;
    values.all(|value| value.as_ref() == Some(&first)).then_some(first)
}

/// The headline.
pub(super) fn title(report: &Report) -> &str {
    report.title.as_deref().unwrap_or("Low-rank models, measured")
}

/// A headline for models that nobody gave one: network and data set where all have the same, else how many they are.
pub fn title_of(report: &Report) -> String {
    let what = match (common(report.models.iter().map(Model::network)), &report.models[..]) {
        (Some(network), _) => network.to_owned(),
        (None, [model]) => model.name.clone(),
        (None, models) => units::things(models.len() as u64, "model"),
    };
    let datasets = || report.models.iter().map(|model| dataset(report, model));
    match common(datasets()) {
        Some(dataset) => format!("{what} on {dataset}"),
        None if datasets().flatten().next().is_some() && report.models.len() > 1 => {
            format!("{what}, not all of one data set")
        }
        None => what,
    }
}

/// One sentence with the figures of the first low-rank model against its dense twin, or of the only model.
pub fn summary(report: &Report) -> String {
    let pair = report.models.iter().find_map(|model| Some((model, baseline(report, model)?)));
    match (pair, report.models.first()) {
        (Some((model, dense)), _) => compare(report, model, dense),
        (None, Some(model)) => alone(model),
        (None, None) => "This report holds no models.".to_owned(),
    }
}

fn compare(report: &Report, model: &Model, dense: &Model) -> String {
    let mut shares = Vec::new();
    let mut share = |value: Option<f64>, of: Option<f64>, what: String| {
        if let (Some(value), Some(of)) = (value, of.filter(|of| *of > 0.0)) {
            shares.push(format!("{} of the {what}", units::percent_short(value / of)));
        }
    };
    let inspect =
        |m: &Model, of: fn(&crate::schema::Inspect) -> u64| m.inspect.as_ref().map(|i| of(i) as f64);
    share(inspect(model, |i| i.macs), inspect(dense, |i| i.macs), "multiply-adds".into());
    share(inspect(model, |i| i.weight_bytes), inspect(dense, |i| i.weight_bytes), "weight bytes".into());
    for board in boards(report) {
        let total = |m: &Model| on_board(m, board).map(|b| b.total as f64);
        share(total(model), total(dense), format!("{} on {}", units::measure_of(board.1), board.0));
    }
    let (own, reference) = latencies(report, model, dense).unzip();
    share(own, reference, "host latency".into());
    let accuracy = match (best_engine(model), best_engine(dense)) {
        (Some((of, engine)), Some((reference, same))) if engine == same => {
            let images = of.tested();
            format!(
                "{} classifies {} of {images} right, {} points against {}",
                model.name,
                units::percent(of.accuracy),
                units::points(of.accuracy - reference.accuracy),
                dense.name
            )
        }
        _ => format!("{} is compared with {}", model.name, dense.name),
    };
    match join(&shares) {
        Some(shares) => format!("{accuracy}, with {shares}."),
        None => format!("{accuracy}."),
    }
}

fn alone(model: &Model) -> String {
    let mut facts = Vec::new();
    if let Some((accuracy, _)) = best_engine(model) {
        let images = accuracy.tested();
        facts.push(format!("{} of {images} right", units::percent(accuracy.accuracy)));
    }
    if let Some(inspect) = &model.inspect {
        facts.push(format!("{} multiply-adds", units::count(inspect.macs as f64)));
        facts.push(format!("{} of weights", units::bytes(inspect.weight_bytes as f64)));
    } else if let Some(macs) = model.macs {
        facts.push(format!("{} multiply-adds", units::count(macs as f64)));
    }
    let bench = |bench: &Bench| {
        format!("{} on {}", units::milliseconds(bench.min_ms.unwrap_or(bench.median_ms)), bench.place())
    };
    facts.extend(model.benches().map(bench));
    let boards = model.boards.iter();
    facts.extend(boards.map(|b| format!("{} on {}", units::counted(b.total as f64, &b.counter), b.board)));
    match join(&facts) {
        Some(facts) => format!("{}: {facts}.", model.name),
        None => format!("Nothing was measured of {} yet.", model.name),
    }
}

/// The accuracy that counts: the runtime's, or the trainer's where the runtime's was not measured.
fn best_engine(model: &Model) -> Option<(&Accuracy, &'static str)> {
    let eval = model.eval.as_ref()?;
    let runtime = eval.runtime.as_ref().map(|accuracy| (accuracy, "runtime"));
    runtime.or_else(|| eval.candle.as_ref().map(|accuracy| (accuracy, "trainer")))
}

/// Phrases as a list in a sentence.
fn join(phrases: &[String]) -> Option<String> {
    let (last, others) = phrases.split_last()?;
    Some(if others.is_empty() { last.clone() } else { format!("{} and {last}", others.join(", ")) })
}

/// How much of each model's cut in multiply-adds became a cut in what was measured, as sentences:
/// realisation = (time dense / time low-rank) / (MACs dense / MACs low-rank).
pub(super) fn realisations(report: &Report) -> Vec<String> {
    let mut sentences = Vec::new();
    for model in &report.models {
        let Some(dense) = baseline(report, model) else { continue };
        let (Some(own), Some(reference)) = (&model.inspect, &dense.inspect) else { continue };
        if own.macs == 0 || reference.macs <= own.macs {
            continue;
        }
        let cut = reference.macs as f64 / own.macs as f64;
        let mut parts = Vec::new();
        let mut part = |value: Option<f64>, of: Option<f64>, what: String| {
            if let (Some(value), Some(of)) = (value.filter(|value| *value > 0.0), of) {
                let fall = of / value;
                parts.push(format!("{what} by {fall:.2} (realisation {:.2})", fall / cut));
            }
        };
        for board in boards(report) {
            let total = |m: &Model| on_board(m, board).map(|b| b.total as f64);
            part(total(model), total(dense), format!("{} on {}", units::measure_of(board.1), board.0));
        }
        let (own, reference) = latencies(report, model, dense).unzip();
        part(own, reference, "latency on the host".into());
        if let Some(parts) = join(&parts) {
            sentences.push(format!("{}: multiply-adds fall by a factor of {cut:.2}, {parts}.", model.name));
        }
    }
    sentences
}

/// Half the 95 % interval of the accuracy, in points, from the number of test images alone: the largest of all models.
pub(super) fn sampling_error(report: &Report) -> Option<(f64, u64)> {
    let half = |a: &Accuracy| (1.96 * (a.accuracy * (1.0 - a.accuracy) / a.images as f64).sqrt(), a.images);
    let measured = report.models.iter().filter_map(best_engine).filter(|(a, _)| a.images > 0);
    measured.map(|(a, _)| half(a)).filter(|(half, _)| half.is_finite()).max_by(|a, b| a.0.total_cmp(&b.0))
}
