//! The section on training: loss and validation accuracy by epoch, and a line of figures for each model.

use lrpet_report::visible;
use maud::{Markup, html};

use super::accuracy::short;
use super::chart::{LineChart, Point, Series};
use super::units;
use crate::schema::{Epoch, Report, Training};

/// The section; `colours` has the class of each model's colour.
pub(super) fn section(report: &Report, colours: &[String]) -> Markup {
    let runs: Vec<Run> = report
        .models
        .iter()
        .zip(colours)
        .filter_map(|(model, colour)| {
            let training = model.training.as_ref().filter(|training| !training.epochs.is_empty())?;
            Some(Run { name: &model.name, colour, training })
        })
        .collect();
    html! {
        section #training {
            h2 { "Training" }
            @if runs.is_empty() {
                p.absent { "No training curves: no model of this report has a `training` part with epochs." }
            } @else {
                (legend(&runs))
                div.charts {
                    (figure(
                        "Loss",
                        "Solid: training. Dashed: validation.",
                        lines(&runs, &[(false, |e| e.loss), (true, |e| e.val_loss)], (1.0, "")),
                    ))
                    (figure(
                        "Validation accuracy",
                        "Top-1, after each epoch.",
                        lines(&runs, &[(false, |e| e.val_accuracy)], (100.0, " %")),
                    ))
                }
                (figures(&runs))
            }
        }
    }
}

struct Run<'a> {
    name: &'a str,
    colour: &'a str,
    training: &'a Training,
}

impl Run<'_> {
    fn projects(&self) -> bool {
        self.training.epochs.iter().any(|epoch| epoch.projected == Some(true))
    }
}

fn legend(runs: &[Run]) -> Markup {
    html! {
        ul.legend {
            @for run in runs {
                li title=(visible(run.name)) { span class={ "swatch " (run.colour) } {} (short(run.name)) }
            }
            @if runs.iter().any(Run::projects) {
                li { span.swatch.dot {} "weights projected to their rank in this epoch" }
            }
        }
    }
}

fn figure(name: &str, note: &str, chart: LineChart) -> Markup {
    let empty = chart.series.iter().all(|series| series.points.is_empty());
    html! {
        figure {
            figcaption { b { (name) } " " span.note { (note) } }
            @if empty { p.absent { "Not recorded." } } @else { (LineChart { label: &format!("{name} by epoch"), ..chart }.render()) }
        }
    }
}

type Value = fn(&Epoch) -> Option<f64>;

fn lines<'a>(runs: &[Run], values: &[(bool, Value)], y_scale: (f64, &'a str)) -> LineChart<'a> {
    let mut series = Vec::new();
    for run in runs {
        for (dashed, value) in values {
            let point = |epoch: &Epoch| {
                let y = value(epoch).filter(|y| y.is_finite())?;
                let marked = epoch.projected == Some(true) && !dashed;
                Some(Point { x: epoch.epoch as f64, y, marked, title: describe(run.name, epoch) })
            };
            let points = run.training.epochs.iter().filter_map(point).collect();
            series.push(Series { colour: run.colour.to_owned(), dashed: *dashed, points });
        }
    }
    LineChart { label: "", x_label: "epoch", y_scale, series }
}

/// All that is known of an epoch, in words.
fn describe(model: &str, epoch: &Epoch) -> String {
    let facts = [
        epoch.loss.map(|loss| format!("loss {loss:.4}")),
        epoch.accuracy.map(|accuracy| format!("training accuracy {}", units::percent(accuracy))),
        epoch.val_loss.map(|loss| format!("validation loss {loss:.4}")),
        epoch.val_accuracy.map(|accuracy| format!("validation accuracy {}", units::percent(accuracy))),
        epoch.lr.map(|lr| format!("learning rate {}", rate(lr))),
        epoch.images_per_second.map(|rate| format!("{rate:.0} images/s")),
        (epoch.projected == Some(true)).then(|| "projected".to_owned()),
    ];
    let facts: Vec<_> = facts.into_iter().flatten().collect();
    format!("{model}, epoch {}\n{}", epoch.epoch, facts.join("\n"))
}

fn figures(runs: &[Run]) -> Markup {
    html! {
        div.scroll {
            table.plain {
                thead {
                    tr {
                        th { "Model" } th { "Epochs" } th { "Best validation" } th { "Last loss" }
                        th { "Learning rate" } th { "Images/s" } th { "Time" } th { "Seed" }
                    }
                }
                tbody {
                    @for run in runs {
                        @let epochs = &run.training.epochs;
                        tr {
                            th scope="row" title=(visible(run.name)) { span class={ "swatch " (run.colour) } {} (short(run.name)) }
                            td { (epochs.len()) }
                            td { (best(epochs)) }
                            td { (or_dash(epochs.last().and_then(|e| e.loss).map(|loss| format!("{loss:.4}")))) }
                            td { (or_dash(schedule(epochs))) }
                            td { (or_dash(median(epochs.iter().filter_map(|e| e.images_per_second)).map(units::grouped))) }
                            td { (or_dash(run.training.seconds.map(units::duration))) }
                            td { (or_dash(run.training.seed.map(|seed| seed.to_string()))) }
                        }
                    }
                }
            }
        }
    }
}

fn best(epochs: &[Epoch]) -> Markup {
    let accuracies = epochs.iter().filter_map(|e| Some((e.val_accuracy.filter(|a| a.is_finite())?, e.epoch)));
    match accuracies.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((accuracy, epoch)) => html! { (units::percent(accuracy)) " " span.note { "epoch " (epoch) } },
        None => html! { "–" },
    }
}

fn schedule(epochs: &[Epoch]) -> Option<String> {
    let rates: Vec<f64> = epochs.iter().filter_map(|epoch| epoch.lr).collect();
    let (first, last) = (*rates.first()?, *rates.last()?);
    let highest = rates.iter().copied().fold(first, f64::max);
    Some(match (highest > first, first == last) {
        (true, _) => format!("{} → {} → {}", rate(first), rate(highest), rate(last)),
        (_, true) => rate(first),
        _ => format!("{} → {}", rate(first), rate(last)),
    })
}

/// A learning rate in three significant digits.
fn rate(lr: f64) -> String {
    if lr.abs() >= 1e-3 {
        let text = format!("{lr:.4}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    if lr == 0.0 { "0".to_owned() } else { format!("{lr:.1e}") }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "–".to_owned())
}
