//! Accuracy by class as a section of a report, and as a page of its own.

use lrpet_report::{units, visible};
use maud::{Markup, html};

use super::matrix::matrix;
use super::short;
use crate::report::chart::bar;
use crate::report::frame::frame;
use crate::report::page::POLICY;
use crate::schema::{Accuracy, Report};

/// Mistakes that a page lists.
const MISTAKES: usize = 12;
/// Style of the matrix.
const STYLE: &str = include_str!("matrix.css");

/// What was tested.
#[derive(Clone, Debug)]
pub struct Tested<'a> {
    /// The model's file.
    pub model: &'a str,
    /// The data set.
    pub data: &'a str,
    /// What computed, in words.
    pub engine: &'a str,
    /// The command that made the page.
    pub command: &'a str,
}

/// The style of sections that this file makes.
pub(in crate::report) fn style() -> &'static str {
    STYLE
}

/// One page about the accuracy of one model: self-contained, without script.
pub fn page(tested: &Tested, accuracy: &Accuracy) -> String {
    let title = format!("{} on {}", tested.model, tested.data);
    let body = html! {
        header {
            p.kicker { (tested.engine) }
            h1 { (title) }
            p.summary { (summary(accuracy)) }
        }
        main {
            section #classes { h2 { "Accuracy by class" } (classes(accuracy, "c1")) }
            section #made { h2 { "How it was made" } p { code.command { (tested.command) } } }
        }
        footer { "This page loads nothing and runs no script." }
    };
    frame(&title, Some(POLICY), &[STYLE], body)
}

fn summary(accuracy: &Accuracy) -> String {
    let images = accuracy.tested();
    let top5 = accuracy
        .top5
        .map(|top5| format!("; of {} the right class is among the five most probable", units::percent(top5)));
    let text = format!(
        "{} of {images} {} classified right{}.",
        units::percent(accuracy.accuracy),
        if accuracy.images == 1 && accuracy.of.is_none() { "is" } else { "are" },
        top5.unwrap_or_default()
    );
    text.replace(" %", "\u{a0}%")
}

/// The section of a report on all models whose classes are known; nothing where there is none.
pub(in crate::report) fn section(report: &Report, colours: &[String]) -> Markup {
    let known = |accuracy: &&Accuracy| !accuracy.classes.is_empty();
    let shown: Vec<_> = (report.models.iter().zip(colours))
        .filter_map(|(model, colour)| {
            let eval = model.eval.as_ref()?;
            let found = eval.runtime.as_ref().filter(known).or(eval.candle.as_ref().filter(known))?;
            Some((model.name.as_str(), colour.as_str(), found))
        })
        .collect();
    html! {
        @if !shown.is_empty() {
            section #classes {
                @if let [(_, colour, accuracy)] = shown[..] {
                    h2 { "Accuracy by class" }
                    (classes(accuracy, colour))
                } @else {
                    h2 { "Accuracy by class" }
                    @for (index, (name, colour, accuracy)) in shown.iter().enumerate().rev() {
                        details open=[(index + 1 == shown.len()).then_some("open")] {
                            summary { span class={ "swatch " (colour) } {} (name) }
                            (classes(accuracy, colour))
                        }
                    }
                }
            }
        }
    }
}

/// Accuracy by class, the matrix, and the most frequent mistakes.
fn classes(accuracy: &Accuracy, colour: &str) -> Markup {
    let mistakes = accuracy.mistakes();
    html! {
        @for sentence in accuracy.caveats() { p.bad { (sentence) } }
        div.scroll {
            table.by-class {
                thead { tr { th { "Class" } th { "Images" } th { "Right" } th { "Accuracy" } th {} th { "Most often taken for" } } }
                tbody {
                    @for (class, of) in accuracy.classes.iter().enumerate() {
                        tr {
                            th scope="row" title=(visible(&of.name)) { (short(&of.name)) }
                            td.number { (units::grouped(of.images as f64)) }
                            td.number { (units::grouped(of.correct as f64)) }
                            td.number { (of.accuracy.map_or("–".to_owned(), units::percent)) }
                            td.measure { @if let Some(share) = of.accuracy { (bar(colour, &[(share, "s0", format!("{}: {}", of.name, units::percent(share)))])) } }
                            td.said { @if let Some((said, images)) = accuracy.taken_for(class) { span title=(visible(&said.name)) { (short(&said.name)) } " " span.note { (images) } } }
                        }
                    }
                }
            }
        }
        h3 { "What is taken for what" }
        p.note { "Lines are the images' classes, columns the classes that the model said. The stronger a cell's colour, the larger its share of its line." }
        div class=(colour) { (matrix(accuracy)) }
        @if !mistakes.is_empty() {
            h3 { "The most frequent mistakes" }
            ol.mistakes {
                @for (class, said, images) in mistakes.iter().take(MISTAKES) {
                    @let [own, other] = [*class, *said].map(|class| &accuracy.classes[class]);
                    li { b title=(visible(&own.name)) { (short(&own.name)) } " taken for " b title=(visible(&other.name)) { (short(&other.name)) } ": " (images) " of " (units::grouped(own.images as f64)) }
                }
            }
        }
    }
}
