//! The section on how the figures were made: commands, versions, seeds, files and the time of each step.

use std::borrow::Cow;

use maud::{Markup, html};

use super::chart::bar;
use super::units;
use crate::schema::{Dataset, Host, Model, Origin, Report, Step};

/// The section; `colours` has the class of each model's colour.
pub(super) fn section(report: &Report, colours: &[String]) -> Markup {
    let origins = origins(report);
    html! {
        section #made {
            h2 { "How it was made" }
            @for origin in origins.iter() {
                @if !report.origins.is_empty() { h3 { (origin.label) } }
                (facts(origin))
                (steps(&origin.steps))
            }
            h3 { "Models" }
            @for (model, colour) in report.models.iter().zip(colours) { (file(model, colour)) }
        }
    }
}

/// The runs behind the report: the report's own head where it was not merged.
pub(super) fn origins(report: &Report) -> Cow<'_, [Origin]> {
    if !report.origins.is_empty() {
        return Cow::Borrowed(&report.origins);
    }
    Cow::Owned(vec![report.origin(String::new())])
}

fn facts(origin: &Origin) -> Markup {
    let version = match (&origin.version, &origin.revision) {
        (Some(version), Some(revision)) => Some(format!("lrpet {version}, revision {revision}")),
        (Some(version), None) => Some(format!("lrpet {version}")),
        (None, Some(revision)) => Some(format!("revision {revision}")),
        (None, None) => None,
    };
    let compiler = origin.host.as_ref().and_then(|host| host.rustc.clone());
    let rows = [
        ("Made", origin.created.clone()),
        ("Version", version),
        ("Compiler", compiler),
        ("Host", origin.host.as_ref().and_then(host)),
        ("Data", origin.dataset.as_ref().map(dataset)),
    ];
    let known = rows.iter().any(|(_, value)| value.is_some()) || origin.command.is_some();
    html! {
        @if known {
            dl {
                @if let Some(command) = &origin.command { dt { "Command" } dd { code.command { (command) } } }
                @for (name, value) in rows {
                    @if let Some(value) = value { dt { (name) } dd { (value) } }
                }
            }
        } @else {
            p.absent { "The report does not say how it was made." }
        }
    }
}

fn host(host: &Host) -> Option<String> {
    let threads = host.threads.map(|n| units::things(n, "thread"));
    let facts: Vec<_> = [host.cpu.clone(), threads].into_iter().flatten().collect();
    (!facts.is_empty()).then(|| facts.join(", "))
}

fn dataset(set: &Dataset) -> String {
    let images = |n: Option<u64>, what| n.map(|n| units::things(n, &format!("{what} image")));
    let facts = [
        images(set.train_images, "training"),
        images(set.test_images, "test"),
        set.classes.map(|n| units::things(n, "class")),
        set.shape.map(|[c, h, w]| format!("{c}×{h}×{w}")),
    ];
    std::iter::once(set.name.clone()).chain(facts.into_iter().flatten()).collect::<Vec<_>>().join(", ")
}

fn steps(steps: &[Step]) -> Markup {
    let total: f64 = steps.iter().map(|step| step.seconds).sum();
    let largest = steps.iter().map(|step| step.seconds).fold(f64::MIN_POSITIVE, f64::max);
    html! {
        @if steps.is_empty() {
            p.absent { "The time of each step was not recorded." }
        } @else {
            table.steps {
                thead { tr { th { "Step" } th { "Time" } th {} } }
                tbody {
                    @for step in steps {
                        tr {
                            th scope="row" { (step.name) }
                            td title=(format!("{} s", step.seconds)) { (units::duration(step.seconds)) }
                            td { (bar("c1", &[(step.seconds / largest, "s0", units::duration(step.seconds))])) }
                        }
                    }
                }
                tfoot { tr { th scope="row" { "In all" } td { (units::duration(total)) } td {} } }
            }
        }
    }
}

/// What identifies a model and how to make it again.
fn file(model: &Model, colour: &str) -> Markup {
    let training = model.training.as_ref();
    html! {
        div.model {
            h4 { span class={ "swatch " (colour) } {} (model.name) }
            dl {
                @if let Some(g) = model.prune { dt { "Pruning ratio" } dd { "g = " (g) } }
                @if let Some(network) = model.network() { dt { "Network" } dd { (network) } }
                @if let Some(dataset) = &model.dataset { dt { "Data set" } dd { (dataset) } }
                @if let Some(file) = &model.file { dt { "File" } dd { code { (file) } } }
                @if let Some(hash) = &model.sha256 { dt { "SHA-256" } dd { code.hash { (hash) } } }
                @if let Some(seed) = training.and_then(|t| t.seed) { dt { "Seed" } dd { (seed) } }
                @if let Some(command) = training.and_then(|t| t.command.as_ref()) {
                    dt { "Training" } dd { code.command { (command) } }
                }
                @for board in &model.boards {
                    @if let Some(crc) = &board.crc { dt { "CRC of outputs" } dd { code { (crc) } " on " (board.board) } }
                }
            }
        }
    }
}
