//! The page of a sweep.

use maud::{Markup, PreEscaped, html};
use serde_json::{Value, json};

use super::figures::{Figure, Kind, ROWS, figures, title};
use super::fits::{Fit, fits};
use super::{layers, scatter};
use crate::report::frame::frame;
use crate::report::{Report, chart, training, units};
use crate::schema::sweep::{Row, Sweep};

/// Moves the limits and marks the run under the pointer. It loads nothing.
const SCRIPT: &str = include_str!("page.js");
/// What it needs besides the style sheet of all reports.
const STYLE: &str = include_str!("page.css");

/// Nothing may be loaded but pictures in the page itself; only its own script runs.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// The sweep as one HTML page: charts, tables, and limits to move. It loads nothing; without its script all is shown.
pub fn html(sweep: &Sweep) -> String {
    let figures = figures(sweep);
    let body = html! {
        header {
            p.kicker { (kicker(sweep)) }
            h1 { (title(sweep)) }
            p.summary { (summary(sweep)) }
        }
        main {
            (comparison(sweep, &figures))
            (runs(sweep, &figures))
            (boards(sweep))
            (realisation(sweep))
            (layers::section(sweep))
            (curves(sweep))
            (origin(sweep))
        }
        footer { "Made by " code { "lrpet report" } ". This page loads nothing; its script only filters and marks." }
        div #tip hidden {}
        script type="application/json" #data { (PreEscaped(data(sweep, &figures))) }
        script { (PreEscaped(SCRIPT)) }
    };
    frame(&title(sweep), Some(POLICY), &[scatter::POINTS, STYLE], body)
}

fn kicker(sweep: &Sweep) -> String {
    let day = sweep.created.split('T').next().unwrap_or_default();
    format!("{} · {} · warm start: {}", run_count(sweep), day, sweep.warm_start)
}

/// How many runs there are, in words.
fn run_count(sweep: &Sweep) -> String {
    units::things(sweep.rows.len() as u64, "run")
}

/// What the sweep shows, in a sentence or two.
pub(super) fn summary(sweep: &Sweep) -> String {
    let Some((dense, dense_accuracy)) = dense(sweep) else {
        let none = if sweep.rows.len() == 1 { "not a dense one" } else { "none of them dense" };
        return format!("{}, {none} to compare with.", run_count(sweep));
    };
    let mut text = format!("Dense: {}.", units::percent(dense_accuracy));
    let macs = |row: &Row| Some(row.model.inspect.as_ref()?.macs as f64);
    let pruned = sweep.rows.iter().filter(|row| row.prune > 0.0);
    let near = pruned.filter(|row| row.accuracy().is_some_and(|accuracy| accuracy >= dense_accuracy - 0.01));
    let cheapest = near.filter_map(|row| Some((row, macs(row)?))).min_by(|a, b| a.1.total_cmp(&b.1));
    if let (Some((row, cost)), Some(full)) = (cheapest, macs(dense)) {
        let accuracy = row.accuracy().unwrap_or_default();
        text.push_str(&format!(
            " The cheapest within one point is g = {}: {} ({} points) at {} the multiply-adds.",
            row.prune,
            units::percent(accuracy),
            units::points(accuracy - dense_accuracy),
            units::times(cost / full)
        ));
    }
    text
}

fn dense(sweep: &Sweep) -> Option<(&Row, f64)> {
    sweep.rows.iter().find(|row| row.prune == 0.0).and_then(|row| Some((row, row.accuracy()?)))
}

fn comparison(sweep: &Sweep, figures: &[Figure]) -> Markup {
    let limits = figures.iter().filter(|figure| figure.kind != Kind::Work);
    html! {
        section #comparison {
            h2 { "Accuracy against cost" }
            form #limits-form {
                @for (figure, (low, high)) in limits.filter_map(|figure| Some((figure, figure.range()?))) {
                    label {
                        span { (figure.label) " " output for=(format!("limit-{}", figure.key)) { "no limit" } }
                        input type="range" id=(format!("limit-{}", figure.key)) data-figure=(figure.key)
                            data-unit=(figure.unit.name()) min=(low * 0.98) max=(high) step="any" value=(high)
                            autocomplete="off";
                    }
                }
                p #chosen role="status" { (run_count(sweep)) }
            }
            div.charts {
                @for figure in figures {
                    figure { figcaption { b { (figure.label) } } (scatter::chart(sweep, figure)) }
                }
            }
            p.note {
                "Top-1 accuracy on the test set by the runtime, f16. The line joins the runs that no other one beats in cost and
                accuracy; dashes are the dense network's accuracy. 1 KB = 1024 bytes. Executed instructions are counted on an
                emulator: they are not cycles and not time."
                (rows_note(sweep))
            }
        }
    }
}

