//! The sweep as a markdown table for a README, and as a table for a terminal.

use super::figures::{Figure, figures};
use super::page::summary;
use crate::report::{columns, units};
use crate::schema::sweep::Sweep;

/// Head and one line a run.
fn table(sweep: &Sweep) -> Vec<Vec<String>> {
    let figures: Vec<Figure> = figures(sweep);
    let mut head = vec!["Run".to_owned(), "Top-1 accuracy (runtime, f16)".to_owned()];
    head.extend(figures.iter().map(|figure| figure.label.clone()));
    let dense = sweep.rows.iter().find(|row| row.prune == 0.0).and_then(crate::schema::sweep::Row::accuracy);
    let line = |(index, row): (usize, &crate::schema::sweep::Row)| {
        let name = if row.prune == 0.0 { "dense".to_owned() } else { format!("g = {}", row.prune) };
        let accuracy = match (row.accuracy(), dense) {
            (Some(own), Some(full)) if row.prune > 0.0 => {
                format!("{} ({})", units::percent(own), units::points(own - full))
            }
            (own, _) => own.map_or("–".to_owned(), units::percent),
        };
        let cells = figures
            .iter()
            .map(|figure| figure.values[index].map_or("–".to_owned(), |value| figure.unit.text(value)));
        [name, accuracy].into_iter().chain(cells).collect()
    };
    std::iter::once(head).chain(sweep.rows.iter().enumerate().map(line)).collect()
}

/// A markdown table with the sentence that sums it up, and the command.
pub fn markdown(sweep: &Sweep) -> String {
    let cell = |text: &String| text.replace('|', "\\|");
    let lines = table(sweep);
    let mut text = format!("{}\n\n", summary(sweep));
    for (index, line) in lines.iter().enumerate() {
        let cells: Vec<String> = line.iter().map(cell).collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
        if index == 0 {
            text.push_str(&format!("| --- |{}\n", " ---: |".repeat(line.len() - 1)));
        }
    }
    text.push_str(&format!("\n```sh\n{}\n```\n", sweep.command));
    text
}

/// The table for a terminal.
pub fn text(sweep: &Sweep) -> String {
    let lines = table(sweep);
    let mut text = columns(&lines, 0);
    text.push_str(&summary(sweep));
    text.push('\n');
    text
}
