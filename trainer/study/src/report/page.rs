//! The web page: one file that needs no network and no script.

use lrpet_report::visible;
use maud::{Markup, html};

use super::frame::frame;
use super::summary::{common, realisations, sampling_error, summary, title};
use super::table::{Cell, Column, Row, Table, boards, dataset};
use super::{accuracy, chart, layers, memory, origin, training, units};
use crate::schema::{Model, Origin, Report};

/// Nothing may be loaded but pictures in the page itself, and no script run.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// The report as one self-contained HTML page: no script, no network, light and dark, fit for paper.
/// Exact figures stand in `title` attributes beside the rounded ones. All text of the report is escaped.
pub fn html(report: &Report) -> String {
    let table = Table::of(report);
    let colours = chart::colours(report);
    let body = html! {
        header {
            p.kicker { (kicker(report)) }
            h1 { (title(report)) }
            p.summary { (summary(report).replace(" %", "\u{a0}%")) }
        }
        main {
            (comparison(report, &table, &colours))
            (accuracy::section(report, &colours))
            (training::section(report, &colours))
            (layers::section(report, &colours))
            (memory::section(report, &colours))
            (origin::section(report, &colours))
            (limits(report))
        }
        footer { "Made by " code { "lrpet report" } ". This page loads nothing and runs no script." }
    };
    frame(title(report), Some(POLICY), &[accuracy::style()], body)
}

/// Network, data set and day, as far as they are the same for all.
fn kicker(report: &Report) -> String {
    let origins = origin::origins(report);
    let day = |origin: &Origin| origin.created.as_ref()?.split('T').next().map(str::to_owned);
    let days = origins.iter().filter_map(day);
    let facts = [
        common(report.models.iter().map(Model::network)).map(str::to_owned),
        common(report.models.iter().map(|model| dataset(report, model))).map(str::to_owned),
        common(days.map(Some)),
    ];
    facts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

fn comparison(report: &Report, table: &Table, colours: &[String]) -> Markup {
    let realisations = realisations(report);
    html! {
        section #comparison {
            h2 { "Dense against low-rank" }
            @if table.rows.is_empty() {
                p.absent { "Nothing was measured yet." }
            } @else {
                div.scroll {
                    table.comparison.wide[table.columns.len() > 3] style=(format!("--models:{}", table.columns.len())) {
                        thead {
                            tr {
                                th {}
                                @for (column, colour) in table.columns.iter().zip(colours) { (head(column, colour)) }
                            }
                        }
                        @for group in table.rows.chunk_by(|a, b| a.group == b.group) {
                            tbody {
                                tr.group { th colspan=(table.columns.len() + 1) scope="rowgroup" { (group[0].group) } }
                                @for row in group { (line(row, colours)) }
                            }
                        }
                    }
                }
            }
            @for sentence in &realisations { p.note { (sentence) } }
            @if !realisations.is_empty() {
                p.note { "Realisation is the share of the cut in multiply-adds that became a cut in the figure; 1.00 is all of it." }
            }
            @if !table.not_measured.is_empty() {
                p.absent { "Not measured, and left out: " (table.not_measured.join(", ")) "." }
            }
            p.note {
                "1 KB = 1024 bytes; K, M, G are powers of 1000. × and points compare with the dense model. Rest the pointer on a figure for its exact value."
            }
        }
    }
}

/// Head of a model's column, with what it is compared with.
fn head(column: &Column, colour: &str) -> Markup {
    let ratio = column.model.prune.map(|g| format!("g = {g}"));
    let against = column.versus();
    let note: Vec<_> = [ratio, against].into_iter().flatten().collect();
    let name = &column.model.name;
    html! {
        th scope="col" title=(visible(name)) {
            span class={ "swatch " (colour) } {}
            (accuracy::short(name))
            small { (note.join(", ")) }
        }
    }
}

fn line(row: &Row, colours: &[String]) -> Markup {
    html! {
        tr {
            th scope="row" { (row.label) small { (row.detail) } }
            @for (cell, colour) in row.cells.iter().zip(colours) {
                td {
                    @match cell {
                        Some(cell) => (value(cell, row, colour)),
                        None => span.note title="not measured" { "–" },
                    }
                }
            }
        }
    }
}

fn value(cell: &Cell, row: &Row, colour: &str) -> Markup {
    html! {
        div.cell {
            b.bad[!cell.good] title=(cell.exact) { (cell.text) }
            @if let Some(versus) = &cell.versus { " " span.versus { (versus) } }
            @if let Some(share) = cell.share { (chart::bar(colour, &[(share, "s0", format!("{}: {}", row.label, cell.exact))])) }
        }
    }
}

fn limits(report: &Report) -> Markup {
    let counters: Vec<_> = boards(report).into_iter().map(|(_, counter)| counter).collect();
    let trained: Vec<_> = report.models.iter().filter(|model| model.training.is_some()).collect();
    html! {
        section #limits {
            h2 { "What the figures do not say" }
            ul {
                @if counters.contains(&"instructions") {
                    li { "Executed instructions are counted on an emulator. They repeat exactly, but they are not cycles and not latency: a load, a multiplication and a division count alike, and flash wait states and caches do not show." }
                }
                @if report.models.iter().any(|model| model.benches().next().is_some()) {
                    li { "Host latency is that of the machine named above, batch 1; it says little about a microcontroller." }
                }
                li { "Multiply-adds and parameters count convolutions and linear layers, without biases. A cut in multiply-adds is not by itself a cut in time." }
                @if report.models.iter().any(|model| model.inspect.is_some()) {
                    li { "Weight bytes are those of the tensors; a model file adds its header, and a flash image adds the code." }
                }
                @if let Some((half, images)) = sampling_error(report) {
                    li {
                        "With " (units::grouped(images as f64)) " test images an accuracy is known to about ±" (format!("{:.2}", half * 100.0))
                        " points (95 %). Models tested on the same images can be told apart more finely than that."
                    }
                }
                @if !trained.is_empty() {
                    li { "Each model was trained once, with one seed. Another seed gives another accuracy." }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use roxmltree::Document;

    use super::super::fixture;
    use super::*;

    #[test]
    fn long_names_are_shortened_in_heads_and_layers_and_whole_in_their_titles() {
        let mut report = fixture();
        let (model, layer) = ("m".repeat(200), "l".repeat(200));
        report.models[1].name = model.clone();
        report.models[1].inspect.as_mut().unwrap().layers[0].name = layer.clone();
        let page = html(&report);
        let body = &page[page.find("<body>").unwrap()..page.find("</html>").unwrap_or(page.len())];
        let document = Document::parse(body).unwrap();
        let (mut titles, mut shown) = (0, 0);
        for id in ["comparison", "training", "layers"] {
            let section = document.descendants().find(|node| node.attribute("id") == Some(id)).unwrap();
            let long =
                |text: Option<&str>| text.is_some_and(|text| text.contains(&model) || text.contains(&layer));
            titles += section.descendants().filter(|node| long(node.attribute("title"))).count();
            let heads = section
                .descendants()
                .filter(|node| ["th", "summary", "li"].contains(&node.tag_name().name()));
            shown += heads
                .flat_map(|node| node.descendants())
                .filter(|node| node.is_text() && long(node.text()))
                .count();
        }
        assert!(titles >= 3, "{titles} titles");
        assert_eq!(shown, 0, "whole in a head, a legend or a list");
    }
}