/// What is said of rows instead of layers.
fn rows_note(sweep: &Sweep) -> String {
    let mut schedules = sweep.rows.iter().filter_map(|row| row.schedule.as_ref());
    let Some(first) = schedules.clone().next() else { return String::new() };
    let measured = match (first.written, schedules.all(|schedule| schedule.written == first.written)) {
        (_, false) => "some runs were measured in them",
        (true, true) => "all runs were measured in them",
        (false, true) => "runs were measured layer by layer",
    };
    format!(
        " In rows instead of layers a network takes less RAM and other instructions, whose number is an estimate; {measured}."
    )
}

fn runs(sweep: &Sweep, figures: &[Figure]) -> Markup {
    html! {
        section #runs {
            h2 { "Runs" }
            div.scroll {
                table.plain {
                    thead {
                        tr {
                            th { "run" } th { "accuracy, f16" } th { "trainer, f32" } th { "epochs" }
                            @for figure in figures { th { (figure.label) } }
                        }
                    }
                    tbody {
                        @for (index, row) in sweep.rows.iter().enumerate() { (run(index, row, figures, dense(sweep))) }
                    }
                }
            }
        }
    }
}

fn run(index: usize, row: &Row, figures: &[Figure], dense: Option<(&Row, f64)>) -> Markup {
    let eval = row.model.eval.clone().unwrap_or_default();
    let accuracy = |of: Option<f64>| of.map_or("–".to_owned(), units::percent);
    html! {
        tr data-row=(index) {
            th scope="row" { (row.run) @if let Some(init) = &row.init { small.note { "from " (init) } } }
            td {
                (accuracy(eval.runtime.map(|of| of.accuracy)))
                @if let (Some((_, full)), Some(own), true) = (dense, row.accuracy(), row.prune > 0.0) {
                    " " span.note { (units::points(own - full)) }
                }
            }
            td { (accuracy(eval.candle.map(|of| of.accuracy))) }
            td { (row.epochs) @if row.epochs_in_all != row.epochs { span.note { " (" (row.epochs_in_all) " in all)" } } }
            @for figure in figures {
                @match figure.values[index] {
                    Some(value) => td title=(units::grouped(value)) {
                        (figure.unit.text(value))
                        @if let Some(schedule) = row.schedule.as_ref().filter(|_| figure.key == ROWS) {
                            small.note title="executed instructions, estimated, of those layer by layer" { "≈ " (units::times(schedule.cost)) }
                        }
                    },
                    None => td { span.note title="not measured" { "–" } },
                }
            }
        }
    }
}

fn boards(sweep: &Sweep) -> Markup {
    let all = fits(sweep);
    html! {
        section #boards {
            h2 { "What fits which board" }
            div.scroll {
                table.plain.fits {
                    thead {
                        tr {
                            th { "board" }
                            @for (index, row) in sweep.rows.iter().enumerate() { th data-row=(index) { (row.run) } }
                        }
                    }
                    tbody {
                        @for (board, fits) in &all {
                            tr {
                                th scope="row" {
                                    (board.name)
                                    small.note { (board.core) @if let Some(memory) = board.memory {
                                        ", " (units::bytes(memory.flash as f64)) " flash, " (units::bytes(memory.ram as f64)) " RAM"
                                    } }
                                }
                                @for (index, fit) in fits.iter().enumerate() { td data-row=(index) { (fit_cell(fit.as_ref())) } }
                            }
                        }
                    }
                }
            }
            p.note { (fits_note(&all)) }
        }
    }
}

fn fit_cell(fit: Option<&Fit>) -> Markup {
    let Some(fit) = fit else { return html! { "–" } };
    let used = |bytes: u64, of: u64| format!("{} of {}", units::bytes(bytes as f64), units::bytes(of as f64));
    html! {
        @if fit.fits() { b { "yes" } } @else if fit.fits_in_rows() { b { "in rows" } } @else { b.bad { "no" } }
        small.note.bad[fit.flash > fit.flash_has] { "flash " (used(fit.flash, fit.flash_has)) }
        small.note.bad[fit.ram > fit.ram_has] { "RAM " (used(fit.ram, fit.ram_has)) }
        @if let Some(ram) = fit.ram_in_rows.filter(|_| fit.fits_in_rows()) {
            small.note { "in rows, least, RAM " (used(ram, fit.ram_has)) }
        }
    }
}

