//! The table without a browser: GitHub markdown and aligned text.

use super::columns::{columns, rule};
use super::summary;
use super::table::{Cell, Column, Row, Table};
use crate::schema::Report;

/// The table as GitHub markdown, for a README.
pub fn markdown(report: &Report) -> String {
    let table = Table::of(report);
    let mut grid = Vec::new();
    let mut header = vec![String::new()];
    header.extend(cells_of(
        &table.columns,
        |column| escape(&column.model.name),
        |column| escape(&versus(column)),
    ));
    grid.push(header);
    grid.push((0..grid[0].len()).map(|i| if i == 0 { "---" } else { "---:" }.to_owned()).collect());
    for row in &table.rows {
        let place = if row.detail.is_empty() { String::new() } else { format!(" ({})", row.detail) };
        let mut line = vec![escape(&format!("{}{place}", label(row)))];
        line.extend(values(row, &table.columns).map(|value| escape(&value)));
        grid.push(line);
    }
    let lines = grid.iter().map(|line| format!("| {} |\n", line.join(" | ")));
    lines.collect()
}

/// The table for a terminal, under the title and the [summary](summary::summary): aligned columns, no colours.
pub fn text(report: &Report) -> String {
    let table = Table::of(report);
    let mut grid = Vec::new();
    let mut header = vec![String::new()];
    header.extend(cells_of(
        &table.columns,
        |column| clean(&column.model.name),
        |column| clean(&versus(column)),
    ));
    grid.push(header);
    for row in &table.rows {
        let place = if row.detail.is_empty() { String::new() } else { format!(", {}", row.detail) };
        let mut line = vec![clean(&format!("{}{place}", label(row)))];
        line.extend(values(row, &table.columns).map(|value| clean(&value)));
        grid.push(line);
    }
    let mut out = format!("{}\n{}\n\n", clean(summary::title(report)), clean(&summary::summary(report)));
    let lines = columns(&grid, 1);
    let (head, rest) = lines.split_once('\n').unwrap_or((&lines, ""));
    out.push_str(&format!("{head}\n{}\n{rest}", rule(&grid)));
    for part in &table.not_measured {
        out.push_str(&format!("Not measured: {part}.\n"));
    }
    out
}

/// One column for each model, and one more for each ratio.
fn cells_of<'a, T>(
    columns: &'a [Column<'a>],
    model: impl Fn(&'a Column<'a>) -> T,
    ratio: impl Fn(&'a Column<'a>) -> T,
) -> Vec<T> {
    let of = |column: &'a Column<'a>| {
        std::iter::once(model(column)).chain(column.has_versus().then(|| ratio(column)))
    };
    columns.iter().flat_map(of).collect()
}

fn versus(column: &Column) -> String {
    column.versus().unwrap_or_default()
}

fn values(row: &Row, columns: &[Column]) -> impl Iterator<Item = String> {
    let of = |(cell, column): (&Option<Cell>, &Column)| {
        let number = cell.as_ref().map_or("–", |cell| &cell.text).to_owned();
        let ratio = cell.as_ref().and_then(|cell| cell.versus.clone()).unwrap_or_default();
        std::iter::once(number).chain(column.has_versus().then_some(ratio))
    };
    row.cells.iter().zip(columns).flat_map(of).collect::<Vec<_>>().into_iter()
}

/// Label of a row that stands without the heading of its group.
fn label(row: &Row) -> String {
    match row.group {
        group @ ("Flash" | "RAM") => format!("{group}: {}", lower_first(&row.label)),
        _ => row.label.clone(),
    }
}

fn lower_first(words: &str) -> String {
    let mut chars = words.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

/// Control characters, which could move a terminal's cursor or end a line of a table, are written out; no-break spaces become
/// usual ones, for who searches the text.
fn clean(text: &str) -> String {
    lrpet_report::visible(text).replace('\u{a0}', " ")
}

/// Text as one cell of a markdown table, taken literally.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in clean(text).chars() {
        if "\\`*_{}[]<>|#&~!$@".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