/// Where code, variables and stack come from.
fn fits_note(all: &[(crate::boards::Board, Vec<Option<Fit>>)]) -> String {
    let mut from: Vec<&str> = Vec::new();
    let mut bare = false;
    for fit in all.iter().flat_map(|(_, fits)| fits.iter().flatten()) {
        match &fit.measured_on {
            Some(board) if !from.contains(&board.as_str()) => from.push(board),
            None => bare = true,
            Some(_) => {}
        }
    }
    let mut text =
        "Flash is the model file and the code, RAM the arena as planned for the board's kernels, other \
                    variables and the deepest stack."
            .to_owned();
    if !from.is_empty() {
        text.push_str(&format!(
            " Code, variables and stack were measured on {}; other boards are given those of one with their core, or else \
             of the first.",
            from.join(", ")
        ));
    }
    if all.iter().flat_map(|(_, fits)| fits.iter().flatten()).any(Fit::fits_in_rows) {
        text.push_str(
            " In rows: not measured; with the least arena of rows instead of layers, and variables and stack as measured layer by layer. \
             Streams take some KB of code and stack more: `lrpet flash --dry-run --ram least` counts them.",
        );
    }
    if bare {
        text.push_str(
            " Nothing was measured on a board: code, variables and stack are not in these figures.",
        );
    }
    text
}

fn realisation(sweep: &Sweep) -> Markup {
    let Some((dense, _)) = dense(sweep) else { return html! {} };
    let macs = |row: &Row| row.model.inspect.as_ref().map(|inspect| inspect.macs as f64);
    let latencies: Vec<Figure> =
        figures(sweep).into_iter().filter(|figure| figure.kind == Kind::Latency).collect();
    let at = sweep.rows.iter().position(|row| row.run == dense.run).unwrap_or(0);
    let Some(full) = macs(dense) else { return html! {} };
    if latencies.is_empty() {
        return html! {};
    }
    html! {
        section #realisation {
            h2 { "What became of the cut in multiply-adds" }
            div.scroll {
                table.plain {
                    thead { tr { th { "run" } th { "multiply-adds" } @for figure in &latencies { th { (figure.label) } } } }
                    tbody {
                        @for (index, row) in sweep.rows.iter().enumerate().filter(|(_, row)| row.prune > 0.0) {
                            @if let Some(own) = macs(row) {
                                tr data-row=(index) {
                                    th scope="row" { (row.run) }
                                    td { (format!("{:.2}× fewer", full / own)) }
                                    @for figure in &latencies {
                                        @if let (Some(before), Some(now)) = (figure.values[at], figure.values[index]) {
                                            td {
                                                (format!("{:.2}× faster", before / now)) " "
                                                span.note { (format!("realisation {:.2}", before / now * own / full)) }
                                            }
                                        } @else { td { "–" } }
                                    }
                                }
                            }
                        }
                    }
                }
            }
            p.note { "Realisation is the share of the cut in multiply-adds that became a cut in the figure; 1.00 is all of it." }
        }
    }
}

/// The training curves, as in other reports.
fn curves(sweep: &Sweep) -> Markup {
    let models = sweep.rows.iter().map(|row| row.model.clone()).collect();
    let report = Report { models, ..Report::default() };
    training::section(&report, &chart::colours(&report))
}

fn origin(sweep: &Sweep) -> Markup {
    html! {
        section #origin {
            h2 { "Where this comes from" }
            code.command { (sweep.command) }
            dl {
                dt { "lrpet" } dd { (sweep.version) " " (sweep.revision) }
                dt { "machine" } dd { (sweep.host.cpu.clone().unwrap_or_default()) }
                dt { "training" } dd { code { (sweep.arguments.join(" ")) } }
            }
            p.note { "Each run was trained once, with one seed: another seed gives another accuracy." }
        }
    }
}

/// What the script knows: names, accuracies and figures of the rows.
fn data(sweep: &Sweep, figures: &[Figure]) -> String {
    let row = |(index, row): (usize, &Row)| -> Value {
        let values: serde_json::Map<String, Value> =
            figures.iter().map(|figure| (figure.key.clone(), json!(figure.values[index]))).collect();
        json!({ "name": row.run, "accuracy": row.accuracy(), "figures": values })
    };
    let rows: Vec<Value> = sweep.rows.iter().enumerate().map(row).collect();
    // No text of a name may end the script's element.
    json!(rows).to_string().replace('<', "\\u003c")
}
